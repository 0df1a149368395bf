//! What a connection has counted since its first byte.

use super::limits::LimitClock;
use crate::tcp::sender::{Counts, Sender};
use crate::time::Instant;

/// Counts of a connection that has sent or received data. One that has not needs none.
#[derive(Debug)]
pub(crate) struct Usage {
    pub(crate) limits: LimitClock,
    /// Segments with data that were taken.
    pub(crate) data_segs_in: u64,
    /// Segments that have arrived behind a gap.
    pub(crate) out_of_order: u64,
    pub(crate) last_data_recv: Option<Instant>,
    pub(crate) last_data_sent: Option<Instant>,
    /// Of senders that were given back: bytes that had left, all of which are acknowledged.
    pub(crate) sent_bytes: u64,
    pub(crate) sent: Counts,
}

impl Usage {
    pub(crate) fn new(limits: LimitClock) -> Self {
        Self {
            limits,
            data_segs_in: 0,
            out_of_order: 0,
            last_data_recv: None,
            last_data_sent: None,
            sent_bytes: 0,
            sent: Counts::default(),
        }
    }

    /// Takes what a sender has counted that is given back.
    pub(crate) fn keep(&mut self, sender: &Sender) {
        self.sent_bytes += sender.acked_bytes();
        self.sent.add(sender.counts());
        self.last_data_sent = Some(sender.last_sent());
    }

    /// Takes note of a segment with data; one that is late lies behind a gap.
    pub(crate) fn on_data(&mut self, is_late: bool, now: Instant) {
        self.data_segs_in += 1;
        self.out_of_order += u64::from(is_late);
        self.last_data_recv = Some(now);
    }
}
