//! The ICMP errors that the stack sends: which packets deserve one, and which must have none.

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

/// What an ICMP error says.
#[derive(Debug, Clone, Copy)]
enum Complaint {
    NetworkUnreachable,
    HostUnreachable,
    PortUnreachable,
    /// By somebody who decides on it.
    Prohibited,
    /// Over IPv6 with where the packet says what the unknown header is.
    ProtocolUnreachable(usize),
    /// Not all fragments came in time.
    ReassemblyTimeExceeded,
    Parameter(Problem),
}

impl IpLayer {
    /// Answers a datagram to a port that nobody is bound to (RFC 1122 section 4.1.3.1); returns why
    /// it is dropped.
    pub(crate) fn answer_port_unreachable<L: Link>(
        &mut self,
        cx: &mut Context,
        packet: &Packet,
        link: &mut L,
    ) -> DropReason {
        let ends = (packet.header.destination, packet.header.source);
        self.answer_error(cx, &packet.bytes, ends, Complaint::PortUnreachable, link)
            .unwrap_or(DropReason::NoListener)
    }

    /// Turns the peer away whose SYN this is.
    pub(crate) fn answer_refusal<L: Link>(
        &mut self,
        cx: &mut Context,
        packet: &Packet,
        how: Refusal,
        link: &mut L,
    ) {
        let complaint = match how {
            Refusal::Reset | Refusal::Silence => return,
            Refusal::NetworkUnreachable => Complaint::NetworkUnreachable,
            Refusal::HostUnreachable => Complaint::HostUnreachable,
            Refusal::PortUnreachable => Complaint::PortUnreachable,
            Refusal::Prohibited => Complaint::Prohibited,
        };
        let ends = (packet.header.destination, packet.header.source);
        if self.answer_error(cx, &packet.bytes, ends, complaint, link).is_some() {
            self.outgoing.counters.drop(DropReason::RefusalRateLimited);
        }
    }

    /// Answers a packet of a protocol that nobody speaks (RFC 1122 section 3.2.2.1, RFC 4443
    /// section 3.4); returns why it is dropped.
    pub(crate) fn answer_protocol_unreachable<L: Link>(
        &mut self,
        cx: &mut Context,
        packet: &Packet,
        link: &mut L,
    ) -> DropReason {
        let ends = (packet.header.destination, packet.header.source);
        let pointer = match ends.0 {
            IpAddr::V4(_) => 0,
            IpAddr::V6(_) => problem::last_next_header_at(&packet.bytes),
        };
        self.answer_error(cx, &packet.bytes, ends, Complaint::ProtocolUnreachable(pointer), link)
            .unwrap_or(DropReason::NoListener)
    }

    /// Answers the first fragment of a packet whose others did not come in time (RFC 1122 section
    /// 3.3.2, RFC 8200 section 4.5).
    pub(crate) fn answer_expired<L: Link>(&mut self, cx: &mut Context, first: &[u8], link: &mut L) {
        if let Some(header) = fixed_header(first) {
            let ends = (header.destination, header.source);
            self.answer_error(cx, first, ends, Complaint::ReassemblyTimeExceeded, link);
        }
    }

    /// Answers a packet that is dropped for `reason` because of its headers, if its sender is to be
    /// told what is wrong with them; returns why it is dropped.
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
                || self.check_destination(header.destination, origin).is_err())
        {
            return reason;
        }
        let ends = (header.destination, header.source);
        self.answer_error(cx, packet, ends, Complaint::Parameter(problem), link).unwrap_or(reason)
    }

    /// Sends an ICMP error about a packet, unless there must be none (RFC 1122 section 3.2.2,
    /// RFC 4443 section 2.4(e)), or were too many; returns the latter as the reason for the drop.
    fn answer_error<L: Link>(
        &mut self,
        cx: &mut Context,
        packet: &[u8],
        (destination, source): (IpAddr, IpAddr),
        complaint: Complaint,
        link: &mut L,
    ) -> Option<DropReason> {
        let is_told_of_many =
            matches!(complaint, Complaint::Parameter(Problem { is_told_of_many: true, .. }));
        let from = match self.addressing.is_local(destination) {
            true => destination,
            false if is_told_of_many => self.addressing.source_for(source).ok()?,
            false => return None,
        };
        if source.is_unspecified() || problem::is_icmp_error(packet) || is_later_part(packet) {
            return None;
        }
        if !self.icmp_errors.allows(cx.now) {
            return Some(DropReason::RateLimited);
        }
        let (protocol, room) = match source {
            IpAddr::V4(_) => (IpProtocol::Icmp, IPV4_MIN_MTU - IPV4_HEADER_LEN - ICMP_HEADER_LEN),
            IpAddr::V6(_) => (IpProtocol::Icmpv6, IPV6_MIN_MTU - IPV6_HEADER_LEN - ICMP_HEADER_LEN),
        };
        let (kind, code, rest) = complaint.in_words_of(source);
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

impl Complaint {
    /// Type, code and what follows the checksum, for a peer of this family.
    fn in_words_of(self, peer: IpAddr) -> (u8, u8, u32) {
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
                Self::Parameter(Problem::next_header(pointer)).in_words_of(peer)
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

/// Whether a packet is a fragment of IPv4 that is not the first.
fn is_later_part(packet: &[u8]) -> bool {
    packet[0] >> 4 == 4 && Ipv4Packet::new_unchecked(packet).frag_offset() != 0
}

/// What the fixed header of a packet says, whatever follows it.
fn fixed_header(packet: &[u8]) -> Option<IpHeader> {
    let (source, destination, protocol, hop_limit, payload) = match packet.first()? >> 4 {
        4 => {
            let packet = Ipv4Packet::new_checked(packet).ok()?;
            let ends = (packet.src_addr().into(), packet.dst_addr().into());
            let payload = usize::from(packet.header_len())..usize::from(packet.total_len());
            (ends.0, ends.1, packet.next_header(), packet.hop_limit(), payload)
        }
        _ => {
            let packet = Ipv6Packet::new_checked(packet).ok()?;
            let ends = (packet.src_addr().into(), packet.dst_addr().into());
            let payload = IPV6_HEADER_LEN..packet.total_len();
            (ends.0, ends.1, packet.next_header(), packet.hop_limit(), payload)
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
