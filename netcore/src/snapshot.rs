//! A printable snapshot of a stack.

use crate::counters::Counters;
use crate::ethernet::MacAddr;
use crate::id::SocketId;
use crate::owner::Owner;
use crate::tcp::info::TcpInfo;
use crate::time::Instant;
use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The sockets and counters of a stack at one moment. Displays like `netstat`.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Snapshot {
    /// The sockets, in no particular order.
    pub sockets: Vec<SocketInfo>,
    /// Connections in TIME-WAIT, local and peer address, in no particular order.
    pub time_wait: Vec<(SocketAddr, SocketAddr)>,
    /// The neighbours on an Ethernet link, the most recently used first.
    pub neighbours: Vec<NeighbourInfo>,
    /// Memory that TCP holds for what is unread, unsent or unacknowledged, in bytes.
    pub buffer_bytes: usize,
    /// The time of the snapshot: that of the stack's last round.
    pub now: Instant,
    /// Number of sockets with a running timer.
    pub timers: usize,
    /// The counters.
    pub counters: Counters,
}

/// A part of the sockets of a stack: those in some slots of its table.
///
/// Sockets made or removed between two pages may be in none; no socket is in two.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketPage {
    /// The sockets.
    pub sockets: Vec<SocketInfo>,
    /// The slot at which the next page begins; `None` after the last.
    pub next: Option<usize>,
}

/// A part of the connections in TIME-WAIT.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimeWaitPage {
    /// Local and peer address of each, in the order in which they end.
    pub flows: Vec<(SocketAddr, SocketAddr)>,
    /// The time after which those of the next page end; `None` after the last.
    pub next: Option<Instant>,
}

/// A stack at one moment, without its sockets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
#[non_exhaustive]
pub struct Overview {
    /// Number of sockets.
    pub sockets: usize,
    /// Number of connections in TIME-WAIT.
    pub time_wait: usize,
    /// Number of sockets with a running timer.
    pub timers: usize,
    /// Memory that TCP holds for what is unread, unsent or unacknowledged, in bytes.
    pub buffer_bytes: usize,
    /// The time: that of the stack's last round.
    pub now: Instant,
    /// The counters.
    pub counters: Counters,
}

/// One socket.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SocketInfo {
    /// The id of the socket.
    pub id: SocketId,
    /// Its kind.
    pub kind: SocketKind,
    /// Its local address.
    pub local: SocketAddr,
    /// Whether it is bound to every port without a socket of its own; `local` has port 0 then.
    pub any_port: bool,
    /// Its peer, if it has one.
    pub peer: Option<SocketAddr>,
    /// The state of a TCP socket. A held SYN is in SYN-RECEIVED.
    pub state: Option<TcpState>,
    /// Bytes received and not yet read; for a listener, connections not yet accepted.
    pub receive_queue: usize,
    /// Bytes written and not yet acknowledged; for a listener, half-open connections.
    pub send_queue: usize,
    /// The event that it waits for.
    pub waiting: Waiting,
    /// Its next timer, in the stack's time.
    pub timer: Option<(Timer, Instant)>,
    /// Who made it: a name that was given, and with [`Config::socket_owners`](crate::Config::socket_owners) the
    /// thread and the task.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub owner: Option<Box<Owner>>,
    /// The numbers of a TCP connection.
    pub tcp: Option<Box<TcpInfo>>,
}

/// The kind of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum SocketKind {
    /// A TCP connection or listener.
    Tcp,
    /// A UDP socket.
    Udp,
    /// A socket for ICMP echo.
    Ping,
    /// A raw socket.
    Raw,
}

/// A state of RFC 9293 section 3.3.2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[expect(missing_docs, reason = "RFC 9293 explains each")]
pub enum TcpState {
    #[default]
    Closed,
    Listen,
    SynSent,
    SynReceived,
    Established,
    #[cfg_attr(feature = "serde", serde(rename = "fin-wait-1"))]
    FinWait1,
    #[cfg_attr(feature = "serde", serde(rename = "fin-wait-2"))]
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
}

impl fmt::Display for SocketKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Ping => "ping",
            Self::Raw => "raw",
        })
    }
}

impl TcpState {
    /// All states.
    pub const ALL: [Self; 11] = [
        Self::Closed,
        Self::Listen,
        Self::SynSent,
        Self::SynReceived,
        Self::Established,
        Self::FinWait1,
        Self::FinWait2,
        Self::CloseWait,
        Self::Closing,
        Self::LastAck,
        Self::TimeWait,
    ];

    /// The name in RFC 9293.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::Listen => "LISTEN",
            Self::SynSent => "SYN-SENT",
            Self::SynReceived => "SYN-RECEIVED",
            Self::Established => "ESTABLISHED",
            Self::FinWait1 => "FIN-WAIT-1",
            Self::FinWait2 => "FIN-WAIT-2",
            Self::CloseWait => "CLOSE-WAIT",
            Self::Closing => "CLOSING",
            Self::LastAck => "LAST-ACK",
            Self::TimeWait => "TIME-WAIT",
        }
    }
}

impl fmt::Display for TcpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The event that a socket waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Waiting {
    /// Its turn in the next round.
    Turn,
    /// Room on the link.
    Link,
    /// A route to its peer.
    Route,
    /// The hardware address of its next hop (ARP, Neighbour Discovery).
    Neighbour,
    /// The peer's next step of the handshake.
    Handshake,
    /// The decision on a held SYN.
    Decision,
    /// The peer's acknowledgement of data or a FIN.
    Acknowledgement,
    /// The opening of the peer's window (RFC 9293 section 3.8.6.1).
    Window,
    /// A read by the application: its receive queue is full.
    Reader,
    /// Data from the application or the peer; for a listener, connections.
    Data,
}

/// A timer of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Timer {
    /// A retransmission, a delayed acknowledgement or a window probe.
    Segment,
    /// The first keep-alive probe (RFC 9293 section 3.8.4).
    KeepAlive,
    /// The handshake, retransmission or user timeout (RFC 5482).
    GiveUp,
    /// Release of the memory of empty buffers.
    Reclaim,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Turn => "turn",
            Self::Link => "link",
            Self::Route => "route",
            Self::Neighbour => "neighbour",
            Self::Handshake => "handshake",
            Self::Decision => "decision",
            Self::Acknowledgement => "acknowledgement",
            Self::Window => "window",
            Self::Reader => "reader",
            Self::Data => "data",
        })
    }
}

impl fmt::Display for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Segment => "segment",
            Self::KeepAlive => "keepalive",
            Self::GiveUp => "give-up",
            Self::Reclaim => "reclaim",
        })
    }
}

impl SocketInfo {
    /// The local address as displayed: `*` for every address of both families, and for every port.
    fn local_text(&self) -> String {
        match (self.any_port, self.local.ip()) {
            (false, _) => self.local.to_string(),
            (true, IpAddr::V6(ip)) if ip.is_unspecified() => "*:*".to_owned(),
            (true, IpAddr::V6(ip)) => format!("[{ip}]:*"),
            (true, IpAddr::V4(ip)) => format!("{ip}:*"),
        }
    }
}

/// A neighbour on an Ethernet link.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct NeighbourInfo {
    /// Its IP address.
    pub address: IpAddr,
    /// Its hardware address, if known.
    pub hardware_address: Option<MacAddr>,
    /// The state of RFC 4861 section 7.3.2, for both families.
    pub state: Cow<'static, str>,
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<5} {:>8} {:>8} {:<32} {:<32} {:<12} Waits for",
            "Proto", "Recv-Q", "Send-Q", "Local", "Peer", "State"
        )?;
        for socket in &self.sockets {
            let peer = socket.peer.map_or_else(|| "*".to_owned(), |peer| peer.to_string());
            write!(
                f,
                "{:<5} {:>8} {:>8} {:<32} {:<32} {:<12} {}",
                socket.kind,
                socket.receive_queue,
                socket.send_queue,
                socket.local_text(),
                peer,
                socket.state.map_or("", TcpState::name),
                socket.waiting,
            )?;
            match socket.timer {
                Some((timer, at)) => writeln!(f, ", {timer} at {at}")?,
                None => writeln!(f)?,
            }
        }
        for (local, peer) in &self.time_wait {
            let (local, peer) = (local.to_string(), peer.to_string());
            writeln!(f, "{:<5} {:>8} {:>8} {local:<32} {peer:<32} TIME-WAIT", "tcp", 0, 0)?;
        }
        for NeighbourInfo { address, hardware_address, state } in &self.neighbours {
            let at = hardware_address.map_or_else(|| "?".to_owned(), |at| at.to_string());
            writeln!(
                f,
                "{:<5} {:>8} {:>8} {:<32} {at:<32} {state}",
                "link",
                "",
                "",
                address.to_string()
            )?;
        }
        let counters = &self.counters;
        writeln!(f, "{} frames in, {} out", counters.frames_received, counters.frames_sent)?;
        for (reason, count) in counters.drops() {
            writeln!(f, "{count} dropped: {reason}")?;
        }
        Ok(())
    }
}
