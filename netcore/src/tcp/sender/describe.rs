//! What a sender says of itself.

use super::{Counts, Probe, Sender};
use crate::tcp::info::{CaState, TcpInfo, TcpTimers};
use crate::tcp::limit::Limit;
use crate::time::Instant;
use std::time::Duration;

impl Sender {
    /// What it has counted.
    pub(crate) fn counts(&self) -> &Counts {
        self.flight.counts()
    }

    /// Bytes of payload that have left for the first time.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.next.min(self.store.end())
    }

    /// Bytes of payload that are acknowledged.
    pub(crate) fn acked_bytes(&self) -> u64 {
        self.store.start()
    }

    /// How often the retransmission timer has expired in a row, and its length by now.
    pub(crate) fn timeouts(&self) -> (u32, Duration) {
        (self.backoff, Duration::from_micros(self.trip.timeout(self.backoff)))
    }

    pub(crate) fn last_sent(&self) -> Instant {
        self.last_sent
    }

    /// What keeps it from sending more: [`Limit::Application`] if there is nothing more.
    pub(crate) fn limit(&self) -> Limit {
        if self.flight.is_empty() {
            return if self.limit == Limit::Application && self.next == self.end() {
                Limit::Idle
            } else {
                self.limit
            };
        }
        if self.probe == Probe::Sent || self.backoff > 0 {
            Limit::RetransmissionTimer
        } else {
            self.limit
        }
    }

    /// Fills in what it knows at present.
    pub(crate) fn describe(&self, info: &mut TcpInfo, now: Instant) {
        self.trip.describe(info);
        info.ca_state = match &self.recovery {
            Some(recovery) if recovery.is_fast() => CaState::Recovery,
            Some(_) => CaState::Loss,
            None if self.duplicates > 0 || self.flight.has_sacked() => CaState::Disorder,
            None => CaState::Open,
        };
        self.describe_path(info);
        if let Some((rate, is_limited)) = self.flight.last_rate() {
            (info.delivery_rate, info.delivery_rate_app_limited) = (Some(rate), is_limited);
        }
        info.retransmits = self.backoff;
        info.probes = self.persist.map_or(0, |(_, probes)| probes);
        info.in_flight = self.pipe();
        info.unacked = self.next.saturating_sub(self.unacknowledged);
        info.lost = self.flight.lost();
        info.sacked = info.unacked.saturating_sub(self.flight.pipe() + info.lost);
        info.retrans = self.flight.retransmitted();
        info.notsent_bytes = self.store.end() - self.sent_bytes();
        self.describe_timers(&mut info.timers, now);
    }

    /// Fills in what limits it on its path.
    pub(crate) fn describe_path(&self, info: &mut TcpInfo) {
        info.rto = Duration::from_micros(self.trip.timeout(self.backoff));
        info.congestion_state = self.controller.state().into();
        info.snd_cwnd = self.controller.window();
        info.snd_ssthresh = self.controller.slow_start_threshold();
        // Without bound it is no pacing.
        info.pacing_rate = self.pacing_rate.filter(|rate| *rate < u64::MAX);
    }

    fn describe_timers(&self, timers: &mut TcpTimers, now: Instant) {
        let until = |at: Instant| at - now;
        timers.pacing = self.is_paced.then(|| until(self.paced_until));
        if self.flight.is_empty() {
            timers.window_probe = self.persist.map(|(at, _)| until(at));
            return;
        }
        timers.retransmission = Some(until(self.timeout()));
        timers.tail_loss_probe = self.probe_due().map(until);
        timers.reordering = self.flight.reordering_due().map(until);
    }
}
