//! Creation and removal of UDP, ping and raw sockets.

use crate::binding::Families;
use crate::command::raw::Version;
use crate::command::{icmp, raw, udp};
use crate::context::Context;
use crate::datagram::layer::DatagramLayer;
use crate::datagram::socket::{DatagramSocket, Kind};
use crate::datagram::udp_peer::sharer;
use crate::doorbell::{Bell, Events};
use crate::error::Error;
use crate::id::SocketId;
use crate::ip::addressing::version_of;
use crate::ip::layer::IpLayer;
use crate::queue::DatagramQueue;
use crate::shared_port::Sharer;
use crate::socket_ids::Transport;
use crate::sync::Arc;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

impl DatagramLayer {
    /// Creates a UDP socket; returns its id, its address and its queue.
    pub(crate) fn bind_udp(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        (endpoint, families): (SocketAddr, Families),
        options: udp::Options,
    ) -> Result<(udp::Response, Arc<DatagramQueue>), Error> {
        let to = ip.bindable(cx, endpoint.ip(), families)?;
        let mut port = 0;
        let (ports, random) = (&mut self.ports, &mut cx.random);
        let (doorbell, bounds) = (&cx.doorbell, (&cx.config, &cx.datagram_memory));
        let (reuse_address, reuse_port) = (options.reuse_address, options.reuse_port);
        let own = Sharer { reuse_address, reuse_port, flow: None };
        let id = cx.sockets.insert(Transport::Datagram, |id| {
            let others =
                |id| self.sockets.get(id).map_or(Sharer::default(), |it| sharer(&it.queue));
            port = ports.bind_shared((to, endpoint.port()), (id, own), random, others)?;
            let local = SocketAddr::new(endpoint.ip(), port);
            let bell = Bell::new(id, doorbell.clone());
            let kind = Kind::Udp { to, port, is_v6: endpoint.is_ipv6() };
            let queue = DatagramQueue::new(bell, local, kind, bounds).with_options(options);
            self.sockets.insert(id, datagram_socket(queue));
            Ok(())
        })?;
        let queue = self.datagram_queue(id);
        let local = queue.local_address();
        Ok((udp::Response::Bound { handle: id, local }, queue))
    }

    /// Creates a UDP socket for all ports without a socket of their own.
    pub(crate) fn bind_udp_rest(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        address: IpAddr,
    ) -> Result<(udp::Response, Arc<DatagramQueue>), Error> {
        let to = ip.bindable(cx, address, Families::Both)?;
        let (doorbell, ports) = (&cx.doorbell, &mut self.ports);
        let bounds = (&cx.config, &cx.datagram_memory);
        let local = SocketAddr::new(address, 0);
        let id = cx.sockets.insert(Transport::Datagram, |id| {
            let port = ports.bind_rest(to, id)?;
            let bell = Bell::new(id, doorbell.clone());
            let kind = Kind::Udp { to, port, is_v6: address.is_ipv6() };
            self.sockets.insert(id, datagram_socket(DatagramQueue::new(bell, local, kind, bounds)));
            Ok(())
        })?;
        Ok((udp::Response::Bound { handle: id, local }, self.datagram_queue(id)))
    }

    /// Creates a ping socket.
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
        let (doorbell, bounds) = (&cx.doorbell, (&cx.config, &cx.datagram_memory));
        let id = cx.sockets.insert(Transport::Datagram, |id| {
            let bell = Bell::new(id, doorbell.clone());
            let address = SocketAddr::new(local, identifier);
            let kind = Kind::Ping { local, identifier };
            self.sockets
                .insert(id, datagram_socket(DatagramQueue::new(bell, address, kind, bounds)));
            Ok(())
        })?;
        self.echoes.insert((version, identifier), id);
        Ok((icmp::Response::Opened { handle: id, identifier }, self.datagram_queue(id)))
    }

    /// Creates a raw socket.
    pub(crate) fn open_raw(
        &mut self,
        cx: &mut Context,
        version: Version,
        protocol: u8,
    ) -> Result<(raw::Response, Arc<DatagramQueue>), Error> {
        cx.check_running()?;
        let (doorbell, bounds) = (&cx.doorbell, (&cx.config, &cx.datagram_memory));
        let id = cx.sockets.insert(Transport::Datagram, |id| {
            let bell = Bell::new(id, doorbell.clone());
            let unspecified = match version {
                Version::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                Version::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            };
            let address = SocketAddr::new(unspecified, 0);
            let kind = Kind::Raw { version, protocol };
            self.sockets
                .insert(id, datagram_socket(DatagramQueue::new(bell, address, kind, bounds)));
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

    /// Handles the events of a datagram socket's handle.
    pub(crate) fn handle_events(&mut self, cx: &mut Context, ip: &mut IpLayer, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        socket.parked.retain(|(_, responder)| !responder.is_abandoned());
        let events = socket.queue.bell().take();
        if events.contains(Events::CLOSE) {
            socket.is_orphan = true;
            if socket.queue.queued().1 == 0 {
                // Its port is free at once.
                self.remove_datagram(cx, ip, id, Error::Closed);
                return;
            }
            // Datagrams still queued do not keep the port bound.
            if let Kind::Udp { port, .. } = socket.queue.kind() {
                self.ports.release(port, id);
            }
        }
        if events.contains(Events::OPTIONS) {
            let groups = socket.queue.groups();
            let queue = socket.queue.clone();
            self.update_port(&queue);
            self.set_groups(ip, id, groups);
        }
        cx.mark(id);
    }

    /// Sets the multicast groups of a socket. Sends no IGMP or MLD report (RFC 3376, RFC 3810): the
    /// stack receives whatever the link carries to a group.
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

    /// Removes a datagram socket and its entries in all tables.
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
            // A requester that is gone leaves nothing to undo.
            let _ = responder.answer(Err(reason));
        }
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
