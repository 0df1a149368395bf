//! The way in: from a frame to the socket that it is for.

use super::{FRAMES_PER_ROUND, Netstack};
use crate::addressing;
use crate::command::raw::Version;
use crate::counters::DropReason;
use crate::ip::{self, IpHeader};
use crate::link::{FrameChecksum, Link};
use bytes::Bytes;
use smoltcp::phy::Medium;
use smoltcp::wire::IpProtocol;
use std::net::IpAddr;

/// One packet on its way in.
pub(super) struct Packet {
    /// The IP packet, without anything behind it.
    pub(super) bytes: Bytes,
    pub(super) header: IpHeader,
    /// Whether the transport checksum need not be verified.
    pub(super) is_checksum_good: bool,
}

/// Where a packet came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Link,
    Own,
}

impl Packet {
    /// What follows the IP header.
    pub(super) fn payload(&self) -> &[u8] {
        &self.bytes[self.header.payload.start..]
    }

    /// Replaces the IP header by one without options or extension headers.
    pub(super) fn strip_extensions(&mut self) {
        let payload = self.payload();
        let header = &self.header;
        let repr = ip::repr(
            header.source,
            header.destination,
            header.protocol,
            payload.len(),
            header.hop_limit,
        );
        let start = repr.header_len();
        let mut bytes = vec![0; start + payload.len()];
        repr.emit(&mut bytes[..], &ip::header_checksums_only());
        bytes[start..].copy_from_slice(payload);
        self.header.payload = start..bytes.len();
        self.header.has_extensions = false;
        self.bytes = bytes.into();
    }

    pub(super) fn version(&self) -> Version {
        if self.header.source.is_ipv4() { Version::V4 } else { Version::V6 }
    }
}

impl Netstack {
    /// Takes a bounded number of frames from the link, and all packets from inside that are there
    /// now; returns whether there were any.
    pub(super) fn receive_frames<L: Link>(&mut self, link: &mut L) -> bool {
        let mut worked = false;
        for _ in 0..FRAMES_PER_ROUND {
            let Some(frame) = link.receive() else { break };
            worked = true;
            self.outgoing.counters.frames_received += 1;
            let is_checksum_good = frame.checksum == FrameChecksum::Good;
            if !self.addressing.is_link_up {
                self.outgoing.counters.drop(DropReason::LinkDown);
                continue;
            }
            if self.outgoing.capabilities.medium != Medium::Ip {
                self.outgoing.counters.drop(DropReason::NotForUs);
                continue;
            }
            self.receive_packet(frame.data, is_checksum_good, Origin::Link, link);
        }
        for _ in 0..self.outgoing.loopback_len() {
            let Some(packet) = self.outgoing.next_loopback() else {
                break;
            };
            worked = true;
            self.receive_packet(packet, true, Origin::Own, link);
        }
        worked
    }

    fn receive_packet<L: Link>(
        &mut self,
        bytes: Bytes,
        is_checksum_good: bool,
        origin: Origin,
        link: &mut L,
    ) {
        if let Err(reason) = self.try_receive_packet(bytes, is_checksum_good, origin, link) {
            self.outgoing.counters.drop(reason);
        }
    }

    fn try_receive_packet<L: Link>(
        &mut self,
        mut bytes: Bytes,
        is_checksum_good: bool,
        origin: Origin,
        link: &mut L,
    ) -> Result<(), DropReason> {
        let mut header = ip::parse(&bytes)?;
        bytes.truncate(header.payload.end);
        if origin == Origin::Link {
            self.check_source(header.source)?;
            self.check_destination(header.destination)?;
        }
        let mut is_checksum_good = is_checksum_good;
        if header.fragment.is_some() {
            let whole = self.reassembly.add(&header, &bytes, self.now);
            for _ in 0..self.reassembly.evict() {
                self.outgoing.counters.drop(DropReason::FragmentExpired);
            }
            let Some(whole) = whole? else { return Ok(()) };
            bytes = whole;
            header = ip::parse(&bytes)?;
            // Nobody has seen all of it before.
            is_checksum_good = false;
        }
        let packet = Packet { bytes, header, is_checksum_good };
        let is_raw = self.deliver_raw(&packet);
        match packet.header.protocol {
            IpProtocol::Tcp => self.receive_tcp(packet, link),
            IpProtocol::Udp => self.receive_udp(packet, is_raw, link),
            IpProtocol::Icmp | IpProtocol::Icmpv6 => self.receive_icmp(&packet, link),
            _ if is_raw => Ok(()),
            _ => self.answer_protocol_unreachable(&packet, link),
        }
    }

    /// Whether a packet from the wire may come from `source` (RFC 1122 section 3.2.1.3, RFC 4291
    /// section 2.5). That it is none of the stack's own addresses keeps out LAND, too.
    fn check_source(&self, source: IpAddr) -> Result<(), DropReason> {
        let is_martian = source.is_loopback()
            || source.is_multicast()
            || source.is_unspecified()
            || is_v4_mapped(source)
            || is_reserved(source)
            || self.addressing.is_own(source)
            || self.addressing.is_broadcast(source);
        if is_martian { Err(DropReason::MartianSource) } else { Ok(()) }
    }

    /// Whether a packet from the wire to `destination` is for this stack.
    fn check_destination(&self, destination: IpAddr) -> Result<(), DropReason> {
        let is_martian = destination.is_loopback()
            || destination.is_unspecified()
            || is_v4_mapped(destination)
            || is_this_network(destination);
        if is_martian {
            return Err(DropReason::MartianDestination);
        }
        let is_for_us = self.addressing.is_local(destination)
            || self.addressing.is_broadcast(destination)
            || is_all_hosts(destination)
            || self.groups.contains_key(&destination);
        if is_for_us { Ok(()) } else { Err(DropReason::NotForUs) }
    }
}

fn is_v4_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if addressing::is_v4_mapped(address))
}

/// Whether no host has this address: 0.0.0.0/8 and 240.0.0.0/4 (RFC 6890 section 2.2.2).
fn is_reserved(address: IpAddr) -> bool {
    is_this_network(address) || matches!(address, IpAddr::V4(address) if address.octets()[0] >= 240)
}

/// 0.0.0.0/8.
fn is_this_network(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.octets()[0] == 0)
}

/// The multicast groups that every host is in (RFC 1112 section 4, RFC 4291 section 2.7.1).
pub(super) fn is_all_hosts(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets() == [224, 0, 0, 1],
        IpAddr::V6(address) => address.segments() == [0xff02, 0, 0, 0, 0, 0, 0, 1],
    }
}
