//! Calls that wait for something: a connection, a datagram.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use tokio::task::AbortHandle;

/// The waiting call of each task, which has one at most. When the next one arrives, the one before
/// was interrupted by a signal: nobody waits for its answer.
#[derive(Debug, Default)]
pub(crate) struct Parked(Mutex<HashMap<u32, AbortHandle>>);

/// At this number those that have ended are removed.
const SWEEP_AT: usize = 1024;

impl Parked {
    /// A call of this task waits.
    pub(crate) fn insert(&self, task: u32, waiting: AbortHandle) {
        let mut parked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if parked.len() >= SWEEP_AT && parked.len().is_power_of_two() {
            parked.retain(|_, waiting| !waiting.is_finished());
        }
        parked.insert(task, waiting);
    }

    /// A call of this task has arrived.
    pub(crate) fn interrupt(&self, task: u32) {
        let mut parked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = parked.remove(&task) {
            waiting.abort();
        }
    }
}
