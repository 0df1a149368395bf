//! Sent packets: over the link, or looped back.

use crate::checksum::{pseudo_header, sum};
use crate::counters::{Counters, DropReason};
use crate::ethernet::neighbours::{Neighbours, Waiting};
use crate::ethernet::{self, HEADER_BYTES, MacAddr};
use crate::ip::addressing::NextHop;
use crate::link::Medium;
use crate::link::{Link, LinkCapabilities, Offload, PartialChecksum, Slot};
use crate::observer::ObservedSegment;
use crate::time::Instant;
use crate::wire::{EthernetProtocol, IpProtocol, checksum};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::net::IpAddr;

/// The state for sending packets, and the queues of packets that wait.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// The capabilities of the link, as of this round.
    pub(crate) capabilities: LinkCapabilities,
    pub(crate) counters: Counters,
    /// Set when the link has no room for a packet: its socket is served again once there is room.
    pub(crate) link_is_full: bool,
    /// Packets to own addresses; received in the next round.
    loopback: VecDeque<Bytes>,
    loopback_max: usize,
    /// The stack's own replies that wait for room on the link, with their next hops.
    replies: VecDeque<(NextHop, Waiting)>,
    replies_max: usize,
    /// The source of frames on an Ethernet link.
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
            // Until the first round.
            capabilities: LinkCapabilities::new(Medium::Ip, 1500),
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

    /// The header of a frame to a neighbour, if its address is resolved.
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

    /// The computation of checksums of packets over the link.
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

/// The output of packets during one round.
#[derive(Debug)]
pub(crate) struct Output<'a, L> {
    pub(crate) link: &'a mut L,
    pub(crate) state: &'a mut Outgoing,
}

impl<L: Link> Output<'_, L> {
    /// Whether a packet to `next_hop` can be sent now.
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

    /// Whether anybody asks why packets are sent.
    #[inline]
    pub(crate) fn is_observed(&mut self) -> bool {
        self.link.observer().is_some()
    }

    /// Says why the next packet is sent, if anybody asks.
    #[inline]
    pub(crate) fn explain(&mut self, segment: impl FnOnce(&Outgoing) -> ObservedSegment) {
        if let Some(observer) = self.link.observer() {
            observer.sending(&segment(self.state));
        }
    }

    /// Sends one packet of `len` bytes, which `fill` writes, if there is room.
    pub(crate) fn send<R>(
        &mut self,
        next_hop: NextHop,
        len: usize,
        fill: impl FnOnce(&mut [u8], Checksums) -> (R, Offload),
    ) -> Option<R> {
        self.send_with(next_hop, len, &mut Vec::new(), fill)
    }

    /// Sends one packet: `len` bytes of headers, which `fill` writes, and behind them `payload`, by
    /// reference as far as the link [gathers](LinkCapabilities::scatter_gather); if there is room.
    pub(crate) fn send_with<R>(
        &mut self,
        next_hop: NextHop,
        len: usize,
        payload: &mut Vec<Bytes>,
        fill: impl FnOnce(&mut [u8], Checksums) -> (R, Offload),
    ) -> Option<R> {
        let (header, header_bytes) = match next_hop {
            NextHop::Link(neighbour) if self.state.is_on_ethernet() => {
                match self.state.header_to(neighbour) {
                    Some(header) => (Some(header), HEADER_BYTES),
                    None => return self.set_aside(next_hop, len, payload, fill),
                }
            }
            NextHop::Link(_) => (None, 0),
            NextHop::Own | NextHop::Nowhere => return self.set_aside(next_hop, len, payload, fill),
        };
        let checksums = self.state.link_checksums();
        let Some(slot) = self.link.transmit() else {
            self.state.link_is_full = true;
            return None;
        };
        self.state.counters.frames_sent += 1;
        let write = |frame: &mut [u8]| {
            let packet = match &header {
                Some(header) => ethernet::write_header(frame, header),
                None => frame,
            };
            let (result, mut offload) = fill(packet, checksums);
            if let Some(checksum) = &mut offload.checksum {
                checksum.start += header_bytes as u16;
            }
            (result, offload)
        };
        Some(match payload.is_empty() {
            true => slot.send(header_bytes + len, write),
            false => slot.send_gathered(header_bytes + len, payload, write),
        })
    }

    /// Writes a packet that is not sent over the link now: it is looped back, waits for address
    /// resolution, or is dropped without a route.
    fn set_aside<R>(
        &mut self,
        next_hop: NextHop,
        len: usize,
        payload: &[Bytes],
        fill: impl FnOnce(&mut [u8], Checksums) -> (R, Offload),
    ) -> Option<R> {
        if let Some(observer) = self.link.observer() {
            observer.withheld();
        }
        let state = &mut *self.state;
        let checksums = match next_hop {
            NextHop::Own if state.loopback.len() >= state.loopback_max => return None,
            NextHop::Own | NextHop::Nowhere => Checksums::Partial,
            NextHop::Link(_) => state.link_checksums(),
        };
        let mut packet = BytesMut::zeroed(len);
        let (result, offload) = fill(&mut packet, checksums);
        payload.iter().for_each(|slice| packet.extend_from_slice(slice));
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

    /// Sends a frame of a protocol below IP to `destination`, if there is room.
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

    /// Sends a complete packet, or queues it until there is room, up to the limit of replies.
    pub(crate) fn reply(&mut self, next_hop: NextHop, packet: &[u8]) {
        let copy = |buffer: &mut [u8], _| (buffer.copy_from_slice(packet), Offload::default());
        if self.send(next_hop, packet.len(), copy).is_none() {
            self.queue_reply(next_hop, || Waiting {
                packet: Bytes::copy_from_slice(packet),
                offload: Offload::default(),
            });
        }
    }

    /// Sends packets that waited for a neighbour's hardware address, or queues them until there is
    /// room, up to the limit of replies.
    pub(crate) fn release(&mut self, neighbour: IpAddr, packets: VecDeque<Waiting>) {
        let next_hop = NextHop::Link(neighbour);
        for waiting in packets {
            if self.send_again(next_hop, &waiting).is_none() {
                self.queue_reply(next_hop, || waiting);
            }
        }
    }

    /// Sends the queued replies.
    pub(crate) fn flush_replies(&mut self) {
        while let Some((next_hop, waiting)) = self.state.replies.pop_front() {
            if self.send_again(next_hop, &waiting).is_none() {
                self.state.replies.push_front((next_hop, waiting));
                return;
            }
        }
    }

    fn queue_reply(&mut self, next_hop: NextHop, waiting: impl FnOnce() -> Waiting) {
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

/// The computation of TCP and UDP checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checksums {
    /// In full, by this crate.
    Whole,
    /// Pseudo header only: the link completes it, or the packet is looped back and needs none.
    Partial,
}

/// Writes the checksum of the transport header at `start` of `packet`, or the beginning of it.
/// `rest` bytes of payload stand elsewhere, and the link completes the checksum.
///
/// # Panics
///
/// If there is no room for a TCP, UDP or ICMPv6 header at `start`.
pub(crate) fn write_checksum(
    packet: &mut [u8],
    (start, rest): (usize, usize),
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
    let len = (transport.len() + rest) as u32;
    let pseudo = pseudo_header((source, destination), protocol, len);
    if checksums == Checksums::Partial && protocol != IpProtocol::Icmpv6 {
        transport[offset..offset + 2].copy_from_slice(&pseudo.to_be_bytes());
        return Some(PartialChecksum { start: start as u16, offset: offset as u16 });
    }
    assert_eq!(rest, 0, "a checksum is computed over what is there");
    transport[offset..offset + 2].fill(0);
    let checksum = match !checksum::combine(&[pseudo, sum(transport)]) {
        // In UDP 0 means no checksum.
        0 if protocol == IpProtocol::Udp => 0xffff,
        checksum => checksum,
    };
    transport[offset..offset + 2].copy_from_slice(&checksum.to_be_bytes());
    None
}
