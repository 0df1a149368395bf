//! What the tests have in common.

use sha2::{Digest, Sha256};

/// Bytes that look random and are the same each time.
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = Vec::with_capacity(len + 8);
    while noise.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend(state.to_le_bytes());
    }
    noise.truncate(len);
    noise
}

/// The SHA-256 of some bytes, as sha256sum prints it.
pub fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// The programs in the README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
