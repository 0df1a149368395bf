//! The repair of a loss: how fast it goes on (RFC 6937), and whether it was needed.

use crate::tcp::congestion::CongestionController;
use crate::time::Instant;

/// From when a loss is found until everything is acknowledged that had been sent by then.
#[derive(Debug)]
pub(crate) struct Recovery {
    cause: Cause,
    /// SND.UNA when it began.
    start: u64,
    /// SND.NXT when it began: it is over when this is acknowledged.
    pub(crate) end: u64,
    /// RecoverFS: bytes that were not acknowledged when it began.
    outstanding: u64,
    /// Bytes that have arrived, and that were sent.
    delivered: u64,
    pub(crate) sent: u64,
    /// The window by proportional rate reduction.
    window: u64,
    /// Bytes that were sent again, those of them that need not have been by the time of their
    /// acknowledgement, and those of which the peer says so.
    retransmitted: u64,
    pub(crate) spurious: u64,
    reported: u64,
    /// When the first segment was sent again, and where that ends.
    first_again: Option<(Instant, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Later segments have arrived.
    Loss,
    /// Nothing has.
    Timeout,
}

impl Recovery {
    /// One of what is in flight between two positions that begins with `window` bytes that may be.
    pub(crate) fn new(cause: Cause, (start, end): (u64, u64), window: u64) -> Self {
        Self {
            cause,
            start,
            end,
            outstanding: (end - start).max(1),
            delivered: 0,
            sent: 0,
            window,
            retransmitted: 0,
            spurious: 0,
            reported: 0,
            first_again: None,
        }
    }

    /// Whether acknowledgements clock it; after a timeout it is slow start.
    pub(crate) fn is_fast(&self) -> bool {
        self.cause == Cause::Loss
    }

    /// Notes that so many bytes up to `end` were sent again.
    pub(crate) fn on_sent_again(&mut self, bytes: u64, end: u64, now: Instant) {
        self.retransmitted += bytes;
        self.first_again.get_or_insert((now, end));
    }

    /// Notes that the peer has received these bytes twice (RFC 3708).
    pub(crate) fn on_duplicate_report(&mut self, left: u64, right: u64) {
        let bytes = right.min(self.end).saturating_sub(left.max(self.start));
        self.reported = self.reported.saturating_add(bytes);
    }

    /// Whether the peer has received all twice that was sent again.
    pub(crate) fn is_reported(&self) -> bool {
        self.retransmitted > 0 && self.reported >= self.retransmitted
    }

    /// Whether nothing that was sent again need have been.
    pub(crate) fn is_disproved(&self) -> bool {
        self.spurious >= self.retransmitted || self.is_reported()
    }

    /// Whether an acknowledgement of everything before a position, in answer to what left in a
    /// millisecond, is not of the first repetition, but of what left before (RFC 3522 section 3.2).
    pub(crate) fn is_answered_before(&self, millis: i64, acknowledged: u64) -> bool {
        self.first_again.is_some_and(|(at, end)| acknowledged >= end && millis < at.total_millis())
    }

    /// Bytes that may be in flight.
    pub(crate) fn window(&self, controller: &dyn CongestionController) -> u64 {
        if self.cause == Cause::Timeout || controller.pacing_rate().is_some() {
            return controller.window();
        }
        self.window
    }

    /// Takes bytes that have arrived (RFC 6937 section 3.1).
    pub(crate) fn on_delivered(
        &mut self,
        bytes: u64,
        pipe: u64,
        mss: u64,
        controller: &dyn CongestionController,
    ) {
        self.delivered += bytes;
        let threshold = controller.window();
        let room = if pipe > threshold {
            let share = self.delivered as u128 * u128::from(threshold);
            let share = share.div_ceil(u128::from(self.outstanding)) as u64;
            share.saturating_sub(self.sent)
        } else {
            // Slow start reduction bound.
            let bound = self.delivered.saturating_sub(self.sent).max(bytes) + mss;
            (threshold - pipe).min(bound)
        };
        let least = if self.sent == 0 { mss } else { 0 };
        self.window = pipe + room.max(least);
    }
}
