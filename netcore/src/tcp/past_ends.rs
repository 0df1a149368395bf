//! Where closed connections have ended whose sequence numbers ran ahead of the clock.
//!
//! A new connection between the same ends has to begin behind what the old one has sent, or its
//! peer, which may be in TIME-WAIT, takes its segments for old ones (RFC 9293 section 3.4.1,
//! RFC 6191). The clock of the initial sequence numbers sees to that for a connection which is no
//! faster than it is; the end of a faster one is remembered until the clock has come past it.

use crate::random::ISN_TICKS_PER_MICROSECOND;
use crate::tcp::flow_table::FlowKey;
use crate::time::Instant;
use std::collections::HashMap;
use std::time::Duration;

/// The last sequence numbers of closed connections, by their ends.
#[derive(Debug)]
pub(crate) struct PastEnds {
    /// One past the last number, and when the clock will have come past it.
    ends: HashMap<FlowKey, (u32, Instant), ahash::RandomState>,
    max: usize,
    /// With so many entries those are removed whose time is over.
    sweep_at: usize,
}

/// So few need no sweep.
const SWEEP_MIN: usize = 64;

impl PastEnds {
    /// At most `max` connections are remembered.
    pub(crate) fn new(max: usize, hash_keys: ahash::RandomState) -> Self {
        Self { ends: HashMap::with_hasher(hash_keys), max, sweep_at: SWEEP_MIN }
    }

    /// Notes that a connection has ended one before `end`, while the clock would give `isn`.
    pub(crate) fn note(&mut self, flow: FlowKey, end: u32, isn: u32, now: Instant) {
        let Ok(lead) = u64::try_from(end.wrapping_sub(isn) as i32) else { return };
        let passed = now + Duration::from_micros(lead / ISN_TICKS_PER_MICROSECOND + 1);
        if self.ends.len() >= self.sweep_at.min(self.max) {
            self.ends.retain(|_, (_, passed)| *passed > now);
            self.sweep_at = SWEEP_MIN.max(2 * self.ends.len());
        }
        if self.ends.len() < self.max {
            self.ends.insert(flow, (end, passed));
        }
    }

    /// One past the last sequence number between these ends, if the clock is not past it.
    pub(crate) fn get(&self, flow: &FlowKey, now: Instant) -> Option<u32> {
        let (end, passed) = self.ends.get(flow)?;
        (*passed > now).then_some(*end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn flow(port: u16) -> FlowKey {
        let ends = |host| SocketAddr::from(([10, 0, 0, host], port));
        FlowKey::new(ends(1), ends(2))
    }

    #[test]
    fn an_end_is_remembered_until_the_clock_is_past_it() {
        let mut past = PastEnds::new(10, ahash::RandomState::with_seed(1));
        let start = Instant::from_secs(1);
        // Ten million numbers ahead, over the wrap.
        let isn = u32::MAX - 5;
        past.note(flow(1), isn.wrapping_add(16_000_000), isn, start);
        past.note(flow(2), isn, isn.wrapping_add(1), start);

        let almost = start + Duration::from_micros(999_999);
        assert_eq!(past.get(&flow(1), almost), Some(15_999_994));
        assert_eq!(past.get(&flow(1), almost + Duration::from_micros(2)), None);
        assert_eq!(past.get(&flow(2), start), None);
    }

    #[test]
    fn no_more_than_told_are_remembered() {
        let mut past = PastEnds::new(100, ahash::RandomState::with_seed(1));
        for port in 0..1000 {
            past.note(flow(port), 1 << 20, 0, Instant::ZERO);
        }
        assert_eq!(past.ends.len(), 100);
        let later = Instant::from_secs(1);
        past.note(flow(1000), 1 << 20, 0, later);
        assert_eq!((past.ends.len(), past.get(&flow(1000), later)), (1, Some(1 << 20)));
    }
}
