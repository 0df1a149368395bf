//! Programs of other processes on the stack.

use netsocket::Net;
use std::fmt::Debug;
use std::io;
use std::os::unix::net::UnixStream;

/// What takes programs of other processes onto a stack, as `netstack run --join` asks with
/// [`Command::Join`](super::Command::Join). [`Builder::host`](crate::Builder::host) gives a stack
/// one.
pub trait Host: Debug + Send + Sync {
    /// Takes a program, or refuses to. Called on the thread of the control socket: it must not block.
    ///
    /// # Errors
    ///
    /// Why it does not take the program; the client is told.
    fn join(&self, joining: Joining) -> io::Result<Serve>;
}

/// What serves a program that was taken, with the rest of the client's stream, which is
/// non-blocking. Called on the thread of the control socket: it must not block.
pub type Serve = Box<dyn FnOnce(UnixStream) + Send>;

/// A program that is to be on the stack.
#[derive(Debug)]
#[non_exhaustive]
pub struct Joining {
    /// The stack.
    pub net: Net,
    /// The name of its link, as `ip` shows it; empty without one.
    pub interface: String,
    /// The process of the client, which is of the same user or root.
    pub process: u32,
    /// The descriptor of that process where the system calls of the program arrive.
    pub listener: i32,
    /// Whether `sendmsg` and `recvmsg` arrive there, too.
    pub messages: bool,
}
