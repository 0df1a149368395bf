//! The deadlines of a connection.

use super::{Connection, Stage};
use crate::config::Config;
use crate::link::Link;
use crate::output::Output;
use crate::tcp::engine::State;
use crate::tcp::keepalive::Activity;
use crate::time::Instant;
use std::time::Duration;

impl Connection {
    /// When there is something to send again, or for the first time, without a segment of the peer.
    pub(in crate::tcp) fn poll_at(&self, now: Instant) -> Option<Instant> {
        if self.is_blocked {
            return Some(now);
        }
        let sender = self.sender.as_ref().filter(|_| self.solo.tcp().may_send());
        let due = sender.and_then(|sender| sender.due());
        [self.engine_due, due, self.wire.acks.due()].into_iter().flatten().min()
    }

    /// Looks at the deadlines that smoltcp knows nothing of; returns whether one has passed.
    pub(crate) fn is_given_up(&mut self, now: Instant, config: &Config) -> bool {
        self.set_expiry(now, config);
        self.gives_up_at(config).is_some_and(|at| at <= now)
    }

    /// When its sender may be given back.
    pub(in crate::tcp) fn reclaims_at(&self) -> Option<Instant> {
        self.reclaim.reclaims_at()
    }

    /// Probes a peer that has been silent for long enough.
    pub(crate) fn probe_if_idle<L: Link>(&mut self, now: Instant, output: &mut Output<'_, L>) {
        if let Some((at, interval)) = self.probes_from()
            && at <= now
        {
            self.next_probe = Some(now + interval);
            self.send_probe(output);
        }
    }

    /// When the next keep-alive probe is due, and the interval to the one behind it.
    pub(in crate::tcp) fn probes_from(&self) -> Option<(Instant, Duration)> {
        if !matches!(self.stage, Stage::Open(_)) || self.state() == State::Closed {
            return None;
        }
        let (first, interval) = self.peer_timeouts.as_ref()?.probes_from(self.activity())?;
        Some((self.next_probe.unwrap_or(first), interval))
    }

    pub(in crate::tcp) fn gives_up_at(&self, config: &Config) -> Option<Instant> {
        if self.state() == State::Closed {
            // Given up already; only the reset has to leave.
            return None;
        }
        let (activity, timeout) = (self.activity(), config.tcp.retransmit_timeout);
        let silence = match &self.peer_timeouts {
            Some(peer_timeouts) => peer_timeouts.ends_at(activity, timeout),
            None => activity.is_unanswered.then_some(activity.heard + timeout),
        };
        self.expires.into_iter().chain(silence).min()
    }

    fn activity(&self) -> Activity {
        Activity {
            heard: self.last_heard.max(self.progressed),
            progressed: self.progressed,
            is_unanswered: self.unacknowledged_bytes() > 0 || self.awaits_fin_ack(),
        }
    }

    /// Whether the handle has closed and the peer has not acknowledged the FIN.
    pub(in crate::tcp) fn awaits_fin_ack(&self) -> bool {
        matches!(self.state(), State::FinWait1 | State::Closing | State::LastAck)
    }

    fn set_expiry(&mut self, now: Instant, config: &Config) {
        let timeout = match &self.stage {
            Stage::Connecting { .. } => {
                let chosen = self.options.as_ref().and_then(|options| options.connect_timeout);
                chosen.unwrap_or(config.tcp.connect_timeout)
            }
            Stage::HalfOpen { .. } => config.tcp.handshake_timeout,
            Stage::Open(_) if !self.is_orphan => return,
            Stage::Open(_) => {
                // A peer that goes on taking what was sent gets the time to take the rest.
                let unsent = self.unacknowledged_bytes().try_into().unwrap_or(u32::MAX);
                if unsent < self.unsent {
                    self.expires = None;
                }
                self.unsent = unsent;
                config.tcp.close_timeout
            }
        };
        self.expires.get_or_insert(now + timeout);
    }
}
