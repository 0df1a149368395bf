//! Unpredictable numbers.

use crate::config::Entropy;
use crate::flow_table::FlowKey;
use rand::rngs::{StdRng, SysRng};
use rand::{Rng, RngExt, SeedableRng};
use siphasher::sip::SipHasher24;
use smoltcp::time::Instant;
use std::hash::{Hash, Hasher};
use std::ops::RangeInclusive;

/// Where a stack draws its ports, sequence numbers and identifiers from.
pub(crate) struct Random {
    generator: StdRng,
    /// The secret of RFC 6528.
    sequence_key: [u8; 16],
}

impl std::fmt::Debug for Random {
    /// Says nothing: whoever reads it in a log could predict the stack.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Random").finish_non_exhaustive()
    }
}

impl Random {
    /// # Panics
    ///
    /// If the operating system has no randomness to give, without which no connection is safe.
    pub(crate) fn new(entropy: Entropy) -> Self {
        let mut generator = match entropy {
            Entropy::Os => StdRng::try_from_rng(&mut SysRng).expect("the system has randomness"),
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

    pub(crate) fn hash_keys(&mut self) -> ahash::RandomState {
        let [a, b, c, d] = std::array::from_fn(|_| self.generator.random());
        ahash::RandomState::with_seeds(a, b, c, d)
    }

    /// An initial sequence number (RFC 6528 section 3): one that nobody can guess who does not
    /// know the secret, and that for one pair of ends moves on with time, so that the peer can
    /// tell a new connection from leftovers of the last one.
    pub(crate) fn initial_sequence(&self, flow: &FlowKey, now: Instant) -> u32 {
        let mut hasher = SipHasher24::new_with_key(&self.sequence_key);
        flow.hash(&mut hasher);
        // M of the RFC. Its clock of 4 µs is overtaken by any connection faster than 250 kB/s,
        // whose ends a peer in TIME-WAIT would then not let be used again; like Linux's, this one
        // ticks 16 times a microsecond.
        let clock = now.total_micros().wrapping_mul(16);
        (hasher.finish() as u32).wrapping_add(clock as u32)
    }
}
