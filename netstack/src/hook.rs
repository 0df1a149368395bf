//! Event callbacks.

use netcore::isolation::isolated;
use std::fmt;
use std::sync::Arc;

/// A function that is told of events, in the task that they happen in: it must not block. If it
/// panics, that is logged, and it is told of the next event all the same.
pub struct Hook<E>(Arc<dyn Fn(&E) + Send + Sync>);

impl<E> Hook<E> {
    /// Calls `told` on every event; it must not block.
    pub fn new(told: impl Fn(&E) + Send + Sync + 'static) -> Self {
        Self(Arc::new(told))
    }

    pub(crate) fn tell(&self, event: &E) {
        if let Err(panic) = isolated(|| (self.0)(event)) {
            tracing::error!(%panic, "a hook panicked");
        }
    }
}

impl<E> Clone for Hook<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E> fmt::Debug for Hook<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook").finish_non_exhaustive()
    }
}
