//! The end of a connection, and its pending error.

use crate::error::Error;
use crate::sync::Mutex;

/// The pending error of a connection, as `sk_err` on Linux: the first call that can report it takes
/// it. Later calls find an ended connection.
#[derive(Debug, Default)]
pub(crate) struct Failure(Mutex<Option<Error>>);

impl Failure {
    pub(crate) fn set(&self, reason: Error) {
        self.0.lock().get_or_insert(reason);
    }

    pub(crate) fn take(&self) -> Option<Error> {
        self.0.lock().take()
    }

    pub(crate) fn is_some(&self) -> bool {
        self.0.lock().is_some()
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Both directions were closed in order.
    Closed,
    Failed(Error),
}

impl End {
    pub(crate) fn failure(self) -> Option<Error> {
        match self {
            Self::Closed => None,
            Self::Failed(error) => Some(error),
        }
    }
}

/// Whether every call returns this error: the stack behind the handle is gone.
pub(crate) fn is_lasting(reason: Error) -> bool {
    reason.is_stack_gone() || reason == Error::Closed
}
