//! Commands to raw sockets, which receive and send whole IP packets of one protocol.

use crate::command::debug::debug_without_payload;
use crate::id::SocketId;
use bytes::Bytes;

/// A command to a raw socket.
#[derive(Clone)]
#[non_exhaustive]
pub enum Command {
    /// Create a socket; answered by [`Response::Opened`].
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
    /// Take the oldest packet; answered by [`Response::Received`] once there is one. Fragmented
    /// packets are reassembled.
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

/// A response of a raw socket.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Response {
    /// The socket was created.
    Opened {
        /// The id of the socket.
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
