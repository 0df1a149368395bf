//! The way in: from a frame to the socket that it is for.

use super::isolation::{AtWork, Part};
use super::{BYTES_PER_ROUND, FRAMES_PER_ROUND, Netstack};
use crate::addressing;
use crate::command::raw::Version;
use crate::counters::{DropReason, Fate};
use crate::ip::{self, IpHeader};
use crate::link::{self, FRAME_BUFFER_BYTES, FrameChecksum, Link};
use bytes::Bytes;
use smoltcp::phy::Medium;
use smoltcp::wire::{Icmpv6Message, IpProtocol, TcpPacket};
use std::net::IpAddr;
use std::ops::Range;

/// One packet on its way in.
pub(super) struct Packet {
    /// The IP packet, without anything behind it.
    pub(super) bytes: Bytes,
    /// The most that the buffer behind `bytes` takes.
    pub(super) buffer_bytes: usize,
    pub(super) header: IpHeader,
    /// Whether the transport checksum need not be verified.
    pub(super) is_checksum_good: bool,
}

/// Where a packet came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Link,
    /// In a frame to more than one.
    LinkToMany,
    Own,
}

impl Packet {
    /// What follows the IP header.
    pub(super) fn payload(&self) -> &[u8] {
        &self.bytes[self.header.payload.start..]
    }

    /// A part of it for a queue, and what that queue counts for it: a copy, or the part itself if
    /// that is most of what it keeps alive.
    pub(super) fn keep(&self, range: Range<usize>) -> (Bytes, usize) {
        match link::kept_bytes(range.len(), self.buffer_bytes) {
            Some(kept) => (self.bytes.slice(range), kept),
            None => (Bytes::copy_from_slice(&self.bytes[range.clone()]), range.len()),
        }
    }

    /// Replaces the IP header by one without options or extension headers.
    pub(super) fn strip_extensions(&mut self) {
        self.rebuild(self.bytes.len());
    }

    /// The headers of a TCP segment, as a packet of its own that shares no memory with this one.
    pub(super) fn without_data(&self) -> Self {
        let header_len = usize::from(TcpPacket::new_unchecked(self.payload()).header_len());
        let end = self.header.payload.start + header_len;
        let mut headers = Self {
            bytes: self.bytes.clone(),
            buffer_bytes: self.bytes.len(),
            header: self.header.clone(),
            is_checksum_good: true,
        };
        match end < self.bytes.len() {
            true => headers.rebuild(end),
            false => headers.bytes = Bytes::copy_from_slice(&self.bytes),
        }
        headers
    }

    /// Makes the packet anew of the transport's part of it, up to `end`.
    fn rebuild(&mut self, end: usize) {
        let payload = &self.bytes[self.header.payload.start..end];
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
        self.buffer_bytes = bytes.len();
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
        let (mut worked, mut bytes) = (false, 0);
        for _ in 0..FRAMES_PER_ROUND {
            if bytes >= BYTES_PER_ROUND {
                break;
            }
            let Some(frame) = link.receive() else { break };
            worked = true;
            bytes += frame.data.len();
            self.outgoing.counters.frames_received += 1;
            self.at_work = AtWork::packet();
            let is_checksum_good = frame.checksum == FrameChecksum::Good;
            if !self.addressing.is_link_up {
                self.outgoing.counters.drop(DropReason::LinkDown);
                continue;
            }
            if self.outgoing.capabilities.medium == Medium::Ip {
                self.receive_packet(frame.data, is_checksum_good, Origin::Link, link);
            } else {
                let fate = self.receive_ethernet(&frame, link);
                self.outgoing.counters.received_packet(fate);
            }
        }
        for _ in 0..self.outgoing.loopback_len() {
            let Some(packet) = self.outgoing.next_loopback() else {
                break;
            };
            worked = true;
            self.outgoing.counters.loopback_packets += 1;
            self.at_work = AtWork::packet();
            self.receive_packet(packet, true, Origin::Own, link);
        }
        self.at_work = AtWork::default();
        worked
    }

    fn receive_packet<L: Link>(
        &mut self,
        bytes: Bytes,
        is_checksum_good: bool,
        origin: Origin,
        link: &mut L,
    ) {
        let fate = self.try_receive_packet(bytes, is_checksum_good, origin, link);
        self.outgoing.counters.received_packet(fate);
    }

    pub(super) fn try_receive_packet<L: Link>(
        &mut self,
        mut bytes: Bytes,
        is_checksum_good: bool,
        origin: Origin,
        link: &mut L,
    ) -> Result<Fate, DropReason> {
        let mut header = match ip::parse(&bytes) {
            Ok(header) => header,
            Err(reason) => return Err(self.refuse(&bytes, reason, origin, link)),
        };
        let mut buffer_bytes = match origin {
            // Each was allocated on its own.
            Origin::Own => bytes.len(),
            Origin::Link | Origin::LinkToMany => bytes.len().max(FRAME_BUFFER_BYTES),
        };
        bytes.truncate(header.payload.end);
        if origin != Origin::Own {
            self.check_source(&header, &bytes)?;
            self.check_destination(header.destination, origin)?;
        }
        let mut is_checksum_good = is_checksum_good;
        if header.fragment.is_some() {
            let Some(whole) = self.reassemble(&header, &bytes, origin, link)? else {
                return Ok(Fate::Kept);
            };
            (bytes, header) = whole;
            buffer_bytes = bytes.len();
            // Nobody has seen all of it before.
            is_checksum_good = false;
        }
        let packet = Packet { bytes, buffer_bytes, header, is_checksum_good };
        match self.raw.is_empty() {
            true => self.receive_transport(packet, None, link),
            false => self.receive_beside_raw(packet, link),
        }
    }

    /// Takes a packet to whom its protocol says. `raw` is what raw sockets have made of it.
    #[inline]
    fn receive_transport<L: Link>(
        &mut self,
        packet: Packet,
        raw: Option<Result<Fate, DropReason>>,
        link: &mut L,
    ) -> Result<Fate, DropReason> {
        match packet.header.protocol {
            IpProtocol::Tcp => self.receive_tcp(packet, link),
            IpProtocol::Udp => self.receive_udp(packet, raw.is_some(), link),
            IpProtocol::Icmp | IpProtocol::Icmpv6 => self.receive_icmp(&packet, link),
            // Nothing follows, and that is no mistake (RFC 8200 section 4.7).
            IpProtocol::Ipv6NoNxt if raw.is_none() => Ok(Fate::Handled),
            _ => match raw {
                Some(fate) => fate,
                None => Err(self.answer_protocol_unreachable(&packet, link)),
            },
        }
    }

    /// Takes a packet to raw sockets, and then to whom its protocol says.
    #[inline(never)]
    fn receive_beside_raw<L: Link>(
        &mut self,
        packet: Packet,
        link: &mut L,
    ) -> Result<Fate, DropReason> {
        let raw = self.deliver_raw(&packet);
        let fate = self.receive_transport(packet, raw, link);
        match (fate, raw) {
            (Err(DropReason::NoListener), Some(Ok(fate))) => Ok(fate),
            (Ok(fate), Some(Err(DropReason::QueueFull))) => {
                self.outgoing.counters.copies_lost += 1;
                Ok(fate)
            }
            (fate, _) => fate,
        }
    }

    /// Adds a fragment; returns the packet and its header once it is whole.
    fn reassemble<L: Link>(
        &mut self,
        header: &IpHeader,
        bytes: &[u8],
        origin: Origin,
        link: &mut L,
    ) -> Result<Option<(Bytes, IpHeader)>, DropReason> {
        self.at_work.part = Some(Part::Fragments);
        #[cfg(test)]
        self.spring("fragments");
        let whole = self.reassembly.add(header, bytes, self.now);
        for _ in 0..self.reassembly.evict() {
            self.outgoing.counters.drop(DropReason::FragmentExpired);
        }
        self.at_work.part = None;
        let whole = match whole {
            Ok(Some(whole)) => whole,
            Ok(None) => return Ok(None),
            Err(reason) => return Err(self.refuse(bytes, reason, origin, link)),
        };
        let header = match ip::parse(&whole) {
            Ok(header) => header,
            Err(reason) => return Err(self.refuse(&whole, reason, origin, link)),
        };
        let is_discovery =
            header.protocol == IpProtocol::Icmpv6 && is_discovery(&whole[header.payload.start..]);
        // Fragments of fragments, and Neighbour Discovery (RFC 6980 section 5).
        if header.fragment.is_some() || is_discovery {
            return Err(DropReason::BadFragment);
        }
        Ok(Some((whole, header)))
    }

    /// Whether a packet from the wire may come from `source` (RFC 1122 section 3.2.1.3, RFC 4291
    /// section 2.5). That it is none of the stack's own addresses keeps out LAND, too.
    pub(super) fn check_source(&self, header: &IpHeader, bytes: &[u8]) -> Result<(), DropReason> {
        let source = header.source;
        let is_martian = source.is_loopback()
            || source.is_multicast()
            || source.is_unspecified()
            || is_v4_mapped(source)
            || is_reserved(source)
            || self.addressing.is_own(source)
            || self.addressing.is_broadcast(source);
        if is_martian && !self.is_excused(header, bytes) {
            return Err(DropReason::MartianSource);
        }
        Ok(())
    }

    /// Whether a packet may come from where no other may: from no address, as long as its sender
    /// has none, and from one of the stack's own, to say that it has another owner.
    #[cold]
    fn is_excused(&self, header: &IpHeader, bytes: &[u8]) -> bool {
        if header.source.is_unspecified() {
            return is_from_newcomer(header);
        }
        self.addressing.has(header.source)
            && header.protocol == IpProtocol::Icmpv6
            && header.fragment.is_none()
            && bytes.get(header.payload.start).copied().map(Icmpv6Message::from)
                == Some(Icmpv6Message::NeighborAdvert)
    }

    /// Whether a packet from the wire to `destination` is for this stack.
    pub(super) fn check_destination(
        &self,
        destination: IpAddr,
        origin: Origin,
    ) -> Result<(), DropReason> {
        let is_martian = destination.is_loopback()
            || destination.is_unspecified()
            || is_v4_mapped(destination)
            || is_this_network(destination);
        if is_martian {
            return Err(DropReason::MartianDestination);
        }
        let is_for_us = match self.addressing.is_local(destination) {
            // What is for one comes in a frame for one (RFC 1122 section 3.3.6), and what another
            // node may have is not taken yet (RFC 4862 section 5.4).
            true => origin == Origin::Link && !self.addressing.is_tentative(destination),
            false => {
                self.addressing.is_broadcast(destination)
                    || is_all_hosts(destination)
                    || self.groups.contains_key(&destination)
                    || self.addressing.is_solicited_node(destination)
            }
        };
        if is_for_us { Ok(()) } else { Err(DropReason::NotForUs) }
    }
}

/// Whether a packet without a source is what a node sends that has no address yet: over IPv4 to
/// everybody (RFC 1122 section 3.2.1.3(a)), over IPv6 Neighbour Discovery and its like (RFC 4862
/// section 5.4.2).
fn is_from_newcomer(header: &IpHeader) -> bool {
    match header.destination {
        IpAddr::V4(destination) => destination.is_broadcast() && header.protocol == IpProtocol::Udp,
        IpAddr::V6(destination) => {
            destination.is_multicast() && header.protocol == IpProtocol::Icmpv6
        }
    }
}

/// Whether an ICMPv6 message is one of Neighbour Discovery.
fn is_discovery(message: &[u8]) -> bool {
    matches!(message.first(), Some(133..=137))
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
