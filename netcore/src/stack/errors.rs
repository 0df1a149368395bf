//! ICMP: what routers and peers have to say, and whom it concerns.

use super::Netstack;
use super::datagrams::{canonical, version_of};
use super::ingress::Packet;
use crate::addressing::NextHop;
use crate::counters::{DropReason, Fate};
use crate::error::Error;
use crate::flow_table::FlowKey;
use crate::ip::{self, Quoted};
use crate::link::Link;
use crate::path_mtu;
use crate::ports::Protocol;
use crate::queue::Datagram;
use crate::sockets::datagram::DatagramSocket;
use bytes::Bytes;
use smoltcp::wire::{Icmpv4Message, Icmpv4Packet, Icmpv6Message, Icmpv6Packet, IpProtocol};
use std::net::{IpAddr, SocketAddr};

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

/// What stands before the packet that an ICMP error quotes.
const ERROR_HEADER: usize = 8;

impl Netstack {
    /// Takes an ICMP message: answers echo requests, and takes replies and errors to their
    /// sockets.
    pub(super) fn receive_icmp<L: Link>(
        &mut self,
        packet: &Packet,
        link: &mut L,
    ) -> Result<Fate, DropReason> {
        #[cfg(test)]
        self.spring("icmp");
        let message = match (packet.header.protocol, packet.header.source) {
            (IpProtocol::Icmp, IpAddr::V4(_)) => read_v4(packet.payload())?,
            (IpProtocol::Icmpv6, IpAddr::V6(_)) => read_v6(packet)?,
            _ => return Err(DropReason::Malformed),
        };
        match message {
            // To many: what answers makes the stack a part of an attack on whoever is named as the
            // source (RFC 1122 section 3.2.2.6; so does Linux).
            Message::EchoRequest
                if packet.header.destination.is_ipv4()
                    && !self.addressing.is_local(packet.header.destination) =>
            {
                return Err(DropReason::NoListener);
            }
            Message::EchoRequest => self.answer_echo(packet, link),
            Message::EchoReply { identifier, sequence } => {
                return self.deliver_echo(packet, (identifier, sequence));
            }
            Message::Neighbour => self.receive_ndp(packet, link)?,
            Message::Failed(error) => {
                if let Some(quoted) = quoted_in(packet) {
                    self.report_error(packet.header.source, &quoted, error);
                }
            }
            Message::TooBig(mtu) => {
                if let Some(quoted) = quoted_in(packet) {
                    self.packet_too_big(&quoted, mtu);
                }
            }
            Message::Other => {}
        }
        Ok(Fate::Handled)
    }

    /// The largest packet on the way to `destination`, in bytes, as far as is known.
    pub(super) fn mtu_to(&self, destination: IpAddr) -> usize {
        let mtu = self.outgoing.capabilities.mtu;
        let path = self.path_mtus.get(destination, self.now);
        path.map_or(mtu, |path| mtu.min(usize::from(path.mtu)))
    }

    /// Tells the socket that has sent a packet what the stack itself has found to be wrong with it.
    pub(super) fn deliver_error(&mut self, packet: &[u8], error: Error) {
        if let Some(quoted) = ip::parse_quoted(packet) {
            self.report_error(quoted.source, &quoted, error);
        }
    }

    /// Tells the socket whose packet is quoted in an ICMP error.
    fn report_error(&mut self, from: IpAddr, quoted: &Quoted, error: Error) {
        match quoted.protocol {
            IpProtocol::Udp => {
                // Only a connected socket knows what the error is about.
                if let (Some(socket), _, true) = self.udp_sender(quoted) {
                    let queue = socket.queue.clone();
                    queue.set_error(error, &mut self.wakes);
                }
            }
            IpProtocol::Tcp => {
                let (local, remote) = ends_of(quoted);
                self.connecting_failed(FlowKey::new(local, remote), quoted.sequence, error);
            }
            IpProtocol::Icmp | IpProtocol::Icmpv6 => {
                let key = (version_of(quoted.source), quoted.echo_identifier);
                let Some(id) = self.echoes.get(&key).copied() else {
                    return;
                };
                let sender = SocketAddr::new(from, quoted.echo_sequence);
                let report = Datagram { error: Some(error), ..Datagram::new(sender, Bytes::new()) };
                if self.deliver(id, report, 0) == Err(DropReason::QueueFull) {
                    self.outgoing.counters.copies_lost += 1;
                }
            }
            _ => {}
        }
    }

    /// Sends smaller packets to where one was too large for the path, if that is known to be the
    /// stack's own: of a connection it must be under way (RFC 5927 section 7), of others the
    /// socket has to be there. A smaller MTU than every path has is not believed.
    fn packet_too_big(&mut self, quoted: &Quoted, told: u32) {
        let Some(mtu) = path_mtu::believable(told, quoted) else { return };
        if usize::from(mtu) >= self.mtu_to(quoted.destination)
            || !matches!(self.addressing.next_hop(quoted.destination), Ok(NextHop::Link(_)))
        {
            return;
        }
        let (local, remote) = ends_of(quoted);
        let (raw, echo) = (
            (version_of(quoted.source), u8::from(quoted.protocol)),
            (version_of(quoted.source), quoted.echo_identifier),
        );
        match quoted.protocol {
            IpProtocol::Tcp => {
                let flow = FlowKey::new(local, remote);
                if self.sender_of(flow, quoted.sequence).is_none() {
                    return;
                }
                let path = self.path_mtus.learn(quoted.destination, mtu, self.now);
                if let Some(connection) = self.sender_of(flow, quoted.sequence) {
                    connection.narrow(path);
                }
                return;
            }
            IpProtocol::Udp => match self.udp_sender(quoted) {
                (Some(socket), is_unconnected, is_peer) if is_unconnected || is_peer => {
                    let queue = socket.queue.clone();
                    if is_peer && queue.options().dont_fragment {
                        queue.set_error(Error::MessageTooLarge, &mut self.wakes);
                    }
                }
                _ => return,
            },
            IpProtocol::Icmp | IpProtocol::Icmpv6 if self.echoes.contains_key(&echo) => {}
            _ if self.raw.contains_key(&raw) => {}
            _ => return,
        }
        self.path_mtus.learn(quoted.destination, mtu, self.now);
    }

    /// The UDP socket that has sent a packet, whether it has no peer, and whether the packet went
    /// to its peer.
    fn udp_sender(&mut self, quoted: &Quoted) -> (Option<&mut DatagramSocket>, bool, bool) {
        let (local, remote) = ends_of(quoted);
        let id = self.ports.find(Protocol::Udp, local);
        let Some(socket) = id.and_then(|id| self.sockets.datagram_mut(id)) else {
            return (None, false, false);
        };
        let peer = socket.queue.peer().map(canonical);
        (Some(socket), peer.is_none(), peer == Some(remote))
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
    let quoted = ip::parse_quoted(packet.payload().get(ERROR_HEADER..)?)?;
    (quoted.source == packet.header.destination).then_some(quoted)
}

/// The two ends of a quoted TCP or UDP packet.
fn ends_of(quoted: &Quoted) -> (SocketAddr, SocketAddr) {
    (
        SocketAddr::new(quoted.source, quoted.source_port),
        SocketAddr::new(quoted.destination, quoted.destination_port),
    )
}
