//! What is counted on a stream while it runs.

use crate::arrivals::Arrivals;
use hdrhistogram::Histogram;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// What is counted on a stream.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    /// The bytes sent or received.
    pub(crate) bytes: u64,
    /// The datagrams sent, or received.
    pub(crate) datagrams: u64,
    /// Of the datagrams received.
    pub(crate) arrivals: Arrivals,
    /// The requests with a response, or the connections.
    pub(crate) transactions: u64,
    /// The requests without one.
    pub(crate) timeouts: u64,
}

/// What a stream has counted, and what of it was before the counting began.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    counts: Counts,
    omitted: Counts,
    times: Option<Histogram<u64>>,
}

impl Tally {
    /// Counts something.
    pub(crate) fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.lock().counts);
    }

    /// Counts a response, or a connection, that took so long.
    pub(crate) fn count_time(&self, time: Duration) {
        let kept = &mut *self.lock();
        kept.counts.transactions += 1;
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        kept.times.get_or_insert_with(times).saturating_record(nanos);
    }

    /// All since the start.
    pub(crate) fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// What of it does not count.
    pub(crate) fn omitted(&self) -> Counts {
        self.lock().omitted
    }

    /// Adds the times of the responses to `all`.
    pub(crate) fn add_times(&self, all: &mut Histogram<u64>) {
        if let Some(times) = &self.lock().times {
            // Both have the same bounds.
            let _ = all.add(times);
        }
    }

    /// What was until now does not count.
    pub(crate) fn omit(&self) {
        let kept = &mut *self.lock();
        kept.omitted = kept.counts;
        // Each that counts has a jitter and a highest number of its own.
        kept.times = None;
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For times from 1 ns to 100 s in two digits: some KiB.
pub(crate) fn times() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 100_000_000_000, 2).expect("bounds in order")
}

/// The bytes that may still be sent, or are still to be received, by all streams of a direction.
#[derive(Debug)]
pub(crate) struct Budget {
    left: AtomicU64,
    spent: Notify,
}

impl Budget {
    /// Without a number of bytes there is no end to it.
    pub(crate) fn new(bytes: Option<u64>) -> Self {
        Self { left: bytes.unwrap_or(u64::MAX).into(), spent: Notify::new() }
    }

    /// Takes up to `max` of them.
    pub(crate) fn take(&self, max: usize) -> usize {
        let max = max as u64;
        let take =
            |left: u64| if left == u64::MAX { Some(left) } else { Some(left.saturating_sub(max)) };
        let (Ok(left) | Err(left)) =
            self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        if left <= max {
            self.spent.notify_one();
        }
        left.min(max) as usize
    }

    /// Waits until nothing is left.
    pub(crate) async fn spent(&self) {
        self.spent.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_spent_to_the_last_byte() {
        let budget = Budget::new(Some(10));
        assert_eq!([budget.take(4), budget.take(4), budget.take(4), budget.take(4)], [4, 4, 2, 0]);
        let endless = Budget::new(None);
        assert_eq!([endless.take(usize::MAX), endless.take(7)], [usize::MAX, 7]);
    }

    #[test]
    fn what_is_omitted_is_known() {
        let tally = Tally::default();
        tally.count(|counts| counts.bytes += 7);
        tally.count_time(Duration::from_secs(1));
        tally.omit();
        tally.count(|counts| counts.bytes += 3);
        tally.count_time(Duration::from_secs(1000));

        assert_eq!((tally.counts().bytes, tally.omitted().bytes), (10, 7));
        let mut all = times();
        tally.add_times(&mut all);
        assert_eq!(all.len(), 1);
    }
}
