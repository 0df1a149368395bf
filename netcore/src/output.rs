//! What leaves the stack: over the link, or back inside.

use crate::counters::{Counters, DropReason};
use crate::ethernet::neighbours::{Neighbours, Waiting};
use crate::ethernet::{self, HEADER_BYTES, MacAddr};
use crate::ip::addressing::NextHop;
use crate::link::Medium;
use crate::link::{Link, LinkCapabilities, Offload, PartialChecksum, Slot};
use crate::time::Instant;
use crate::wire::{EthernetProtocol, IpAddress, IpProtocol, checksum};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::net::IpAddr;

/// What leaving packets need to know, and where those wait that cannot leave yet.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// What the link can do, as of this turn.
    pub(crate) capabilities: LinkCapabilities,
    pub(crate) counters: Counters,
    /// Set when a packet found no room: its socket must be served again once there is some.
    pub(crate) link_is_full: bool,
    /// Sent by one of the stack's sockets to another; received in the next round.
    loopback: VecDeque<Bytes>,
    loopback_max: usize,
    /// Answers of the stack itself that found no room on the link, and where they go.
    replies: VecDeque<(NextHop, Waiting)>,
    replies_max: usize,
    /// Where frames come from and go to on an Ethernet link, and the time by which that is known.
    pub(crate) hardware_address: MacAddr,
    pub(crate) neighbours: Neighbours,
    pub(crate) now: Instant,
}

impl Outgoing {
    pub(crate) fn new(
        (loopback_max, replies_max): (usize, usize),
        hardware_address: MacAddr,
        neighbours: Neighbours,
        now: Instant,
    ) -> Self {
        Self {
            // Until the first turn says better.
            capabilities: LinkCapabilities {
                medium: Medium::Ip,
                mtu: 1500,
                checksum_offload: false,
                segment_bytes_max: None,
            },
            counters: Counters::default(),
            link_is_full: false,
            loopback: VecDeque::new(),
            loopback_max,
            replies: VecDeque::new(),
            replies_max,
            hardware_address,
            neighbours,
            now,
        }
    }

    pub(crate) fn is_on_ethernet(&self) -> bool {
        self.capabilities.medium == Medium::Ethernet
    }

    /// The header of a frame to a neighbour, if it is known where that is.
    #[inline(never)]
    fn header_to(&mut self, neighbour: IpAddr) -> Option<ethernet::Header> {
        let destination = match MacAddr::of_group(neighbour) {
            Some(group) => group,
            None => self.neighbours.resolve(neighbour, self.now)?,
        };
        let protocol = match neighbour {
            IpAddr::V4(_) => EthernetProtocol::Ipv4,
            IpAddr::V6(_) => EthernetProtocol::Ipv6,
        };
        Some(ethernet::Header { destination, source: self.hardware_address, protocol })
    }

    /// Who completes the checksums of what goes over the link.
    fn link_checksums(&self) -> Checksums {
        if self.capabilities.checksum_offload { Checksums::Partial } else { Checksums::Whole }
    }

    pub(crate) fn next_loopback(&mut self) -> Option<Bytes> {
        self.loopback.pop_front()
    }

    pub(crate) fn loopback_len(&self) -> usize {
        self.loopback.len()
    }

    pub(crate) fn has_replies(&self) -> bool {
        !self.replies.is_empty()
    }
}

/// The way out, for the length of one turn.
#[derive(Debug)]
pub(crate) struct Output<'a, L> {
    pub(crate) link: &'a mut L,
    pub(crate) state: &'a mut Outgoing,
}

impl<L: Link> Output<'_, L> {
    /// Whether a packet that goes this way can be sent now.
    pub(crate) fn has_room(&mut self, next_hop: NextHop) -> bool {
        match next_hop {
            NextHop::Own => self.state.loopback.len() < self.state.loopback_max,
            NextHop::Nowhere => true,
            NextHop::Link(_) => {
                let has_room = self.link.transmit().is_some();
                self.state.link_is_full |= !has_room;
                has_room
            }
        }
    }

    /// Sends one packet of `len` bytes, which `fill` writes, if there is room.
    pub(crate) fn send<R>(
        &mut self,
        next_hop: NextHop,
        len: usize,
        fill: impl FnOnce(&mut [u8], Checksums) -> (R, Offload),
    ) -> Option<R> {
        let (header, header_bytes) = match next_hop {
            NextHop::Link(neighbour) if self.state.is_on_ethernet() => {
                match self.state.header_to(neighbour) {
                    Some(header) => (Some(header), HEADER_BYTES),
                    None => return self.set_aside(next_hop, len, fill),
                }
            }
            NextHop::Link(_) => (None, 0),
            NextHop::Own | NextHop::Nowhere => return self.set_aside(next_hop, len, fill),
        };
        let checksums = self.state.link_checksums();
        let Some(slot) = self.link.transmit() else {
            self.state.link_is_full = true;
            return None;
        };
        self.state.counters.frames_sent += 1;
        Some(slot.send(header_bytes + len, |frame| {
            let packet = match &header {
                Some(header) => ethernet::write_header(frame, header),
                None => frame,
            };
            let (result, mut offload) = fill(packet, checksums);
            if let Some(checksum) = &mut offload.checksum {
                checksum.start += header_bytes as u16;
            }
            (result, offload)
        }))
    }

    /// Writes a packet that does not leave now: it stays inside, it waits until it is known where
    /// its neighbour is, or it goes nowhere.
    fn set_aside<R>(
        &mut self,
        next_hop: NextHop,
        len: usize,
        fill: impl FnOnce(&mut [u8], Checksums) -> (R, Offload),
    ) -> Option<R> {
        let state = &mut *self.state;
        let checksums = match next_hop {
            NextHop::Own if state.loopback.len() >= state.loopback_max => return None,
            NextHop::Own | NextHop::Nowhere => Checksums::Partial,
            NextHop::Link(_) => state.link_checksums(),
        };
        let mut packet = BytesMut::zeroed(len);
        let (result, offload) = fill(&mut packet, checksums);
        match next_hop {
            NextHop::Own => {
                state.loopback.push_back(packet.freeze());
            }
            NextHop::Nowhere => state.counters.drop(DropReason::NoRoute),
            NextHop::Link(neighbour) => {
                let waiting = Waiting { packet: packet.freeze(), offload };
                for _ in 0..state.neighbours.wait(neighbour, waiting, state.now) {
                    state.counters.drop(DropReason::NeighbourUnknown);
                }
            }
        }
        Some(result)
    }

    /// Sends something that is below IP to `destination`, if there is room.
    pub(crate) fn send_frame(
        &mut self,
        destination: MacAddr,
        protocol: EthernetProtocol,
        payload: &[u8],
    ) {
        let Some(slot) = self.link.transmit() else {
            self.state.link_is_full = true;
            self.state.counters.drop(DropReason::ReplyQueueFull);
            return;
        };
        self.state.counters.frames_sent += 1;
        let source = self.state.hardware_address;
        let header = ethernet::Header { destination, source, protocol };
        slot.send(HEADER_BYTES + payload.len(), |frame| {
            ethernet::write_header(frame, &header).copy_from_slice(payload);
            ((), Offload::default())
        });
    }

    /// Sends a whole packet, or keeps it until there is room, as far as that is allowed.
    pub(crate) fn reply(&mut self, next_hop: NextHop, packet: &[u8]) {
        let copy = |buffer: &mut [u8], _| (buffer.copy_from_slice(packet), Offload::default());
        if self.send(next_hop, packet.len(), copy).is_none() {
            self.keep(next_hop, || Waiting {
                packet: Bytes::copy_from_slice(packet),
                offload: Offload::default(),
            });
        }
    }

    /// Sends packets that have waited for a neighbour's hardware address, or keeps them until there
    /// is room, as far as that is allowed.
    pub(crate) fn release(&mut self, neighbour: IpAddr, packets: VecDeque<Waiting>) {
        let next_hop = NextHop::Link(neighbour);
        for waiting in packets {
            if self.send_again(next_hop, &waiting).is_none() {
                self.keep(next_hop, || waiting);
            }
        }
    }

    /// Sends the replies that found no room before.
    pub(crate) fn flush_replies(&mut self) {
        while let Some((next_hop, waiting)) = self.state.replies.pop_front() {
            if self.send_again(next_hop, &waiting).is_none() {
                self.state.replies.push_front((next_hop, waiting));
                return;
            }
        }
    }

    fn keep(&mut self, next_hop: NextHop, waiting: impl FnOnce() -> Waiting) {
        if self.state.replies.len() < self.state.replies_max {
            self.state.replies.push_back((next_hop, waiting()));
        } else {
            self.state.counters.drop(DropReason::ReplyQueueFull);
        }
    }

    fn send_again(&mut self, next_hop: NextHop, waiting: &Waiting) -> Option<()> {
        let copy = |buffer: &mut [u8], _| {
            buffer.copy_from_slice(&waiting.packet);
            ((), waiting.offload)
        };
        self.send(next_hop, waiting.packet.len(), copy)
    }
}

/// Who completes TCP and UDP checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checksums {
    /// This crate.
    Whole,
    /// The link, or nobody if the packet stays inside.
    Partial,
}

/// Writes the checksum of the transport header at `start` of `packet`, or the beginning of it.
///
/// # Panics
///
/// If there is no room for a TCP, UDP or ICMPv6 header at `start`.
pub(crate) fn write_checksum(
    packet: &mut [u8],
    start: usize,
    (source, destination): (IpAddr, IpAddr),
    protocol: IpProtocol,
    checksums: Checksums,
) -> Option<PartialChecksum> {
    let offset = match protocol {
        IpProtocol::Tcp => 16,
        IpProtocol::Udp => 6,
        IpProtocol::Icmpv6 => 2,
        _ => return None,
    };
    let transport = &mut packet[start..];
    let pseudo = checksum::pseudo_header(
        &IpAddress::from(source),
        &IpAddress::from(destination),
        protocol,
        transport.len() as u32,
    );
    if checksums == Checksums::Partial && protocol != IpProtocol::Icmpv6 {
        transport[offset..offset + 2].copy_from_slice(&pseudo.to_be_bytes());
        return Some(PartialChecksum { start: start as u16, offset: offset as u16 });
    }
    transport[offset..offset + 2].fill(0);
    let sum = match !checksum::combine(&[pseudo, checksum::data(transport)]) {
        // In UDP 0 means that there is none.
        0 if protocol == IpProtocol::Udp => 0xffff,
        sum => sum,
    };
    transport[offset..offset + 2].copy_from_slice(&sum.to_be_bytes());
    None
}
