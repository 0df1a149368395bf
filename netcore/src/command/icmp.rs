//! Commands to ping sockets, which send ICMP echo requests and receive the replies.

use crate::command::debug::debug_without_payload;
use crate::error::Error;
use crate::id::SocketId;
use bytes::Bytes;
use std::net::IpAddr;

/// What a ping socket can be told to do.
#[derive(Clone)]
#[non_exhaustive]
pub enum Command {
    /// Make a socket for one family; answered by [`Response::Opened`].
    Open {
        /// `0.0.0.0` or `::`, or one of the stack's addresses to send from.
        local: IpAddr,
    },
    /// Queue an echo request to be sent; answered at once.
    Send {
        /// Where to.
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

/// What a ping socket answers.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Response {
    /// The socket is there.
    Opened {
        /// Names the socket from now on.
        handle: SocketId,
        /// The identifier that its echo requests carry.
        identifier: u16,
    },
    /// Somebody has reported that a request did not arrive.
    Failed {
        /// Who said so: a router, or the target itself.
        remote: IpAddr,
        /// The sequence number of the request.
        sequence: u16,
        /// Why.
        error: Error,
    },
    /// An echo reply was received.
    Received {
        /// Who sent it.
        remote: IpAddr,
        /// The sequence number of the request.
        sequence: u16,
        /// The time to live or hop limit that the reply arrived with.
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
