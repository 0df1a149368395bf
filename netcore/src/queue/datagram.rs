//! A datagram between a socket and its handle.

use crate::command::debug::Payload;
use crate::error::Error;
use bytes::Bytes;
use std::fmt;
use std::net::SocketAddr;

/// A received datagram, or one to send.
#[derive(Clone, PartialEq, Eq)]
pub struct Datagram {
    /// The source of a received datagram, the destination of one to send. The port is the echo's
    /// sequence number on ping sockets, 0 on raw sockets.
    pub peer: SocketAddr,
    /// The stack's own address and port, to which it was sent; the port is the echo's identifier on
    /// ping sockets, 0 on raw sockets. In a datagram to send, `None` lets the stack choose the
    /// address and port 0 is the socket's; a socket for any port has none and needs both.
    pub local: Option<SocketAddr>,
    /// The time to live or hop limit of a received datagram; in one to send `None` means the
    /// socket's.
    pub hop_limit: Option<u8>,
    /// On ping sockets, received instead of a reply: the error that `peer` reported for the request
    /// with this sequence number. Otherwise `None`.
    pub error: Option<Error>,
    /// The payload; for raw sockets the whole IP packet.
    pub payload: Bytes,
}

impl fmt::Debug for Datagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datagram")
            .field("peer", &self.peer)
            .field("local", &self.local)
            .field("hop_limit", &self.hop_limit)
            .field("error", &self.error)
            .field("payload", &Payload(&self.payload))
            .finish()
    }
}

impl Datagram {
    /// A datagram to `peer`; the stack chooses its source address and hop limit.
    pub fn new(peer: SocketAddr, payload: Bytes) -> Self {
        Self { peer, local: None, hop_limit: None, error: None, payload }
    }
}
