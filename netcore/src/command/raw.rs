//! Commands to raw sockets, which see and send whole IP packets of one protocol.

use crate::command::debug::debug_without_payload;
use crate::id::SocketId;
use bytes::Bytes;

/// What a raw socket can be told to do.
#[derive(Clone)]
#[non_exhaustive]
pub enum Command {
    /// Make a socket; answered by [`Response::Opened`].
    Open {
        /// The IP version of its packets.
        version: Version,
        /// The protocol number, as in the IP header.
        protocol: u8,
    },
    /// Queue a packet to be sent; answered at once. Its length and header checksum are filled in;
    /// everything else is sent as given.
    Send {
        /// The packet with its IP header.
        packet: Bytes,
    },
    /// Take the oldest packet; answered by [`Response::Received`] once there is one. Fragments
    /// have been put together.
    Recv,
    /// Close the socket; answered at once.
    Close,
}

debug_without_payload!(Command {
    Open { version, protocol },
    Send { ; packet },
    Recv {},
    Close {},
});

/// An IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What a raw socket answers.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Response {
    /// The socket is there.
    Opened {
        /// Names the socket from now on.
        handle: SocketId,
    },
    /// A packet was received.
    Received {
        /// The packet with its IP header.
        packet: Bytes,
    },
}

debug_without_payload!(Response {
    Opened { handle },
    Received { ; packet },
});
