//! Commands to UDP sockets.

use crate::binding::Families;
use crate::command::debug::debug_without_payload;
use crate::id::SocketId;
use bytes::Bytes;
use std::net::{IpAddr, SocketAddr};

/// A command to a UDP socket.
#[derive(Clone)]
#[non_exhaustive]
pub enum Command {
    /// Create a socket; answered by [`Response::Bound`].
    Bind {
        /// One of the stack's addresses, or `0.0.0.0` or `[::]` for all of them; `[::]` receives
        /// IPv4 too. Port 0 lets the stack choose.
        endpoint: SocketAddr,
    },
    /// As [`Bind`](Self::Bind), on an IPv6 address and for IPv6 only (`IPV6_V6ONLY`).
    BindV6Only {
        /// One of the stack's IPv6 addresses, or `[::]`.
        endpoint: SocketAddr,
    },
    /// As [`Bind`](Self::Bind), with options: those that let sockets share a port count at once.
    BindWith {
        /// As in [`Bind`](Self::Bind).
        endpoint: SocketAddr,
        /// What a socket on `[::]` receives.
        families: Families,
        /// The options.
        options: Options,
    },
    /// Create a socket for all ports without a socket of their own, as transparent proxies need;
    /// answered by [`Response::Bound`], with port 0. Each received datagram has its
    /// [destination](crate::queue::Datagram::local), and each one to send needs a source, which
    /// [`Send`](Self::Send) cannot give.
    BindAnyPort {
        /// One of the stack's addresses, or `0.0.0.0` or `::` for all of them; `::` receives IPv4
        /// too.
        address: IpAddr,
    },
    /// Connect the socket to a peer, or disconnect it; answered by [`Response::Connected`]. Only
    /// the peer's datagrams are received from then on, and ICMP errors about it are reported;
    /// datagrams already received stay. A wildcard socket has the source address to the peer as its
    /// local address until it is disconnected.
    Connect {
        /// The peer; `0.0.0.0` and `[::]` mean this host. `None` disconnects.
        peer: Option<SocketAddr>,
    },
    /// Queue a datagram to be sent; answered at once.
    Send {
        /// The destination.
        endpoint: SocketAddr,
        /// The payload.
        buf: Bytes,
    },
    /// Take the oldest datagram; answered by [`Response::Received`] once there is one.
    Recv {
        /// The maximum payload in bytes; the rest is dropped.
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
    BindWith { endpoint, families, options },
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
    /// Time to live or hop limit of multicast datagrams. Initially 1: they stay on the link.
    pub multicast_hop_limit: u8,
    /// Whether IPv4 multicast datagrams are looped back to members on this stack. Initially true.
    pub multicast_loop_v4: bool,
    /// Likewise for IPv6.
    pub multicast_loop_v6: bool,
    /// Whether datagrams may be sent to broadcast addresses (`SO_BROADCAST`). Initially false.
    pub broadcast: bool,
    /// The differentiated services field (RFC 2474); its two lowest bits are ignored.
    pub traffic_class: u8,
    /// Whether datagrams larger than the MTU of the link, or than the known path MTU, are refused
    /// instead of fragmented: the next call then fails with
    /// [`Error::MessageTooLarge`](crate::Error::MessageTooLarge).
    pub dont_fragment: bool,
    /// Whether the socket shares its address and port with others that have this set (`SO_REUSEADDR`).
    /// A datagram is for the one that is connected to its sender, or else for the one bound last;
    /// one to a group or a broadcast address is for all. Initially false.
    pub reuse_address: bool,
    /// Whether the socket shares its address and port with others that have this set
    /// (`SO_REUSEPORT`). A datagram is for the one that is connected to its sender, or else for one
    /// that is chosen by the sender's address and port: always the same while none is bound or
    /// closed. Initially false.
    pub reuse_port: bool,
}

impl Options {
    /// Both ways to share a port.
    pub(crate) fn reuse(self) -> (bool, bool) {
        (self.reuse_address, self.reuse_port)
    }

    /// The configured hop limit of datagrams to this address, if any.
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
            reuse_address: false,
            reuse_port: false,
        }
    }
}

/// A response of a UDP socket.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Response {
    /// The socket was created.
    Bound {
        /// The id of the socket.
        handle: SocketId,
        /// The address with the port that was chosen.
        local: SocketAddr,
    },
    /// The socket was connected or disconnected.
    Connected {
        /// The local address of the socket now.
        local: SocketAddr,
    },
    /// A datagram was received.
    Received {
        /// The sender.
        remote: SocketAddr,
        /// The payload, truncated to the command's maximum.
        buf: Bytes,
        /// The original length of a truncated payload, in bytes.
        truncated: Option<usize>,
    },
}

debug_without_payload!(Response {
    Bound { handle, local },
    Connected { local },
    Received { remote, truncated; buf },
});
