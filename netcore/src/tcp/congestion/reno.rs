//! Reno (RFC 5681).

use super::hystart::{Growth, HyStart};
use super::{Acked, CongestionController, Lost, initial_window, least_window};
use super::{CONGESTION_AVOIDANCE, SLOW_START};

/// Reno: adds a segment for each round trip, and halves the window for a loss.
#[derive(Debug)]
pub struct Reno {
    mss: u32,
    window: u64,
    threshold: u64,
    slow_start: HyStart,
    /// Bytes that have arrived since the window last grew.
    acked: u64,
    /// The window and threshold before the last reduction.
    before: Option<(u64, u64)>,
}

impl Reno {
    /// A controller for segments of `mss` bytes of payload.
    pub fn new(mss: u32) -> Self {
        Self {
            mss,
            window: initial_window(mss),
            threshold: u64::MAX,
            slow_start: HyStart::new(),
            acked: 0,
            before: None,
        }
    }

    fn reduce(&mut self) {
        self.before = Some((self.window, self.threshold));
        self.threshold = (self.window / 2).max(least_window(self.mss));
        self.acked = 0;
    }
}

impl CongestionController for Reno {
    fn window(&self) -> u64 {
        self.window
    }

    fn slow_start_threshold(&self) -> Option<u64> {
        (self.threshold < u64::MAX).then_some(self.threshold)
    }

    fn state(&self) -> &'static str {
        if self.window < self.threshold { SLOW_START } else { CONGESTION_AVOIDANCE }
    }

    fn on_acked(&mut self, acked: &Acked) {
        if !acked.is_window_limited {
            return;
        }
        if self.window < self.threshold {
            match self.slow_start.on_acked(acked, self.mss) {
                Growth::Fast(bytes) => self.window += bytes,
                Growth::Done => self.threshold = self.window,
            }
            return;
        }
        self.acked += acked.bytes;
        if self.acked >= self.window {
            self.acked -= self.window;
            self.window += u64::from(self.mss);
        }
    }

    fn on_lost(&mut self, _lost: &Lost) {
        self.reduce();
        self.window = self.threshold;
    }

    fn on_timeout(&mut self, _lost: &Lost) {
        self.reduce();
        self.window = u64::from(self.mss);
        self.slow_start = HyStart::new();
    }

    fn on_spurious(&mut self) {
        if let Some((window, threshold)) = self.before.take() {
            self.window = self.window.max(window);
            self.threshold = threshold;
        }
    }

    fn on_idle(&mut self, timeouts: u32) {
        let least = initial_window(self.mss).min(self.window);
        self.threshold = self.threshold.max(self.window / 4 * 3);
        self.window = (self.window >> timeouts.min(32)).max(least);
        // Whatever ended the slow start before is over.
        self.slow_start = HyStart::new();
    }

    fn set_mss(&mut self, mss: u32) {
        self.mss = mss;
    }
}
