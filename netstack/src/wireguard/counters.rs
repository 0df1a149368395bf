//! What a device in a tunnel counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of a [`WireGuardDevice`](super::WireGuardDevice). Clones count the same.
#[derive(Debug, Clone, Default)]
pub struct WireGuardCounters(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    handshakes: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    dropped_outgoing: AtomicU64,
    dropped_incoming: AtomicU64,
    not_allowed: AtomicU64,
}

impl WireGuardCounters {
    /// Completed handshakes, of both directions and all peers.
    pub fn handshakes(&self) -> u64 {
        self.0.handshakes.load(Ordering::Relaxed)
    }

    /// IP packets that a peer was sent.
    pub fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// IP packets of peers that the stack has got.
    pub fn received(&self) -> u64 {
        self.0.received.load(Ordering::Relaxed)
    }

    /// Packets without a peer or an endpoint, and datagrams that the kernel refused.
    pub fn dropped_outgoing(&self) -> u64 {
        self.0.dropped_outgoing.load(Ordering::Relaxed)
    }

    /// Datagrams that are no WireGuard, of no peer, replayed, or above the bound of handshakes.
    pub fn dropped_incoming(&self) -> u64 {
        self.0.dropped_incoming.load(Ordering::Relaxed)
    }

    /// IP packets of a peer with a source that is not among its allowed addresses.
    pub fn not_allowed(&self) -> u64 {
        self.0.not_allowed.load(Ordering::Relaxed)
    }

    pub(super) fn count_handshake(&self) {
        self.0.handshakes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_sent(&self) {
        self.0.sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_received(&self) {
        self.0.received.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_dropped_outgoing(&self) {
        self.0.dropped_outgoing.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_dropped_incoming(&self) {
        self.0.dropped_incoming.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_not_allowed(&self) {
        self.0.not_allowed.fetch_add(1, Ordering::Relaxed);
    }
}
