//! Rate limits of replies.

use crate::random::Random;
use crate::time::Instant;
use std::time::Duration;

/// A token bucket with the rate and burst `per_second`.
#[derive(Debug)]
pub(crate) struct RateLimit {
    per_second: u32,
    /// In millionths of a reply, the resolution of time.
    tokens: u64,
    filled_at: Instant,
}

/// The tokens of one reply.
const ANSWER: u64 = 1_000_000;

impl RateLimit {
    pub(crate) fn new(per_second: u32, now: Instant) -> Self {
        Self { per_second, tokens: u64::from(per_second) * ANSWER, filled_at: now }
    }

    /// Whether one more reply may be sent; counts it if so.
    pub(crate) fn allows(&mut self, now: Instant) -> bool {
        let per_second = u64::from(self.per_second);
        let passed = u64::try_from((now - self.filled_at).as_micros()).unwrap_or(u64::MAX);
        self.filled_at = now;
        let earned = passed.saturating_mul(per_second);
        self.tokens = self.tokens.saturating_add(earned).min(per_second * ANSWER);
        let may = self.tokens >= ANSWER;
        if may {
            self.tokens -= ANSWER;
        }
        may
    }
}

/// Minimum time between challenges of one connection (Linux: `tcp_invalid_ratelimit`).
pub(crate) const CHALLENGE_INTERVAL: Duration = Duration::from_millis(500);

/// The challenge acknowledgements of a stack (RFC 5961 section 7).
///
/// An exact limit shared by all connections is a side channel about other connections
/// (CVE-2016-5696). So the limit is random for each second, from 0.5 to 1.5 times the mean, as on
/// Linux.
#[derive(Debug)]
pub(crate) struct Challenges {
    per_second: u32,
    left: u32,
    refills_at: Instant,
}

impl Challenges {
    pub(crate) fn new(per_second: u32, now: Instant) -> Self {
        Self { per_second, left: 0, refills_at: now }
    }

    /// Whether one more challenge may be sent; counts it if so.
    pub(crate) fn allows(&mut self, random: &mut Random, now: Instant) -> bool {
        if self.refills_at <= now {
            self.refills_at = now + Duration::from_secs(1);
            self.left = match self.per_second {
                0 => 0,
                mean => (mean / 2).saturating_add(random.below(mean)).max(1),
            };
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Entropy;

    #[test]
    fn burst_is_followed_by_the_rate() {
        let start = Instant::from_secs(5);
        let mut limit = RateLimit::new(10, start);
        let mut allowed = |now| (0..100).filter(|_| limit.allows(now)).count();

        assert_eq!(allowed(start), 10);
        assert_eq!(allowed(start + Duration::from_millis(99)), 0);
        assert_eq!(allowed(start + Duration::from_millis(100)), 1);
        assert_eq!(allowed(start + Duration::from_millis(400)), 3);
        assert_eq!(allowed(start + Duration::from_secs(1000)), 10);
    }

    #[test]
    fn rate_of_zero_allows_nothing() {
        let mut limit = RateLimit::new(0, Instant::ZERO);

        assert!(!limit.allows(Instant::from_secs(1000)));
    }

    #[test]
    fn number_of_challenges_is_random_each_second() {
        let mut random = Random::new(Entropy::Seed(1));
        let mut challenges = Challenges::new(100, Instant::ZERO);

        let numbers: Vec<_> = (0..50)
            .map(|second| {
                let now = Instant::from_secs(second);
                (0..1000).filter(|_| challenges.allows(&mut random, now)).count()
            })
            .collect();

        assert!(numbers.iter().all(|number| (50..150).contains(number)), "{numbers:?}");
        assert!(numbers.iter().any(|number| *number < 80), "{numbers:?}");
        assert!(numbers.iter().any(|number| *number > 120), "{numbers:?}");
    }
}
