//! A policer: a token bucket that drops what it has no tokens for.

use super::queue::transmission_time;
use std::time::Duration;
use tokio::time::Instant;

/// What a policer lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub(super) struct Rate {
    #[cfg_attr(feature = "serde", serde(deserialize_with = "super::serialized::rate"))]
    pub(super) bits_per_second: u64,
    pub(super) burst_bytes: usize,
}

/// The token bucket of a policer. Tokens are kept as the time that they took to come, as in
/// Linux's `act_police`.
#[derive(Debug)]
pub(super) struct Policer {
    rate: Rate,
    tokens: Duration,
    /// When tokens were last added.
    filled: Instant,
}

impl Policer {
    /// One whose bucket is full.
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, tokens: rate.time(rate.burst_bytes), filled: now }
    }

    /// Takes the tokens for a packet; `false` if there are too few.
    pub(super) fn admits(&mut self, bytes: usize, now: Instant) -> bool {
        let full = self.rate.time(self.rate.burst_bytes);
        self.tokens = full.min(self.tokens + (now - self.filled));
        self.filled = now;
        let left = self.tokens.checked_sub(self.rate.time(bytes));
        self.tokens = left.unwrap_or(self.tokens);
        left.is_some()
    }
}

impl Rate {
    fn time(&self, bytes: usize) -> Duration {
        transmission_time(bytes, self.bits_per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { bits_per_second: 8_000, burst_bytes: 3_000 };

    #[test]
    fn burst_passes_and_then_a_packet_for_its_tokens() {
        let start = Instant::now();
        let mut policer = Policer::new(RATE, start);
        // A kilobyte a second: the burst, and one packet each second.
        let admitted: Vec<u32> = (0..100)
            .filter(|tenth| policer.admits(1_000, start + Duration::from_millis(100) * *tenth))
            .collect();

        assert_eq!(admitted, [0, 1, 2, 10, 20, 30, 40, 50, 60, 70, 80, 90]);
    }

    #[test]
    fn bucket_holds_no_more_than_its_burst() {
        let start = Instant::now();
        let mut policer = Policer::new(RATE, start);
        assert!(policer.admits(3_000, start));
        let later = start + Duration::from_secs(3600);

        assert!(!policer.admits(3_001, later));
        assert!(policer.admits(3_000, later));
        assert!(!policer.admits(1, later));
    }
}
