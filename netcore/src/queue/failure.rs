//! Why a connection failed, to be told once.

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

/// Whether a socket that ended for this reason says so to every call: there is nothing behind the
/// handle any more.
pub(crate) fn is_lasting(reason: Error) -> bool {
    reason.is_stack_gone() || reason == Error::Closed
}
