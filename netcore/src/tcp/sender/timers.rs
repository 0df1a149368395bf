//! The timers of a sender: retransmission (RFC 6298), reordering and tail loss probe (RFC 8985), and
//! the probe of a closed window (RFC 9293 section 3.8.6.1).

use super::recovery::Cause;
use super::{DELAYED_ACK, Probe, Sender};
use crate::tcp::RetransmitRule;
use crate::tcp::congestion::Lost;
use crate::time::Instant;

impl Sender {
    /// After all that may leave has: what then waits with nothing in flight waits for the peer's
    /// window, and the peer is asked for it from time to time (RFC 9293 section 3.8.6.1).
    pub(crate) fn watch_window(&mut self, now: Instant) {
        let waits = self.flight.is_empty() && !self.is_paced && self.next < self.store.end();
        match (waits, self.persist) {
            (true, None) => self.persist = Some((now.plus_micros(self.trip.timeout(0)), 0)),
            (false, Some(_)) => self.persist = None,
            _ => {}
        }
    }

    /// When [`on_timer`](Self::on_timer) is to be called next.
    pub(crate) fn due(&self) -> Option<Instant> {
        let paced = self.is_paced.then_some(self.paced_until);
        if self.flight.is_empty() {
            let persist = self.persist.map(|(at, _)| at);
            return paced.into_iter().chain(persist).min();
        }
        let timeout = self.timeout();
        let others = [paced, self.flight.reordering_due(), self.probe_due()];
        others.into_iter().flatten().chain([timeout]).min()
    }

    pub(super) fn probe_due(&self) -> Option<Instant> {
        let is_repairing = self.recovery.is_some() || self.flight.lost() > 0;
        if self.probe != Probe::Ready || is_repairing || self.backoff > 0 {
            return None;
        }
        let smoothed = self.trip.smoothed()?;
        let is_single = self.flight.pipe() <= u64::from(self.mss);
        let wait = smoothed * 2 + if is_single { DELAYED_ACK } else { 0 };
        let probe = self.last_sent.max(self.timer_from).plus_micros(wait);
        // Instead of the timeout, which would take everything for lost.
        Some(probe.min(self.timeout()))
    }

    /// When the retransmission timer expires.
    pub(super) fn timeout(&self) -> Instant {
        self.timer_from.plus_micros(self.trip.timeout(self.backoff))
    }

    /// A timer has expired. The acknowledgement was expected a round trip after the last segment,
    /// or after the last acknowledgement.
    fn note_overdue(&mut self) {
        let from = self.last_sent.max(self.timer_from);
        let expected = from.plus_micros(self.trip.smoothed().unwrap_or_default());
        self.overdue.get_or_insert(expected);
    }

    /// Takes when the acknowledgement was expected in place of which a timer has expired, if one
    /// has.
    pub(crate) fn take_overdue(&mut self) -> Option<Instant> {
        self.overdue.take()
    }

    /// Looks at the timers.
    pub(crate) fn on_timer(&mut self, now: Instant) {
        if self.flight.is_empty() {
            return;
        }
        if self.probe_due().is_some_and(|due| due <= now) {
            self.note_overdue();
            self.probe = Probe::Due;
            return;
        }
        if self.timeout() <= now {
            self.note_overdue();
            let in_flight = self.flight.pipe();
            self.flight.mark_all_lost(RetransmitRule::Timeout);
            self.backoff += 1;
            self.flight.counts_mut().timeouts += 1;
            self.timer_from = now;
            self.duplicates = 0;
            self.probe = Probe::Sent;
            let lost = Lost { now, in_flight, bytes: self.flight.lost() };
            if self.recovery.as_ref().is_none_or(|recovery| recovery.is_fast()) {
                self.controller.on_timeout(&lost);
                self.pacing_rate = self.controller.pacing_rate();
            }
            self.repair(Cause::Timeout, 0);
            return;
        }
        if self.flight.reordering_due().is_some_and(|due| due <= now) {
            let in_flight = self.flight.pipe();
            let rule = RetransmitRule::RackTimer;
            self.find_losses(false, in_flight, now, rule);
        }
    }
}
