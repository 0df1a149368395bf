//! The wakers that wait for one side of a queue.

use smallvec::SmallVec;
use std::task::Waker;

/// Identifies a waiter of one side of a queue, so that a new poll replaces its waker instead of
/// adding one, and cancellation removes it.
#[derive(Debug, Default)]
pub struct WaitKey(u64);

impl WaitKey {
    /// The one waiter of all `poll_*` methods: as with tokio, only the last caller is woken.
    pub fn poll() -> Self {
        Self(POLL)
    }
}

/// The key of the `poll_*` methods. Other keys follow; 0 is not assigned yet.
const POLL: u64 = 1;

/// The wakers of one side. Waking takes all of them: each waiter checks again by itself.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    /// Mostly one, which costs no allocation.
    wakers: SmallVec<[(u64, Waker); 1]>,
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
