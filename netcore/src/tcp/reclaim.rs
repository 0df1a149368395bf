//! When an idle connection gives back what it keeps for sending.

use crate::time::Instant;
use std::time::Duration;

/// Whether a connection is idle enough to forget its sender.
///
/// Of many connections that were used once, each would keep a scoreboard and what it knows of its
/// path. So some time after the first byte that is given back, if nothing is unacknowledged then;
/// what comes next is another first byte. That is one wake-up for a connection in so much time,
/// however much it sends.
#[derive(Debug, Default)]
pub(crate) struct Reclaim {
    reclaims_at: Option<Instant>,
}

/// How long a sender stays after its first byte.
const RECLAIM_DELAY: Duration = Duration::from_secs(10);

impl Reclaim {
    /// Notes that bytes are queued.
    pub(crate) fn on_queued(&mut self, now: Instant) {
        self.reclaims_at.get_or_insert(now + RECLAIM_DELAY);
    }

    /// When the sender may be given back.
    pub(crate) fn reclaims_at(&self) -> Option<Instant> {
        self.reclaims_at
    }

    /// Whether the time has come.
    pub(crate) fn is_due(&mut self, has_sender: bool, now: Instant) -> bool {
        if has_sender && self.reclaims_at.is_none() {
            // Something was unacknowledged last time.
            self.reclaims_at = Some(now + RECLAIM_DELAY);
        }
        self.reclaims_at.take_if(|at| *at <= now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Duration = Duration::from_secs(60);

    #[test]
    fn is_due_once_some_time_after_the_first_byte() {
        let mut reclaim = Reclaim::default();
        assert!(!reclaim.is_due(false, Instant::ZERO + LATER));

        reclaim.on_queued(Instant::ZERO);
        reclaim.on_queued(Instant::ZERO + RECLAIM_DELAY / 2);

        assert_eq!(reclaim.reclaims_at(), Some(Instant::ZERO + RECLAIM_DELAY));
        assert!(!reclaim.is_due(true, Instant::ZERO + RECLAIM_DELAY / 2));
        assert!(reclaim.is_due(true, Instant::ZERO + RECLAIM_DELAY));
        assert!(!reclaim.is_due(false, Instant::ZERO + LATER));
        assert_eq!(reclaim.reclaims_at(), None);
    }

    #[test]
    fn an_unreclaimed_sender_is_retried_on_the_next_event() {
        let mut reclaim = Reclaim::default();
        reclaim.on_queued(Instant::ZERO);
        assert!(reclaim.is_due(true, Instant::ZERO + RECLAIM_DELAY));
        assert_eq!(reclaim.reclaims_at(), None, "no timer runs for a peer that does not answer");

        assert!(!reclaim.is_due(true, Instant::ZERO + LATER));

        assert_eq!(reclaim.reclaims_at(), Some(Instant::ZERO + LATER + RECLAIM_DELAY));
    }
}
