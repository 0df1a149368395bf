//! BBR (draft-ietf-ccwg-bbr, version 3): the path's rate and shortest round trip say how much to
//! send, and losses bound it.

mod bounds;
mod path;

use self::bounds::{Bounds, scaled};
use self::path::{MaxRate, MinRtt, Round};
use super::{Acked, CongestionController, Lost, initial_window};
use crate::time::Instant;
use std::time::Duration;

/// BBR: sends at the rate at which data arrives, with as much in flight as the path holds without a
/// queue.
///
/// It differs from the draft where flows share a short queue or a path loses packets by itself:
///
/// * Two percent lost in a round trip are too much only if a queue stands too, and beyond twice what
///   the path loses without one; where none stands it takes an eighth. So a link that loses some
///   percent at random is used as it is by Linux's BBR, and a full queue is respected.
/// * Too much loss cuts the rate to 0.85, and for some cycles it grows by two segments in a round trip
///   instead of being probed for by a quarter: cuts in proportion and equal growth bring flows to
///   equal shares (as for AIMD, Chiu and Jain 1989), where the draft's bounds keep them apart.
/// * It probes every 6 to 13 round trips, and a queue that stands between probes limits the rate to what
///   arrives.
#[derive(Debug)]
pub struct Bbr {
    mss: u32,
    window: u64,
    /// Bytes a second.
    pacing_rate: u64,
    phase: Phase,
    max_rate: MaxRate,
    min_rtt: MinRtt,
    bounds: Bounds,
    round: Round,
    /// Whether the path is known to be full, and what that was found by.
    is_full: bool,
    full_rate: u64,
    full_rounds: u32,
    /// For how many more cycles the rate grows by segments, since too much was lost, and is not
    /// probed for.
    contended: u32,
    /// The share that the path loses without a queue, smoothed.
    ambient_loss: f64,
    rounds_since_cut: u32,
    /// When the last probe for more began, and the round trips since.
    probed_at: Instant,
    probed_rounds: u64,
    /// The window before it was reduced to look for a shorter round trip, or by a timeout.
    before: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Startup,
    /// Lets the queue drain that Startup has built.
    Drain,
    /// ProbeBW: sends less for a while, and leaves room to others.
    Down {
        rounds: u32,
    },
    Cruise,
    /// Fills the path before the probe.
    Refill,
    /// Probes for more.
    Up {
        since: Instant,
        rounds: u32,
    },
    /// Waits with little in flight for a round trip without a queue, until a time once it is little.
    ProbeRtt {
        until: Option<(Instant, u64)>,
    },
}

/// What a loss leaves of a bound.
const BETA: f64 = 0.7;
/// What too much loss leaves of the rate, for how many cycles the rate then grows instead of being
/// probed for, and by how many segments in a round trip.
const CUT: f64 = 0.85;
const CONTENDED_CYCLES: u32 = 4;
const GROWTH: f64 = 2.0;
/// Before a rate is known, and then: so much more than has arrived (StartupPacingGain, 4 ln 2).
const STARTUP_GAIN: f64 = 2.77;
/// The share of the rate to send at, so that no queue stands (PacingMarginPercent).
const MARGIN: f64 = 0.99;
/// The path is full when the rate has not grown by a quarter in so many round trips.
const FULL_ROUNDS: u32 = 3;
/// How long ProbeRTT lasts, and its share of what the path holds.
const PROBE_RTT_TIME: Duration = Duration::from_millis(200);
const PROBE_RTT_GAIN: f64 = 0.5;
/// Probes are 6 to 13 round trips apart, and at most 2 to 3 s. (The draft has up to 63 round trips;
/// flows that share a bottleneck then take minutes to come to equal shares.)
const PROBE_WAIT: Duration = Duration::from_secs(2);
const PROBE_ROUNDS_MIN: u64 = 6;
const PROBE_ROUNDS_SPREAD: u64 = 8;
/// Paths with a shorter round trip are within a machine: nothing is paced.
const UNPACED_RTT: Duration = Duration::from_micros(200);
/// What leaves at once, in microseconds at the pacing rate (Linux: a millisecond).
const QUANTUM: u64 = 1000;

impl Bbr {
    /// A controller for segments of `mss` bytes of payload.
    pub fn new(mss: u32) -> Self {
        let window = initial_window(mss);
        Self {
            mss,
            window,
            pacing_rate: scaled(window * 1000, STARTUP_GAIN),
            phase: Phase::Startup,
            max_rate: MaxRate::default(),
            min_rtt: MinRtt::new(),
            bounds: Bounds::new(),
            round: Round::default(),
            is_full: false,
            full_rate: 0,
            full_rounds: 0,
            probed_at: Instant::ZERO,
            probed_rounds: 0,
            contended: 0,
            ambient_loss: 0.0,
            rounds_since_cut: 0,
            before: window,
        }
    }

    /// The factors for the pacing rate and for the window.
    fn gains(&self) -> (f64, f64) {
        match self.phase {
            Phase::Startup => (STARTUP_GAIN, 2.0),
            Phase::Drain => (0.5, 2.0),
            Phase::Down { .. } => (0.9, 2.0),
            Phase::Cruise | Phase::Refill => (1.0, 2.0),
            Phase::Up { .. } => (1.25, 2.25),
            Phase::ProbeRtt { .. } => (1.0, PROBE_RTT_GAIN),
        }
    }

    /// Bytes a second.
    fn rate(&self) -> u64 {
        self.max_rate.get().min(self.bounds.rate)
    }

    /// The bytes that the path holds, times `gain`.
    fn product(&self, gain: f64) -> u64 {
        let Some(rtt) = self.min_rtt.get() else { return initial_window(self.mss) };
        (self.rate() as f64 * rtt.as_secs_f64() * gain) as u64
    }

    /// Bytes that may be in flight at least.
    fn least(&self) -> u64 {
        u64::from(self.mss) * 4
    }

    fn on_round(&mut self, round: &Round, acked: &Acked) {
        self.probed_rounds += 1;
        self.rounds_since_cut += 1;
        if self.contended > 0 && self.bounds.long != u64::MAX {
            self.bounds.long += (f64::from(self.mss) * GROWTH) as u64;
        }
        if !self.is_full {
            self.look_for_full_path(round);
        }
        match &mut self.phase {
            Phase::Down { rounds } => {
                // The samples of the probe are in.
                if *rounds == 0 {
                    self.max_rate.next_cycle();
                }
                *rounds += 1;
            }
            Phase::Up { rounds, .. } => *rounds += 1,
            Phase::Refill => {
                self.phase = Phase::Up { since: acked.now, rounds: 0 };
                return;
            }
            _ => {}
        }
        let is_probing = matches!(self.phase, Phase::Startup | Phase::Up { .. } | Phase::Refill);
        // What is lost in the first round trips after a probe was sent by it.
        let is_echo = matches!(self.phase, Phase::Drain | Phase::Down { rounds: ..=2 });
        // A queue that stands for a whole round trip: the flows together send too much. Each takes
        // what it gets until its next probe.
        let (least, shortest) = (self.min_rtt.get(), round.min_rtt);
        let has_queue = least.zip(shortest).is_some_and(|(least, rtt)| rtt > least + least / 4);
        if has_queue && matches!(self.phase, Phase::Cruise | Phase::Down { .. }) && !is_echo {
            self.bounds.rate = self.bounds.rate.min(round.rate);
        }
        if round.is_congested && !is_probing && !is_echo {
            self.cut_rate(acked.now);
        }
    }

    fn look_for_full_path(&mut self, round: &Round) {
        if round.is_congested && round.lost >= u64::from(self.mss) * 6 {
            self.is_full = true;
            self.bounds.on_startup_lost(round.in_flight, self.product(1.0));
            return;
        }
        if round.is_app_limited || round.rate == 0 {
            return;
        }
        if round.rate >= self.full_rate + self.full_rate / 4 {
            (self.full_rate, self.full_rounds) = (round.rate, 0);
        } else {
            self.full_rounds += 1;
            self.is_full = self.full_rounds >= FULL_ROUNDS;
        }
    }

    fn change_phase(&mut self, acked: &Acked, is_round: bool) {
        let now = acked.now;
        match self.phase {
            Phase::Startup if self.is_full => self.phase = Phase::Drain,
            Phase::Drain if acked.in_flight <= self.product(1.0) => self.begin_down(now),
            Phase::Down { rounds } => {
                let target = self.product(1.0).min(self.bounds.with_headroom());
                if self.is_time_to_probe(now) {
                    self.begin_refill(now);
                } else if rounds > 0 && acked.in_flight <= target {
                    self.phase = Phase::Cruise;
                }
            }
            Phase::Cruise if self.is_time_to_probe(now) => self.begin_refill(now),
            Phase::Up { since, rounds } => self.probe_up(acked, since, rounds, is_round),
            Phase::ProbeRtt { until } => self.probe_rtt(acked, until),
            _ => {}
        }
        if !matches!(self.phase, Phase::ProbeRtt { .. }) && self.min_rtt.is_due(now) {
            self.before = self.window;
            self.phase = Phase::ProbeRtt { until: None };
        }
    }

    fn begin_down(&mut self, now: Instant) {
        self.phase = Phase::Down { rounds: 0 };
        (self.probed_at, self.probed_rounds) = (now, 0);
    }

    /// Too much was lost.
    fn cut_rate(&mut self, now: Instant) {
        if self.rounds_since_cut >= 3 {
            self.rounds_since_cut = 0;
            self.max_rate.scale(CUT);
            self.contended = CONTENDED_CYCLES;
        }
        self.begin_down(now);
    }

    fn begin_refill(&mut self, now: Instant) {
        if self.contended > 0 {
            self.contended -= 1;
            self.bounds.forget_rate();
            (self.probed_at, self.probed_rounds) = (now, 0);
            self.max_rate.next_cycle();
            self.phase = Phase::Cruise;
            return;
        }
        self.bounds.forget_rate();
        self.phase = Phase::Refill;
        (self.probed_at, self.probed_rounds) = (now, 0);
    }

    fn is_time_to_probe(&self, now: Instant) -> bool {
        // Flows that have met at a bottleneck must not probe together: the wait differs by digits of
        // their rates and of the times of their last probes.
        let digits = self.probed_at.total_micros().unsigned_abs() ^ self.max_rate.get() << 20;
        let digits = digits.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let wait = PROBE_WAIT + Duration::from_micros((digits >> 24) % 1_000_000);
        let rounds = PROBE_ROUNDS_MIN + (digits >> 48) % PROBE_ROUNDS_SPREAD;
        now - self.probed_at > wait || self.probed_rounds >= rounds
    }

    fn probe_up(&mut self, acked: &Acked, since: Instant, rounds: u32, is_round: bool) {
        if self.round.is_congested {
            return self.cut_rate(acked.now);
        }
        if acked.is_window_limited
            && acked.in_flight_before + u64::from(self.mss) >= self.bounds.long
        {
            self.bounds.grow(acked.bytes, self.mss.into(), is_round);
        }
        let has_lasted = self.min_rtt.get().is_some_and(|rtt| acked.now - since > rtt);
        let is_full = acked.in_flight_before >= self.product(1.25);
        // An application that has no more to send ends it too.
        if has_lasted && is_full || rounds > 4 && !acked.is_window_limited {
            self.begin_down(acked.now);
        }
    }

    fn probe_rtt(&mut self, acked: &Acked, until: Option<(Instant, u64)>) {
        match until {
            None => {
                if acked.in_flight <= self.product(PROBE_RTT_GAIN).max(self.least()) {
                    let until = (acked.now + PROBE_RTT_TIME, acked.round + 1);
                    self.phase = Phase::ProbeRtt { until: Some(until) };
                }
            }
            Some((until, round)) if acked.now >= until && acked.round > round => {
                self.min_rtt.on_probed(acked.now);
                self.window = self.window.max(self.before);
                self.bounds.forget_rate();
                if self.is_full {
                    self.begin_down(acked.now);
                    self.phase = Phase::Cruise;
                } else {
                    self.phase = Phase::Startup;
                }
            }
            Some(_) => {}
        }
    }

    fn set_pacing_rate(&mut self) {
        let rate = self.rate();
        let Some(rtt) = self.min_rtt.get() else { return };
        if rtt < UNPACED_RTT {
            self.pacing_rate = u64::MAX;
            return;
        }
        if rate == 0 {
            let window = self.window as f64;
            self.pacing_rate = (window / rtt.as_secs_f64() * STARTUP_GAIN) as u64;
            return;
        }
        let (gain, _) = self.gains();
        let mut paced = scaled(rate, gain * MARGIN);
        if self.contended > 0 && matches!(self.phase, Phase::Cruise | Phase::Down { .. }) {
            paced += (f64::from(self.mss) * GROWTH / rtt.as_secs_f64()) as u64;
        }
        if self.is_full || paced > self.pacing_rate || self.pacing_rate == u64::MAX {
            self.pacing_rate = paced;
        }
    }

    fn set_window(&mut self, acked: &Acked) {
        let (_, gain) = self.gains();
        let quantum = self.pacing_rate.min(1 << 40) * QUANTUM / 1_000_000;
        let most = match self.max_rate.get() {
            0 => u64::MAX,
            _ => self.product(gain) + quantum.max(2 * u64::from(self.mss)) * 2,
        };
        if self.is_full {
            self.window = (self.window + acked.bytes).min(most);
        } else if self.window < most {
            self.window += acked.bytes;
        }
        let bound = match self.phase {
            Phase::Refill | Phase::Up { .. } | Phase::Startup => self.bounds.long,
            Phase::ProbeRtt { .. } => self.product(PROBE_RTT_GAIN).min(self.bounds.with_headroom()),
            _ => self.bounds.with_headroom(),
        };
        self.window = self.window.min(bound).max(self.least());
    }
}

impl CongestionController for Bbr {
    fn window(&self) -> u64 {
        self.window
    }

    fn state(&self) -> &'static str {
        match self.phase {
            Phase::Startup => "startup",
            Phase::Drain => "drain",
            Phase::Down { .. } => "probe_bw_down",
            Phase::Cruise => "probe_bw_cruise",
            Phase::Refill => "probe_bw_refill",
            Phase::Up { .. } => "probe_bw_up",
            Phase::ProbeRtt { .. } => "probe_rtt",
        }
    }

    fn pacing_rate(&self) -> Option<u64> {
        Some(self.pacing_rate)
    }

    fn measures_rate(&self) -> bool {
        true
    }

    fn on_acked(&mut self, acked: &Acked) {
        self.max_rate.on_acked(acked);
        self.min_rtt.on_acked(acked);
        let min_rtt = self.min_rtt.get().unwrap_or(acked.min_rtt);
        let ended = self.round.on_acked(acked, min_rtt, self.ambient_loss);
        if let Some(round) = &ended {
            if let Some(loss) = round.ambient_loss(min_rtt) {
                self.ambient_loss += (loss - self.ambient_loss) / 8.0;
            }
            self.on_round(round, acked);
        }
        self.change_phase(acked, ended.is_some());
        self.set_pacing_rate();
        self.set_window(acked);
    }

    /// Losses come with the acknowledgements that show them.
    fn on_lost(&mut self, _lost: &Lost) {}

    fn on_timeout(&mut self, _lost: &Lost) {
        self.before = self.window;
        self.window = self.least();
    }

    fn on_spurious(&mut self) {
        self.window = self.window.max(self.before);
    }

    fn set_mss(&mut self, mss: u32) {
        self.mss = mss;
    }
}

#[cfg(test)]
mod tests;
