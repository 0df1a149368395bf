//! Limits and defaults of a stack.

use crate::ethernet::MacAddr;
use std::time::Duration;

/// Limits and defaults of a [`Netstack`](crate::Netstack).
///
/// Every bound on what a peer or a caller can make a stack hold has a name here. At a bound the
/// stack refuses or drops, as the protocol asks, and counts it
/// ([`Counters`](crate::Counters)).
///
/// ```
/// let config = netcore::Config { backlog_max: 4096, ..Default::default() };
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Commands that may wait in the channel; senders wait for room.
    pub commands_max: usize,
    /// Commands that may wait on one socket for data, for room or for a connection; one more is
    /// refused with [`Error::LimitReached`](crate::Error::LimitReached).
    pub commands_per_socket_max: usize,
    /// Sockets of all kinds, half-open connections included.
    pub sockets_max: usize,
    /// The receive buffer of a TCP connection: the largest window it offers, in bytes. The memory
    /// is address space only until data arrives, and becomes that again a few seconds after it was
    /// read. Rounded up to whole pages, at most 1 GiB.
    pub recv_buffer_bytes: usize,
    /// The send buffer of a TCP connection: the most it keeps in flight, in bytes. Rounded as
    /// [`recv_buffer_bytes`](Self::recv_buffer_bytes).
    pub send_buffer_bytes: usize,
    /// Bytes of TCP buffers in all, as they are reserved: without room for the buffers of a new
    /// connection a half-open one makes room, or else a connect fails and a SYN is dropped.
    pub buffer_bytes_max: usize,
    /// Bytes of each direction that may wait between a TCP connection and its handle, besides
    /// what its buffers hold. Received bytes that wait in the buffer that they came in count as
    /// much as that buffer, until the last of them is read.
    pub stream_queue_bytes: usize,
    /// Connections that may wait to be accepted on a listener that does not say otherwise.
    pub backlog_max: usize,
    /// Half-open connections of one listener. The oldest makes room for a new one, so that a
    /// flood of SYNs does not keep out peers that complete their handshake.
    pub half_open_per_listener_max: usize,
    /// Half-open connections of all listeners together; the same rule applies.
    pub half_open_max: usize,
    /// Bytes of datagrams that may wait on each side of a UDP, ping or raw socket. Each counts what
    /// it takes in memory: its payload, or the buffer that this came in if it still waits there, and
    /// about 300 bytes for its addresses and its place (Linux counts about 700). At least one datagram
    /// of the largest size always fits.
    pub datagram_queue_bytes: usize,
    /// Maximum number of configured addresses, loopback excluded.
    pub addresses_max: usize,
    /// Routes that were added. A connection's way is looked up among them when it begins.
    pub routes_max: usize,
    /// The largest TCP segment, in bytes of payload, that connections over the link announce and
    /// send; `None` leaves that to the link's MTU. For links behind which paths are narrow and
    /// routers silent. At least 48.
    pub mss_max: Option<u16>,
    /// Destinations of which the stack remembers that the path to them takes only small packets;
    /// the oldest makes room for a new one, and each is forgotten after 10 minutes.
    pub path_mtus_max: usize,
    /// Name servers that the stack publishes, and search domains.
    pub name_servers_max: usize,
    /// Multicast groups that one UDP socket may be in (Linux: `igmp_max_memberships`).
    pub groups_per_socket_max: usize,
    /// Packets under way between sockets of this same stack, each of at most 64 KiB and in a buffer
    /// of its own size.
    pub loopback_packets_max: usize,
    /// Answers of the stack itself (resets, ICMP messages) that may wait for room on the link, each
    /// in a buffer of its own size. An echo reply is as large as its request, at most 64 KiB.
    pub replies_max: usize,
    /// Neighbours on an Ethernet link whose hardware addresses are known or asked for; who was not
    /// sent anything for longest makes room (Linux: `gc_thresh3`, 1,024).
    pub neighbours_max: usize,
    /// Bytes of packets that may wait for one neighbour's hardware address, each in a buffer of its
    /// own size, with 128 bytes for its place and allocation; the oldest make room, and at least one always fits (Linux:
    /// `unres_qlen_bytes`).
    pub neighbour_queue_bytes: usize,
    /// Resets that the stack sends in a second to segments that no connection takes, and in a burst
    /// after a silence. Those of connections that are aborted are not counted.
    pub resets_per_second: u32,
    /// ICMP errors that the stack sends in a second, and in a burst after a silence (RFC 4443
    /// section 2.4(f); Linux: `icmp_msgs_per_sec`).
    pub icmp_errors_per_second: u32,
    /// Challenge acknowledgements that all connections together send in a second, on average; each
    /// connection sends at most two (RFC 5961 section 7).
    pub challenge_acks_per_second: u32,
    /// Bytes of incomplete fragmented packets; the oldest packet makes room for a new one. Counts
    /// what they take in memory: payload, about 60 bytes for each fragment, and about 550 for each
    /// packet.
    pub fragments_bytes_max: usize,
    /// Entries for connections in TIME-WAIT; the oldest makes room for a new one. As many connections
    /// are remembered that have sent faster than the clock of initial sequence numbers ticks, until
    /// it has come past their ends.
    pub time_wait_max: usize,
    /// How long a connect waits for the peer (Linux: about 127 s).
    pub connect_timeout: Duration,
    /// How long a half-open connection waits for the last step of its handshake.
    pub handshake_timeout: Duration,
    /// How long a connection may take to finish once its handle is gone (Linux:
    /// `tcp_fin_timeout`, 60 s).
    pub close_timeout: Duration,
    /// How long an established peer may leave data unacknowledged (Linux: `tcp_retries2`, about
    /// 15 min).
    pub retransmit_timeout: Duration,
    /// How long the address pair of a closed connection is kept out of use (RFC 9293 section
    /// 3.6.1; Linux: 60 s).
    pub time_wait: Duration,
    /// How long fragments wait for their packet to become whole (RFC 8200 section 4.5: 60 s).
    pub fragment_timeout: Duration,
    /// The hardware address on an Ethernet link; `None` for a random one, which is locally
    /// administered.
    pub hardware_address: Option<MacAddr>,
    /// Whether the stack gives itself an IPv6 link-local address on an Ethernet link, made from its
    /// hardware address (RFC 4862 section 5.3).
    pub link_local: bool,
    /// How often an Ethernet link is asked, a second apart, whether somebody has an IPv6 address
    /// already, before it is used (DupAddrDetectTransmits of RFC 4862 section 5.1); 0 uses it at
    /// once.
    pub dad_transmits: u8,
    /// Where unpredictable numbers come from.
    pub entropy: Entropy,
}

/// Where a stack's unpredictable numbers come from: ports, sequence numbers, identifiers, and the
/// keys of its tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Entropy {
    /// The operating system's generator.
    #[default]
    Os,
    /// A fixed seed, so that a simulation can be repeated. Not for open networks: whoever knows
    /// the seed knows the numbers.
    Seed(u64),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            commands_max: 1024,
            commands_per_socket_max: 1024,
            sockets_max: 1 << 20,
            // 100 Mbit/s at a round trip of 50 ms are 625,000 bytes in flight.
            recv_buffer_bytes: 640 * 1024,
            send_buffer_bytes: 640 * 1024,
            // Address space, and so only what peers have filled is memory.
            buffer_bytes_max: usize::try_from(1_u64 << 41).unwrap_or(usize::MAX),
            stream_queue_bytes: 256 * 1024,
            backlog_max: 1024,
            half_open_per_listener_max: 2048,
            half_open_max: 8192,
            datagram_queue_bytes: 256 * 1024,
            addresses_max: 64,
            routes_max: 1024,
            mss_max: None,
            path_mtus_max: 4096,
            name_servers_max: 16,
            groups_per_socket_max: 20,
            loopback_packets_max: 1024,
            replies_max: 256,
            neighbours_max: 1024,
            // A datagram of the largest size in fragments, twice.
            neighbour_queue_bytes: 160 * 1024,
            resets_per_second: 1000,
            icmp_errors_per_second: 1000,
            challenge_acks_per_second: 1000,
            fragments_bytes_max: 4 * 1024 * 1024,
            time_wait_max: 1 << 18,
            connect_timeout: Duration::from_secs(127),
            handshake_timeout: Duration::from_secs(60),
            close_timeout: Duration::from_secs(60),
            retransmit_timeout: Duration::from_secs(924),
            time_wait: Duration::from_secs(60),
            fragment_timeout: Duration::from_secs(60),
            hardware_address: None,
            link_local: true,
            dad_transmits: 1,
            entropy: Entropy::Os,
        }
    }
}
