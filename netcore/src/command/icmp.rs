//! Commands to ping sockets, which send ICMP echo requests and receive the replies.

use crate::command::debug::debug_without_payload;
use crate::error::Error;
use crate::id::SocketId;
use bytes::Bytes;
use std::net::IpAddr;

/// A command to a ping socket.
#[derive(Clone)]
#[non_exhaustive]
pub enum Command {
    /// Create a socket for one family; answered by [`Response::Opened`].
    Open {
        /// `0.0.0.0` or `::`, or the source address, one of the stack's.
        local: IpAddr,
    },
    /// Queue an echo request to be sent; answered at once.
    Send {
        /// The destination.
        remote: IpAddr,
        /// The echo's sequence number; its identifier is the socket's.
        sequence: u16,
        /// The payload.
        buf: Bytes,
    },
    /// Take the oldest reply; answered by [`Response::Received`], or [`Response::Failed`], once
    /// there is one.
    Recv,
    /// Close the socket; answered at once.
    Close,
}

debug_without_payload!(Command {
    Open { local },
    Send { remote, sequence; buf },
    Recv {},
    Close {},
});

/// A response of a ping socket.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Response {
    /// The socket was created.
    Opened {
        /// The id of the socket.
        handle: SocketId,
        /// The identifier of its echo requests.
        identifier: u16,
    },
    /// An ICMP error about a request was received.
    Failed {
        /// The sender of the error: a router, or the target itself.
        remote: IpAddr,
        /// The sequence number of the request.
        sequence: u16,
        /// The error.
        error: Error,
    },
    /// An echo reply was received.
    Received {
        /// The sender.
        remote: IpAddr,
        /// The sequence number of the request.
        sequence: u16,
        /// The time to live or hop limit of the reply.
        hop_limit: u8,
        /// The payload.
        buf: Bytes,
    },
}

debug_without_payload!(Response {
    Opened { handle, identifier },
    Failed { remote, sequence, error },
    Received { remote, sequence, hop_limit; buf },
});
