//! A datagram between a socket and its handle.

use crate::command::debug::Payload;
use crate::error::Error;
use bytes::Bytes;
use std::fmt;
use std::net::SocketAddr;

/// One datagram on its way in or out.
#[derive(Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Where it came from, or goes to. Ping sockets keep the echo's sequence number in the port;
    /// raw sockets leave the port 0.
    pub peer: SocketAddr,
    /// The stack's own address and port that it came to; of ping sockets the port is the echo's
    /// identifier, of raw ones 0. On the way out `None` lets the stack choose the address, and port
    /// 0 stands for the socket's; a socket that intercepts has none and needs both.
    pub local: Option<SocketAddr>,
    /// The time to live or hop limit that it arrived with; on the way out `None` means the
    /// socket's own.
    pub hop_limit: Option<u8>,
    /// For ping sockets, on the way in: what `peer` said of the request with this sequence number,
    /// instead of a reply. `None` of everything else.
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
    /// One that goes to `peer` from the address, and with the hop limit, that the stack chooses.
    pub fn new(peer: SocketAddr, payload: Bytes) -> Self {
        Self { peer, local: None, hop_limit: None, error: None, payload }
    }
}
