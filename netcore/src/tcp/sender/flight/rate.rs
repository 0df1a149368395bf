//! How fast data arrives at the peer.

use super::Flight;
use crate::time::Instant;

/// How fast data has arrived (draft-ietf-ccwg-bbr section 4.1): what the newest segment of an
/// acknowledgement knew when it left, and when that came.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sample {
    pub(super) sent_at: Instant,
    pub(super) first_sent_at: Instant,
    pub(super) delivered: u64,
    pub(super) delivered_at: Instant,
    pub(super) is_app_limited: bool,
    pub(super) acked_at: Instant,
}

impl Sample {
    /// In microseconds.
    pub(super) fn interval(&self) -> u64 {
        let acked = self.acked_at.micros_since(self.delivered_at);
        acked.max(self.sent_at.micros_since(self.first_sent_at))
    }
}

impl Flight {
    /// The rate of the last sample, if that says something of the path.
    pub(super) fn rate(&self, min_rtt: Option<u64>) -> Option<(u64, bool)> {
        // What arrives in less than a round trip was counted before.
        let is_long = min_rtt.is_some_and(|min| self.sample.interval() >= min * 9 / 10);
        if is_long { self.last_rate() } else { None }
    }

    /// Bytes a second at which data last arrived, and whether the application limited them.
    pub(crate) fn last_rate(&self) -> Option<(u64, bool)> {
        let bytes = (self.delivered - self.sample.delivered).saturating_mul(1_000_000);
        Some((bytes.checked_div(self.sample.interval())?, self.sample.is_app_limited))
    }
}
