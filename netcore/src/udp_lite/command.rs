use crate::command::debug::debug_without_payload;
use crate::id::SocketId;
use bytes::Bytes;
use std::net::SocketAddr;

/// A command to a UDP-Lite socket.
#[derive(Clone)]
#[non_exhaustive]
pub enum Command {
    /// Create a socket; answered by [`Response::Bound`].
    Bind {
        /// One of the stack's addresses, or `0.0.0.0` or `[::]` for all of them. Port 0 lets the
        /// stack choose.
        endpoint: SocketAddr,
    },
    /// Queue a datagram to be sent; answered at once.
    Send {
        /// The destination.
        endpoint: SocketAddr,
        /// Bytes of the payload that the checksum covers besides the header; `None` for all.
        coverage: Option<u16>,
        /// The payload.
        buf: Bytes,
    },
    /// Take the oldest datagram; answered by [`Response::Received`] once there is one.
    Recv,
    /// Close the socket and drop its queued datagrams; answered at once.
    Close,
}

debug_without_payload!(Command {
    Bind { endpoint },
    Send { endpoint, coverage; buf },
    Recv {},
    Close {},
});

/// A response of a UDP-Lite socket.
#[derive(Clone)]
#[non_exhaustive]
pub enum Response {
    /// The socket was created.
    Bound {
        /// The id of the socket.
        handle: SocketId,
        /// Its local address.
        local: SocketAddr,
    },
    /// A datagram was received.
    Received {
        /// The sender.
        remote: SocketAddr,
        /// The payload. Bytes that the checksum does not cover may be damaged.
        buf: Bytes,
    },
}

debug_without_payload!(Response {
    Bound { handle, local },
    Received { remote; buf },
});
