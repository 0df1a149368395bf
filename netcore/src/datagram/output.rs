//! Queued datagrams into packets.

use crate::command::raw::Version;
use crate::command::udp;
use crate::context::Context;
use crate::datagram::layer::DatagramLayer;
use crate::datagram::socket::Kind;
use crate::error::Error;
use crate::id::SocketId;
use crate::ip;
use crate::ip::addressing::NextHop;
use crate::ip::addressing::canonical;
use crate::ip::icmp::ICMP_HEADER_LEN;
use crate::ip::layer::IpLayer;
use crate::link::Link;
use crate::output::Output;
use crate::queue::{Datagram, DatagramQueue};
use crate::wire::ChecksumCapabilities;
use crate::wire::{
    IPV4_HEADER_LEN, IPV6_HEADER_LEN, Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr,
    IpProtocol, UDP_HEADER_LEN, UdpPacket,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Datagrams that one socket may send before the next socket's turn.
const QUANTUM_DATAGRAMS: usize = 64;

impl DatagramLayer {
    /// Sends queued datagrams of a socket, up to its quantum.
    pub(crate) fn serve<L: Link>(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        id: SocketId,
        link: &mut L,
    ) -> bool {
        let Some(socket) = self.sockets.get_mut(id) else {
            return false;
        };
        let queue = socket.queue.clone();
        for _ in 0..QUANTUM_DATAGRAMS {
            // Checked first: a datagram taken out of the queue must be sent.
            let link_way = NextHop::Link(queue.bound_address().ip());
            let mut output = Output { link, state: &mut ip.outgoing };
            if !output.has_room(link_way) || !output.has_room(NextHop::Own) {
                cx.mark(id);
                return false;
            }
            let Some((datagram, options)) = queue.take_to_send(&mut cx.wakes) else {
                if self.sockets.get_mut(id).is_some_and(|socket| socket.is_orphan) {
                    // Without a shutdown there is no handle left to report it to.
                    let reason = if cx.is_shut_down { Error::StackGone } else { Error::Closed };
                    self.remove_datagram(cx, ip, id, reason);
                }
                self.retry_parked_datagram(cx, id);
                return true;
            };
            cx.at_work.is_sending = true;
            if let Err(error) = self.send_datagram(cx, ip, &queue, datagram, options, link) {
                // As on Linux: the sender's next call returns it.
                queue.set_error(error, &mut cx.wakes);
            }
            cx.at_work.is_sending = false;
        }
        cx.mark(id);
        true
    }

    fn send_datagram<L: Link>(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        queue: &DatagramQueue,
        datagram: Datagram,
        options: udp::Options,
        link: &mut L,
    ) -> Result<(), Error> {
        #[cfg(test)]
        cx.spring("send");
        let kind = queue.kind();
        if let Kind::Raw { version, protocol } = kind {
            return self.send_raw(cx, ip, &datagram.payload, version, protocol, link);
        }
        let peer = canonical(datagram.peer);
        let next_hop = ip.addressing.next_hop(peer.ip())?;
        if !options.broadcast && ip.addressing.is_broadcast(peer.ip()) {
            return Err(Error::BroadcastForbidden);
        }
        let own_limit = options.hop_limit_to(peer.ip());
        let hop_limit = datagram.hop_limit.or(own_limit).unwrap_or(ip::HOP_LIMIT);
        let local = datagram.local.unwrap_or(queue.bound_address());
        let source = self.source_of(ip, local.ip().to_canonical(), peer.ip())?;
        let addresses = (source, peer.ip());
        let payload = &datagram.payload;
        match kind {
            Kind::Udp { port, .. } => {
                let port = if port == 0 { local.port() } else { port };
                let len = UDP_HEADER_LEN + payload.len();
                if options.dont_fragment && next_hop != NextHop::Own {
                    self.check_fits(cx, ip, addresses, len)?;
                }
                let header = (addresses, IpProtocol::Udp, hop_limit, options.traffic_class);
                let write = |buffer: &mut [u8]| {
                    let mut out = UdpPacket::new_unchecked(buffer);
                    out.set_src_port(port);
                    out.set_dst_port(peer.port());
                    out.set_len(len as u16);
                    out.set_checksum(0);
                    out.payload_mut().copy_from_slice(payload);
                };
                if self.has_members(ip, peer.ip(), options) {
                    ip.send_transport(cx, NextHop::Own, header, len, link, write)?;
                }
                ip.send_transport(cx, next_hop, header, len, link, write)
            }
            Kind::Ping { identifier, .. } => {
                let sequence = peer.port();
                let protocol = if source.is_ipv4() { IpProtocol::Icmp } else { IpProtocol::Icmpv6 };
                let header = (addresses, protocol, hop_limit, options.traffic_class);
                let len = ICMP_HEADER_LEN + payload.len();
                ip.send_transport(cx, next_hop, header, len, link, |buffer| {
                    write_echo_request(buffer, protocol, (identifier, sequence), payload);
                })
            }
            Kind::Raw { .. } => unreachable!("sent above"),
        }
    }

    /// The source address of a datagram from a socket bound to `bound`.
    fn source_of(&self, ip: &IpLayer, bound: IpAddr, peer: IpAddr) -> Result<IpAddr, Error> {
        let source = match bound {
            bound if !self.is_source(ip, bound) => self.datagram_source(ip, peer)?,
            bound if ip.addressing.is_tentative(bound) || !ip.addressing.is_local(bound) => {
                return Err(Error::AddressNotAvailable);
            }
            bound => bound,
        };
        if source.is_ipv4() != peer.is_ipv4() {
            return Err(Error::WrongFamily);
        }
        Ok(source)
    }

    /// Whether a socket bound to this address sends from it. Not so for multicast, broadcast and
    /// wildcard addresses.
    pub(crate) fn is_source(&self, ip: &IpLayer, bound: IpAddr) -> bool {
        !bound.is_unspecified() && !bound.is_multicast() && !ip.addressing.is_broadcast(bound)
    }

    /// The source address of a datagram. A stack without an address may broadcast from 0.0.0.0 (RFC
    /// 1122 section 3.2.1.3(a)).
    pub(crate) fn datagram_source(
        &self,
        ip: &IpLayer,
        destination: IpAddr,
    ) -> Result<IpAddr, Error> {
        let source = ip.addressing.source_for(destination);
        match destination {
            IpAddr::V4(Ipv4Addr::BROADCAST) => {
                Ok(source.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
            }
            _ => source,
        }
    }

    /// Whether sockets of this stack receive packets sent to `group`.
    fn has_members(&self, ip: &mut IpLayer, group: IpAddr, options: udp::Options) -> bool {
        let comes_back = match group {
            IpAddr::V4(_) => options.multicast_loop_v4,
            IpAddr::V6(_) => options.multicast_loop_v6,
        };
        comes_back && ip.groups.contains_key(&group)
    }

    /// Checks that a transport packet of `len` bytes fits the path MTU.
    fn check_fits(
        &self,
        cx: &mut Context,
        ip: &mut IpLayer,
        addresses: (IpAddr, IpAddr),
        len: usize,
    ) -> Result<(), Error> {
        let header = if addresses.0.is_ipv4() { IPV4_HEADER_LEN } else { IPV6_HEADER_LEN };
        if header + len > ip.mtu_to(cx.now, addresses.1) {
            return Err(Error::MessageTooLarge);
        }
        Ok(())
    }

    fn send_raw<L: Link>(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        packet: &[u8],
        version: Version,
        protocol: u8,
        link: &mut L,
    ) -> Result<(), Error> {
        let packet = ip::complete_raw(packet, version, protocol)?;
        let header = ip::parse(&packet).map_err(|_| Error::Malformed)?;
        let next_hop = ip.addressing.next_hop(header.destination)?;
        let mtu = ip.mtu_to(cx.now, header.destination);
        if packet.len() > mtu && header.has_extensions {
            return Err(Error::MessageTooLarge);
        }
        ip.send_whole(cx, next_hop, &packet, mtu, link);
        Ok(())
    }
}

fn write_echo_request(
    buffer: &mut [u8],
    protocol: IpProtocol,
    (ident, seq_no): (u16, u16),
    data: &[u8],
) {
    let ignored = ChecksumCapabilities::ignored();
    if protocol == IpProtocol::Icmp {
        let request = Icmpv4Repr::EchoRequest { ident, seq_no, data };
        let mut out = Icmpv4Packet::new_unchecked(buffer);
        request.emit(&mut out, &ChecksumCapabilities::default());
    } else {
        let request = Icmpv6Repr::EchoRequest { ident, seq_no, data };
        let (source, destination) = (Ipv6Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED);
        request.emit(&source, &destination, &mut Icmpv6Packet::new_unchecked(buffer), &ignored);
    }
}
