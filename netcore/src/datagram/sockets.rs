//! UDP, ping and raw sockets.

use crate::command::raw::Version;
use crate::command::tcp::Families;
use crate::command::{icmp, raw, udp};
use crate::context::Context;
use crate::counters::{DropReason, Fate};
use crate::datagram::layer::DatagramLayer;
use crate::datagram::socket::{DatagramSocket, Kind};
use crate::doorbell::{Bell, Events};
use crate::error::Error;
use crate::id::SocketId;
use crate::ip;
use crate::ip::addressing::NextHop;
use crate::ip::addressing::{canonical, mapped, version_of};
use crate::ip::layer::IpLayer;
use crate::ip::martians::is_all_hosts;
use crate::ip::packet::Packet;
use crate::link::Link;
use crate::output::Output;
use crate::ports::BoundTo;
use crate::queue::{Datagram, DatagramQueue, Pushed};
use crate::socket_ids::Transport;
use crate::sync::Arc;
use crate::wire::ChecksumCapabilities;
use crate::wire::{
    IPV4_HEADER_LEN, IPV6_HEADER_LEN, Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr,
    IpProtocol, UdpPacket,
};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const UDP_HEADER: usize = 8;
const ECHO_HEADER: usize = 8;
/// Datagrams that one socket may send before it is another's turn.
const QUANTUM_DATAGRAMS: usize = 64;

/// Sockets.
impl DatagramLayer {
    /// Makes a UDP socket; returns its id, its address and its queue.
    pub(crate) fn bind_udp(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        endpoint: SocketAddr,
        families: Families,
    ) -> Result<(udp::Response, Arc<DatagramQueue>), Error> {
        let to = ip.bindable(cx, endpoint.ip(), families)?;
        let mut port = 0;
        let (ports, random) = (&mut self.ports, &mut cx.random);
        let (doorbell, config) = (&cx.doorbell, &cx.config);
        let id = cx.sockets.insert(Transport::Datagram, |id| {
            port = ports.bind(to, endpoint.port(), id, random)?;
            let local = SocketAddr::new(endpoint.ip(), port);
            let bell = Bell::new(id, doorbell.clone());
            let kind = Kind::Udp { to, port, is_v6: endpoint.is_ipv6() };
            self.sockets.insert(id, datagram_socket(DatagramQueue::new(bell, local, kind, config)));
            Ok(())
        })?;
        let queue = self.datagram_queue(id);
        let local = queue.local_address();
        Ok((udp::Response::Bound { handle: id, local }, queue))
    }

    /// Makes a UDP socket for the ports that no other has.
    pub(crate) fn bind_udp_rest(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        address: IpAddr,
    ) -> Result<(udp::Response, Arc<DatagramQueue>), Error> {
        let to = ip.bindable(cx, address, Families::Both)?;
        let (doorbell, config, ports) = (&cx.doorbell, &cx.config, &mut self.ports);
        let local = SocketAddr::new(address, 0);
        let id = cx.sockets.insert(Transport::Datagram, |id| {
            let port = ports.bind_rest(to, id)?;
            let bell = Bell::new(id, doorbell.clone());
            let kind = Kind::Udp { to, port, is_v6: address.is_ipv6() };
            self.sockets.insert(id, datagram_socket(DatagramQueue::new(bell, local, kind, config)));
            Ok(())
        })?;
        Ok((udp::Response::Bound { handle: id, local }, self.datagram_queue(id)))
    }

    /// Makes a ping socket.
    pub(crate) fn open_ping(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        local: IpAddr,
    ) -> Result<(icmp::Response, Arc<DatagramQueue>), Error> {
        ip.bindable(cx, local, Families::V6Only)?;
        let version = version_of(local);
        let identifier = {
            let start = cx.random.next_u16();
            let mut all = (0..=u16::MAX).map(|step| start.wrapping_add(step));
            all.find(|id| !self.echoes.contains_key(&(version, *id))).ok_or(Error::NoFreePort)?
        };
        let (doorbell, config) = (&cx.doorbell, &cx.config);
        let id = cx.sockets.insert(Transport::Datagram, |id| {
            let bell = Bell::new(id, doorbell.clone());
            let address = SocketAddr::new(local, identifier);
            let kind = Kind::Ping { local, identifier };
            self.sockets
                .insert(id, datagram_socket(DatagramQueue::new(bell, address, kind, config)));
            Ok(())
        })?;
        self.echoes.insert((version, identifier), id);
        Ok((icmp::Response::Opened { handle: id, identifier }, self.datagram_queue(id)))
    }

    /// Makes a raw socket.
    pub(crate) fn open_raw(
        &mut self,
        cx: &mut Context,
        version: Version,
        protocol: u8,
    ) -> Result<(raw::Response, Arc<DatagramQueue>), Error> {
        cx.check_running()?;
        let (doorbell, config) = (&cx.doorbell, &cx.config);
        let id = cx.sockets.insert(Transport::Datagram, |id| {
            let bell = Bell::new(id, doorbell.clone());
            let unspecified = match version {
                Version::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                Version::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            };
            let address = SocketAddr::new(unspecified, 0);
            let kind = Kind::Raw { version, protocol };
            self.sockets
                .insert(id, datagram_socket(DatagramQueue::new(bell, address, kind, config)));
            Ok(())
        })?;
        self.raw.entry((version, protocol)).or_default().push(id);
        Ok((raw::Response::Opened { handle: id }, self.datagram_queue(id)))
    }

    fn remove_socket(&mut self, cx: &mut Context, id: SocketId) -> Option<Box<DatagramSocket>> {
        cx.sockets.remove(id);
        self.sockets.remove(id)
    }

    fn datagram_queue(&mut self, id: SocketId) -> Arc<DatagramQueue> {
        self.sockets.get_mut(id).expect("it was just inserted").queue.clone()
    }

    /// Looks at what the handle of a datagram socket rang for.
    pub(crate) fn attend_datagram(&mut self, cx: &mut Context, ip: &mut IpLayer, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        socket.parked.retain(|(_, responder)| !responder.is_abandoned());
        let events = socket.queue.bell().take();
        if events.contains(Events::CLOSE) {
            socket.is_orphan = true;
            if socket.queue.queued().1 == 0 {
                // Its port is free for whoever asks next.
                self.remove_datagram(cx, ip, id, Error::Closed);
                return;
            }
            // What is still to be sent keeps nobody else from the port.
            if let Kind::Udp { port, .. } = socket.queue.kind() {
                self.ports.release(port, id);
            }
        }
        if events.contains(Events::OPTIONS) {
            let groups = socket.queue.groups();
            self.set_groups(ip, id, groups);
        }
        cx.mark(id);
    }

    /// Takes a socket into exactly these multicast groups. No router or switch is told (RFC 3376,
    /// RFC 3810): what the link carries to a group is heard.
    fn set_groups(&mut self, ip: &mut IpLayer, id: SocketId, groups: Vec<IpAddr>) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        for left in std::mem::take(&mut socket.groups) {
            self.leave_group(ip, left, id);
        }
        for joined in &groups {
            ip.groups.entry(*joined).or_default().push(id);
        }
        if let Some(socket) = self.sockets.get_mut(id) {
            socket.groups = groups;
        }
    }

    fn leave_group(&mut self, ip: &mut IpLayer, group: IpAddr, id: SocketId) {
        if let Some(members) = ip.groups.get_mut(&group) {
            members.retain(|member| *member != id);
            if members.is_empty() {
                ip.groups.remove(&group);
            }
        }
    }

    /// Removes a datagram socket and everything that leads to it.
    pub(crate) fn remove_datagram(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        id: SocketId,
        reason: Error,
    ) {
        let Some(socket) = self.remove_socket(cx, id) else {
            return;
        };
        match socket.queue.kind() {
            Kind::Udp { port, .. } => self.ports.release(port, id),
            Kind::Ping { local, identifier } => {
                self.echoes.remove(&(version_of(local), identifier));
            }
            Kind::Raw { version, protocol } => {
                if let Some(sockets) = self.raw.get_mut(&(version, protocol)) {
                    sockets.retain(|known| *known != id);
                    if sockets.is_empty() {
                        self.raw.remove(&(version, protocol));
                    }
                }
            }
        }
        for group in &socket.groups {
            self.leave_group(ip, *group, id);
        }
        socket.queue.finish(reason, &mut cx.wakes);
        for (_, responder) in socket.parked {
            // Nobody to tell is nothing to undo.
            let _ = responder.answer(Err(reason));
        }
    }
}

/// Receiving.
impl DatagramLayer {
    /// Shows a packet to the raw sockets of its protocol; `None` if there are none.
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

    /// Puts a copy of a datagram, whose payload keeps `kept` bytes alive, into the queue of each of
    /// these sockets.
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
            // Only IPv4 may do without (RFC 8200 section 8.1).
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
        let start = packet.header.payload.start + UDP_HEADER;
        let end = packet.header.payload.start + usize::from(datagram.len());
        let (payload, kept) = packet.keep(start..end);
        let received = Datagram {
            local: Some(SocketAddr::new(destination, port)),
            hop_limit: Some(packet.header.hop_limit),
            ..Datagram::new(SocketAddr::new(source, from), payload)
        };
        if !ip.addressing.is_local(destination) {
            // To many: every socket on the port gets one, of a group every member.
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
            let sockets = all.map(|(_, id)| id).collect();
            return self.deliver_to_all(cx, ip, sockets, &received, kept);
        }
        match self.ports.find(SocketAddr::new(destination, port)) {
            Some(id) => match self.deliver(cx, id, received, kept) {
                // Of somebody else than the socket's peer, or the socket is closing.
                Err(DropReason::NoListener) if !is_raw => {
                    Err(ip.answer_port_unreachable(cx, &packet, link))
                }
                fate => fate,
            },
            None if is_raw => Err(DropReason::NoListener),
            None => Err(ip.answer_port_unreachable(cx, &packet, link)),
        }
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
            packet.keep((packet.header.payload.start + ECHO_HEADER).min(end)..end);
        let datagram = Datagram {
            local: Some(SocketAddr::new(packet.header.destination, identifier)),
            hop_limit: Some(packet.header.hop_limit),
            ..Datagram::new(SocketAddr::new(packet.header.source, sequence), payload)
        };
        self.deliver(cx, id, datagram, kept)
    }

    /// Puts a datagram, whose payload keeps `kept` bytes alive, into a socket's queue.
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

/// Sending.
impl DatagramLayer {
    /// Sends what a socket's handle has queued, up to its quantum.
    pub(crate) fn serve_datagram<L: Link>(
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
            // Asked first: what was taken out of the queue must be sent.
            let link_way = NextHop::Link(queue.bound_address().ip());
            let mut output = Output { link, state: &mut ip.outgoing };
            if !output.has_room(link_way) || !output.has_room(NextHop::Own) {
                cx.mark(id);
                return false;
            }
            let Some((datagram, options)) = queue.take_to_send(&mut cx.wakes) else {
                if self.sockets.get_mut(id).is_some_and(|socket| socket.is_orphan) {
                    // Without a shutdown there is no handle left to learn it.
                    let reason = if cx.is_shut_down { Error::StackGone } else { Error::Closed };
                    self.remove_datagram(cx, ip, id, reason);
                }
                self.retry_parked_datagram(cx, id);
                return true;
            };
            cx.at_work.is_sending = true;
            if let Err(error) = self.send_datagram(cx, ip, &queue, datagram, options, link) {
                // As on a kernel: the sender learns of it with its next call.
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
        let way = ip.addressing.next_hop(peer.ip())?;
        if !options.broadcast && ip.addressing.is_broadcast(peer.ip()) {
            return Err(Error::BroadcastForbidden);
        }
        let own_limit = match peer.ip().is_multicast() {
            true => Some(options.multicast_hop_limit),
            false => options.hop_limit,
        };
        let hop_limit = datagram.hop_limit.or(own_limit).unwrap_or(ip::HOP_LIMIT);
        let local = datagram.local.unwrap_or(queue.bound_address());
        let bound = local.ip().to_canonical();
        let source = match bound {
            bound if !self.is_source(ip, bound) => self.datagram_source(ip, peer.ip())?,
            bound if ip.addressing.is_tentative(bound) => {
                return Err(Error::AddressNotAvailable);
            }
            bound if !ip.addressing.is_local(bound) => return Err(Error::AddressNotAvailable),
            bound => bound,
        };
        if source.is_ipv4() != peer.is_ipv4() {
            return Err(Error::WrongFamily);
        }
        let ends = (source, peer.ip());
        let payload = &datagram.payload;
        match kind {
            Kind::Udp { port, .. } => {
                let port = if port == 0 { local.port() } else { port };
                let len = UDP_HEADER + payload.len();
                if options.dont_fragment && way != NextHop::Own {
                    self.check_fits(cx, ip, ends, len)?;
                }
                let header = (ends, IpProtocol::Udp, hop_limit, options.traffic_class);
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
                ip.send_transport(cx, way, header, len, link, write)
            }
            Kind::Ping { identifier, .. } => {
                let (protocol, sequence) = match source {
                    IpAddr::V4(_) => (IpProtocol::Icmp, peer.port()),
                    IpAddr::V6(_) => (IpProtocol::Icmpv6, peer.port()),
                };
                let header = (ends, protocol, hop_limit, options.traffic_class);
                ip.send_transport(cx, way, header, ECHO_HEADER + payload.len(), link, |buffer| {
                    write_echo_request(buffer, protocol, (identifier, sequence), payload);
                })
            }
            Kind::Raw { .. } => unreachable!("sent above"),
        }
    }

    /// Whether datagrams of a socket that is bound to this address have it as their source. Those
    /// of groups, of broadcasts and of all addresses are none.
    pub(crate) fn is_source(&self, ip: &mut IpLayer, bound: IpAddr) -> bool {
        !bound.is_unspecified() && !bound.is_multicast() && !ip.addressing.is_broadcast(bound)
    }

    /// The address to send a datagram from. Who has none yet may ask everybody for one (RFC 1122
    /// section 3.2.1.3(a)).
    pub(crate) fn datagram_source(
        &self,
        ip: &mut IpLayer,
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

    /// Whether sockets of this stack are to hear what is sent to `group`.
    fn has_members(&self, ip: &mut IpLayer, group: IpAddr, options: udp::Options) -> bool {
        let comes_back = match group {
            IpAddr::V4(_) => options.multicast_loop_v4,
            IpAddr::V6(_) => options.multicast_loop_v6,
        };
        comes_back && ip.groups.contains_key(&group)
    }

    /// Whether a transport packet of `len` bytes fits into one packet on its way.
    fn check_fits(
        &self,
        cx: &mut Context,
        ip: &mut IpLayer,
        ends: (IpAddr, IpAddr),
        len: usize,
    ) -> Result<(), Error> {
        let header = if ends.0.is_ipv4() { IPV4_HEADER_LEN } else { IPV6_HEADER_LEN };
        if header + len > ip.mtu_to(cx.now, ends.1) {
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
        let way = ip.addressing.next_hop(header.destination)?;
        let mtu = ip.mtu_to(cx.now, header.destination);
        if packet.len() > mtu && header.has_extensions {
            return Err(Error::MessageTooLarge);
        }
        ip.send_whole(cx, way, &packet, mtu, link);
        Ok(())
    }
}

fn datagram_socket(queue: DatagramQueue) -> Box<DatagramSocket> {
    Box::new(DatagramSocket {
        queue: Arc::new(queue),
        is_orphan: false,
        groups: Vec::new(),
        parked: VecDeque::new(),
    })
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
