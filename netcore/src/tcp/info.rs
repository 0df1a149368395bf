//! What one connection is doing, in numbers: `TCP_INFO`.

use crate::snapshot::TcpState;
use crate::tcp::limit::{Limit, LimitTimes};
use std::borrow::Cow;
use std::time::Duration;

/// One TCP connection at one moment.
///
/// Fields have the names of Linux's `struct tcp_info` where that has them. Windows and data in
/// flight are in bytes, where Linux has segments of [`snd_mss`](Self::snd_mss) bytes, and rates in
/// bytes a second. Bytes count payload, without headers; totals count since the first SYN and
/// survive an idle time. A packet that the device cuts into segments counts as those segments, and
/// received segments count as the device hands them over. With the feature `serde`, times are whole
/// microseconds, and a field that is missing has its default.
///
/// A connection that has ended has the values of its end, with [`TcpState::Closed`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
#[non_exhaustive]
pub struct TcpInfo {
    /// The state of RFC 9293 section 3.3.2.
    pub state: TcpState,
    /// Whether losses are being repaired.
    pub ca_state: CaState,
    /// The time since the first SYN was sent or received.
    #[cfg_attr(feature = "serde", serde(with = "crate::serial::micros"))]
    pub age: Duration,

    /// Whether selective acknowledgements were agreed on (RFC 2018).
    pub sack: bool,
    /// Whether timestamps were agreed on (RFC 7323).
    pub timestamps: bool,
    /// Whether explicit congestion notification was agreed on (RFC 3168); never.
    pub ecn: bool,
    /// The shift of the windows that the peer announces (RFC 7323), if scaling was agreed on.
    pub snd_wscale: Option<u8>,
    /// The shift of the windows that this end announces (RFC 7323), if scaling was agreed on.
    pub rcv_wscale: Option<u8>,

    /// The smoothed round trip (RFC 6298); that of the handshake until data was acknowledged.
    #[cfg_attr(feature = "serde", serde(with = "crate::serial::micros::option"))]
    pub rtt: Option<Duration>,
    /// The variation of the round trip (RFC 6298).
    #[cfg_attr(feature = "serde", serde(with = "crate::serial::micros::option"))]
    pub rttvar: Option<Duration>,
    /// The shortest round trip in a while.
    #[cfg_attr(feature = "serde", serde(with = "crate::serial::micros::option"))]
    pub min_rtt: Option<Duration>,
    /// The last round trip that was measured.
    #[cfg_attr(feature = "serde", serde(with = "crate::serial::micros::option"))]
    pub last_rtt: Option<Duration>,
    /// The retransmission timeout, backed off as it is now.
    #[cfg_attr(feature = "serde", serde(with = "crate::serial::micros"))]
    pub rto: Duration,

    /// The name of the congestion control in force:
    /// [`CongestionControl::name`](crate::tcp::congestion::CongestionControl::name).
    pub congestion_control: Cow<'static, str>,
    /// The state of the congestion controller in a word of its own, such as `slow_start`; empty
    /// for one that has none.
    pub congestion_state: Cow<'static, str>,
    /// The congestion window, in bytes.
    pub snd_cwnd: u64,
    /// The slow-start threshold, in bytes; `None` before the first loss, and for controllers
    /// without.
    pub snd_ssthresh: Option<u64>,
    /// The pacing rate, in bytes a second; `None` for a connection that is not paced.
    pub pacing_rate: Option<u64>,
    /// The rate at which data last arrived, in bytes a second
    /// (draft-ietf-ccwg-bbr section 4.1).
    pub delivery_rate: Option<u64>,
    /// Whether that was limited by the application.
    pub delivery_rate_app_limited: bool,

    /// Bytes sent, with those sent again.
    pub bytes_sent: u64,
    /// Bytes sent again.
    pub bytes_retrans: u64,
    /// Bytes that the peer has acknowledged, up to the first gap.
    pub bytes_acked: u64,
    /// Bytes that were found lost, those included of which that was wrong.
    pub bytes_lost: u64,
    /// Bytes received, up to the first gap.
    pub bytes_received: u64,
    /// Segments sent, with acknowledgements.
    pub segs_out: u64,
    /// Segments received, with acknowledgements and those that were not taken.
    pub segs_in: u64,
    /// Segments sent that had data.
    pub data_segs_out: u64,
    /// Segments received that had data, and were taken.
    pub data_segs_in: u64,
    /// Segments sent again.
    pub total_retrans: u64,
    /// Segments sent again of which the first transmission had arrived.
    pub spurious_retrans: u64,
    /// Reports by the peer that it has received data twice (RFC 2883).
    pub dsack_dups: u64,
    /// Segments that have arrived at the peer after later ones.
    pub reord_seen: u64,
    /// Segments that have arrived here after later ones, or twice.
    pub rcv_ooopack: u64,
    /// Retransmission timeouts.
    pub total_rto: u64,
    /// Retransmission timeouts since the last progress.
    pub retransmits: u32,
    /// Probes of a closed window since the last progress.
    pub probes: u32,

    /// Bytes in the network, as far as is known: sent, and neither acknowledged nor lost.
    pub in_flight: u64,
    /// Bytes sent and not acknowledged up to the first gap.
    pub unacked: u64,
    /// Of those, bytes that were acknowledged selectively.
    pub sacked: u64,
    /// Of those, bytes that are lost and were not sent again yet.
    pub lost: u64,
    /// Of those, bytes that were sent again.
    pub retrans: u64,
    /// Bytes written and not sent.
    pub notsent_bytes: u64,
    /// Bytes received and not read.
    pub unread_bytes: u64,
    /// Bytes received behind a gap.
    pub out_of_order_bytes: u64,
    /// The most bytes that may be unacknowledged at present, in the send buffer.
    pub snd_buf: u64,
    /// The most bytes that may be unread at present, in the receive buffer.
    pub rcv_buf: u64,

    /// The window that the peer offers, in bytes.
    pub snd_wnd: u64,
    /// The bytes that the peer may still send into the window of this end.
    pub rcv_wnd: u64,
    /// Payload of a full segment to the peer, in bytes.
    pub snd_mss: u32,
    /// Payload of the largest segment received, in bytes; 0 before the first.
    pub rcv_mss: u32,
    /// The maximum segment size that this end has announced, in bytes.
    pub advmss: u32,
    /// The path MTU, in bytes.
    pub pmtu: u32,

    /// The time since data was last sent; `None` if that is long ago.
    #[cfg_attr(feature = "serde", serde(with = "crate::serial::micros::option"))]
    pub last_data_sent: Option<Duration>,
    /// The time since data was last received.
    #[cfg_attr(feature = "serde", serde(with = "crate::serial::micros::option"))]
    pub last_data_recv: Option<Duration>,
    /// The time since an acknowledgement was last received: any segment has one.
    #[cfg_attr(feature = "serde", serde(with = "crate::serial::micros::option"))]
    pub last_ack_recv: Option<Duration>,

    /// The timers that are running.
    pub timers: TcpTimers,

    /// What keeps the connection from going faster.
    pub limit: Limit,
    /// How long each limit has done so; the sum is [`age`](Self::age).
    pub limited: LimitTimes,
}

/// The running timers of a connection: the time until each expires.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
#[non_exhaustive]
pub struct TcpTimers {
    /// The next step of the handshake or of the close.
    #[cfg_attr(feature = "serde", serde(with = "crate::serial::micros::option"))]
    pub handshake: Option<Duration>,
    /// Retransmission (RFC 6298).
    #[cfg_attr(feature = "serde", serde(with = "crate::serial::micros::option"))]
    pub retransmission: Option<Duration>,
    /// The tail loss probe (RFC 8985 section 7).
    #[cfg_attr(feature = "serde", serde(with = "crate::serial::micros::option"))]
    pub tail_loss_probe: Option<Duration>,
    /// Segments that others have overtaken are taken for lost (RFC 8985 section 6.3).
    #[cfg_attr(feature = "serde", serde(with = "crate::serial::micros::option"))]
    pub reordering: Option<Duration>,
    /// The probe of a closed window (RFC 9293 section 3.8.6.1).
    #[cfg_attr(feature = "serde", serde(with = "crate::serial::micros::option"))]
    pub window_probe: Option<Duration>,
    /// The pacing rate lets the next segment leave.
    #[cfg_attr(feature = "serde", serde(with = "crate::serial::micros::option"))]
    pub pacing: Option<Duration>,
    /// A delayed acknowledgement (RFC 9293 section 3.8.6.3).
    #[cfg_attr(feature = "serde", serde(with = "crate::serial::micros::option"))]
    pub delayed_ack: Option<Duration>,
    /// The next keep-alive probe (RFC 9293 section 3.8.4).
    #[cfg_attr(feature = "serde", serde(with = "crate::serial::micros::option"))]
    pub keep_alive: Option<Duration>,
    /// The end of the connection: handshake, retransmission or user timeout (RFC 5482).
    #[cfg_attr(feature = "serde", serde(with = "crate::serial::micros::option"))]
    pub give_up: Option<Duration>,
}

/// Whether a sender repairs losses: Linux's `tcp_ca_state`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum CaState {
    /// All that was sent arrives in order.
    #[default]
    Open,
    /// Something has arrived behind a gap, or twice.
    Disorder,
    /// A loss is repaired, clocked by acknowledgements (RFC 6675).
    Recovery,
    /// The retransmission timeout has passed, and what was in flight is sent again (RFC 5681).
    Loss,
}
