//! Limits of the IP layer: addresses, routes, fragments, ICMP.

use std::time::Duration;

/// Limits of the IP layer; in a [`Config`](crate::Config) as `ip`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct IpConfig {
    /// Maximum number of configured addresses, loopback excluded.
    pub addresses_max: usize,
    /// Routes added to those of the addresses. A connection looks its route up when it begins.
    pub routes_max: usize,
    /// Destinations with a discovered path MTU below the link's (RFC 1191, RFC 8201); a new one
    /// evicts the oldest, and each expires after 10 minutes.
    pub path_mtus_max: usize,
    /// Published name servers, and published search domains.
    pub name_servers_max: usize,
    /// Packets in flight between sockets of this same stack, each of at most 64 KiB and in a buffer
    /// of its own size.
    pub loopback_packets_max: usize,
    /// The stack's own replies (resets, ICMP messages) that wait for room on the link, each in a
    /// buffer of its own size. An echo reply is as large as its request, at most 64 KiB.
    pub replies_max: usize,
    /// Whether an echo request to an address that only [any-IP](crate::Netstack::set_any_ip) makes the
    /// stack's is answered. Otherwise it is left to raw sockets, as of a program that carries it on.
    pub any_ip_echo: bool,
    /// ICMP errors sent per second, and in a burst after a pause (RFC 4443 section 2.4(f); Linux:
    /// `icmp_msgs_per_sec`).
    pub icmp_errors_per_second: u32,
    /// Bytes of packets in reassembly; a new one evicts the oldest. Counts memory: payload, about
    /// 60 bytes for each fragment and about 550 for each packet.
    pub fragments_bytes_max: usize,
    /// Reassembly timeout (RFC 8200 section 4.5: 60 s).
    #[cfg_attr(feature = "serde", serde(with = "crate::serial::micros"))]
    pub fragment_timeout: Duration,
}

impl Default for IpConfig {
    fn default() -> Self {
        Self {
            addresses_max: 64,
            routes_max: 1024,
            path_mtus_max: 4096,
            name_servers_max: 16,
            loopback_packets_max: 1024,
            replies_max: 256,
            any_ip_echo: true,
            icmp_errors_per_second: 1000,
            fragments_bytes_max: 4 * 1024 * 1024,
            fragment_timeout: Duration::from_secs(60),
        }
    }
}
