//! Unpredictable numbers.

use crate::config::Entropy;
use crate::ethernet::MacAddr;
use crate::tcp::flow_table::FlowKey;
use crate::time::Instant;
use rand::rngs::{StdRng, SysRng};
use rand::{Rng, RngExt, SeedableRng};
use siphasher::sip::SipHasher24;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::ops::RangeInclusive;

/// The source of a stack's ports, sequence numbers and identifiers.
pub(crate) struct Random {
    generator: StdRng,
    /// The secret of RFC 6528.
    sequence_key: [u8; 16],
}

/// The hash function of tables whose keys the application chooses, such as its ports. Its keys are
/// fixed: no peer can make entries collide. Tables that peers fill take [`Random::hash_keys`].
pub(crate) type LocalHasher = BuildHasherDefault<ahash::AHasher>;

/// Rate of initial sequence numbers: about 2^32 in 268 s, which is more than two maximum segment
/// lifetimes (RFC 9293 section 3.4.1).
pub(crate) const ISN_TICKS_PER_MICROSECOND: u64 = 16;

impl std::fmt::Debug for Random {
    /// Shows no state: a reader of the log could predict the stack.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Random").finish_non_exhaustive()
    }
}

impl Random {
    /// # Panics
    ///
    /// If the operating system's random generator fails, without which no connection is safe.
    pub(crate) fn new(entropy: Entropy) -> Self {
        let mut generator = match entropy {
            Entropy::Os => StdRng::try_from_rng(&mut SysRng)
                .expect("the operating system's random generator works"),
            Entropy::Seed(seed) => StdRng::seed_from_u64(seed),
        };
        let mut sequence_key = [0; 16];
        generator.fill_bytes(&mut sequence_key);
        Self { generator, sequence_key }
    }

    pub(crate) fn port(&mut self, range: RangeInclusive<u16>) -> u16 {
        self.generator.random_range(range)
    }

    pub(crate) fn next_u16(&mut self) -> u16 {
        self.generator.random()
    }

    pub(crate) fn next_u32(&mut self) -> u32 {
        self.generator.random()
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: u32) -> u32 {
        self.generator.random_range(..end)
    }

    /// A random, locally administered hardware address.
    pub(crate) fn hardware_address(&mut self) -> MacAddr {
        MacAddr::locally_administered(self.generator.random())
    }

    /// The hash function of tables that peers fill, with secret keys.
    pub(crate) fn hash_keys(&mut self) -> ahash::RandomState {
        let [a, b, c, d] = std::array::from_fn(|_| self.generator.random());
        ahash::RandomState::with_seeds(a, b, c, d)
    }

    /// An initial sequence number (RFC 6528 section 3): unpredictable without the secret, and
    /// increasing with time for one 4-tuple, so that the peer can distinguish a new connection from
    /// old duplicates.
    pub(crate) fn initial_sequence(&self, flow: &FlowKey, now: Instant) -> u32 {
        let mut hasher = SipHasher24::new_with_key(&self.sequence_key);
        flow.hash(&mut hasher);
        // M of the RFC. Its clock of 4 µs is overtaken by any connection faster than 250 kB/s,
        // whose 4-tuple a peer in TIME-WAIT would then not accept again; this one ticks as fast as
        // Linux's. `PastEnds` handles connections that are faster still.
        let clock = now.total_micros().wrapping_mul(ISN_TICKS_PER_MICROSECOND as i64);
        (hasher.finish() as u32).wrapping_add(clock as u32)
    }

    /// The offset of a connection's timestamps (RFC 7323 section 7.1): the other half of the same
    /// hash.
    pub(crate) fn timestamp_offset(&self, flow: &FlowKey) -> u32 {
        let mut hasher = SipHasher24::new_with_key(&self.sequence_key);
        flow.hash(&mut hasher);
        (hasher.finish() >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binding::pick_port;
    use std::net::SocketAddr;
    use std::time::Duration;

    fn flow(port: u16) -> FlowKey {
        let remote: SocketAddr = "10.0.0.2:80".parse().expect("an address");
        FlowKey::new(SocketAddr::from(([10, 0, 0, 1], port)), remote)
    }

    #[test]
    fn sequence_numbers_of_one_4_tuple_increase_with_time() {
        let random = Random::new(Entropy::Os);
        let (now, later) = (Instant::ZERO, Instant::ZERO + Duration::from_millis(1));

        let step = random
            .initial_sequence(&flow(1), later)
            .wrapping_sub(random.initial_sequence(&flow(1), now));

        assert_eq!(step, 16_000);
    }

    #[test]
    fn sequence_numbers_of_other_4_tuples_are_uniform() {
        let random = Random::new(Entropy::Seed(1));
        let numbers = (0..16_384).map(|port| random.initial_sequence(&flow(port), Instant::ZERO));
        let mut buckets = [0; 64];
        for number in numbers {
            buckets[(number >> 26) as usize] += 1;
        }

        // 63 is the mean for 64 buckets, and 11 the deviation.
        assert!(chi_square(&buckets) < 63.0 + 6.0 * 11.0, "{buckets:?}");
    }

    #[test]
    fn ephemeral_ports_are_picked_uniformly() {
        let mut random = Random::new(Entropy::Seed(1));
        let mut buckets = [0; 64];
        let mut neighbours = 0;
        let mut last = 0;
        for _ in 0..16_384 {
            let port = pick_port(&mut random, |_| true).expect("all are free");
            assert!(port >= 49_152);
            buckets[usize::from(port - 49_152) / 256] += 1;
            neighbours += u32::from(port.abs_diff(last) == 1);
            last = port;
        }

        assert!(chi_square(&buckets) < 63.0 + 6.0 * 11.0, "{buckets:?}");
        assert!(neighbours < 20, "{neighbours} of 16,384, where 2 are expected");
    }

    /// The chi-square statistic of counts against equal ones.
    fn chi_square(counts: &[u32]) -> f64 {
        let mean = f64::from(counts.iter().sum::<u32>()) / counts.len() as f64;
        counts.iter().map(|count| (f64::from(*count) - mean).powi(2) / mean).sum()
    }
}
