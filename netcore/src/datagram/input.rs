//! Received packets into the queues of their sockets.

use crate::binding::BoundTo;
use crate::context::Context;
use crate::counters::DropReason;
use crate::datagram::layer::DatagramLayer;
use crate::datagram::socket::Kind;
use crate::id::SocketId;
use crate::ip::addressing::mapped;
use crate::ip::icmp::ICMP_HEADER_LEN;
use crate::ip::layer::IpLayer;
use crate::ip::martians::is_all_hosts;
use crate::ip::packet::Packet;
use crate::link::Link;
use crate::observer::Fate;
use crate::queue::{Datagram, Pushed};
use crate::wire::{UDP_HEADER_LEN, UdpPacket};
use std::net::{IpAddr, SocketAddr};

impl DatagramLayer {
    /// Delivers a copy of a packet to the raw sockets of its protocol; `None` if there are none.
    pub(crate) fn deliver_raw(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        packet: &Packet,
    ) -> Option<Result<Fate, DropReason>> {
        if self.raw.is_empty() {
            return None;
        }
        let key = (packet.version(), u8::from(packet.header.protocol));
        let sockets = self.raw.get(&key)?.clone();
        let (bytes, kept) = packet.keep(0..packet.bytes.len());
        let datagram = Datagram {
            local: Some(SocketAddr::new(packet.header.destination, 0)),
            hop_limit: Some(packet.header.hop_limit),
            ..Datagram::new(SocketAddr::new(packet.header.source, 0), bytes)
        };
        Some(self.deliver_to_all(cx, ip, sockets, &datagram, kept))
    }

    /// Appends a copy of a datagram, whose payload keeps `kept` bytes alive, to the queue of each
    /// of these sockets.
    fn deliver_to_all(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        sockets: Vec<SocketId>,
        datagram: &Datagram,
        kept: usize,
    ) -> Result<Fate, DropReason> {
        let (mut fate, mut lost) = (Err(DropReason::NoListener), 0);
        for id in sockets {
            match self.deliver(cx, id, datagram.clone(), kept) {
                Ok(taken) => fate = Ok(taken),
                Err(DropReason::QueueFull) => lost += 1,
                Err(_) => {}
            }
        }
        match fate {
            Ok(_) => ip.outgoing.counters.copies_lost += lost,
            Err(_) if lost > 0 => return Err(DropReason::QueueFull),
            Err(_) => {}
        }
        fate
    }

    pub(crate) fn receive_udp<L: Link>(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        packet: Packet,
        is_raw: bool,
        link: &mut L,
    ) -> Result<Fate, DropReason> {
        #[cfg(test)]
        cx.spring("udp");
        let datagram =
            UdpPacket::new_checked(packet.payload()).map_err(|_| DropReason::Malformed)?;
        let (source, destination) = (packet.header.source, packet.header.destination);
        if !packet.is_checksum_good {
            // Only IPv4 allows no checksum (RFC 8200 section 8.1).
            if destination.is_ipv6() && datagram.checksum() == 0 {
                return Err(DropReason::NoChecksum);
            }
            if !datagram.verify_checksum(&source.into(), &destination.into()) {
                return Err(DropReason::Checksum);
            }
        }
        let (from, port) = (datagram.src_port(), datagram.dst_port());
        if port == 0 {
            return Err(DropReason::Malformed);
        }
        let start = packet.header.payload.start + UDP_HEADER_LEN;
        let end = packet.header.payload.start + usize::from(datagram.len());
        let (payload, kept) = packet.keep(start..end);
        let received = Datagram {
            local: Some(SocketAddr::new(destination, port)),
            hop_limit: Some(packet.header.hop_limit),
            ..Datagram::new(SocketAddr::new(source, from), payload)
        };
        if !ip.addressing.is_local(destination) {
            let sockets = self.receivers_of(ip, destination, port);
            return self.deliver_to_all(cx, ip, sockets, &received, kept);
        }
        match self.ports.find(SocketAddr::new(destination, port), SocketAddr::new(source, from)) {
            Some(id) => match self.deliver(cx, id, received, kept) {
                // Not from the socket's peer, or the socket is closing.
                Err(DropReason::NoListener) if !is_raw => {
                    Err(ip.answer_port_unreachable(cx, &packet, link))
                }
                fate => fate,
            },
            None if is_raw => Err(DropReason::NoListener),
            None => Err(ip.answer_port_unreachable(cx, &packet, link)),
        }
    }

    /// The sockets that get a copy of a datagram: of a broadcast every one on the port, of a multicast
    /// every member.
    fn receivers_of(&self, ip: &IpLayer, destination: IpAddr, port: u16) -> Vec<SocketId> {
        let members = ip.groups.get(&destination);
        let takes = |to: BoundTo, id: SocketId| {
            let is_member = members.is_some_and(|members| members.contains(&id));
            (is_member || !destination.is_multicast() || is_all_hosts(destination))
                && match to {
                    BoundTo::One(address) => address == destination,
                    to => to.covers(destination),
                }
        };
        let all = self.ports.all(port).filter(|(to, id)| takes(*to, *id));
        all.map(|(_, id)| id).collect()
    }

    pub(crate) fn deliver_echo(
        &mut self,
        cx: &mut Context,
        packet: &Packet,
        (identifier, sequence): (u16, u16),
    ) -> Result<Fate, DropReason> {
        let found = self.echoes.get(&(packet.version(), identifier)).copied();
        let id = found.ok_or(DropReason::NoListener)?;
        let end = packet.bytes.len();
        let (payload, kept) =
            packet.keep((packet.header.payload.start + ICMP_HEADER_LEN).min(end)..end);
        let datagram = Datagram {
            local: Some(SocketAddr::new(packet.header.destination, identifier)),
            hop_limit: Some(packet.header.hop_limit),
            ..Datagram::new(SocketAddr::new(packet.header.source, sequence), payload)
        };
        self.deliver(cx, id, datagram, kept)
    }

    /// Appends a datagram, whose payload keeps `kept` bytes alive, to a socket's queue.
    pub(crate) fn deliver(
        &mut self,
        cx: &mut Context,
        id: SocketId,
        mut datagram: Datagram,
        kept: usize,
    ) -> Result<Fate, DropReason> {
        let socket = self.sockets.get_mut(id).ok_or(DropReason::NoListener)?;
        if let Kind::Udp { is_v6: true, .. } = socket.queue.kind() {
            datagram.peer = mapped(datagram.peer);
            datagram.local = datagram.local.map(mapped);
        }
        let pushed = match socket.is_orphan {
            true => Pushed::Stranger,
            false => socket.queue.push_received(datagram, kept, &mut cx.wakes),
        };
        match pushed {
            Pushed::Taken if socket.parked.is_empty() => {}
            Pushed::Taken => self.retry_parked_datagram(cx, id),
            Pushed::Full => return Err(DropReason::QueueFull),
            Pushed::Stranger => return Err(DropReason::NoListener),
        }
        Ok(Fate::Delivered)
    }
}
