//! Commands to TCP listeners and connections.

pub use crate::binding::Families;
use crate::command::debug::debug_without_payload;
use crate::id::SocketId;
use crate::tcp::reservation::Reservation;
use bytes::Bytes;
use std::net::SocketAddr;
use std::time::Duration;

/// What a TCP socket can be told to do.
#[derive(Clone)]
#[non_exhaustive]
pub enum Command {
    /// Listen for connections; answered by [`Response::Listening`].
    Listen {
        /// The stack's address, or `0.0.0.0` or `[::]` for all of them; `[::]` takes IPv4 too,
        /// unless told otherwise. Port 0 lets the stack choose.
        local: SocketAddr,
        /// For the listener and the connections that it makes.
        options: ListenOptions,
    },
    /// Listen on a port that was [reserved](crate::Channel::reserve_tcp); answered by
    /// [`Response::Listening`].
    ListenReserved {
        /// The address and the port, and for which families.
        reservation: Reservation,
        /// As for [`Listen`](Self::Listen); `families` and `any_port` have no meaning.
        options: ListenOptions,
    },
    /// Take the oldest connection of a listener; answered by [`Response::Accepted`] once there is
    /// one, or by [`Response::Held`] if the listener [holds](OnSyn::Hold) SYNs.
    Accept,
    /// Answer a held SYN; answered by [`Response::Accepted`] when the handshake is done. The
    /// connection has the handle of the SYN.
    Admit,
    /// Turn a held SYN away; answered at once.
    Refuse {
        /// What its sender is told.
        how: Refusal,
    },
    /// Connect; answered by [`Response::Connected`] when the handshake is done.
    Connect {
        /// Where to.
        remote: SocketAddr,
        /// Where from; `None` or port 0 lets the stack choose.
        local: Option<SocketAddr>,
        /// For the connection.
        options: Options,
    },
    /// Connect from a port that was [reserved](crate::Channel::reserve_tcp), which stays so for as
    /// long as there is the connection; answered by [`Response::Connected`] when the handshake is
    /// done.
    ConnectReserved {
        /// Where from.
        reservation: Reservation,
        /// Where to.
        remote: SocketAddr,
        /// For the connection.
        options: Options,
    },
    /// Queue bytes to be sent; answered by [`Response::Sent`] once at least one was taken.
    Send {
        /// The bytes.
        buf: Bytes,
    },
    /// Take received bytes; answered by [`Response::Received`] once there are any, or by
    /// [`Response::Finished`].
    Recv {
        /// At most this many; `None` for as many as are there in one piece.
        max_len: Option<usize>,
    },
    /// Replace the options of a connection; answered at once. Buffer sizes are those that it began
    /// with.
    SetOptions(Box<Options>),
    /// Shut the write half down: the peer sees the end of the stream after all queued bytes.
    Shutdown,
    /// Close the listener, or the connection after its queued bytes are sent, or refuse a held SYN
    /// with a reset; answered at once.
    Close,
    /// Reset the connection.
    Abort,
}

debug_without_payload!(Command {
    Listen { local, options },
    ListenReserved { reservation, options },
    Accept {},
    Admit {},
    Refuse { how },
    Connect { remote, local, options },
    ConnectReserved { reservation, remote, options },
    Send { ; buf },
    Recv { max_len },
    Shutdown {},
    Close {},
    Abort {},
} SetOptions);

/// What a TCP socket answers.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Response {
    /// The listener listens.
    Listening {
        /// Names the listener from now on.
        handle: SocketId,
        /// The address with the port that was chosen.
        local: SocketAddr,
    },
    /// A connection was accepted.
    Accepted {
        /// Names the connection from now on.
        handle: SocketId,
        /// The address that the peer dialled.
        local: SocketAddr,
        /// The peer.
        remote: SocketAddr,
    },
    /// A SYN is held until somebody decides what becomes of it.
    Held {
        /// Names the SYN from now on.
        handle: SocketId,
        /// The address that the peer dialled.
        local: SocketAddr,
        /// The peer.
        remote: SocketAddr,
    },
    /// The connection is established.
    Connected {
        /// Names the connection from now on.
        handle: SocketId,
        /// This end's address.
        local: SocketAddr,
        /// The peer.
        remote: SocketAddr,
    },
    /// Bytes were queued.
    Sent {
        /// How many; the rest of the buffer was not taken.
        n: usize,
    },
    /// Bytes were received; never empty.
    Received {
        /// The bytes.
        buf: Bytes,
    },
    /// The peer will send no more: end of the stream.
    Finished,
}

debug_without_payload!(Response {
    Listening { handle, local },
    Accepted { handle, local, remote },
    Held { handle, local, remote },
    Connected { handle, local, remote },
    Sent { n },
    Received { ; buf },
    Finished {},
});

/// Options of a TCP connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Send small segments at once instead of gathering them while data is in flight (RFC 896).
    /// Off by default, as on the kernel.
    pub nodelay: bool,
    /// Time to live or hop limit of every segment; `None` is 64. Never 0.
    pub hop_limit: Option<u8>,
    /// When an idle peer is probed, and given up; `None` never does.
    pub keep_alive: Option<KeepAlive>,
    /// How long data may remain unacknowledged before the connection is given up (RFC 5482);
    /// `None` takes [`TcpConfig::retransmit_timeout`](crate::TcpConfig::retransmit_timeout).
    pub user_timeout: Option<Duration>,
    /// Acknowledge every segment at once, instead of waiting a moment for one to go along with.
    pub quickack: bool,
    /// The byte of the IP header that asks routers for a treatment: the differentiated services
    /// field (RFC 2474), without its two lowest bits.
    pub traffic_class: u8,
    /// The most that the peer may send ahead of the reader, in bytes; `None` takes
    /// [`TcpConfig::recv_buffer_bytes`](crate::TcpConfig::recv_buffer_bytes). Fixed once the connection
    /// is made.
    pub recv_buffer_bytes: Option<usize>,
    /// The most that may be in flight, in bytes; `None` takes
    /// [`TcpConfig::send_buffer_bytes`](crate::TcpConfig::send_buffer_bytes). Fixed once the connection
    /// is made.
    pub send_buffer_bytes: Option<usize>,
    /// How closing behaves: `None` sends what is queued in the background, zero resets at once.
    pub linger: Option<Duration>,
    /// How long a connect may take; `None` takes
    /// [`TcpConfig::connect_timeout`](crate::TcpConfig::connect_timeout).
    pub connect_timeout: Option<Duration>,
}

/// When the peer of an idle connection is probed (RFC 9293 section 3.8.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// How long nothing must have been heard of the peer before the first probe.
    pub idle: Duration,
    /// The time between two probes.
    pub interval: Duration,
    /// After how many probes without an answer the connection is given up; at least 1.
    pub count: u32,
}

impl Default for KeepAlive {
    /// Linux's values: two hours, 75 s and 9.
    fn default() -> Self {
        Self { idle: Duration::from_secs(7200), interval: Duration::from_secs(75), count: 9 }
    }
}

/// Options of a TCP listener.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListenOptions {
    /// How many connections may wait to be accepted; further SYNs are dropped then, and tried
    /// again by the peer. `None` takes [`TcpConfig::backlog_max`](crate::TcpConfig::backlog_max).
    pub backlog_max: Option<usize>,
    /// Whether a listener on `[::]` takes IPv4 connections too.
    pub families: Families,
    /// Whether it takes connections to every port that no other listener has; the port of its own
    /// address is 0 then. With [`set_any_ip`](crate::Netstack::set_any_ip) it takes connections to
    /// anybody, each with the destination that its peer dialled as its local address.
    pub any_port: bool,
    /// What becomes of a SYN before anybody has accepted it.
    pub on_syn: OnSyn,
    /// What each connection starts with.
    pub connection: Options,
}

/// What a listener does with a SYN.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnSyn {
    /// Answers it, so that the connection is made while nobody accepts it, as on the kernel.
    #[default]
    Answer,
    /// Says nothing and holds it, until it is admitted or refused. Held SYNs count as half-open
    /// connections, of which the oldest makes room for a new one, and are forgotten after
    /// [`TcpConfig::handshake_timeout`](crate::TcpConfig::handshake_timeout);
    /// [`backlog_max`](ListenOptions::backlog_max) has no meaning then.
    Hold,
}

/// How a held SYN is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// With a reset, as a port where nobody listens does (RFC 9293 section 3.10.7.1).
    Reset,
    /// With "network unreachable" (RFC 792), "no route to destination" (RFC 4443).
    NetworkUnreachable,
    /// With "host unreachable" (RFC 792), "address unreachable" (RFC 4443).
    HostUnreachable,
    /// With "port unreachable" (RFC 792, RFC 4443).
    PortUnreachable,
    /// With "communication administratively prohibited" (RFC 1812 section 5.2.7.1, RFC 4443).
    Prohibited,
    /// Without a word: the peer tries again, and that SYN is held anew.
    Silence,
}

impl From<std::io::ErrorKind> for Refusal {
    /// What tells a peer best that a connection made for it has failed with such an error. A
    /// timeout becomes [`HostUnreachable`](Self::HostUnreachable), and what no message stands for
    /// [`Reset`](Self::Reset).
    fn from(kind: std::io::ErrorKind) -> Self {
        use std::io::ErrorKind;
        match kind {
            ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => Self::NetworkUnreachable,
            ErrorKind::HostUnreachable | ErrorKind::TimedOut => Self::HostUnreachable,
            ErrorKind::PermissionDenied => Self::Prohibited,
            _ => Self::Reset,
        }
    }
}
