//! The bounds that losses have shown.

use super::BETA;

/// What may be in flight, by the losses of Startup, until a probe finds more room, and at what rate
/// until the next probe (draft-ietf-ccwg-bbr: `inflight_longterm`, `bw_shortterm`). Both `u64::MAX` at
/// first.
#[derive(Debug)]
pub(super) struct Bounds {
    /// Bytes.
    pub(super) long: u64,
    /// Bytes a second.
    pub(super) rate: u64,
    /// By how many segments the long one grows in a round trip of probing, and the bytes that have
    /// arrived since it last grew.
    step: u64,
    acked: u64,
}

/// The share of the long bound that a flow leaves to others, as a divisor (Headroom, 0.15).
const HEADROOM_SHARE: u64 = 7;

impl Bounds {
    pub(super) fn new() -> Self {
        Self { long: u64::MAX, rate: u64::MAX, step: 1, acked: 0 }
    }

    /// Startup has lost too much with `in_flight` bytes.
    pub(super) fn on_startup_lost(&mut self, in_flight: u64, target: u64) {
        self.long = in_flight.max(scaled(target, BETA));
    }

    /// The bound of the rate is forgotten: a probe begins.
    pub(super) fn forget_rate(&mut self) {
        self.rate = u64::MAX;
        (self.step, self.acked) = (1, 0);
    }

    /// A probe has `bytes` acknowledged with the whole window in use.
    pub(super) fn grow(&mut self, bytes: u64, mss: u64, is_round: bool) {
        if self.long == u64::MAX {
            return;
        }
        self.acked += bytes;
        // So many segments for each window.
        let for_each = (self.long / self.step).max(mss);
        let segments = self.acked / for_each;
        self.acked -= segments * for_each;
        self.long += segments * mss;
        if is_round {
            self.step = (self.step * 2).min(1 << 20);
        }
    }

    /// The long bound without what is left to others.
    pub(super) fn with_headroom(&self) -> u64 {
        self.long - self.long / HEADROOM_SHARE
    }
}

pub(super) fn scaled(value: u64, factor: f64) -> u64 {
    (value as f64 * factor) as u64
}
