//! Sent ICMP errors, and the packets that must not cause one.

use super::icmp::ICMP_HEADER_LEN;
use crate::command::tcp::Refusal;
use crate::context::Context;
use crate::counters::DropReason;
use crate::ip::IpHeader;
use crate::ip::layer::IpLayer;
use crate::ip::packet::{Origin, Packet};
use crate::ip::problem::{self, Problem};
use crate::link::Link;
use crate::wire::{
    IPV4_HEADER_LEN, IPV4_MIN_MTU, IPV6_HEADER_LEN, IPV6_MIN_MTU, Icmpv4Packet, IpProtocol,
    Ipv4Packet, Ipv6Packet,
};
use std::net::IpAddr;

/// An ICMP error to send.
#[derive(Debug, Clone, Copy)]
enum IcmpError {
    NetworkUnreachable,
    HostUnreachable,
    PortUnreachable,
    /// Communication administratively prohibited.
    Prohibited,
    /// With the offset of the next header field that names it, for IPv6.
    ProtocolUnreachable(usize),
    /// Fragment reassembly time exceeded.
    ReassemblyTimeExceeded,
    Parameter(Problem),
}

impl IpLayer {
    /// Answers a datagram to a port without a socket (RFC 1122 section 4.1.3.1); returns the drop
    /// reason.
    pub(crate) fn answer_port_unreachable<L: Link>(
        &mut self,
        cx: &mut Context,
        packet: &Packet,
        link: &mut L,
    ) -> DropReason {
        let addresses = (packet.header.destination, packet.header.source);
        self.answer_error(cx, &packet.bytes, addresses, IcmpError::PortUnreachable, link)
            .unwrap_or(DropReason::NoListener)
    }

    /// Answers a SYN with the refusal that the application chose.
    pub(crate) fn answer_refusal<L: Link>(
        &mut self,
        cx: &mut Context,
        packet: &Packet,
        how: Refusal,
        link: &mut L,
    ) {
        let error = match how {
            Refusal::Reset | Refusal::Silence => return,
            Refusal::NetworkUnreachable => IcmpError::NetworkUnreachable,
            Refusal::HostUnreachable => IcmpError::HostUnreachable,
            Refusal::PortUnreachable => IcmpError::PortUnreachable,
            Refusal::Prohibited => IcmpError::Prohibited,
        };
        let addresses = (packet.header.destination, packet.header.source);
        if self.answer_error(cx, &packet.bytes, addresses, error, link).is_some() {
            self.outgoing.counters.drop(DropReason::RefusalRateLimited);
        }
    }

    /// Answers a packet of an unsupported protocol (RFC 1122 section 3.2.2.1, RFC 4443 section
    /// 3.4); returns the drop reason.
    pub(crate) fn answer_protocol_unreachable<L: Link>(
        &mut self,
        cx: &mut Context,
        packet: &Packet,
        link: &mut L,
    ) -> DropReason {
        let addresses = (packet.header.destination, packet.header.source);
        let pointer = match addresses.0 {
            IpAddr::V4(_) => 0,
            IpAddr::V6(_) => problem::last_next_header_at(&packet.bytes),
        };
        self.answer_error(
            cx,
            &packet.bytes,
            addresses,
            IcmpError::ProtocolUnreachable(pointer),
            link,
        )
        .unwrap_or(DropReason::NoListener)
    }

    /// Answers the first fragment of a packet whose reassembly timed out (RFC 1122 section 3.3.2,
    /// RFC 8200 section 4.5).
    pub(crate) fn answer_expired<L: Link>(&mut self, cx: &mut Context, first: &[u8], link: &mut L) {
        if let Some(header) = fixed_header(first) {
            let addresses = (header.destination, header.source);
            self.answer_error(cx, first, addresses, IcmpError::ReassemblyTimeExceeded, link);
        }
    }

    /// Answers a packet dropped for `reason` with a parameter problem, if its headers have one to
    /// report; returns the drop reason.
    #[cold]
    pub(crate) fn refuse<L: Link>(
        &mut self,
        cx: &mut Context,
        packet: &[u8],
        reason: DropReason,
        origin: Origin,
        link: &mut L,
    ) -> DropReason {
        let (Some(problem), Some(header)) = (Problem::of(packet), fixed_header(packet)) else {
            return reason;
        };
        if origin != Origin::Own
            && (self.check_source(&header, packet).is_err()
                || self.check_destination(&header, packet, origin).is_err())
        {
            return reason;
        }
        let addresses = (header.destination, header.source);
        self.answer_error(cx, packet, addresses, IcmpError::Parameter(problem), link)
            .unwrap_or(reason)
    }

    /// Sends an ICMP error about a packet, unless forbidden (RFC 1122 section 3.2.2, RFC 4443
    /// section 2.4(e)) or rate-limited; returns the latter as the drop reason.
    fn answer_error<L: Link>(
        &mut self,
        cx: &mut Context,
        packet: &[u8],
        (destination, source): (IpAddr, IpAddr),
        error: IcmpError,
        link: &mut L,
    ) -> Option<DropReason> {
        let includes_multicast =
            matches!(error, IcmpError::Parameter(Problem { includes_multicast: true, .. }));
        let from = match self.addressing.is_local(destination) {
            true => destination,
            false if includes_multicast => self.addressing.source_for(source).ok()?,
            false => return None,
        };
        if source.is_unspecified() || problem::is_icmp_error(packet) || is_later_fragment(packet) {
            return None;
        }
        if !self.icmp_errors.allows(cx.now) {
            return Some(DropReason::RateLimited);
        }
        let (protocol, room) = match source {
            IpAddr::V4(_) => (IpProtocol::Icmp, IPV4_MIN_MTU - IPV4_HEADER_LEN - ICMP_HEADER_LEN),
            IpAddr::V6(_) => (IpProtocol::Icmpv6, IPV6_MIN_MTU - IPV6_HEADER_LEN - ICMP_HEADER_LEN),
        };
        let (kind, code, rest) = error.encode_for(source);
        let quoted = &packet[..packet.len().min(room)];
        let len = ICMP_HEADER_LEN + quoted.len();
        self.send_answer(cx, (from, source), protocol, len, link, |message| {
            message[..2].copy_from_slice(&[kind, code]);
            message[4..ICMP_HEADER_LEN].copy_from_slice(&rest.to_be_bytes());
            message[ICMP_HEADER_LEN..].copy_from_slice(quoted);
            if protocol == IpProtocol::Icmp {
                Icmpv4Packet::new_unchecked(message).fill_checksum();
            }
        });
        self.outgoing.counters.icmp_sent += 1;
        None
    }
}

impl IcmpError {
    /// Type, code and the 4 bytes after the checksum, in the family of `peer`.
    fn encode_for(self, peer: IpAddr) -> (u8, u8, u32) {
        match (self, peer) {
            (Self::NetworkUnreachable, IpAddr::V4(_)) => (3, 0, 0),
            (Self::NetworkUnreachable, IpAddr::V6(_)) => (1, 0, 0),
            (Self::HostUnreachable, IpAddr::V4(_)) => (3, 1, 0),
            (Self::HostUnreachable, IpAddr::V6(_)) => (1, 3, 0),
            (Self::Prohibited, IpAddr::V4(_)) => (3, 13, 0),
            (Self::Prohibited, IpAddr::V6(_)) => (1, 1, 0),
            (Self::PortUnreachable, IpAddr::V4(_)) => (3, 3, 0),
            (Self::PortUnreachable, IpAddr::V6(_)) => (1, 4, 0),
            (Self::ProtocolUnreachable(_), IpAddr::V4(_)) => (3, 2, 0),
            (Self::ProtocolUnreachable(pointer), IpAddr::V6(_)) => {
                Self::Parameter(Problem::next_header(pointer)).encode_for(peer)
            }
            (Self::ReassemblyTimeExceeded, IpAddr::V4(_)) => (11, 1, 0),
            (Self::ReassemblyTimeExceeded, IpAddr::V6(_)) => (3, 1, 0),
            (Self::Parameter(problem), IpAddr::V4(_)) => {
                (12, problem.code, (problem.pointer as u32) << 24)
            }
            (Self::Parameter(problem), IpAddr::V6(_)) => (4, problem.code, problem.pointer as u32),
        }
    }
}

/// Whether a packet is an IPv4 fragment other than the first.
fn is_later_fragment(packet: &[u8]) -> bool {
    packet[0] >> 4 == 4 && Ipv4Packet::new_unchecked(packet).frag_offset() != 0
}

/// The fixed header of a packet, without options or extension headers.
fn fixed_header(packet: &[u8]) -> Option<IpHeader> {
    let (source, destination, protocol, hop_limit, payload) = match packet.first()? >> 4 {
        4 => {
            let packet = Ipv4Packet::new_checked(packet).ok()?;
            let addresses = (packet.src_addr().into(), packet.dst_addr().into());
            let payload = usize::from(packet.header_len())..usize::from(packet.total_len());
            (addresses.0, addresses.1, packet.next_header(), packet.hop_limit(), payload)
        }
        _ => {
            let packet = Ipv6Packet::new_checked(packet).ok()?;
            let addresses = (packet.src_addr().into(), packet.dst_addr().into());
            let payload = IPV6_HEADER_LEN..packet.total_len();
            (addresses.0, addresses.1, packet.next_header(), packet.hop_limit(), payload)
        }
    };
    let has_extensions = false;
    Some(IpHeader {
        source,
        destination,
        protocol,
        hop_limit,
        payload,
        has_extensions,
        fragment: None,
    })
}
