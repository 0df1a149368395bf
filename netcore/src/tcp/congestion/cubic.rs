//! CUBIC (RFC 9438).

use super::hystart::{Growth, HyStart};
use super::{Acked, CongestionController, Lost, initial_window, least_window};
use super::{CONGESTION_AVOIDANCE, SLOW_START};
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

    fn slow_start_threshold(&self) -> Option<u64> {
        self.threshold.is_finite().then_some(self.threshold as u64)
    }

    fn state(&self) -> &'static str {
        if self.window < self.threshold { SLOW_START } else { CONGESTION_AVOIDANCE }
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
        // Whatever ended the slow start before is over.
        self.slow_start = HyStart::new();
    }

    fn set_mss(&mut self, mss: u32) {
        self.mss = mss;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// At a round trip for which Reno's window would grow more slowly.
    fn acked(ms: i64, bytes: u64) -> Acked {
        let rtt = Duration::from_millis(200);
        Acked {
            now: Instant::from_millis(ms),
            bytes,
            lost: 0,
            in_flight_before: u64::MAX / 2,
            in_flight: 0,
            rtt: Some(rtt),
            min_rtt: rtt,
            smoothed_rtt: rtt,
            round: 0,
            is_window_limited: true,
            delivery_rate: None,
            is_app_limited: false,
            is_in_recovery: false,
        }
    }

    const LOST: Lost = Lost { now: Instant::ZERO, in_flight: 0, bytes: 1000 };

    #[test]
    fn slow_start_doubles_the_window_each_round_trip() {
        let mut cubic = Cubic::new(1000);
        for segment in 0..10 {
            cubic.on_acked(&acked(20 + segment, 1000));
        }
        assert_eq!(cubic.window(), 20_000);
    }

    #[test]
    fn the_window_is_back_after_k_seconds() {
        let mut cubic = Cubic::new(1000);
        cubic.window = 100_000.0;
        cubic.on_lost(&LOST);
        assert_eq!(cubic.window(), 70_000);

        // K is the cube root of 30 / 0.4, 4.2 s.
        let mut ms = 0;
        while cubic.window() < 99_000 {
            ms += 200;
            let bytes = cubic.window();
            cubic.on_acked(&acked(ms, bytes));
        }
        assert!((2500..4500).contains(&ms), "{ms} ms");
        let plateau = ms;
        while cubic.window() < 150_000 {
            ms += 200;
            let bytes = cubic.window();
            cubic.on_acked(&acked(ms, bytes));
        }
        assert!(ms > plateau + 2000, "{ms} ms");
    }

    #[test]
    fn a_second_loss_below_the_first_leaves_room_to_others() {
        let mut cubic = Cubic::new(1000);
        cubic.window = 100_000.0;
        cubic.on_lost(&LOST);
        cubic.on_lost(&LOST);
        assert_eq!((cubic.window() as u32, cubic.window_max as u32), (49_000, 59_500));
    }

    #[test]
    fn an_idle_connection_halves_down_to_the_initial_window() {
        let mut cubic = Cubic::new(1000);
        cubic.window = 100_000.0;
        cubic.on_idle(2);
        assert_eq!(cubic.window(), 25_000);
        cubic.on_idle(10);
        assert_eq!(cubic.window(), 10_000);
    }

    #[test]
    fn slow_start_after_idle_goes_on_to_the_threshold() {
        let mut cubic = Cubic::new(1000);
        let mut ms = 0;
        // Acknowledgements without a gap end the first slow start.
        while cubic.slow_start_threshold().is_none() {
            ms += 1;
            let round = ms as u64 / 200;
            cubic.on_acked(&Acked { round, ..acked(ms, 1000) });
        }
        let window = cubic.window();
        cubic.on_idle(1);
        assert_eq!(cubic.window(), window / 2);

        for _ in 0..3 {
            ms += 200;
            cubic.on_acked(&Acked { round: ms as u64 / 200, ..acked(ms, cubic.window() / 8) });
        }
        assert!(cubic.window() > window * 7 / 10, "{} of {window}", cubic.window());
    }
}
