//! Readiness of one side of a queue, which a caller may clear.

/// The state of one side of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SideState {
    /// A `try_*` call may return something other than
    /// [`Error::WouldBlock`](crate::Error::WouldBlock).
    pub is_ready: bool,
    /// The side is closed: nothing is received or accepted for sending beyond the queued data.
    pub is_closed: bool,
    /// The tick of this state, for clearing its readiness.
    pub tick: Tick,
}

/// A point between two changes of one side of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick(u32);

/// Whether a side that has data or room counts as ready.
///
/// A caller that needs more clears the readiness that it has seen, and is woken only after the next
/// change, as with edge-triggered epoll. The tick keeps an unseen change from being cleared with
/// it.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    tick: u32,
    is_cleared: bool,
}

impl Readiness {
    pub(crate) fn tick(&self) -> Tick {
        Tick(self.tick)
    }

    pub(crate) fn is_cleared(&self) -> bool {
        self.is_cleared
    }

    /// Data arrived, room was made, or the side was closed.
    pub(crate) fn renew(&mut self) {
        self.tick = self.tick.wrapping_add(1);
        self.is_cleared = false;
    }

    /// Clears the readiness seen at that tick.
    pub(crate) fn clear(&mut self, seen: Tick) {
        self.is_cleared |= seen == self.tick();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clearing_takes_back_only_what_was_seen() {
        let mut readiness = Readiness::default();
        let first = readiness.tick();
        readiness.clear(first);
        assert!(readiness.is_cleared());

        readiness.renew();
        readiness.clear(first);

        assert!(!readiness.is_cleared());
    }
}
