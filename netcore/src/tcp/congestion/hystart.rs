//! HyStart++: leaving slow start before packets are lost (RFC 9406).

use super::Acked;
use std::time::Duration;

/// Where slow start stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct HyStart {
    round: u64,
    /// The shortest round trip of this round and of the last.
    current: Option<Duration>,
    last: Option<Duration>,
    samples: u32,
    /// Conservative slow start: the round trip that it began with, and the rounds that it has had.
    conservative: Option<(Duration, u32)>,
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
/// At most so many segments for an acknowledgement of an unpaced sender.
const LIMIT_SEGMENTS: u64 = 8;
/// But a packet that the link cuts is acknowledged as a whole.
const PACKET_BYTES: u64 = 65_536;

impl HyStart {
    pub(super) fn new() -> Self {
        Self { round: 0, current: None, last: None, samples: 0, conservative: None }
    }

    pub(super) fn on_acked(&mut self, acked: &Acked, mss: u32) -> Growth {
        if acked.round != self.round {
            self.round = acked.round;
            (self.last, self.current, self.samples) = (self.current, None, 0);
            if let Some((_, rounds)) = &mut self.conservative {
                *rounds += 1;
                if *rounds >= CONSERVATIVE_ROUNDS {
                    return Growth::Done;
                }
            }
        }
        if let Some(rtt) = acked.rtt {
            self.current = Some(self.current.map_or(rtt, |least| least.min(rtt)));
            self.samples += 1;
        }
        if self.samples >= RTT_SAMPLES
            && let (Some(current), Some(last)) = (self.current, self.last)
        {
            match self.conservative {
                None => {
                    let threshold =
                        (last / MIN_RTT_DIVISOR).clamp(MIN_RTT_THRESHOLD, MAX_RTT_THRESHOLD);
                    if current >= last + threshold {
                        self.conservative = Some((current, 0));
                    }
                }
                // It was jitter.
                Some((baseline, _)) if current < baseline => self.conservative = None,
                Some(_) => {}
            }
        }
        let bytes = acked.bytes.min((LIMIT_SEGMENTS * u64::from(mss)).max(PACKET_BYTES));
        Growth::Fast(match self.conservative {
            None => bytes,
            Some(_) => bytes / GROWTH_DIVISOR,
        })
    }
}
