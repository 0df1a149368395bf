//! Queues between sockets and their handles: bounded, with one lock and one set of waiters per
//! side.
//!
//! Data goes through these queues and not through the command channel, so no read or write waits
//! for an answer, and a dropped future loses nothing: bytes are either still queued or already
//! returned.

mod accept;
mod bounded;
mod bytes;
mod copies;
mod datagram;
mod datagram_queue;
mod failure;
mod held;
mod peer;
mod readiness;
mod sides;
mod stream;
mod waiters;

pub use accept::AcceptQueue;
pub use datagram::Datagram;
pub use datagram_queue::DatagramQueue;
pub use held::HeldSyn;
pub use readiness::{SideState, Tick};
pub use stream::StreamQueue;
pub use waiters::WaitKey;

pub(crate) use bytes::ByteQueue;
pub(crate) use copies::Copies;
pub(crate) use datagram_queue::Pushed;
pub(crate) use failure::End;
pub(crate) use sides::Received;

use crate::sync::Arc;

/// The queue of a socket, which a handle receives beside the answer to the command that created the
/// socket.
#[derive(Debug, Clone)]
pub enum SocketQueue {
    /// Of a TCP connection.
    Stream(Arc<StreamQueue>),
    /// Of a TCP listener.
    Accept(Arc<AcceptQueue>),
    /// Of a SYN that a TCP listener holds.
    Held(Arc<HeldSyn>),
    /// Of a UDP, ping or raw socket.
    Datagram(Arc<DatagramQueue>),
}
