//! Waking of those who wait for a socket.

use super::Netstack;
use crate::isolation::wake;

impl Netstack {
    /// Wakes the collected wakers. No lock is held here, and the stack is consistent.
    pub(super) fn wake(&mut self) {
        self.has_woken = !self.cx.wakes.is_empty();
        for waker in self.cx.wakes.drain(..) {
            wake(waker);
        }
    }
}
