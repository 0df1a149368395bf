//! HyStart++: leaving slow start before packets are lost (RFC 9406), also by a train of acknowledgements.
//!
//! A round trip that grows shows a queue one round after it began, in which the window has doubled
//! again. So [`HyStart`] also looks for what the first HyStart did, and Linux does: acknowledgements
//! that follow each other closely for half a round trip mean that the link is always busy, so that the
//! window now fills it. Linux leaves slow start there; here, as for RFC 9406's own sign, conservative
//! slow start follows, and ends sooner.

use super::Acked;
use crate::time::Instant;
use std::time::Duration;

/// Where slow start stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct HyStart {
    round: u64,
    /// The shortest round trip of this round and of the last.
    current: Option<Duration>,
    last: Option<Duration>,
    samples: u32,
    /// When this round began, and when the last of the acknowledgements came that have followed each
    /// other closely since.
    train: Option<(Instant, Instant)>,
    conservative: Option<Conservative>,
}

/// Conservative slow start.
#[derive(Debug, Clone, Copy)]
struct Conservative {
    /// A shorter round trip shows that it began without reason.
    baseline: Duration,
    rounds_left: u32,
}

/// What the window may do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Growth {
    /// By as many bytes as have arrived.
    Fast(u64),
    /// Slow start is over.
    Done,
}

// The constants of RFC 9406 section 4.2.
const MIN_RTT_THRESHOLD: Duration = Duration::from_millis(4);
const MAX_RTT_THRESHOLD: Duration = Duration::from_millis(16);
const MIN_RTT_DIVISOR: u32 = 8;
const RTT_SAMPLES: u32 = 8;
const GROWTH_DIVISOR: u64 = 4;
const CONSERVATIVE_ROUNDS: u32 = 5;
/// What follows within so much is close, as Linux's `hystart_ack_delta_us`.
const TRAIN_GAP: Duration = Duration::from_millis(2);
/// Rounds of conservative slow start after a train. With the five of the RFC a window is three times
/// the link's before it stops to grow, which a queue of two round trips does not take.
const TRAIN_ROUNDS: u32 = 3;
/// At most so many segments for an acknowledgement of an unpaced sender.
const LIMIT_SEGMENTS: u64 = 8;
/// But a packet that the link cuts is acknowledged as a whole.
const PACKET_BYTES: u64 = 65_536;

impl HyStart {
    pub(super) fn new() -> Self {
        Self { round: 0, current: None, last: None, samples: 0, train: None, conservative: None }
    }

    pub(super) fn on_acked(&mut self, acked: &Acked, mss: u32) -> Growth {
        if acked.round != self.round {
            self.round = acked.round;
            (self.last, self.current, self.samples) = (self.current, None, 0);
            self.train = Some((acked.now, acked.now));
            if let Some(conservative) = &mut self.conservative {
                conservative.rounds_left = conservative.rounds_left.saturating_sub(1);
                if conservative.rounds_left == 0 {
                    return Growth::Done;
                }
            }
        }
        if let Some(rtt) = acked.rtt {
            self.current = Some(self.current.map_or(rtt, |least| least.min(rtt)));
            self.samples += 1;
        }
        let is_train_long = self.is_train_long(acked);
        if self.samples >= RTT_SAMPLES
            && let (Some(current), Some(last)) = (self.current, self.last)
        {
            let threshold = (last / MIN_RTT_DIVISOR).clamp(MIN_RTT_THRESHOLD, MAX_RTT_THRESHOLD);
            match self.conservative {
                None if current >= last + threshold => {
                    let rounds_left = CONSERVATIVE_ROUNDS;
                    self.conservative = Some(Conservative { baseline: current, rounds_left });
                }
                None if is_train_long => {
                    // No round trip is shorter: this sign is not taken back.
                    let (baseline, rounds_left) = (acked.min_rtt, TRAIN_ROUNDS);
                    self.conservative = Some(Conservative { baseline, rounds_left });
                }
                // It was jitter.
                Some(Conservative { baseline, .. }) if current < baseline => {
                    self.conservative = None;
                }
                _ => {}
            }
        }
        let bytes = acked.bytes.min((LIMIT_SEGMENTS * u64::from(mss)).max(PACKET_BYTES));
        Growth::Fast(match self.conservative {
            None => bytes,
            Some(_) => bytes / GROWTH_DIVISOR,
        })
    }
    /// Whether acknowledgements have followed each other closely for half a round trip.
    fn is_train_long(&mut self, acked: &Acked) -> bool {
        let Some((since, end)) = &mut self.train else { return false };
        // In a shorter round trip all are close.
        let half = acked.min_rtt / 2;
        if half <= TRAIN_GAP || acked.now - *end > TRAIN_GAP {
            return false;
        }
        *end = acked.now;
        acked.now - *since > half
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1000;

    fn acked(at: Duration, rtt: Duration) -> Acked {
        Acked {
            now: Instant::ZERO + at,
            bytes: 2000,
            lost: 0,
            in_flight_before: 100_000,
            in_flight: 98_000,
            rtt: Some(rtt),
            min_rtt: rtt,
            smoothed_rtt: rtt,
            round: (at.as_micros() / rtt.as_micros()) as u64,
            is_window_limited: true,
            delivery_rate: None,
            is_app_limited: false,
            is_in_recovery: false,
        }
    }

    /// The growth by each acknowledgement, one in each interval, until slow start is over.
    fn growth(interval: Duration, rtt: Duration, rounds: u32) -> Vec<Growth> {
        let mut hystart = HyStart::new();
        let times = (0..).map(|n| rtt + interval * n).take_while(|at| *at < rtt * (rounds + 1));
        let mut growth: Vec<_> = times.map(|at| hystart.on_acked(&acked(at, rtt), MSS)).collect();
        let done = growth.iter().position(|growth| *growth == Growth::Done);
        growth.truncate(done.map_or(growth.len(), |done| done + 1));
        growth
    }

    #[test]
    fn half_a_round_trip_of_close_acks_slows_growth_and_then_ends_it() {
        let ms = Duration::from_millis;
        let growth = growth(ms(1), ms(20), 10);

        // The first round has no round trip to compare with.
        let fast = growth.iter().take_while(|growth| **growth == Growth::Fast(2000)).count();
        assert!((20 + 10..20 + 13).contains(&fast), "{fast}");
        assert_eq!(growth[fast], Growth::Fast(500));
        assert_eq!(growth.last(), Some(&Growth::Done));
        assert_eq!(growth.len(), 20 * (1 + TRAIN_ROUNDS as usize) + 1);
    }

    #[test]
    fn acks_with_gaps_between_them_slow_nothing() {
        let ms = Duration::from_millis;
        for (interval, rtt) in [(ms(3), ms(40)), (ms(1), ms(4))] {
            let growth = growth(interval, rtt, 10);
            assert!(growth.iter().all(|growth| *growth == Growth::Fast(2000)), "{rtt:?}");
        }
    }
}
