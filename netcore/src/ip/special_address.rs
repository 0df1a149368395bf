//! Special-purpose addresses (RFC 6890).

use std::net::{IpAddr, Ipv6Addr};

/// Whether a single host can have this address.
pub(crate) fn is_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            // 0.0.0.0/8 is "this network" and 240.0.0.0/4 reserved (RFC 6890).
            !matches!(address.octets()[0], 0 | 224..)
        }
        IpAddr::V6(address) => {
            !address.is_unspecified() && !address.is_multicast() && !is_v4_mapped(address)
        }
    }
}

pub(crate) fn is_v4_mapped(address: Ipv6Addr) -> bool {
    address.to_ipv4_mapped().is_some()
}
