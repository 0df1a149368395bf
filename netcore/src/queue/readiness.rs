//! Readiness of one side of a queue, which a caller may take back.

/// How one side of a queue stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SideState {
    /// A `try_*` call may give something else than [`Error::WouldBlock`](crate::Error::WouldBlock).
    pub is_ready: bool,
    /// No more comes, or can be sent, besides what is queued.
    pub is_closed: bool,
    /// When the side was in this state, for clearing it.
    pub tick: Tick,
}

/// A moment between two changes of one side of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick(u32);

/// Whether a side that has something still counts as ready.
///
/// A caller who finds that what is there is not enough clears the readiness that it has seen, and is
/// not told of it again before the side changes, as with epoll's edges. The tick keeps a change
/// that it has not seen from being cleared with it.
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

    /// Something has changed for the better.
    pub(crate) fn renew(&mut self) {
        self.tick = self.tick.wrapping_add(1);
        self.is_cleared = false;
    }

    /// Takes back the readiness of that moment.
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
