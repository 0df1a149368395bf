//! Catching panics, so that each ends no more than it has to.
//!
//! Whatever a stack calls may panic: a waker, a link, a hook of its user, and code of its own that a
//! peer has found the weak place of. In a program that is built to abort at a panic this changes
//! nothing.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::Waker;

/// A panic that was caught. Displayed, it is the message of the panic.
pub struct Panic(Box<dyn Any + Send>);

/// Runs something and catches a panic of it.
///
/// What `run` reaches has to be whole at each point where it could panic, or be thrown away
/// afterwards.
///
/// # Errors
///
/// The panic.
pub fn isolated<R>(run: impl FnOnce() -> R) -> Result<R, Panic> {
    catch_unwind(AssertUnwindSafe(run)).map_err(Panic)
}

/// Wakes a task whose waker may panic, which is logged.
pub fn wake(waker: Waker) {
    if let Err(panic) = isolated(|| waker.wake()) {
        tracing::error!(%panic, "a waker panicked");
    }
}

impl Panic {
    /// Goes on with the panic, for who cannot go on without.
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
