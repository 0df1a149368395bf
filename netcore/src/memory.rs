//! The memory of all connections together, and its bound.

use crate::queue::Copies;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that all connections of a stack hold, as Linux's `tcp_mem` counts them.
///
/// A count that several threads change is no more than an estimate at any moment; the parts of it are
/// each exact.
#[derive(Debug)]
pub(crate) struct Memory {
    held: AtomicUsize,
    max: usize,
    copies: Arc<Copies>,
}

/// How much of its bound the memory of a stack takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pressure {
    None,
    /// Half: buffers stop to grow, and shrink as they are emptied.
    High,
    /// Three quarters: what holds anything takes no more. The rest is for the first segment or
    /// datagram of each socket, and for the sockets, which are not counted.
    Full,
}

/// Charges are multiples of this, so that small changes cost nothing.
const UNIT: usize = 4096;

impl Memory {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { held: AtomicUsize::new(0), max, copies: Arc::default() })
    }

    pub(crate) fn pressure(&self) -> Pressure {
        let held = self.held.load(Ordering::Relaxed);
        if held >= self.max - self.max / 4 {
            Pressure::Full
        } else if held >= self.max / 2 {
            Pressure::High
        } else {
            Pressure::None
        }
    }
}

/// What one part of a connection holds of a stack's memory. Dropping it gives that back.
#[derive(Debug)]
pub(crate) struct Charge {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Charge {
    pub(crate) fn new(memory: Arc<Memory>) -> Self {
        Self { memory, bytes: 0 }
    }

    /// From now on it holds so many bytes.
    pub(crate) fn set(&mut self, bytes: usize) {
        let bytes = bytes.next_multiple_of(UNIT);
        if bytes > self.bytes {
            self.memory.held.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else if bytes < self.bytes {
            self.memory.held.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }

    pub(crate) fn pressure(&self) -> Pressure {
        self.memory.pressure()
    }

    /// What makes copies of what the application writes.
    pub(crate) fn copies(&self) -> &Arc<Copies> {
        &self.memory.copies
    }

    /// Another part of the same memory.
    pub(crate) fn sibling(&self) -> Self {
        Self::new(self.memory.clone())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_follows_what_is_held() {
        let memory = Memory::new(4 * UNIT);
        let (mut first, mut second) = (Charge::new(memory.clone()), Charge::new(memory.clone()));
        first.set(1);
        assert_eq!(memory.pressure(), Pressure::None);
        second.set(UNIT);
        assert_eq!(memory.pressure(), Pressure::High);
        first.set(UNIT + 1);
        assert_eq!(memory.pressure(), Pressure::Full);
        drop(second);
        assert_eq!(memory.pressure(), Pressure::High);
        drop(first);
        assert_eq!(memory.held.load(Ordering::Relaxed), 0);
    }
}
