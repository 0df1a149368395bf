//! Commands to the stack as a whole.

use crate::snapshot::Snapshot;

/// What a stack can be told to do.
#[derive(Debug, Clone)]
pub enum Command {
    /// Nothing: wakes the stack's driver.
    Wake,
    /// Report all sockets and counters; answered by [`Response::Snapshot`]. Costs time in
    /// proportion to the number of sockets.
    Snapshot,
    /// Refuse what is new from now on and close everything that is there, as if all handles had
    /// been dropped; answered at once. [`Netstack::is_drained`](crate::Netstack::is_drained) tells
    /// when that is done.
    Shutdown,
}

/// What a stack answers.
#[derive(Debug, Clone)]
pub enum Response {
    /// The sockets and counters at this moment.
    Snapshot(Box<Snapshot>),
}
