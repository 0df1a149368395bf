//! Limits and defaults of TCP connections and listeners.

use crate::tcp::congestion::CongestionControl;
use std::time::Duration;

/// Limits and defaults of TCP; in a [`Config`](crate::Config) as `tcp`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct TcpConfig {
    /// Bytes of a connection's receive buffer at first: what may be unread, and so its window.
    /// Received bytes that wait in the buffer that they came in count as much as that buffer, until
    /// the last of them is read. At most 1 GiB.
    pub recv_buffer_bytes: usize,
    /// Bytes up to which a receive buffer grows, by what the application reads in a round trip
    /// (Linux: `tcp_rmem`). At most 1 GiB. Over a path with a round trip of less than 0.5 ms it grows
    /// up to 512 KiB, with less than 2 ms up to 1 MiB.
    pub recv_buffer_bytes_max: usize,
    /// Bytes of a connection's send buffer at first: what TCP has taken from the application and the
    /// peer has not acknowledged.
    pub send_buffer_bytes: usize,
    /// Bytes up to which a send buffer grows, to twice the congestion window (Linux: `tcp_wmem`).
    pub send_buffer_bytes_max: usize,
    /// Bytes of all connections together: unread, behind gaps, unsent and unacknowledged, and the
    /// connections themselves. From half of it on buffers do not grow any more, and windows shrink
    /// toward what is unread; from three quarters on a connection that holds something takes no more,
    /// and new data waits with the peer or with the writer (Linux: `tcp_mem`). The rest is for the
    /// connections and a first segment of each: about 4 KiB. `None` is an eighth of the machine's
    /// memory with netstack, which looks that up, and 1 GiB with netcore alone.
    pub memory_bytes_max: Option<usize>,
    /// Bytes that the application may have written and TCP has not taken, for want of room in the
    /// send buffer.
    pub stream_queue_bytes: usize,
    /// Whether connections offer timestamps, and accept them (RFC 7323; Linux: `tcp_timestamps`). They
    /// take 12 bytes of each segment; peers that learn from them which repetitions were not needed
    /// send faster over links that reorder packets.
    pub timestamps: bool,
    /// Congestion control of connections.
    pub congestion_control: CongestionControl,
    /// Backlog of a listener without one of its own: connections that wait to be accepted.
    pub backlog_max: usize,
    /// Half-open connections of one listener. A new one evicts the oldest, so that a flood of SYNs
    /// does not lock out peers that complete their handshake.
    pub half_open_per_listener_max: usize,
    /// Half-open connections of all listeners together; a new one evicts the oldest.
    pub half_open_max: usize,
    /// Largest MSS, in bytes of payload, that connections over the link announce and use; `None`
    /// derives it from the link's MTU. For links in front of paths with a smaller MTU whose routers
    /// send no ICMP ("MSS clamping"). At least 48.
    pub mss_max: Option<u16>,
    /// Segments in flight of a connection up to which a peer that acknowledges parts of them has them
    /// split. Beyond, an acknowledgement counts for the segments that are whole in it.
    pub split_segments_max: usize,
    /// Resets per second, and in a burst after a pause, in reply to segments that belong to no
    /// connection. Resets of aborted connections are not limited.
    pub resets_per_second: u32,
    /// Challenge acknowledgements per second of all connections together, on average; at most two
    /// of each connection (RFC 5961 section 7).
    pub challenge_acks_per_second: u32,
    /// Connections in TIME-WAIT; a new one evicts the oldest. Also the number of remembered
    /// connections that outran the clock of initial sequence numbers (RFC 9293 section 3.4.1).
    pub time_wait_max: usize,
    /// How long a connect waits for the peer's SYN|ACK (Linux: about 127 s).
    #[cfg_attr(feature = "serde", serde(with = "crate::serial::micros"))]
    pub connect_timeout: Duration,
    /// How long a half-open connection waits for the last acknowledgement of its handshake.
    #[cfg_attr(feature = "serde", serde(with = "crate::serial::micros"))]
    pub handshake_timeout: Duration,
    /// How long a connection may take to close once its handle was dropped (Linux:
    /// `tcp_fin_timeout`, 60 s).
    #[cfg_attr(feature = "serde", serde(with = "crate::serial::micros"))]
    pub close_timeout: Duration,
    /// How long an established peer may leave data unacknowledged (Linux: `tcp_retries2`, about
    /// 15 min).
    #[cfg_attr(feature = "serde", serde(with = "crate::serial::micros"))]
    pub retransmit_timeout: Duration,
    /// Length of TIME-WAIT, in which a closed connection's 4-tuple is not reused (RFC 9293 section
    /// 3.6.1; Linux: 60 s).
    #[cfg_attr(feature = "serde", serde(with = "crate::serial::micros"))]
    pub time_wait: Duration,
}

impl Default for TcpConfig {
    fn default() -> Self {
        Self {
            recv_buffer_bytes: 128 * 1024,
            // 1 Gbit/s at a round trip of 100 ms are 12.5 MB in flight.
            recv_buffer_bytes_max: 32 << 20,
            send_buffer_bytes: 128 * 1024,
            send_buffer_bytes_max: 16 << 20,
            memory_bytes_max: None,
            stream_queue_bytes: 256 * 1024,
            timestamps: true,
            congestion_control: CongestionControl::default(),
            backlog_max: 1024,
            half_open_per_listener_max: 2048,
            half_open_max: 8192,
            mss_max: None,
            split_segments_max: 4096,
            resets_per_second: 1000,
            challenge_acks_per_second: 1000,
            time_wait_max: 1 << 18,
            connect_timeout: Duration::from_secs(127),
            handshake_timeout: Duration::from_secs(60),
            close_timeout: Duration::from_secs(60),
            retransmit_timeout: Duration::from_secs(924),
            time_wait: Duration::from_secs(60),
        }
    }
}
