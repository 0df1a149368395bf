//! Who waits for one side of a queue.

use std::task::Waker;

/// Names a waiter of one side of a queue, so that waiting again replaces the waker instead of
/// adding one, and giving up removes it.
#[derive(Debug, Default)]
pub struct WaitKey(u64);

impl WaitKey {
    /// The one waiter of all `poll_*` methods: as with tokio, only the last caller is woken.
    pub fn poll() -> Self {
        Self(POLL)
    }
}

/// The key of the `poll_*` methods. Those of others come after it; 0 has not been given one yet.
const POLL: u64 = 1;

/// The wakers of one side. Waking takes all of them: each looks for itself whether there is
/// something left to do.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    wakers: Vec<(u64, Waker)>,
    last_key: u64,
}

impl Waiters {
    pub(crate) fn register(&mut self, key: &mut WaitKey, waker: &Waker) {
        if key.0 == 0 {
            self.last_key = self.last_key.max(POLL) + 1;
            key.0 = self.last_key;
        }
        match self.wakers.iter_mut().find(|(known, _)| *known == key.0) {
            Some((_, known)) => known.clone_from(waker),
            None => self.wakers.push((key.0, waker.clone())),
        }
    }

    pub(crate) fn remove(&mut self, key: &WaitKey) {
        self.wakers.retain(|(known, _)| *known != key.0);
    }

    /// Moves all wakers to `wakes`, to be woken once no lock is held.
    pub(crate) fn wake(&mut self, wakes: &mut Vec<Waker>) {
        wakes.extend(self.wakers.drain(..).map(|(_, waker)| waker));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.wakers.is_empty()
    }
}
