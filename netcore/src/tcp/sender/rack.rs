//! RACK: recent acknowledgements, and how late segments may be (RFC 8985 section 6).

use crate::time::Instant;

/// RACK's state: the segment that was sent last of those that have arrived.
#[derive(Debug, Default)]
pub(super) struct Rack {
    pub(super) sent_at: Option<Instant>,
    pub(super) end: u64,
    pub(super) rtt: u64,
    /// The highest position that has arrived.
    pub(super) highest: u64,
    /// By how much later than others segments have arrived.
    pub(super) reordering: u64,
    /// The share of the shortest round trip to wait for late segments, in quarters.
    pub(super) quarters: u32,
    pub(super) has_seen_reordering: bool,
    /// When segments that are late now are taken for lost.
    pub(super) due: Option<Instant>,
}

const REORDERING_QUARTERS_MAX: u32 = 16;

impl Rack {
    pub(super) fn on_delivered(&mut self, (sent_at, end): (Instant, u64), since: u64) {
        let newest = (self.sent_at.unwrap_or(Instant::from_micros(i64::MIN)), self.end);
        if (sent_at, end) > newest {
            self.sent_at = Some(sent_at);
            self.end = end;
            self.rtt = since;
        }
        self.highest = self.highest.max(end);
    }

    /// Waits longer from now on.
    pub(super) fn widen(&mut self) {
        self.has_seen_reordering = true;
        self.quarters = (self.quarters + 1).min(REORDERING_QUARTERS_MAX);
    }

    /// How long to wait for segments that others have overtaken.
    pub(super) fn window(&self, srtt: u64, min_rtt: u64, is_loss_likely: bool) -> u64 {
        if !self.has_seen_reordering && is_loss_likely {
            return 0;
        }
        let share = min_rtt / 4 * u64::from(1 + self.quarters);
        share.max(self.reordering * 9 / 8).min(srtt.max(min_rtt / 4))
    }
}
