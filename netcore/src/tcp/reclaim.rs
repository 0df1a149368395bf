//! When a connection gives back the memory that its buffers have touched.

use super::sequence::is_after;
use crate::time::Instant;
use std::time::Duration;

/// State of the pages behind a connection's buffers.
///
/// smoltcp writes round and round in its receive buffer: a connection over which a byte comes now
/// and then would in time have touched all of it. And of many connections that were used once,
/// each would keep the pages of that. So some time after the first byte the pages are given back,
/// if nothing is in the buffers then; what comes next is another first byte. That is one system
/// call or two for a connection in so much time, however much it moves.
#[derive(Debug, Default)]
pub(crate) struct BufferReclaim {
    has_pages: bool,
    reclaims_at: Option<Instant>,
    /// One past the last byte of the peer's that smoltcp was shown. It may keep bytes behind a gap,
    /// and does not say so.
    shown_end: Option<u32>,
}

/// How long pages stay after they were touched.
const RECLAIM_DELAY: Duration = Duration::from_secs(10);

impl BufferReclaim {
    /// Notes that bytes are put into the send buffer.
    pub(crate) fn on_queued(&mut self, now: Instant) {
        self.has_pages = true;
        self.reclaims_at.get_or_insert(now + RECLAIM_DELAY);
    }

    /// Notes that smoltcp is shown bytes of the peer's that end before `end`.
    pub(crate) fn on_received(&mut self, end: u32, now: Instant) {
        self.on_queued(now);
        if self.shown_end.is_none_or(|before| is_after(end, before)) {
            self.shown_end = Some(end);
        }
    }

    /// When the pages may be given back.
    pub(crate) fn reclaims_at(&self) -> Option<Instant> {
        self.reclaims_at
    }

    /// Whether the time has come.
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        if self.has_pages && self.reclaims_at.is_none() {
            // There was something in the buffers last time.
            self.reclaims_at = Some(now + RECLAIM_DELAY);
        }
        self.reclaims_at.take_if(|at| *at <= now).is_some()
    }

    /// Whether nothing can be left in a receive buffer that was read up to `expected`, the next
    /// sequence number of the peer.
    pub(crate) fn is_without_gaps(&self, expected: u32) -> bool {
        self.shown_end.is_none_or(|end| !is_after(end, expected))
    }

    /// Notes that the pages were given back.
    pub(crate) fn reclaimed(&mut self) {
        self.has_pages = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Duration = Duration::from_secs(60);

    #[test]
    fn is_due_once_some_time_after_the_first_byte() {
        let mut reclaim = BufferReclaim::default();
        assert!(!reclaim.is_due(Instant::ZERO + LATER));

        reclaim.on_queued(Instant::ZERO);
        reclaim.on_queued(Instant::ZERO + RECLAIM_DELAY / 2);

        assert_eq!(reclaim.reclaims_at(), Some(Instant::ZERO + RECLAIM_DELAY));
        assert!(!reclaim.is_due(Instant::ZERO + RECLAIM_DELAY / 2));
        assert!(reclaim.is_due(Instant::ZERO + RECLAIM_DELAY));
        reclaim.reclaimed();
        assert!(!reclaim.is_due(Instant::ZERO + LATER));
        assert_eq!(reclaim.reclaims_at(), None);
    }

    #[test]
    fn unreclaimed_memory_is_retried_on_the_next_event() {
        let mut reclaim = BufferReclaim::default();
        reclaim.on_queued(Instant::ZERO);
        assert!(reclaim.is_due(Instant::ZERO + RECLAIM_DELAY));
        assert_eq!(reclaim.reclaims_at(), None, "no timer runs for a reader that does not read");

        assert!(!reclaim.is_due(Instant::ZERO + LATER));

        assert_eq!(reclaim.reclaims_at(), Some(Instant::ZERO + LATER + RECLAIM_DELAY));
    }

    #[test]
    fn bytes_behind_a_gap_are_known_of() {
        let mut reclaim = BufferReclaim::default();
        assert!(reclaim.is_without_gaps(7));

        reclaim.on_received(5, Instant::ZERO);
        reclaim.on_received(u32::MAX, Instant::ZERO);

        assert!(!reclaim.is_without_gaps(4));
        assert!(reclaim.is_without_gaps(5));
        assert!(reclaim.is_without_gaps(6));
    }
}
