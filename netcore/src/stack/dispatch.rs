//! Dispatch of received frames to layers.

use super::{BYTES_PER_ROUND, FRAMES_PER_ROUND, Netstack};
use crate::context::AtWork;
use crate::counters::DropReason;
use crate::id::SocketId;
use crate::ip::icmp::Received;
use crate::ip::layer::IpEvent;
use crate::ip::packet::{Origin, Packet};
use crate::link::Medium;
use crate::link::{Frame, FrameChecksum, Link};
use crate::observer::{Fate, ObservedSocket};
use crate::wire::IpProtocol;
use bytes::Bytes;

impl Netstack {
    /// Receives a bounded number of frames from the link, and all loopback packets queued now;
    /// returns whether there were any.
    pub(crate) fn receive_frames<L: Link>(&mut self, link: &mut L) -> bool {
        let (mut worked, mut bytes) = (false, 0);
        for _ in 0..FRAMES_PER_ROUND {
            if bytes >= BYTES_PER_ROUND {
                break;
            }
            let Some(frame) = link.receive() else { break };
            worked = true;
            bytes += frame.len();
            self.ip.outgoing.counters.frames_received += 1;
            self.cx.at_work = AtWork::packet();
            if !self.ip.addressing.is_link_up {
                self.note_fate(Err(DropReason::LinkDown), link);
                continue;
            }
            let is_checksum_good = frame.checksum == FrameChecksum::Trusted;
            if !frame.rest.is_empty() {
                self.receive_scattered(frame, link);
            } else if self.ip.outgoing.capabilities.medium == Medium::Ip {
                self.receive_packet(frame.data, is_checksum_good, Origin::Link, link);
            } else {
                self.receive_ethernet(&frame.data, is_checksum_good, link);
            }
        }
        for _ in 0..self.ip.outgoing.loopback_len() {
            let Some(packet) = self.ip.outgoing.next_loopback() else {
                break;
            };
            worked = true;
            self.ip.outgoing.counters.loopback_packets += 1;
            self.cx.at_work = AtWork::packet();
            self.receive_packet(packet, true, Origin::Own, link);
        }
        self.cx.at_work = AtWork::default();
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
        match origin {
            Origin::Own => self.count_fate(fate),
            _ => self.note_fate(fate, link),
        }
    }

    fn receive_ethernet<L: Link>(&mut self, frame: &Bytes, is_checksum_good: bool, link: &mut L) {
        let fate = match self.ip.receive_ethernet(&mut self.cx, frame, link) {
            Ok(Some((packet, origin))) => {
                return self.receive_packet(packet, is_checksum_good, origin, link);
            }
            Ok(None) => Ok(Fate::Handled),
            Err(reason) => Err(reason),
        };
        self.note_fate(fate, link);
    }

    /// Receives a frame in slices. What is no plain TCP segment is put together first.
    #[inline(never)]
    fn receive_scattered<L: Link>(&mut self, mut frame: Frame, link: &mut L) {
        let is_checksum_good = frame.checksum == FrameChecksum::Trusted;
        let is_plain = is_checksum_good && !self.transports.datagrams.has_raw();
        let received = match self.ip.outgoing.capabilities.medium {
            Medium::Ip if is_plain => self.ip.receive_scattered(&mut frame, Origin::Link),
            _ => Ok(None),
        };
        let fate = match received {
            Ok(Some(packet)) => self.receive_transport(packet, None, link),
            Err(reason) => Err(reason),
            Ok(None) => {
                let whole = frame.linearize().data;
                return match self.ip.outgoing.capabilities.medium {
                    Medium::Ip => self.receive_packet(whole, is_checksum_good, Origin::Link, link),
                    Medium::Ethernet => self.receive_ethernet(&whole, is_checksum_good, link),
                };
            }
        };
        self.note_fate(fate, link);
    }

    /// Counts the fate of a frame, and says it to the link's observer.
    #[inline]
    fn note_fate<L: Link>(&mut self, fate: Result<Fate, DropReason>, link: &mut L) {
        self.count_fate(fate);
        if let Some(observer) = link.observer() {
            let socket = self.cx.at_work.socket.map(|id| self.observed(id));
            observer.received(fate, socket.as_ref());
        }
    }

    #[inline]
    fn count_fate(&mut self, fate: Result<Fate, DropReason>) {
        self.ip.outgoing.counters.received_packet(fate);
        if let Err(reason) = fate {
            self.log_drop(reason);
        }
    }

    /// Logs a dropped packet, as one of its connection if it is for one.
    #[cold]
    fn log_drop(&mut self, reason: DropReason) {
        let connection = self.cx.at_work.socket;
        let connection = connection.and_then(|id| self.transports.tcp.sockets.connection_mut(id));
        match connection {
            Some(connection) => connection.span.dropped(reason),
            None => tracing::trace!(%reason, "packet dropped"),
        }
    }

    #[cold]
    fn observed(&mut self, id: SocketId) -> ObservedSocket {
        let mtu = self.ip.outgoing.capabilities.mtu;
        let connection = self.transports.tcp.sockets.connection_mut(id);
        let connection = connection.map(|connection| connection.observed(mtu, self.cx.now));
        let owner = self.cx.sockets.owner(id).cloned();
        ObservedSocket { id, owner, connection }
    }

    fn try_receive_packet<L: Link>(
        &mut self,
        bytes: Bytes,
        is_checksum_good: bool,
        origin: Origin,
        link: &mut L,
    ) -> Result<Fate, DropReason> {
        let received = self.ip.receive(&mut self.cx, bytes, is_checksum_good, origin, link)?;
        let Some(packet) = received else { return Ok(Fate::Kept) };
        match self.transports.datagrams.has_raw() {
            false => self.receive_transport(packet, None, link),
            true => self.receive_beside_raw(packet, link),
        }
    }

    /// Dispatches a packet to its layer. `raw` is the result of its delivery to raw sockets.
    #[inline]
    fn receive_transport<L: Link>(
        &mut self,
        packet: Packet,
        raw: Option<Result<Fate, DropReason>>,
        link: &mut L,
    ) -> Result<Fate, DropReason> {
        match packet.header.protocol {
            IpProtocol::Icmp | IpProtocol::Icmpv6 => self.receive_icmp(&packet, link),
            _ => self.transports.receive(&mut self.cx, &mut self.ip, packet, raw, link),
        }
    }

    /// Delivers a packet to raw sockets, and then dispatches it by protocol.
    #[inline(never)]
    fn receive_beside_raw<L: Link>(
        &mut self,
        packet: Packet,
        link: &mut L,
    ) -> Result<Fate, DropReason> {
        let raw = self.transports.datagrams.deliver_raw(&mut self.cx, &mut self.ip, &packet);
        let fate = self.receive_transport(packet, raw, link);
        match (fate, raw) {
            (Err(DropReason::NoListener), Some(Ok(fate))) => Ok(fate),
            (Ok(fate), Some(Err(DropReason::QueueFull))) => {
                self.ip.outgoing.counters.copies_lost += 1;
                Ok(fate)
            }
            (fate, _) => fate,
        }
    }

    fn receive_icmp<L: Link>(&mut self, packet: &Packet, link: &mut L) -> Result<Fate, DropReason> {
        match self.ip.receive_icmp(&mut self.cx, packet, link)? {
            Received::Nothing => {}
            Received::EchoReply { identifier, sequence } => {
                let echo = (identifier, sequence);
                return self.transports.datagrams.deliver_echo(&mut self.cx, packet, echo);
            }
            Received::Error(report) => {
                self.transports.receive_error(&mut self.cx, &mut self.ip, &report)
            }
        }
        Ok(Fate::Handled)
    }

    /// Passes the events of IP to the layers above.
    #[inline]
    pub(crate) fn handle_ip_events(&mut self) {
        while let Some(event) = self.ip.next_event() {
            self.handle(event);
        }
    }

    #[cold]
    fn handle(&mut self, event: IpEvent) {
        match event {
            IpEvent::RoutesChanged => {
                self.transports.tcp.reroute(&mut self.cx, &self.ip);
                self.ip.publish_routes();
            }
            IpEvent::AddressRemoved(address) => {
                self.transports.tcp.address_removed(&mut self.cx, &mut self.ip, address);
            }
            IpEvent::Error(report) => {
                self.transports.receive_error(&mut self.cx, &mut self.ip, &report)
            }
        }
    }
}
