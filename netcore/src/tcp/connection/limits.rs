//! Which limit a connection has at the end of a turn, and how long it had which.

use super::{Connection, Stage};
use crate::memory::Pressure;
use crate::tcp::limit::{Limit, LimitTimes};
use crate::time::Instant;

/// The limit in force, and the time that each has been.
#[derive(Debug)]
pub(crate) struct LimitClock {
    since: Instant,
    current: Limit,
    /// In microseconds.
    spent: [u64; Limit::ALL.len()],
}

impl LimitClock {
    pub(crate) fn new(began: Instant) -> Self {
        Self { since: began, current: Limit::Handshake, spent: [0; Limit::ALL.len()] }
    }

    pub(crate) fn current(&self) -> Limit {
        self.current
    }

    fn book(&mut self, until: Instant) {
        self.spent[self.current as usize] += until.micros_since(self.since);
        self.since = self.since.max(until);
    }

    /// From `now` on there is this limit.
    fn set(&mut self, limit: Limit, now: Instant) {
        self.book(now);
        self.current = limit;
    }

    pub(crate) fn times(&self, now: Instant) -> LimitTimes {
        let mut spent = self.spent;
        spent[self.current as usize] += now.micros_since(self.since);
        LimitTimes::new(&spent)
    }
}

impl Connection {
    /// Notes at the end of a turn what limits it, for want of its turn, on its way, or by itself.
    pub(crate) fn note_limit(&mut self, limit: Limit, now: Instant) {
        let timer_from = self.sender.as_mut().and_then(|sender| sender.take_overdue());
        let limits = &mut self.usage.limits;
        // What has not left this host was not lost.
        let has_left = !matches!(limits.current, Limit::Device | Limit::Neighbour);
        if let Some(from) = timer_from.filter(|_| has_left) {
            limits.set(Limit::RetransmissionTimer, from.max(limits.since).min(now));
            if let Some(sender) = &self.sender {
                let (count, rto) = sender.timeouts();
                self.span.timed_out(count, rto);
            }
        }
        if limits.current != limit {
            limits.set(limit, now);
        }
    }

    /// What limits it by itself.
    pub(crate) fn limit(&self) -> Limit {
        let Stage::Open(_) = self.stage else { return Limit::Handshake };
        if self.is_blocked {
            return Limit::Device;
        }
        let limit = self.sender.as_ref().map_or(Limit::Idle, |sender| sender.limit());
        match limit {
            Limit::Application if self.is_send_buffer_full => self.limit_of_buffer(),
            Limit::Application | Limit::Idle if self.is_receive_buffer_full => Limit::ReceiveBuffer,
            limit => limit,
        }
    }

    /// What limits the send buffer, all of which is in flight: it grows with the smaller of the two
    /// windows.
    fn limit_of_buffer(&self) -> Limit {
        let window = self.sender.as_ref().map_or(0, |sender| sender.usable_window());
        let offered = u64::from(self.wire.offered_max());
        let most = u64::from(self.send_buffer.1);
        if window.min(offered) >= most || self.charge.pressure() != Pressure::None {
            Limit::SendBuffer
        } else if offered < window {
            Limit::PeerWindow
        } else {
            Limit::CongestionWindow
        }
    }
}
