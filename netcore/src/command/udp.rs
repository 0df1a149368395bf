//! Commands to UDP sockets.

use crate::command::debug::debug_without_payload;
use crate::id::SocketId;
use bytes::Bytes;
use std::net::{IpAddr, SocketAddr};

/// What a UDP socket can be told to do.
#[derive(Clone)]
#[non_exhaustive]
pub enum Command {
    /// Make a socket; answered by [`Response::Bound`].
    Bind {
        /// The stack's address, or `0.0.0.0` or `[::]` for all of them; `[::]` takes IPv4 too.
        /// Port 0 lets the stack choose.
        endpoint: SocketAddr,
    },
    /// As [`Bind`](Self::Bind), on an IPv6 address, and leaving IPv4 to others.
    BindV6Only {
        /// The stack's IPv6 address, or `[::]`.
        endpoint: SocketAddr,
    },
    /// Make a socket for all ports that no other socket has, as those need who intercept what is
    /// sent to others; answered by [`Response::Bound`], with port 0. Each datagram that it receives
    /// says [where it was sent to](crate::queue::Datagram::local), and each that it sends has to
    /// say where from, which [`Send`](Self::Send) cannot.
    BindAnyPort {
        /// The stack's address, or `0.0.0.0` or `::` for all of them; `::` takes IPv4 too.
        address: IpAddr,
    },
    /// Connect the socket to a peer, or disconnect it; answered by [`Response::Connected`]. Only the
    /// peer's datagrams are received from then on, and errors that concern it are told; what was
    /// received before stays. A socket that is bound to all addresses is at the one that it sends
    /// to the peer from, until it is disconnected.
    Connect {
        /// The peer; `0.0.0.0` and `[::]` stand for this host. `None` disconnects.
        peer: Option<SocketAddr>,
    },
    /// Queue a datagram to be sent; answered at once.
    Send {
        /// Where to.
        endpoint: SocketAddr,
        /// The payload.
        buf: Bytes,
    },
    /// Take the oldest datagram; answered by [`Response::Received`] once there is one.
    Recv {
        /// Cut the payload after this many bytes, and drop the rest.
        max_len: Option<usize>,
    },
    /// Replace the socket's options, for datagrams that are queued from now on; answered at once.
    SetOptions(Options),
    /// Close the socket after its queued datagrams are sent; answered at once.
    Close,
}

debug_without_payload!(Command {
    Bind { endpoint },
    BindV6Only { endpoint },
    BindAnyPort { address },
    Connect { peer },
    Send { endpoint; buf },
    Recv { max_len },
    Close {},
} SetOptions);

/// Options of a UDP socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Time to live or hop limit of every datagram to a single host; `None` is 64. Never 0.
    pub hop_limit: Option<u8>,
    /// Time to live or hop limit of datagrams to a group. 1 at first: they stay on the link.
    pub multicast_hop_limit: u8,
    /// Whether datagrams to an IPv4 group come back to sockets of this stack that are in it. So at
    /// first.
    pub multicast_loop_v4: bool,
    /// The same for IPv6.
    pub multicast_loop_v6: bool,
    /// Whether datagrams may be sent to broadcast addresses. Not at first, so that nobody does so
    /// unawares.
    pub broadcast: bool,
    /// The differentiated services field (RFC 2474), without its two lowest bits.
    pub traffic_class: u8,
    /// Whether datagrams larger than the MTU of the link, or of the path as far as it is known, are
    /// refused instead of sent in fragments: the next call then fails with [`Error::MessageTooLarge`](crate::Error::MessageTooLarge).
    pub dont_fragment: bool,
}

impl Options {
    /// The hop limit of datagrams to this address, if one was chosen.
    pub(crate) fn hop_limit_to(self, destination: IpAddr) -> Option<u8> {
        match destination.is_multicast() {
            true => Some(self.multicast_hop_limit),
            false => self.hop_limit,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            hop_limit: None,
            multicast_hop_limit: 1,
            multicast_loop_v4: true,
            multicast_loop_v6: true,
            broadcast: false,
            traffic_class: 0,
            dont_fragment: false,
        }
    }
}

/// What a UDP socket answers.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Response {
    /// The socket is there.
    Bound {
        /// Names the socket from now on.
        handle: SocketId,
        /// The address with the port that was chosen.
        local: SocketAddr,
    },
    /// The socket is connected, or is so no more.
    Connected {
        /// The address that the socket is at now.
        local: SocketAddr,
    },
    /// A datagram was received.
    Received {
        /// Who sent it.
        remote: SocketAddr,
        /// The payload, cut if the command said so.
        buf: Bytes,
        /// How long the payload was before it was cut, if it was.
        truncated: Option<usize>,
    },
}

debug_without_payload!(Response {
    Bound { handle, local },
    Connected { local },
    Received { remote, truncated; buf },
});
