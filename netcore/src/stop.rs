//! The reason why a stack has stopped.

use crate::error::Error;
use std::sync::{Arc, OnceLock};

/// The reason why a stack has stopped, if known.
#[derive(Debug, Clone, Default)]
pub(crate) struct StopReason(Arc<OnceLock<Error>>);

impl StopReason {
    /// Sets the reason, unless there is one.
    pub(crate) fn set(&self, reason: Error) {
        let _ = self.0.set(reason);
    }

    /// The error of every call once the stack has stopped.
    pub(crate) fn error(&self) -> Error {
        self.0.get().copied().unwrap_or(Error::StackGone)
    }
}
