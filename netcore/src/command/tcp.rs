//! Commands to TCP listeners and connections.

pub use crate::binding::Families;
use crate::command::debug::debug_without_payload;
use crate::id::SocketId;
use crate::tcp::congestion::CongestionControl;
use crate::tcp::info::TcpInfo;
use crate::tcp::reservation::Reservation;
use bytes::Bytes;
use std::net::SocketAddr;
use std::time::Duration;

/// A command to a TCP socket.
#[derive(Clone)]
#[non_exhaustive]
pub enum Command {
    /// Listen for connections; answered by [`Response::Listening`].
    Listen {
        /// One of the stack's addresses, or `0.0.0.0` or `[::]` for all of them; `[::]` accepts
        /// IPv4 too, depending on [`ListenOptions::families`]. Port 0 lets the stack choose.
        local: SocketAddr,
        /// Options of the listener and of its connections.
        options: ListenOptions,
    },
    /// Listen on a port that was [reserved](crate::Channel::reserve_tcp); answered by
    /// [`Response::Listening`].
    ListenReserved {
        /// The address, port and families.
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
    /// Refuse a held SYN; answered at once.
    Refuse {
        /// The reply to its sender.
        how: Refusal,
    },
    /// Connect; answered by [`Response::Connected`] when the handshake is done.
    Connect {
        /// The destination.
        remote: SocketAddr,
        /// The local address; `None` or port 0 lets the stack choose.
        local: Option<SocketAddr>,
        /// Options of the connection.
        options: Options,
    },
    /// Connect from a port that was [reserved](crate::Channel::reserve_tcp), which stays reserved
    /// while the connection exists; answered by [`Response::Connected`] when the handshake is done.
    ConnectReserved {
        /// The reserved local address and port.
        reservation: Reservation,
        /// The destination.
        remote: SocketAddr,
        /// Options of the connection.
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
        /// The maximum number; `None` for all that are contiguous.
        max_len: Option<usize>,
    },
    /// Replace the options of a connection; answered at once. Buffer sizes stay those of its
    /// creation.
    SetOptions(Box<Options>),
    /// Read the numbers of a connection; answered by [`Response::Info`] in the next round.
    Info,
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
    Info {},
    Shutdown {},
    Close {},
    Abort {},
} SetOptions);

/// A response of a TCP socket.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Response {
    /// The listener was created.
    Listening {
        /// The id of the listener.
        handle: SocketId,
        /// The address with the port that was chosen.
        local: SocketAddr,
    },
    /// A connection was accepted.
    Accepted {
        /// The id of the connection.
        handle: SocketId,
        /// The destination address of the SYN.
        local: SocketAddr,
        /// The peer.
        remote: SocketAddr,
    },
    /// A SYN is held until it is admitted or refused.
    Held {
        /// The id of the SYN.
        handle: SocketId,
        /// The destination address of the SYN.
        local: SocketAddr,
        /// The peer.
        remote: SocketAddr,
    },
    /// The connection is established.
    Connected {
        /// The id of the connection.
        handle: SocketId,
        /// The local address.
        local: SocketAddr,
        /// The peer.
        remote: SocketAddr,
    },
    /// Bytes were queued.
    Sent {
        /// The number of bytes; the rest of the buffer was not queued.
        n: usize,
    },
    /// Bytes were received; never empty.
    Received {
        /// The bytes.
        buf: Bytes,
    },
    /// The end of the stream: the peer has sent a FIN.
    Finished,
    /// The numbers of the connection.
    Info(Box<TcpInfo>),
}

debug_without_payload!(Response {
    Listening { handle, local },
    Accepted { handle, local, remote },
    Held { handle, local, remote },
    Connected { handle, local, remote },
    Sent { n },
    Received { ; buf },
    Finished {},
} Info);

/// Options of a TCP connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Send small segments at once instead of gathering them while data is in flight (RFC 896).
    /// Off by default, as on the kernel.
    pub nodelay: bool,
    /// Time to live or hop limit of every segment; `None` is 64. Never 0.
    pub hop_limit: Option<u8>,
    /// Keep-alive probes of an idle peer; `None` sends none.
    pub keep_alive: Option<KeepAlive>,
    /// How long data may remain unacknowledged before the connection fails (RFC 5482); `None` is
    /// [`TcpConfig::retransmit_timeout`](crate::TcpConfig::retransmit_timeout).
    pub user_timeout: Option<Duration>,
    /// Acknowledge every segment at once, without delayed acknowledgements.
    pub quickack: bool,
    /// Congestion control (Linux: `TCP_CONGESTION`); `None` is
    /// [`TcpConfig::congestion_control`](crate::TcpConfig::congestion_control). A change while
    /// the connection is open begins again with the initial window.
    pub congestion_control: Option<CongestionControl>,
    /// The differentiated services field (RFC 2474); its two lowest bits are ignored.
    pub traffic_class: u8,
    /// Bytes of the receive buffer; `None` is
    /// [`TcpConfig::recv_buffer_bytes`](crate::TcpConfig::recv_buffer_bytes) at first, which then
    /// grows. Fixed once the connection is made.
    pub recv_buffer_bytes: Option<usize>,
    /// Bytes of the send buffer, the most that is unacknowledged; `None` is
    /// [`TcpConfig::send_buffer_bytes`](crate::TcpConfig::send_buffer_bytes) at first, which then
    /// grows. Fixed once the connection is made.
    pub send_buffer_bytes: Option<usize>,
    /// Linger on close (`SO_LINGER`): `None` sends queued bytes in the background, zero resets at
    /// once.
    pub linger: Option<Duration>,
    /// How long a connect may take; `None` is
    /// [`TcpConfig::connect_timeout`](crate::TcpConfig::connect_timeout).
    pub connect_timeout: Option<Duration>,
}

/// Keep-alive parameters (RFC 9293 section 3.8.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// Idle time before the first probe.
    pub idle: Duration,
    /// The time between two probes.
    pub interval: Duration,
    /// Unanswered probes after which the connection fails; at least 1.
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
    /// Connections that may wait to be accepted; further SYNs are dropped, and retransmitted by the
    /// peer. `None` is [`TcpConfig::backlog_max`](crate::TcpConfig::backlog_max).
    pub backlog_max: Option<usize>,
    /// Whether a listener on `[::]` accepts IPv4 connections too.
    pub families: Families,
    /// Whether it accepts connections to every port without a listener of its own; its address then
    /// has port 0. With [`set_any_ip`](crate::Netstack::set_any_ip) it accepts connections to any
    /// address, with the destination of the SYN as the local address.
    pub any_port: bool,
    /// The handling of a SYN before accept.
    pub on_syn: OnSyn,
    /// Initial options of its connections.
    pub connection: Options,
}

/// The handling of SYNs by a listener.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnSyn {
    /// Answers it with SYN|ACK, so that the handshake completes before accept, as on Linux.
    #[default]
    Answer,
    /// Holds it unanswered until it is admitted or refused. Held SYNs count as half-open
    /// connections, of which a new one evicts the oldest, and are dropped after
    /// [`TcpConfig::handshake_timeout`](crate::TcpConfig::handshake_timeout);
    /// [`backlog_max`](ListenOptions::backlog_max) has no meaning then.
    Hold,
}

/// The reply to a refused SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// With a reset, as from a port without a listener (RFC 9293 section 3.10.7.1).
    Reset,
    /// With "network unreachable" (RFC 792), "no route to destination" (RFC 4443).
    NetworkUnreachable,
    /// With "host unreachable" (RFC 792), "address unreachable" (RFC 4443).
    HostUnreachable,
    /// With "port unreachable" (RFC 792, RFC 4443).
    PortUnreachable,
    /// With "communication administratively prohibited" (RFC 1812 section 5.2.7.1, RFC 4443).
    Prohibited,
    /// Without a reply: the peer retransmits, and that SYN is held again.
    Silence,
}

impl From<std::io::ErrorKind> for Refusal {
    /// The refusal that best reports the failure of an outgoing connection to the peer. A timeout
    /// becomes [`HostUnreachable`](Self::HostUnreachable), an error without an ICMP message
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
