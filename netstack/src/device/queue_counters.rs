//! How much is on each queue of an interface.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The packets on each queue of a [`Tun`](super::Tun) or a [`Tap`](super::Tap). Clones count the
/// same.
#[derive(Debug, Clone)]
pub struct QueueCounters(Arc<[Counters]>);

#[derive(Debug, Default)]
struct Counters {
    received: AtomicU64,
    sent: AtomicU64,
}

impl QueueCounters {
    pub(super) fn new(queues: usize) -> Self {
        Self((0..queues).map(|_| Counters::default()).collect())
    }

    /// Packets received, on each queue. Joined ones count once.
    pub fn received(&self) -> Vec<u64> {
        self.0.iter().map(|queue| queue.received.load(Ordering::Relaxed)).collect()
    }

    /// Packets sent, on each queue. One that the kernel cuts counts once.
    pub fn sent(&self) -> Vec<u64> {
        self.0.iter().map(|queue| queue.sent.load(Ordering::Relaxed)).collect()
    }

    pub(super) fn count_received(&self, queue: usize, packets: usize) {
        self.0[queue].received.fetch_add(packets as u64, Ordering::Relaxed);
    }

    pub(super) fn count_sent(&self, queue: usize) {
        self.0[queue].sent.fetch_add(1, Ordering::Relaxed);
    }
}
