//! The primitives shared between a stack and its handles.
//!
//! They go through this module so that loom's replace them in unit tests: tests that touch a queue
//! or a stack run inside a model, as in `crate::models`.

#[cfg(test)]
use loom::sync as primitives;
#[cfg(not(test))]
use std::sync as primitives;

pub(crate) use primitives::MutexGuard;
pub(crate) use primitives::atomic::{AtomicBool, AtomicU32, Ordering};
/// Always std's: reference counts do not matter to the protocol.
pub(crate) use std::sync::Arc;

/// A mutex without poisoning.
///
/// Every critical section in this crate leaves its data consistent at each point that could panic,
/// so a panic elsewhere in the holder's thread must not make the other side panic too.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(primitives::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(primitives::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
