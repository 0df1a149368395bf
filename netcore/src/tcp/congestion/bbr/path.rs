//! The model of the path: its rate and its round trip.

use crate::tcp::congestion::Acked;
use crate::time::Instant;
use std::time::Duration;

/// The highest delivery rate of this cycle of probes and of the last one, in bytes a second.
#[derive(Debug, Default)]
pub(super) struct MaxRate {
    this_cycle: u64,
    last_cycle: u64,
}

impl MaxRate {
    pub(super) fn get(&self) -> u64 {
        self.this_cycle.max(self.last_cycle)
    }

    /// Takes a sample. One that the application limited says only that the path is no slower.
    pub(super) fn on_acked(&mut self, acked: &Acked) {
        if let Some(rate) = acked.delivery_rate
            && (!acked.is_app_limited || rate >= self.get())
        {
            self.this_cycle = self.this_cycle.max(rate);
        }
    }

    /// Too much was lost: the path has less for this flow.
    pub(super) fn scale(&mut self, factor: f64) {
        self.this_cycle = (self.this_cycle as f64 * factor) as u64;
        self.last_cycle = (self.last_cycle as f64 * factor) as u64;
    }

    /// A probe for more has ended.
    pub(super) fn next_cycle(&mut self) {
        // A cycle without samples forgets nothing.
        if self.this_cycle > 0 {
            self.last_cycle = self.this_cycle;
            self.this_cycle = 0;
        }
    }
}

/// How long the shortest round trip is valid (draft-ietf-ccwg-bbr: MinRTTFilterLen).
const VALID: Duration = Duration::from_secs(10);
/// How long until a new one is looked for (ProbeRTTInterval).
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// The shortest round trip of late.
#[derive(Debug)]
pub(super) struct MinRtt {
    value: Option<(Duration, Instant)>,
    /// The shortest one since the last ProbeRTT.
    recent: Option<(Duration, Instant)>,
}

impl MinRtt {
    pub(super) fn new() -> Self {
        Self { value: None, recent: None }
    }

    pub(super) fn get(&self) -> Option<Duration> {
        self.value.map(|(value, _)| value)
    }

    pub(super) fn on_acked(&mut self, acked: &Acked) {
        let Some(rtt) = acked.rtt else { return };
        let now = acked.now;
        if self.recent.is_none_or(|(recent, at)| rtt <= recent || now - at > PROBE_INTERVAL) {
            self.recent = Some((rtt, now));
        }
        let recent = self.recent.unwrap_or((rtt, now));
        if self.value.is_none_or(|(value, at)| recent.0 <= value || now - at > VALID) {
            self.value = Some(recent);
        }
    }

    /// Whether no round trip was as short for so long that an empty queue must be waited for.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.recent.is_some_and(|(_, at)| now - at > PROBE_INTERVAL)
    }

    /// The queue was given the time to drain.
    pub(super) fn on_probed(&mut self, now: Instant) {
        if let Some((_, at)) = &mut self.recent {
            *at = now;
        }
    }
}

/// What one round trip has shown.
#[derive(Debug, Default)]
pub(super) struct Round {
    number: u64,
    /// Bytes.
    pub(super) delivered: u64,
    /// Bytes.
    pub(super) lost: u64,
    /// The most that was in flight, in bytes.
    pub(super) in_flight: u64,
    /// The highest rate, in bytes a second.
    pub(super) rate: u64,
    pub(super) is_app_limited: bool,
    /// The shortest round trip.
    pub(super) min_rtt: Option<Duration>,
    /// Whether more was lost than a path loses whose queue is not full.
    pub(super) is_congested: bool,
}

/// The share of what is in flight that may be lost in a round trip (LossThresh).
const LOSS_SHARE: f64 = 0.02;
/// The same where no queue stands. Radio links lose some percent by themselves; a policer more.
const LOSS_SHARE_WITHOUT_QUEUE: f64 = 0.125;
/// So many times more than what the path loses without a queue is to be expected in a round trip.
const AMBIENT_FACTOR: f64 = 2.0;

/// A round trip that is longer by so much shows a queue.
fn queue_min(min_rtt: Duration) -> Duration {
    (min_rtt / 8).max(Duration::from_millis(1))
}

impl Round {
    /// The share of what was sent that was lost, if no queue stood.
    pub(super) fn ambient_loss(&self, min_rtt: Duration) -> Option<f64> {
        let sent = self.delivered + self.lost;
        let is_empty = self.min_rtt.is_some_and(|rtt| rtt <= min_rtt + queue_min(min_rtt));
        (is_empty && sent > 0).then(|| self.lost as f64 / sent as f64)
    }

    /// Takes an acknowledgement; returns the round that has ended with it, if one has.
    pub(super) fn on_acked(
        &mut self,
        acked: &Acked,
        min_rtt: Duration,
        ambient_loss: f64,
    ) -> Option<Self> {
        let ended = (acked.round != self.number)
            .then(|| std::mem::replace(self, Self { number: acked.round, ..Self::default() }));
        self.delivered += acked.bytes;
        self.lost += acked.lost;
        self.in_flight = self.in_flight.max(acked.in_flight_before + acked.lost);
        self.rate = self.rate.max(acked.delivery_rate.unwrap_or_default());
        self.is_app_limited |= acked.is_app_limited;
        self.min_rtt = self.min_rtt.into_iter().chain(acked.rtt).min();
        if acked.lost > 0 {
            let has_queue = acked.smoothed_rtt > min_rtt + queue_min(min_rtt);
            let share = if has_queue { LOSS_SHARE } else { LOSS_SHARE_WITHOUT_QUEUE };
            let usual = ambient_loss * AMBIENT_FACTOR * self.in_flight as f64;
            self.is_congested |= self.lost as f64 > self.in_flight as f64 * share + usual;
        }
        ended
    }
}
