//! Round-trip times and the retransmission timeout (RFC 6298).

use crate::tcp::info::TcpInfo;
use std::time::Duration;

/// What is known of the time to the peer and back. All times in microseconds.
#[derive(Debug, Clone)]
pub(crate) struct RoundTrip {
    /// SRTT, once there was a sample.
    smoothed: Option<u64>,
    /// RTTVAR.
    variation: u64,
    /// The retransmission timeout, not backed off.
    timeout: u64,
    /// The shortest one in a while.
    min: Option<u64>,
    min_age: u32,
    last: u64,
}

/// Before there is a sample (RFC 6298 section 2.1).
const INITIAL_TIMEOUT: u64 = 1_000_000;
/// Least time to wait beyond SRTT (Linux: `TCP_RTO_MIN`; RFC 6298 has a second for the whole).
const TIMEOUT_MARGIN_MIN: u64 = 200_000;
/// The timeout doubles up to this (RFC 6298 section 2.5 allows no less; Linux: 120 s).
const TIMEOUT_MAX: u64 = 60_000_000;
/// After so many samples without a shorter one the shortest is measured again: the path may have
/// changed.
const MIN_SAMPLES: u32 = 1 << 16;

impl Default for RoundTrip {
    fn default() -> Self {
        Self {
            smoothed: None,
            variation: 0,
            timeout: INITIAL_TIMEOUT,
            min: None,
            min_age: 0,
            last: 0,
        }
    }
}

impl RoundTrip {
    /// Takes a sample: since the oldest and since the newest of the segments that were acknowledged
    /// together left. None of them was retransmitted (Karn's algorithm, RFC 6298 section 3).
    pub(crate) fn sample(&mut self, oldest: u64, newest: u64) {
        self.smooth(oldest);
        self.last = newest;
        self.min_age += 1;
        if self.min.is_none_or(|min| newest <= min) || self.min_age > MIN_SAMPLES {
            (self.min, self.min_age) = (Some(newest), 0);
        }
    }

    /// Takes a sample by a timestamp, which has milliseconds and may be more than the path's by that.
    pub(crate) fn sample_answer(&mut self, age: u32) {
        let micros = (u64::from(age).max(1) * 1000).min(TIMEOUT_MAX);
        self.smooth(micros);
        self.last = micros;
    }

    fn smooth(&mut self, micros: u64) {
        match self.smoothed {
            None => {
                self.variation = micros / 2;
                self.smoothed = Some(micros);
            }
            Some(smoothed) => {
                self.variation = (self.variation * 3 + smoothed.abs_diff(micros)) / 4;
                self.smoothed = Some((smoothed * 7 + micros) / 8);
            }
        }
        let smoothed = self.smoothed.unwrap_or_default();
        self.timeout = smoothed + (self.variation * 4).max(TIMEOUT_MARGIN_MIN);
    }

    /// Fills in what is known, if anything is.
    pub(crate) fn describe(&self, info: &mut TcpInfo) {
        if let Some(smoothed) = self.smoothed {
            info.rtt = Some(Duration::from_micros(smoothed));
            info.rttvar = Some(Duration::from_micros(self.variation));
            info.min_rtt = self.min.map(Duration::from_micros);
            info.last_rtt = Some(Duration::from_micros(self.last));
        }
    }

    pub(crate) fn smoothed(&self) -> Option<u64> {
        self.smoothed
    }

    pub(crate) fn min(&self) -> Option<u64> {
        self.min
    }

    /// The retransmission timeout after so many that have passed in a row.
    pub(crate) fn timeout(&self, backoff: u32) -> u64 {
        (self.timeout << backoff.min(16)).min(TIMEOUT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> u64 = |ms| ms * 1000;

    #[test]
    fn timeout_follows_rfc_6298() {
        let mut trip = RoundTrip::default();
        assert_eq!(trip.timeout(0), MS(1000));

        trip.sample(MS(100), MS(100));
        assert_eq!(trip.timeout(0), MS(300), "SRTT and 4 RTTVAR of 50 ms");

        for _ in 0..100 {
            trip.sample(MS(100), MS(100));
        }
        assert_eq!(trip.timeout(0), MS(300), "at least 200 ms beyond SRTT");
        assert_eq!(trip.timeout(3), MS(2400));
        assert_eq!(trip.timeout(40), TIMEOUT_MAX);
    }

    #[test]
    fn the_shortest_round_trip_is_kept() {
        let mut trip = RoundTrip::default();
        for ms in [30, 20, 40] {
            trip.sample(MS(ms + 5), MS(ms));
        }
        assert_eq!(trip.min(), Some(MS(20)));
    }
}
