//! What a stack decides about each frame, for captures and recorders.

use crate::counters::DropReason;
use crate::id::SocketId;
use crate::owner::Owner;
use crate::snapshot::TcpState;
use crate::tcp::{CaState, RetransmitRule};
use std::sync::Arc;
use std::time::Duration;

/// Learns what a stack decides about the frames of its link; see [`Link::observer`].
///
/// Between [`Link::receive`] of a frame and [`received`](Self::received) the stack may send others
/// that answer it. The calls are made in the middle of the stack's work: they must neither block nor
/// panic.
///
/// [`Link::observer`]: crate::Link::observer
/// [`Link::receive`]: crate::Link::receive
pub trait Observer {
    /// What is sent from now on is for this socket, which has this owner; for none of them with `None`.
    fn serving(&mut self, socket: Option<SocketId>, owner: Option<&Arc<Owner>>);

    /// The fate of the last received frame.
    fn received(&mut self, fate: Result<Fate, DropReason>, at: Option<&ObservedSocket>);

    /// The next frame is this segment of a TCP connection. Other frames come without such a call.
    fn sending(&mut self, segment: &ObservedSegment);

    /// That segment is not sent over the link now: it waits for the hardware address of its next
    /// hop, is for this stack itself, or has no route.
    fn withheld(&mut self);
}

/// The fate of a received packet that was not dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Fate {
    /// Delivered to a socket or a connection, whole or in part.
    Delivered,
    /// Handled by the stack itself.
    Handled,
    /// A fragment kept for reassembly.
    Kept,
}

/// The socket that a received frame was for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObservedSocket {
    /// The socket.
    pub id: SocketId,
    /// Who made it.
    pub owner: Option<Arc<Owner>>,
    /// What the connection is like after the frame, if it is one and goes on.
    pub connection: Option<ObservedConnection>,
}

/// A segment about to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObservedSegment {
    /// Why it is sent.
    pub cause: SendCause,
    /// What the connection is like before it is sent.
    pub connection: ObservedConnection,
}

/// Why a connection sends a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum SendCause {
    /// Data or a FIN that was not sent before.
    New,
    /// Data or a FIN that was sent before; or a SYN.
    Retransmit(RetransmitRule),
    /// A probe of the peer's closed window (RFC 9293 section 3.8.6.1).
    WindowProbe,
    /// A probe of a silent peer (RFC 9293 section 3.8.4).
    KeepAlive,
    /// An acknowledgement of its own.
    Ack,
    /// The first SYN, the last acknowledgement of the handshake, or a reset.
    Control,
}

/// A TCP connection at the moment of a segment. Units are those of [`TcpInfo`].
///
/// [`TcpInfo`]: crate::tcp::TcpInfo
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
#[non_exhaustive]
pub struct ObservedConnection {
    /// The state of RFC 9293 section 3.3.2.
    pub state: TcpState,
    /// Whether losses are being repaired.
    pub ca_state: CaState,
    /// The congestion window, in bytes; 0 before anything was sent.
    pub snd_cwnd: u64,
    /// The slow-start threshold, in bytes.
    pub snd_ssthresh: Option<u64>,
    /// Bytes in the network, as far as is known.
    pub in_flight: u64,
    /// Bytes sent and not acknowledged up to the first gap.
    pub unacked: u64,
    /// The window that the peer offers, in bytes.
    pub snd_wnd: u64,
    /// The bytes that the peer may still send into the window of this end.
    pub rcv_wnd: u64,
    /// The smoothed round trip.
    #[cfg_attr(feature = "serde", serde(with = "crate::serial::micros::option"))]
    pub rtt: Option<Duration>,
    /// The retransmission timeout, backed off as it is now.
    #[cfg_attr(feature = "serde", serde(with = "crate::serial::micros"))]
    pub rto: Duration,
}
