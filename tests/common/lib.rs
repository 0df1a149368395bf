//! The common part of the tests.

use netstack::Stack;
use sha2::{Digest, Sha256};
use std::time::Duration;
use tokio::time::Instant;

/// Pseudorandom bytes, the same each time.
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

/// Waits until both socket tables are empty, and the buffers given back.
pub async fn all_is_gone(stacks: [&Stack; 2]) {
    for stack in stacks {
        // Longer than any state that a connection can be left in.
        let deadline = Instant::now() + Duration::from_secs(1000);
        loop {
            let snapshot = stack.net().snapshot().await.expect("a running stack");
            assert_eq!(snapshot.counters.panics_caught, 0);
            let is_empty = snapshot.sockets.is_empty() && snapshot.time_wait.is_empty();
            if is_empty && snapshot.buffer_bytes == 0 && snapshot.timers == 0 {
                break;
            }
            assert!(Instant::now() < deadline, "left behind:\n{snapshot}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

/// The programs in the README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;

/// The programs in the guide.
#[cfg(doctest)]
#[doc = include_str!("../../docs/guide.md")]
pub struct Guide;
