//! Received ICMP messages.

use crate::context::Context;
use crate::counters::DropReason;
use crate::error::Error;
use crate::ip::addressing::NextHop;
use crate::ip::layer::{IcmpCause, IcmpReport, IpLayer};
use crate::ip::packet::Packet;
use crate::ip::path_mtu;
use crate::ip::{self, Quoted};
use crate::link::Link;
use crate::wire::{Icmpv4Message, Icmpv4Packet, Icmpv6Message, Icmpv6Packet, IpProtocol};
use std::net::IpAddr;

/// The remaining work for an ICMP message.
#[derive(Debug)]
pub(crate) enum Received {
    Nothing,
    /// An echo reply, for the socket that sent the request.
    EchoReply {
        identifier: u16,
        sequence: u16,
    },
    /// An error, for the socket whose packet it quotes.
    Error(IcmpReport),
}

/// A parsed ICMP message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    EchoRequest,
    EchoReply {
        identifier: u16,
        sequence: u16,
    },
    /// Neighbour Discovery.
    Neighbour,
    Failed(Error),
    /// The next-hop MTU; 0 from a router older than RFC 1191.
    TooBig(u32),
    Other,
}

/// Length of the header of an echo, and of an error before the quoted packet.
pub(crate) const ICMP_HEADER_LEN: usize = 8;

impl IpLayer {
    /// Takes an ICMP message; answers echo requests and neighbour solicitations.
    pub(crate) fn receive_icmp<L: Link>(
        &mut self,
        cx: &mut Context,
        packet: &Packet,
        link: &mut L,
    ) -> Result<Received, DropReason> {
        #[cfg(test)]
        cx.spring("icmp");
        let message = match (packet.header.protocol, packet.header.source) {
            (IpProtocol::Icmp, IpAddr::V4(_)) => read_v4(packet.payload())?,
            (IpProtocol::Icmpv6, IpAddr::V6(_)) => read_v6(packet)?,
            _ => return Err(DropReason::Malformed),
        };
        let report = match message {
            // Broadcast or multicast: a reply would amplify an attack on a spoofed source (RFC 1122
            // section 3.2.2.6; as Linux).
            Message::EchoRequest
                if packet.header.destination.is_ipv4()
                    && !self.addressing.is_local(packet.header.destination) =>
            {
                return Err(DropReason::NoListener);
            }
            // One that another node is to answer, by way of a raw socket.
            Message::EchoRequest
                if !cx.config.ip.any_ip_echo
                    && self.addressing.is_local(packet.header.destination)
                    && !self.addressing.is_own(packet.header.destination) =>
            {
                None
            }
            Message::EchoRequest => {
                self.answer_echo(cx, packet, link);
                None
            }
            Message::EchoReply { identifier, sequence } => {
                return Ok(Received::EchoReply { identifier, sequence });
            }
            Message::Neighbour => {
                self.receive_ndp(cx, packet, link)?;
                None
            }
            Message::Failed(error) => {
                quoted_in(packet).map(|quoted| (quoted, IcmpCause::Failed(error)))
            }
            Message::TooBig(mtu) => quoted_in(packet).and_then(|quoted| {
                let mtu = self.valid_path_mtu(cx, &quoted, mtu)?;
                Some((quoted, IcmpCause::TooBig(mtu)))
            }),
            Message::Other => None,
        };
        let from = packet.header.source;
        Ok(report.map_or(Received::Nothing, |(quoted, cause)| {
            Received::Error(IcmpReport { from, quoted, cause })
        }))
    }

    /// The path MTU of a Packet Too Big message, if valid: below the known one, and not below the
    /// minimum. The layer above checks that the quoted packet is the stack's own.
    fn valid_path_mtu(&self, cx: &Context, quoted: &Quoted, reported: u32) -> Option<u16> {
        let mtu = path_mtu::valid_mtu(reported, quoted)?;
        let is_smaller = usize::from(mtu) < self.mtu_to(cx.now, quoted.destination)
            && matches!(self.addressing.next_hop(quoted.destination), Ok(NextHop::Link(_)));
        is_smaller.then_some(mtu)
    }
}

fn read_v4(payload: &[u8]) -> Result<Message, DropReason> {
    let message = Icmpv4Packet::new_checked(payload).map_err(|_| DropReason::Malformed)?;
    if !message.verify_checksum() {
        return Err(DropReason::Checksum);
    }
    Ok(match (message.msg_type(), message.msg_code()) {
        (Icmpv4Message::EchoRequest, _) => Message::EchoRequest,
        (Icmpv4Message::EchoReply, _) => {
            Message::EchoReply { identifier: message.echo_ident(), sequence: message.echo_seq_no() }
        }
        (Icmpv4Message::DstUnreachable, 2 | 3) => Message::Failed(Error::Refused),
        (Icmpv4Message::DstUnreachable, 0) => Message::Failed(Error::NetworkUnreachable),
        (Icmpv4Message::DstUnreachable, 4) => {
            let mtu = payload.get(6..8).and_then(|bytes| bytes.try_into().ok());
            Message::TooBig(mtu.map_or(0, u16::from_be_bytes).into())
        }
        (Icmpv4Message::TimeExceeded, 0) => Message::Failed(Error::TtlExceeded),
        (Icmpv4Message::DstUnreachable | Icmpv4Message::TimeExceeded, _) => {
            Message::Failed(Error::HostUnreachable)
        }
        _ => Message::Other,
    })
}

fn read_v6(packet: &Packet) -> Result<Message, DropReason> {
    let (IpAddr::V6(source), IpAddr::V6(destination)) =
        (packet.header.source, packet.header.destination)
    else {
        return Err(DropReason::Malformed);
    };
    let payload = packet.payload();
    let message = Icmpv6Packet::new_checked(payload).map_err(|_| DropReason::Malformed)?;
    if !message.verify_checksum(&source, &destination) {
        return Err(DropReason::Checksum);
    }
    Ok(match (message.msg_type(), message.msg_code()) {
        (Icmpv6Message::NeighborSolicit | Icmpv6Message::NeighborAdvert, _) => Message::Neighbour,
        // Other messages may be answered with an error.
        _ if source.is_unspecified() => Message::Other,
        (Icmpv6Message::EchoRequest, _) => Message::EchoRequest,
        (Icmpv6Message::EchoReply, _) => {
            Message::EchoReply { identifier: message.echo_ident(), sequence: message.echo_seq_no() }
        }
        (Icmpv6Message::DstUnreachable, 4) => Message::Failed(Error::Refused),
        (Icmpv6Message::DstUnreachable, 0) => Message::Failed(Error::NetworkUnreachable),
        (Icmpv6Message::PktTooBig, _) => {
            let mtu = payload.get(4..8).and_then(|bytes| bytes.try_into().ok());
            Message::TooBig(mtu.map_or(0, u32::from_be_bytes))
        }
        // An unknown next header, the protocol unreachable of IPv4 (RFC 4443 section 3.4).
        (Icmpv6Message::ParamProblem, 1) => Message::Failed(Error::Refused),
        (Icmpv6Message::TimeExceeded, 0) => Message::Failed(Error::TtlExceeded),
        (Icmpv6Message::DstUnreachable | Icmpv6Message::TimeExceeded, _) => {
            Message::Failed(Error::HostUnreachable)
        }
        _ => Message::Other,
    })
}

/// The packet quoted in an ICMP error, if the error was sent to its source.
fn quoted_in(packet: &Packet) -> Option<Quoted> {
    let quoted = ip::parse_quoted(packet.payload().get(ICMP_HEADER_LEN..)?)?;
    (quoted.source == packet.header.destination).then_some(quoted)
}
