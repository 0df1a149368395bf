//! What the stack answers itself, without a socket.

use super::Netstack;
use super::ingress::Packet;
use crate::counters::DropReason;
use crate::ip;
use crate::link::Link;
use crate::output::{Checksums, Output, write_checksum};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    Icmpv4Packet, IpProtocol, IpRepr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};
use std::net::IpAddr;

impl Netstack {
    /// Answers a segment that no connection takes with a reset (RFC 9293 section 3.10.7.1); returns
    /// why the segment is dropped, which is for `reason` unless the answer is one too many.
    pub(super) fn answer_reset<L: Link>(
        &mut self,
        packet: &Packet,
        reason: DropReason,
        link: &mut L,
    ) -> DropReason {
        let segment = TcpPacket::new_unchecked(packet.payload());
        if segment.rst() {
            return reason;
        }
        if !self.resets.allows(self.now) {
            return DropReason::RateLimited;
        }
        self.send_reset(packet, link);
        reason
    }

    /// Answers a segment with a reset (RFC 9293 section 3.10.7.1).
    pub(super) fn send_reset<L: Link>(&mut self, packet: &Packet, link: &mut L) {
        let segment = TcpPacket::new_unchecked(packet.payload());
        let (sequence, acknowledgement) = if segment.ack() {
            (segment.ack_number(), None)
        } else {
            (TcpSeqNumber(0), Some(segment.seq_number() + segment.segment_len()))
        };
        let ports = (segment.dst_port(), segment.src_port());
        self.send_control(packet, ports, TcpControl::Rst, (sequence, acknowledgement), link);
        self.outgoing.counters.resets_sent += 1;
    }

    /// Sends a segment without data or options back to where `packet` came from.
    pub(super) fn send_control<L: Link>(
        &mut self,
        packet: &Packet,
        (source_port, destination_port): (u16, u16),
        control: TcpControl,
        (sequence, acknowledgement): (TcpSeqNumber, Option<TcpSeqNumber>),
        link: &mut L,
    ) {
        let segment = TcpRepr {
            src_port: source_port,
            dst_port: destination_port,
            control,
            seq_number: sequence,
            ack_number: acknowledgement,
            window_len: 0,
            window_scale: None,
            max_seg_size: None,
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload: &[],
        };
        let ends = (packet.header.destination, packet.header.source);
        self.send_answer(ends, IpProtocol::Tcp, segment.buffer_len(), link, |buffer| {
            let mut out = TcpPacket::new_unchecked(buffer);
            let ignored = ChecksumCapabilities::ignored();
            segment.emit(&mut out, &ends.0.into(), &ends.1.into(), &ignored);
        });
    }

    /// Answers an echo request.
    pub(super) fn answer_echo<L: Link>(&mut self, packet: &Packet, link: &mut L) {
        let request = packet.payload();
        let Some(destination) = self.answer_source(packet) else {
            return;
        };
        let ends = (destination, packet.header.source);
        let (protocol, reply_type) = match ends.0 {
            IpAddr::V4(_) => (IpProtocol::Icmp, 0),
            IpAddr::V6(_) => (IpProtocol::Icmpv6, 129),
        };
        self.send_answer(ends, protocol, request.len(), link, |buffer| {
            // The reply is the request with another type.
            buffer.copy_from_slice(request);
            buffer[0] = reply_type;
            if protocol == IpProtocol::Icmp {
                Icmpv4Packet::new_unchecked(buffer).fill_checksum();
            }
        });
        self.outgoing.counters.icmp_sent += 1;
    }

    /// The address to answer `packet` from: the one that it was for, or for a packet to many one
    /// that its sender can reach.
    fn answer_source(&self, packet: &Packet) -> Option<IpAddr> {
        if self.addressing.is_local(packet.header.destination) {
            return Some(packet.header.destination);
        }
        self.addressing.source_for(packet.header.source).ok()
    }

    pub(super) fn send_answer<L: Link>(
        &mut self,
        (source, destination): (IpAddr, IpAddr),
        protocol: IpProtocol,
        len: usize,
        link: &mut L,
        fill: impl FnOnce(&mut [u8]),
    ) {
        let Ok(way) = self.addressing.next_hop(destination) else {
            self.outgoing.counters.drop(DropReason::NoRoute);
            return;
        };
        let header: IpRepr = ip::repr(source, destination, protocol, len, ip::HOP_LIMIT);
        let start = header.header_len();
        let mut packet = vec![0; start + len];
        header.emit(&mut packet[..], &ip::header_checksums_only());
        fill(&mut packet[start..]);
        write_checksum(&mut packet, start, (source, destination), protocol, Checksums::Whole);
        self.send_whole(way, &packet, self.mtu_to(destination), link);
    }

    /// Sends a packet that is complete, in fragments if need be.
    pub(super) fn send_whole<L: Link>(
        &mut self,
        way: crate::addressing::NextHop,
        packet: &[u8],
        mtu: usize,
        link: &mut L,
    ) {
        let ident = self.random.next_u32();
        let mut output = Output { link, state: &mut self.outgoing };
        if packet.len() <= mtu || way == crate::addressing::NextHop::Own {
            output.reply(way, packet);
        } else {
            crate::fragments::split(packet, mtu, ident, |fragment| output.reply(way, fragment));
        }
    }
}
