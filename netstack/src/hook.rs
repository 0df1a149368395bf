//! Event callbacks.

use netcore::isolation::isolated;
use std::fmt;
use std::sync::Arc;

/// An event callback, called in the task where the event happens: it must not block. A panic is
/// logged, and the callback is called for the next event all the same.
pub struct Hook<E>(Arc<dyn Fn(&E) + Send + Sync>);

impl<E> Hook<E> {
    /// Calls `callback` on every event; it must not block.
    pub fn new(callback: impl Fn(&E) + Send + Sync + 'static) -> Self {
        Self(Arc::new(callback))
    }

    pub(crate) fn call(&self, event: &E) {
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
