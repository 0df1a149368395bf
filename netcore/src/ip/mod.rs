//! IP: addresses, routes, fragments, ICMP.

pub(crate) mod addressing;
mod control;
pub(crate) mod fragments;
mod header;
pub(crate) mod icmp;
mod icmp_errors;
mod input;
pub(crate) mod layer;
pub(crate) mod martians;
mod output;
pub(crate) mod packet;
pub(crate) mod path_mtu;
mod problem;
pub(crate) mod routes;
mod scattered;
mod source_address;
pub(crate) mod special_address;

pub(crate) use header::{
    HOP_LIMIT, IpHeader, Quoted, complete_raw, header_checksums_only, parse, parse_quoted, repr,
    set_traffic_class,
};

/// Largest IP packet of either family, in bytes.
pub(crate) const PACKET_BYTES_MAX: usize = 65_535;
