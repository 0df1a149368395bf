//! What sockets share with their handles: bounded queues, one lock and one set of waiters a side.
//!
//! The data path runs over these and not over the command channel, so that no read or write waits
//! for an answer and dropping a future loses nothing: what was not taken is still queued, and what
//! was taken is no longer the future's business.

mod accept;
mod bounded;
mod bytes;
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

pub(crate) use datagram_queue::Pushed;
pub(crate) use failure::End;
pub(crate) use sides::Received;

use crate::sync::Arc;

/// The queue of one socket, as a handle receives it beside the answer to the command that made
/// the socket.
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
