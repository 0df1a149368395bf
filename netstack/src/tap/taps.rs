//! The taps of a running stack.

use super::{AnyLink, FrameLog, ObservedLink, Tap, TappedFrame};
use netcore::{Medium, Netstack};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The taps of a stack, which come and go while it runs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Taps(Arc<Shared>);

struct Shared {
    name: String,
    medium: Medium,
    /// Whether the list is not empty: so that a stack without taps takes no lock.
    has_any: AtomicBool,
    log: Mutex<FrameLog<List>>,
}

#[derive(Default)]
struct List {
    taps: Vec<(TapId, Box<dyn Tap>)>,
    next: u64,
}

/// Names a tap of a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TapId(u64);

impl Taps {
    /// Those of a stack with this name, on a link of this medium.
    pub(crate) fn new(name: &str, medium: Medium) -> Self {
        let log = Mutex::new(FrameLog::new(List::default()));
        Self(Arc::new(Shared { name: name.to_owned(), medium, has_any: false.into(), log }))
    }

    /// The name of the stack.
    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    pub(crate) fn medium(&self) -> Medium {
        self.0.medium
    }

    /// From the next round on the tap learns of each frame.
    pub(crate) fn attach(&self, tap: Box<dyn Tap>) -> TapId {
        let mut log = self.lock();
        let list = log.tap_mut();
        let id = TapId(list.next);
        list.next += 1;
        list.taps.push((id, tap));
        self.0.has_any.store(true, Ordering::Relaxed);
        id
    }

    /// Removes a tap, if it is there; what waits for a decision it does not learn of.
    pub(crate) fn detach(&self, id: TapId) -> Option<Box<dyn Tap>> {
        let mut log = self.lock();
        let list = log.tap_mut();
        let index = list.taps.iter().position(|(found, _)| *found == id)?;
        let (_, tap) = list.taps.remove(index);
        self.0.has_any.store(!list.taps.is_empty(), Ordering::Relaxed);
        Some(tap)
    }

    /// Tells all taps of a secret, and makes none of it without them.
    pub(crate) fn secret(&self, line: impl FnOnce() -> String) {
        if self.0.has_any.load(Ordering::Relaxed) {
            let mut log = self.lock();
            // What was received before is in front of it.
            log.tap_mut().secret(&line());
        }
    }

    /// Runs a round of the stack with the taps on its link; `None` if there is none.
    #[inline]
    pub(crate) fn poll(
        &self,
        stack: &mut Netstack,
        now: netcore::Instant,
        link: &mut dyn AnyLink,
    ) -> Option<bool> {
        self.0.has_any.load(Ordering::Relaxed).then(|| self.poll_tapped(stack, now, link))
    }

    #[cold]
    fn poll_tapped(
        &self,
        stack: &mut Netstack,
        now: netcore::Instant,
        link: &mut dyn AnyLink,
    ) -> bool {
        let mut log = self.lock();
        let worked = stack.poll_link(now, &mut ObservedLink::new(link, &mut *log));
        log.settle();
        worked
    }

    fn lock(&self) -> MutexGuard<'_, FrameLog<List>> {
        // A device that panics ends its stack, and the taps are whole.
        self.0.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Taps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taps").field("name", &self.0.name).finish_non_exhaustive()
    }
}

impl Tap for List {
    fn frame(&mut self, frame: &TappedFrame) {
        for (_, tap) in &mut self.taps {
            tap.frame(frame);
        }
    }

    fn secret(&mut self, line: &str) {
        for (_, tap) in &mut self.taps {
            tap.secret(line);
        }
    }
}
