//! The choice of the next segment: a lost one, a probe, or new data as far as the windows have room.

use super::{Limits, Probe, Sender, ToSend};
use crate::tcp::RetransmitRule;
use crate::tcp::limit::Limit;
use crate::time::Instant;

impl Sender {
    /// The next segment that may leave; [`sent`](Self::sent) says that it has.
    pub(crate) fn next(&mut self, now: Instant, limits: &Limits) -> Option<ToSend> {
        self.is_paced = false;
        let limits = &self.paced_limits(limits);
        if self.flight.is_empty() && now > self.last_sent && self.next < self.end() {
            self.restart_after_idle(now);
        }
        let pipe = self.pipe();
        if let Some((start, end, rule)) = self.flight.first_lost() {
            let is_first = start == self.unacknowledged;
            let has_room = pipe == 0 || pipe + limits.piece.min(end - start) <= self.window();
            if (start < limits.window_end || is_first) && has_room {
                let room = self.window().saturating_sub(pipe);
                return self.paced(now).then(|| self.again((start, end, rule), room, limits));
            }
            if has_room {
                self.limit = Limit::PeerWindow;
                return None;
            }
        }
        let room = match self.probe {
            // A full segment, whatever the window.
            Probe::Due => limits.piece,
            _ => self.window().saturating_sub(pipe),
        };
        if let Some(segment) = self.new_data(limits, room, pipe) {
            return (self.probe == Probe::Due || self.paced(now)).then_some(segment);
        }
        if self.flight.lost() > 0 {
            self.limit = Limit::CongestionWindow;
        }
        if self.probe == Probe::Due {
            let (start, end) = self.flight.last_outstanding()?;
            let start = start.max(end.saturating_sub(limits.piece));
            return Some(self.again((start, end, RetransmitRule::TailLossProbe), 0, limits));
        }
        let (at, _) = self.persist?;
        (at <= now && self.flight.is_empty()).then(|| self.window_probe(limits))
    }

    /// A segment that was sent before: as much of it as there is room for, and a full one at least.
    fn again(
        &self,
        (start, end, rule): (u64, u64, RetransmitRule),
        room: u64,
        limits: &Limits,
    ) -> ToSend {
        let data_end = self.store.end();
        let most = (room - room % limits.piece).clamp(limits.piece, limits.packet);
        let len = (end.min(data_end) - start.min(data_end)).min(most);
        ToSend {
            start,
            len: len as usize,
            fin: end > data_end && start + len == data_end,
            push: true,
            again: Some(rule),
            is_window_probe: false,
        }
    }

    /// A segment of what has never left, if there is room for one.
    fn new_data(&mut self, limits: &Limits, room: u64, pipe: u64) -> Option<ToSend> {
        let data_end = self.store.end();
        let unsent = data_end.saturating_sub(self.next);
        if unsent == 0 {
            self.limit = Limit::Application;
            if !self.has_fin || self.next != data_end {
                return None;
            }
            return Some(self.segment(0, limits));
        }
        let offered = limits.window_end.saturating_sub(self.next);
        let room = if pipe == 0 { room.max(limits.piece) } else { room };
        let len = unsent.min(limits.packet).min(offered).min(room);
        if room < unsent.min(limits.piece) {
            self.is_window_limited = true;
            self.limit = if offered < room { Limit::PeerWindow } else { Limit::CongestionWindow };
            return None;
        }
        let full = len - len % limits.piece;
        if len == unsent {
            // A small segment waits for the last small one, unless the end comes with it.
            let is_small = full < len;
            let waits = is_small
                && !limits.nodelay
                && !self.has_fin
                && self.small_end > self.unacknowledged;
            let len = if waits { full } else { len };
            self.limit = Limit::Application;
            return (len > 0).then(|| self.segment(len, limits));
        }
        if full > 0 {
            if room < unsent.min(offered) {
                self.is_window_limited = true;
            }
            return Some(self.segment(full, limits));
        }
        self.limit = Limit::PeerWindow;
        // The peer's window has no room for a full segment: half of the largest one that it has
        // ever offered is worth sending (RFC 1122 section 4.2.3.4).
        (len > 0 && offered >= limits.window_max / 2 && len == offered)
            .then(|| self.segment(len, limits))
    }

    fn segment(&self, len: u64, limits: &Limits) -> ToSend {
        let end = self.next + len;
        let is_last = end == self.store.end();
        debug_assert!(len <= limits.packet);
        ToSend {
            start: self.next,
            len: len as usize,
            fin: is_last && self.has_fin,
            push: is_last,
            again: None,
            is_window_probe: false,
        }
    }

    /// What the window has room for, however little, or a byte behind it.
    fn window_probe(&self, limits: &Limits) -> ToSend {
        let offered = limits.window_end.saturating_sub(self.next).min(limits.piece);
        if offered > 0 {
            return self.segment(offered.min(self.store.end() - self.next), limits);
        }
        ToSend {
            start: self.next,
            len: 1,
            fin: self.has_fin && self.next + 1 == self.store.end(),
            push: true,
            again: None,
            is_window_probe: true,
        }
    }

    /// Packets that the link cuts are no longer than what the pacing rate sends in a millisecond, and
    /// two segments at least (as Linux sizes its bursts).
    fn paced_limits(&self, limits: &Limits) -> Limits {
        let Some(rate) = self.pacing_rate else { return *limits };
        let most = (rate / 1000 / limits.piece).max(2) * limits.piece;
        Limits { packet: limits.packet.min(most), ..*limits }
    }

    /// Whether the pacing rate lets something leave.
    fn paced(&mut self, now: Instant) -> bool {
        self.is_paced = self.pacing_rate.is_some() && now < self.paced_until;
        if self.is_paced {
            self.limit = Limit::Pacing;
        }
        !self.is_paced
    }

    fn restart_after_idle(&mut self, now: Instant) {
        let timeout = self.trip.timeout(0);
        let timeouts = now.micros_since(self.last_sent) / timeout.max(1);
        if timeouts > 0 {
            self.controller.on_idle(u32::try_from(timeouts).unwrap_or(u32::MAX));
            self.pacing_rate = self.controller.pacing_rate();
        }
        self.timer_from = now;
        self.backoff = 0;
        self.probe = Probe::Ready;
    }
}
