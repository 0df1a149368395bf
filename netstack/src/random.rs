//! Random numbers for the clients beside a stack.

use netcore::Entropy;
use rand::SeedableRng;
use rand::rngs::{StdRng, SysRng};

/// Separates the random numbers of each client from the others' and from the stack's, if all derive
/// from one seed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    Dhcp = 0x6468_6370,
    Slaac = 0x736c_6161,
}

/// # Panics
///
/// If the operating system has no randomness to give, as the stack itself.
pub(crate) fn generator(entropy: Entropy, purpose: Purpose) -> StdRng {
    match entropy {
        Entropy::Os => StdRng::try_from_rng(&mut SysRng).expect("the system has randomness"),
        Entropy::Seed(seed) => StdRng::seed_from_u64(seed ^ ((purpose as u64) << 32)),
    }
}
