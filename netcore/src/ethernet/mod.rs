//! Ethernet below IP: frames, hardware addresses, address resolution.

pub(crate) mod arp;
pub(crate) mod dad;
mod input;
pub(crate) mod layer;
mod mac_addr;
pub(crate) mod ndp;
pub(crate) mod neighbours;
pub(crate) mod state;

pub use mac_addr::{MacAddr, MacAddrParseError};

use crate::wire::{ETHERNET_HEADER_LEN, EthernetAddress, EthernetFrame, EthernetProtocol};

/// Length of an Ethernet header, in bytes.
pub(crate) const HEADER_BYTES: usize = ETHERNET_HEADER_LEN;

/// An Ethernet header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) destination: MacAddr,
    pub(crate) source: MacAddr,
    pub(crate) protocol: EthernetProtocol,
}

/// Reads the header at the beginning of `frame`; `None` if it is too short for one.
pub(crate) fn parse(frame: &[u8]) -> Option<Header> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    Some(Header {
        destination: MacAddr(frame.dst_addr().0),
        source: MacAddr(frame.src_addr().0),
        protocol: frame.ethertype(),
    })
}

/// Writes the header at the beginning of `frame` and returns the rest.
///
/// # Panics
///
/// If `frame` is too short.
pub(crate) fn write_header<'a>(frame: &'a mut [u8], header: &Header) -> &'a mut [u8] {
    let (start, rest) = frame.split_at_mut(HEADER_BYTES);
    let mut frame = EthernetFrame::new_unchecked(start);
    frame.set_dst_addr(EthernetAddress(header.destination.0));
    frame.set_src_addr(EthernetAddress(header.source.0));
    frame.set_ethertype(header.protocol);
    rest
}
