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
///
/// Besides, it knows what a caller said of readiness that was of no use to it: as with epoll's edges,
/// the side then counts as ready only after the next event.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    wakers: Vec<(u64, Waker)>,
    last_key: u64,
    /// How often something has come that waiters are woken for.
    events: u64,
    is_cleared: bool,
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
        self.events = self.events.wrapping_add(1);
        self.is_cleared = false;
        wakes.extend(self.wakers.drain(..).map(|(_, waker)| waker));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.wakers.is_empty()
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    /// Counts the side as not ready until the next event, unless there was one since `events`.
    pub(crate) fn clear(&mut self, events: u64) {
        self.is_cleared = self.events == events;
    }

    pub(crate) fn is_cleared(&self) -> bool {
        self.is_cleared
    }
}
