use crate::command::debug::debug_without_payload;
use crate::id::SocketId;
use bytes::Bytes;
use std::net::SocketAddr;

/// What a UDP-Lite socket can be told to do.
#[derive(Clone)]
#[non_exhaustive]
pub enum Command {
    /// Make a socket; answered by [`Response::Bound`].
    Bind {
        /// The stack's address, or `0.0.0.0` or `[::]` for all of them. Port 0 lets the stack
        /// choose.
        endpoint: SocketAddr,
    },
    /// Queue a datagram to be sent; answered at once.
    Send {
        /// Where to.
        endpoint: SocketAddr,
        /// How many bytes of the payload the checksum covers, beside the header: all with `None`.
        coverage: Option<u16>,
        /// The payload.
        buf: Bytes,
    },
    /// Take the oldest datagram; answered by [`Response::Received`] once there is one.
    Recv,
    /// Close the socket and drop what it has queued; answered at once.
    Close,
}

debug_without_payload!(Command {
    Bind { endpoint },
    Send { endpoint, coverage; buf },
    Recv {},
    Close {},
});

/// What a UDP-Lite socket answers.
#[derive(Clone)]
#[non_exhaustive]
pub enum Response {
    /// A socket was made.
    Bound {
        /// The socket.
        handle: SocketId,
        /// Its address.
        local: SocketAddr,
    },
    /// A datagram has come.
    Received {
        /// Where from.
        remote: SocketAddr,
        /// The payload. Bytes that the checksum does not cover may be damaged.
        buf: Bytes,
    },
}

debug_without_payload!(Response {
    Bound { handle, local },
    Received { remote; buf },
});
