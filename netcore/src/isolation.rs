//! Catching of panics, so that each ends as little as possible.
//!
//! A stack calls code that may panic: wakers, links, callbacks of its user, and its own code on
//! unexpected input. Without effect in a program built with `panic = "abort"`.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::Waker;

/// A caught panic. Displays the message of the panic.
pub struct Panic(Box<dyn Any + Send>);

/// Runs a closure and catches its panic.
///
/// All state that `run` reaches must be consistent at each point that could panic, or be discarded
/// afterwards.
///
/// # Errors
///
/// The panic.
pub fn isolated<R>(run: impl FnOnce() -> R) -> Result<R, Panic> {
    catch_unwind(AssertUnwindSafe(run)).map_err(Panic)
}

/// Wakes a task, and logs a panic of its waker.
pub fn wake(waker: Waker) {
    if let Err(panic) = isolated(|| waker.wake()) {
        tracing::error!(%panic, "a waker panicked");
    }
}

impl Panic {
    /// Resumes the panic.
    pub fn resume(self) -> ! {
        resume_unwind(self.0)
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.downcast_ref::<&str>().copied();
        let text = text.or_else(|| self.0.downcast_ref::<String>().map(String::as_str));
        f.write_str(text.unwrap_or("no message"))
    }
}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Panic").field(&format_args!("{self}")).finish()
    }
}
