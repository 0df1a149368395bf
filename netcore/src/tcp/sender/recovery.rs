//! The repair of a loss: how fast it goes on (RFC 6937), and whether it was needed.

use crate::tcp::congestion::CongestionController;

/// From when a loss is found until everything is acknowledged that had been sent by then.
#[derive(Debug)]
pub(crate) struct Recovery {
    cause: Cause,
    /// SND.NXT when it began: it is over when this is acknowledged.
    pub(crate) end: u64,
    /// RecoverFS: bytes that were not acknowledged when it began.
    outstanding: u64,
    /// Bytes that have arrived, and that were sent.
    delivered: u64,
    pub(crate) sent: u64,
    /// The window by proportional rate reduction.
    window: u64,
    /// Segments that were sent again, and those of them that need not have been.
    pub(crate) retransmitted: u32,
    pub(crate) spurious: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Later segments have arrived.
    Loss,
    /// Nothing has.
    Timeout,
}

impl Recovery {
    /// One that begins with `window` bytes that may be in flight.
    pub(crate) fn new(cause: Cause, end: u64, outstanding: u64, window: u64) -> Self {
        Self {
            cause,
            end,
            outstanding: outstanding.max(1),
            delivered: 0,
            sent: 0,
            window,
            retransmitted: 0,
            spurious: 0,
        }
    }

    /// Whether acknowledgements clock it; after a timeout it is slow start.
    pub(crate) fn is_fast(&self) -> bool {
        self.cause == Cause::Loss
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
