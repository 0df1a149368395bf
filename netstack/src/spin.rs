//! Polling for work before sleeping.

use std::time::{Duration, Instant};

/// Decides whether to poll once more before sleeping.
///
/// A poll that finds something saves a sleep here and a wake-up at the sender; one that misses is
/// wasted. After each miss the next polls are skipped, twice as many each time. So a stack polls
/// under load, and hardly ever between packets that are far apart.
#[derive(Debug)]
pub(crate) struct Spin {
    /// The longest poll.
    max: Duration,
    /// When the current poll ends.
    until: Option<Instant>,
    /// Polls still to be skipped.
    pass: u32,
    /// How many were skipped after the last miss; 0 after a hit.
    passed: u32,
}

const PASS_MAX: u32 = 64;

impl Spin {
    pub(crate) fn new(max: Duration) -> Self {
        Self { max, until: None, pass: 0, passed: 0 }
    }

    /// There was something to do.
    pub(crate) fn found(&mut self) {
        if self.until.take().is_some() {
            self.passed = 0;
        }
    }

    /// Called when there is nothing to do: whether to poll again instead of sleeping.
    pub(crate) fn goes_on(&mut self) -> bool {
        self.goes_on_at(Instant::now)
    }

    fn goes_on_at(&mut self, now: impl FnOnce() -> Instant) -> bool {
        if self.max.is_zero() {
            return false;
        }
        if let Some(pass) = self.pass.checked_sub(1) {
            self.pass = pass;
            return false;
        }
        let now = now();
        let goes_on = now < *self.until.get_or_insert_with(|| now + self.max);
        if !goes_on {
            self.until = None;
            self.passed = (2 * self.passed).clamp(1, PASS_MAX);
            self.pass = self.passed;
        }
        goes_on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_micros(50);

    /// Polls until work arrives after this time; returns how long it has polled.
    fn look(spin: &mut Spin, now: &mut Instant, there_after: Duration) -> Duration {
        let start = *now;
        while *now - start < there_after && spin.goes_on_at(|| *now) {
            *now += Duration::from_micros(10);
        }
        let looked = *now - start;
        *now = start + there_after;
        spin.found();
        looked
    }

    #[test]
    fn work_that_comes_soon_is_polled_for_each_time() {
        let (mut spin, mut now) = (Spin::new(MAX), Instant::now());
        for _ in 0..1000 {
            assert_eq!(look(&mut spin, &mut now, MAX / 5), MAX / 5);
        }
    }

    #[test]
    fn spinning_backs_off_after_misses() {
        let (mut spin, mut now) = (Spin::new(MAX), Instant::now());
        let looked: Vec<bool> =
            (0..200).map(|_| look(&mut spin, &mut now, 2 * MAX) > Duration::ZERO).collect();
        let at =
            |n: usize| looked.iter().enumerate().filter(|(_, is)| **is).map(|(at, _)| at).nth(n);
        assert_eq!([at(0), at(1), at(2), at(3)], [Some(0), Some(2), Some(5), Some(10)]);
        assert_eq!(looked.iter().filter(|looked| **looked).count(), 9);
    }

    #[test]
    fn a_hit_ends_the_backoff() {
        let (mut spin, mut now) = (Spin::new(MAX), Instant::now());
        for _ in 0..1000 {
            look(&mut spin, &mut now, 2 * MAX);
        }
        for _ in 0..PASS_MAX + 1 {
            look(&mut spin, &mut now, MAX / 5);
        }
        assert_eq!(look(&mut spin, &mut now, MAX / 5), MAX / 5);
    }

    #[test]
    fn a_zero_time_never_polls() {
        let mut spin = Spin::new(Duration::ZERO);
        assert!(!spin.goes_on());
    }
}
