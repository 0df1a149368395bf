//! ICMP: what routers and peers have to say.

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

/// What is left to do for an ICMP message.
#[derive(Debug)]
pub(crate) enum Received {
    Nothing,
    /// A reply goes to the socket that has asked.
    EchoReply {
        identifier: u16,
        sequence: u16,
    },
    /// An error goes to the socket whose packet it quotes.
    Error(IcmpReport),
}

/// What an ICMP message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    EchoRequest,
    EchoReply {
        identifier: u16,
        sequence: u16,
    },
    /// About neighbours on the link.
    Neighbour,
    Failed(Error),
    /// The packet has to be smaller than this: 0 from a router that does not say.
    TooBig(u32),
    Other,
}

/// The header of an ICMP message: of an echo, and of an error before the packet that it quotes.
pub(crate) const ICMP_HEADER_LEN: usize = 8;

impl IpLayer {
    /// Takes an ICMP message; answers echo requests and questions for neighbours.
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
            // To many: what answers makes the stack a part of an attack on whoever is named as the
            // source (RFC 1122 section 3.2.2.6; so does Linux).
            Message::EchoRequest
                if packet.header.destination.is_ipv4()
                    && !self.addressing.is_local(packet.header.destination) =>
            {
                return Err(DropReason::NoListener);
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
                let mtu = self.believable_mtu(cx, &quoted, mtu)?;
                Some((quoted, IcmpCause::TooBig(mtu)))
            }),
            Message::Other => None,
        };
        let from = packet.header.source;
        Ok(report.map_or(Received::Nothing, |(quoted, cause)| {
            Received::Error(IcmpReport { from, quoted, cause })
        }))
    }

    /// The MTU of the path that a packet was too large for, if it can be true: it is smaller than
    /// what is known, and not smaller than every path has. Whether the packet is one of the
    /// stack's is for the layer above to say.
    fn believable_mtu(&self, cx: &Context, quoted: &Quoted, told: u32) -> Option<u16> {
        let mtu = path_mtu::believable(told, quoted)?;
        let is_news = usize::from(mtu) < self.mtu_to(cx.now, quoted.destination)
            && matches!(self.addressing.next_hop(quoted.destination), Ok(NextHop::Link(_)));
        is_news.then_some(mtu)
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
        // Whoever sent anything else can be answered.
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
        // An unknown next header: what IPv4 has "protocol unreachable" for (RFC 4443 section 3.4).
        (Icmpv6Message::ParamProblem, 1) => Message::Failed(Error::Refused),
        (Icmpv6Message::TimeExceeded, 0) => Message::Failed(Error::TtlExceeded),
        (Icmpv6Message::DstUnreachable | Icmpv6Message::TimeExceeded, _) => {
            Message::Failed(Error::HostUnreachable)
        }
        _ => Message::Other,
    })
}

/// What an ICMP error quotes, if it went to whom it quotes.
fn quoted_in(packet: &Packet) -> Option<Quoted> {
    let quoted = ip::parse_quoted(packet.payload().get(ICMP_HEADER_LEN..)?)?;
    (quoted.source == packet.header.destination).then_some(quoted)
}
