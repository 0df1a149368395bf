//! CUBIC (RFC 9438).

use super::hystart::{Growth, HyStart};
use super::{Acked, CongestionController, Lost, initial_window, least_window};
use crate::time::Instant;

/// CUBIC: grows by the time since the last loss, slowly around the window that it then had.
#[derive(Debug)]
pub struct Cubic {
    mss: u32,
    /// In bytes; as a fraction, since a window grows by less than a byte for some acknowledgements.
    window: f64,
    threshold: f64,
    slow_start: HyStart,
    /// W_max: the window before the last reduction.
    window_max: f64,
    /// When congestion avoidance began, if it has.
    epoch: Option<Epoch>,
    /// The window, threshold and W_max before the last reduction.
    before: Option<(f64, f64, f64)>,
}

#[derive(Debug, Clone, Copy)]
struct Epoch {
    since: Instant,
    /// K: seconds until the window is W_max again.
    to_max: f64,
    /// W_est: the window that Reno would have.
    reno: f64,
    /// When it was last app-limited, time does not count: how much of it.
    paused: f64,
    last: Instant,
}

/// Segments for each second cubed (RFC 9438 section 5.1).
const C: f64 = 0.4;
/// What a loss leaves of the window (section 4.6).
const BETA: f64 = 0.7;
/// By how much Reno's window grows with this beta (section 4.3).
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);

impl Cubic {
    /// A controller for segments of `mss` bytes of payload.
    pub fn new(mss: u32) -> Self {
        Self {
            mss,
            window: initial_window(mss) as f64,
            threshold: f64::INFINITY,
            slow_start: HyStart::new(),
            window_max: 0.0,
            epoch: None,
            before: None,
        }
    }

    fn mss(&self) -> f64 {
        f64::from(self.mss)
    }

    fn reduce(&mut self) {
        self.before = Some((self.window, self.threshold, self.window_max));
        // Fast convergence (section 4.7): leaves room to flows that have just begun.
        self.window_max = match self.window < self.window_max {
            true => self.window * (1.0 + BETA) / 2.0,
            false => self.window,
        };
        self.threshold = (self.window * BETA).max(least_window(self.mss) as f64);
        self.epoch = None;
    }

    fn avoid_congestion(&mut self, acked: &Acked) {
        let (mss, window) = (self.mss(), self.window);
        let window_max = self.window_max.max(window);
        let epoch = self.epoch.get_or_insert_with(|| Epoch {
            since: acked.now,
            to_max: ((window_max - window) / mss / C).cbrt(),
            reno: window,
            paused: 0.0,
            last: acked.now,
        });
        self.window_max = window_max;
        epoch.last = acked.now;
        // Where the window is to be in a round trip (section 4.2).
        let time = (acked.now - epoch.since + acked.smoothed_rtt).as_secs_f64() - epoch.paused;
        let cubic = C * (time - epoch.to_max).powi(3) * mss + window_max;
        let target = cubic.clamp(window, window * 1.5);
        let bytes = acked.bytes as f64;
        let alpha = if epoch.reno < window_max { ALPHA } else { 1.0 };
        epoch.reno += alpha * mss * bytes / window;
        self.window = (window + (target - window) * bytes / window).max(epoch.reno);
    }
}

impl CongestionController for Cubic {
    fn window(&self) -> u64 {
        self.window as u64
    }

    fn on_acked(&mut self, acked: &Acked) {
        if !acked.is_window_limited {
            // The curve does not go on while nothing tests it (section 5.8).
            if let Some(epoch) = &mut self.epoch {
                epoch.paused += (acked.now - epoch.last).as_secs_f64();
                epoch.last = acked.now;
            }
            return;
        }
        if self.window < self.threshold {
            match self.slow_start.on_acked(acked, self.mss) {
                Growth::Fast(bytes) => self.window += bytes as f64,
                Growth::Done => self.threshold = self.window,
            }
            return;
        }
        self.avoid_congestion(acked);
    }

    fn on_lost(&mut self, _lost: &Lost) {
        self.reduce();
        self.window = self.threshold;
    }

    fn on_timeout(&mut self, _lost: &Lost) {
        self.reduce();
        self.window = self.mss();
        self.slow_start = HyStart::new();
    }

    fn on_spurious(&mut self) {
        if let Some((window, threshold, window_max)) = self.before.take() {
            self.window = self.window.max(window);
            (self.threshold, self.window_max) = (threshold, window_max);
            self.epoch = None;
        }
    }

    fn on_idle(&mut self, timeouts: u32) {
        let least = (initial_window(self.mss) as f64).min(self.window);
        self.threshold = self.threshold.max(self.window * 0.75);
        self.window = (self.window * 0.5_f64.powi(timeouts.min(64) as i32)).max(least);
        self.epoch = None;
    }

    fn set_mss(&mut self, mss: u32) {
        self.mss = mss;
    }
}
