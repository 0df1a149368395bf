//! Repetitions that were not needed: the reduction of the window is taken back.
//!
//! Three signs show that what was taken for lost has only been late: it is acknowledged sooner than
//! its repetition can have been, the acknowledgement answers what left before the repetition (Eifel,
//! RFC 3522), or the peer reports that it has received all repetitions twice (RFC 3708).

use super::Sender;
use super::flight::Delivery;

impl Sender {
    /// Notes that the peer has received these bytes twice.
    pub(crate) fn on_duplicate_report(&mut self, left: u64, right: u64) {
        self.flight.counts_mut().duplicates += 1;
        // The report of the last repetition comes a round trip after what ends the repair.
        if let Some(recovery) = self.recovery.as_mut().or(self.past_recovery.as_mut()) {
            recovery.on_duplicate_report(left, right);
        }
    }

    /// Looks, at an acknowledgement that answers what left in a millisecond if that is known, whether
    /// the repair was needed.
    pub(super) fn undo_needless(&mut self, delivery: &Delivery, answered: Option<i64>) {
        if self.past_recovery.as_ref().is_some_and(|past| past.is_reported()) {
            self.undo();
        }
        let Some(recovery) = &mut self.recovery else { return };
        recovery.spurious += delivery.spurious;
        if delivery.bytes == 0 && !recovery.is_reported() {
            return;
        }
        let answers_first =
            answered.is_some_and(|millis| recovery.is_answered_before(millis, self.unacknowledged));
        if answers_first {
            // Even the first repetition was not needed: the others are no more likely to be.
            self.flight.unmark_lost();
        }
        let is_disproved = answers_first || recovery.is_disproved() && self.flight.lost() == 0;
        if is_disproved {
            self.recovery = None;
            self.undo();
        }
    }

    /// Takes the last reduction of the window back, and waits longer for late segments from now on.
    fn undo(&mut self) {
        self.past_recovery = None;
        self.controller.on_spurious();
        self.flight.on_spurious();
    }
}
