//! What a connection waits for, and until when: the one place that knows.

use super::connection::{Connection, Stage};
use super::engine::State;
use crate::config::Config;
use crate::snapshot::{Timer, Waiting};
use crate::time::Instant;

impl Connection {
    /// The first timer of the connection. Each of them wakes it, and nothing else does but a
    /// segment, its handle, or a change of its route.
    pub(crate) fn next_timer(&self, now: Instant, config: &Config) -> Option<(Instant, Timer)> {
        let timers = [
            self.poll_at(now).map(|at| (at, Timer::Segment)),
            self.gives_up_at(config).map(|at| (at, Timer::GiveUp)),
            self.probes_from().map(|(at, _)| (at, Timer::KeepAlive)),
            self.reclaims_at().map(|at| (at, Timer::Reclaim)),
        ];
        timers.into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// What the connection waits for, as far as TCP goes.
    pub(crate) fn waiting(&self) -> Waiting {
        let tcp = self.solo.tcp();
        let Stage::Open(queue) = &self.stage else {
            return Waiting::Handshake;
        };
        if matches!(tcp.state(), State::SynSent | State::SynReceived) {
            return Waiting::Handshake;
        }
        let has_data = self.unacknowledged_bytes() > 0 || queue.queued().1 > 0;
        if has_data && self.wire.offered_window() == Some(0) {
            return Waiting::Window;
        }
        if has_data || self.awaits_fin_ack() {
            return Waiting::Acknowledgement;
        }
        if self.is_window_closed() && queue.has_unread() { Waiting::Reader } else { Waiting::Data }
    }
}
