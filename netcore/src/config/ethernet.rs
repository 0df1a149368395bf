//! What an Ethernet link adds: hardware address, neighbours, duplicate address detection.

use crate::ethernet::MacAddr;

/// Settings of an Ethernet link; in a [`Config`](crate::Config) as `ethernet`. Without effect on a
/// link that carries IP packets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct EthernetConfig {
    /// Entries of the neighbour cache, resolved and incomplete; a new one evicts the least recently
    /// used (Linux: `gc_thresh3`, 1,024).
    pub neighbours_max: usize,
    /// Bytes of packets that wait for one neighbour's hardware address, each in a buffer of its own
    /// size and counted with 128 bytes of overhead. A new one evicts the oldest; one always fits
    /// (Linux: `unres_qlen_bytes`).
    pub neighbour_queue_bytes: usize,
    /// The hardware (MAC) address; `None` for a random, locally administered one.
    pub hardware_address: Option<MacAddr>,
    /// Whether the stack configures an IPv6 link-local address, made from its hardware address (RFC
    /// 4862 section 5.3).
    pub link_local: bool,
    /// Probes of duplicate address detection, a second apart, before an IPv6 address is used
    /// (DupAddrDetectTransmits of RFC 4862 section 5.1); 0 uses it at once.
    pub dad_transmits: u8,
}

impl Default for EthernetConfig {
    fn default() -> Self {
        Self {
            neighbours_max: 1024,
            // A datagram of the largest size in fragments, twice.
            neighbour_queue_bytes: 160 * 1024,
            hardware_address: None,
            link_local: true,
            dad_transmits: 1,
        }
    }
}
