//! The signals of the program, which are its own threads' to handle.

use std::mem::zeroed;
use std::ptr;

/// Runs what starts threads: they get no signal of the process, whose handlers, and calls that are
/// interrupted, are the program's.
pub(crate) fn without_signals<T>(start: impl FnOnce() -> T) -> T {
    // SAFETY: A set of signals is plain memory, and is filled below.
    let (mut all, mut before) = unsafe { (zeroed(), zeroed()) };
    // SAFETY: The sets are valid, and SIG_SETMASK with them cannot fail.
    unsafe {
        libc::sigfillset(&raw mut all);
        // These are of the thread that causes them.
        for own in [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL] {
            libc::sigdelset(&raw mut all, own);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
    }
    let restore = Restore(before);
    let started = start();
    drop(restore);
    started
}

/// The signals that were blocked before; also after a panic.
struct Restore(libc::sigset_t);

impl Drop for Restore {
    fn drop(&mut self) {
        // SAFETY: It was a mask of this thread.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, ptr::null_mut()) };
    }
}
