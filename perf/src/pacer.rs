//! A rate in bits a second.

use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Lets bytes pass at a rate, counted from its start: what was late is made up for.
#[derive(Debug)]
pub(crate) struct Pacer {
    /// Bits a second; without one nothing waits.
    rate: Option<u64>,
    start: Instant,
    sent: u64,
}

impl Pacer {
    /// With a rate of 0 bytes pass as fast as they can.
    pub(crate) fn new(rate: u64) -> Self {
        Self { rate: (rate > 0).then_some(rate), start: Instant::now(), sent: 0 }
    }

    /// Waits until it is time for the next `bytes`.
    pub(crate) async fn wait(&mut self, bytes: usize) {
        let Some(rate) = self.rate else { return };
        let due = self.start + after(self.sent, rate);
        self.sent = self.sent.saturating_add(bytes as u64);
        // tokio's clock has whole milliseconds, so a burst of as long is sent at once.
        if due > Instant::now() {
            sleep_until(due).await;
        }
    }
}

/// When the byte after so many is due.
fn after(bytes: u64, rate: u64) -> Duration {
    let nanos = u128::from(bytes) * 8 * 1_000_000_000 / u128::from(rate);
    // A century is as good as for ever, and can be added to a time.
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX).min(3_000_000_000_000_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_megabyte_at_eight_megabits_takes_a_second() {
        let mut pacer = Pacer::new(8_000_000);
        let start = Instant::now();
        for _ in 0..=100 {
            pacer.wait(10_000).await;
        }
        assert_eq!(start.elapsed(), Duration::from_secs(1));
    }

    #[test]
    fn the_slowest_rate_is_no_overflow() {
        assert!(after(u64::MAX, 1) > Duration::from_secs(1_000_000));
        assert_eq!(after(0, u64::MAX), Duration::ZERO);
    }
}
