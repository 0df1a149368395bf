//! What leaves the stack: over the link, or back inside.

use crate::addressing::NextHop;
use crate::counters::{Counters, DropReason};
use crate::link::{Link, LinkCapabilities, Offload, PartialChecksum, Slot};
use bytes::{Bytes, BytesMut};
use smoltcp::phy::Medium;
use smoltcp::wire::{IpAddress, IpProtocol, checksum};
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
    /// Answers of the stack itself that found no room on the link.
    replies: VecDeque<Bytes>,
    replies_max: usize,
}

impl Outgoing {
    pub(crate) fn new(loopback_max: usize, replies_max: usize) -> Self {
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
        }
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
    pub(crate) fn has_room(&mut self, way: NextHop) -> bool {
        match way {
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
        way: NextHop,
        len: usize,
        fill: impl FnOnce(&mut [u8], Checksums) -> (R, Offload),
    ) -> Option<R> {
        match way {
            NextHop::Own => {
                if self.state.loopback.len() >= self.state.loopback_max {
                    return None;
                }
                let mut packet = BytesMut::zeroed(len);
                let (result, _) = fill(&mut packet, Checksums::Partial);
                self.state.loopback.push_back(packet.freeze());
                self.state.counters.loopback_packets += 1;
                Some(result)
            }
            NextHop::Link(_) => {
                let checksums = match self.state.capabilities.checksum_offload {
                    true => Checksums::Partial,
                    false => Checksums::Whole,
                };
                let Some(slot) = self.link.transmit() else {
                    self.state.link_is_full = true;
                    return None;
                };
                self.state.counters.frames_sent += 1;
                Some(slot.send(len, |packet| fill(packet, checksums)))
            }
            NextHop::Nowhere => {
                self.state.counters.drop(DropReason::NoRoute);
                Some(fill(&mut vec![0; len], Checksums::Partial).0)
            }
        }
    }

    /// Sends a whole packet, or keeps it until there is room, as far as that is allowed.
    pub(crate) fn reply(&mut self, way: NextHop, packet: &[u8]) {
        let copy = |buffer: &mut [u8], _| (buffer.copy_from_slice(packet), Offload::default());
        if self.send(way, packet.len(), copy).is_none() {
            if self.state.replies.len() < self.state.replies_max {
                self.state.replies.push_back(Bytes::copy_from_slice(packet));
            } else {
                self.state.counters.drop(DropReason::ReplyQueueFull);
            }
        }
    }

    /// Sends the replies that found no room before.
    pub(crate) fn flush_replies(&mut self) {
        while let Some(packet) = self.state.replies.pop_front() {
            let Some(slot) = self.link.transmit() else {
                self.state.link_is_full = true;
                self.state.replies.push_front(packet);
                return;
            };
            self.state.counters.frames_sent += 1;
            slot.send(packet.len(), |buffer| (buffer.copy_from_slice(&packet), Offload::default()));
        }
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
