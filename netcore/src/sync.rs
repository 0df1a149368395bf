//! The primitives shared between a stack and its handles.
//!
//! They come through this module so that a model checker's can take their place.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
pub(crate) use std::sync::{Arc, MutexGuard};

/// A mutex that does not know poison.
///
/// Every critical section in this crate leaves its data whole at each point where it could panic,
/// so a panic elsewhere in the holder's thread must not make the other side panic too.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
