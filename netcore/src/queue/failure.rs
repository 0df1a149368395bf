//! How a connection ended, and its pending error.

use crate::error::Error;
use crate::sync::Mutex;

/// The error of a connection, as Linux keeps one for each socket (`sk_err`): the first call that
/// could report it does, whichever that is. Later ones find a connection that has ended.
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

/// Whether a socket that ended for this reason says so to every call: there is nothing behind the
/// handle any more.
pub(crate) fn is_lasting(reason: Error) -> bool {
    reason.is_stack_gone() || reason == Error::Closed
}
