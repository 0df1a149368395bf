//! What a connection has counted.

use super::limits::LimitClock;
use crate::tcp::sender::{Counts, Sender};
use crate::time::Instant;

/// Counts of a connection, which outlive its senders.
#[derive(Debug)]
pub(crate) struct Usage {
    pub(crate) limits: LimitClock,
    /// Segments with data that were taken.
    pub(crate) data_segs_in: u64,
    /// Segments that have arrived behind a gap.
    pub(crate) out_of_order: u64,
    /// When the last of them came.
    last_data_recv: Instant,
    /// When a sender that was given back has sent last.
    last_data_sent: Instant,
    /// Of senders that were given back: bytes that had left, all of which are acknowledged.
    pub(crate) sent_bytes: u64,
    pub(crate) sent: Counts,
}

impl Usage {
    pub(crate) fn new(began: Instant) -> Self {
        Self {
            limits: LimitClock::new(began),
            data_segs_in: 0,
            out_of_order: 0,
            last_data_recv: began,
            last_data_sent: began,
            sent_bytes: 0,
            sent: Counts::default(),
        }
    }

    /// Takes what a sender has counted that is given back.
    pub(crate) fn keep(&mut self, sender: &Sender) {
        self.sent_bytes += sender.acked_bytes();
        self.sent.add(sender.counts());
        self.last_data_sent = sender.last_sent();
    }

    /// Takes note of a segment with data; one that is late lies behind a gap.
    pub(crate) fn on_data(&mut self, is_late: bool, now: Instant) {
        self.data_segs_in += 1;
        self.out_of_order += u64::from(is_late);
        self.last_data_recv = now;
    }

    pub(crate) fn last_data_recv(&self) -> Option<Instant> {
        (self.data_segs_in > 0).then_some(self.last_data_recv)
    }

    /// Of senders that were given back.
    pub(crate) fn last_data_sent(&self) -> Option<Instant> {
        (self.sent.segments > 0).then_some(self.last_data_sent)
    }
}
