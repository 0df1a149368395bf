//! Limits of UDP, ping and raw sockets.

/// Limits of datagram sockets; in a [`Config`](crate::Config) as `datagram`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct DatagramConfig {
    /// Bytes of datagrams that wait in each direction on a UDP, ping or raw socket. Each counts its
    /// memory: the payload, or the buffer in which it arrived as long as it waits there, and about
    /// 300 bytes of overhead (Linux: about 700). One datagram of the largest size always fits.
    pub queue_bytes: usize,
    /// The same of all sockets together. From three quarters on a socket takes another datagram only
    /// if none waits on its side: received ones are dropped, and writers wait (Linux: `udp_mem`).
    /// `None` is an eighth of the machine's memory with netstack, which looks that up, and 1 GiB with
    /// netcore alone.
    pub memory_bytes_max: Option<usize>,
    /// Multicast groups that one UDP socket may be in (Linux: `igmp_max_memberships`).
    pub groups_per_socket_max: usize,
}

impl Default for DatagramConfig {
    fn default() -> Self {
        Self { queue_bytes: 256 * 1024, memory_bytes_max: None, groups_per_socket_max: 20 }
    }
}
