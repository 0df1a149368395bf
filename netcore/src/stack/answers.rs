//! What the stack answers itself, without a socket.

use super::Netstack;
use super::ingress::Packet;
use crate::counters::DropReason;
use crate::ip;
use crate::link::Link;
use crate::output::{Checksums, Output, write_checksum};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    IPV4_MIN_MTU, IPV6_MIN_MTU, Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr,
    Icmpv6DstUnreachable, Icmpv6Packet, Icmpv6ParamProblem, Icmpv6Repr, IpProtocol, IpRepr,
    Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
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
        let (sequence, acknowledgement) = if segment.ack() {
            (segment.ack_number(), None)
        } else {
            (TcpSeqNumber(0), Some(segment.seq_number() + segment.segment_len()))
        };
        let ports = (segment.dst_port(), segment.src_port());
        self.send_control(packet, ports, TcpControl::Rst, (sequence, acknowledgement), link);
        self.outgoing.counters.resets_sent += 1;
        reason
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

    /// Answers a datagram to a port that nobody is bound to (RFC 1122 section 4.1.3.1).
    pub(super) fn answer_port_unreachable<L: Link>(
        &mut self,
        packet: &Packet,
        link: &mut L,
    ) -> DropReason {
        self.answer_error(packet, link, Unreachable::Port).err().unwrap_or(DropReason::NoListener)
    }

    /// Answers a packet of a protocol that nobody speaks (RFC 1122 section 3.2.2.1, RFC 4443
    /// section 3.4).
    pub(super) fn answer_protocol_unreachable<L: Link>(
        &mut self,
        packet: &Packet,
        link: &mut L,
    ) -> DropReason {
        let answered = self.answer_error(packet, link, Unreachable::Protocol);
        answered.err().unwrap_or(DropReason::NoListener)
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

    /// Sends an ICMP error about `packet`, unless there must be none (RFC 1122 section 3.2.2,
    /// RFC 4443 section 2.4).
    fn answer_error<L: Link>(
        &mut self,
        packet: &Packet,
        link: &mut L,
        unreachable: Unreachable,
    ) -> Result<(), DropReason> {
        if !self.addressing.is_local(packet.header.destination) {
            return Err(DropReason::NoListener);
        }
        if !self.icmp_errors.allows(self.now) {
            return Err(DropReason::RateLimited);
        }
        let ends = (packet.header.destination, packet.header.source);
        let ignored = ChecksumCapabilities::ignored();
        match packet.header.destination {
            IpAddr::V4(_) => {
                let quoted = Ipv4Packet::new_unchecked(&packet.bytes[..]);
                let header =
                    Ipv4Repr::parse(&quoted, &ignored).map_err(|_| DropReason::Malformed)?;
                let room = IPV4_MIN_MTU - 2 * header.buffer_len() - 8;
                let payload = packet.payload();
                let error = Icmpv4Repr::DstUnreachable {
                    reason: match unreachable {
                        Unreachable::Port => Icmpv4DstUnreachable::PortUnreachable,
                        Unreachable::Protocol => Icmpv4DstUnreachable::ProtoUnreachable,
                    },
                    header,
                    data: &payload[..payload.len().min(room)],
                };
                self.send_answer(ends, IpProtocol::Icmp, error.buffer_len(), link, |buffer| {
                    let checksums = ChecksumCapabilities::default();
                    error.emit(&mut Icmpv4Packet::new_unchecked(buffer), &checksums);
                });
            }
            IpAddr::V6(_) => {
                let quoted = Ipv6Packet::new_unchecked(&packet.bytes[..]);
                let header = Ipv6Repr::parse(&quoted).map_err(|_| DropReason::Malformed)?;
                let room = IPV6_MIN_MTU - 2 * header.buffer_len() - 8;
                let payload = &packet.bytes[header.buffer_len()..];
                let data = &payload[..payload.len().min(room)];
                let error = match unreachable {
                    Unreachable::Port => Icmpv6Repr::DstUnreachable {
                        reason: Icmpv6DstUnreachable::PortUnreachable,
                        header,
                        data,
                    },
                    Unreachable::Protocol => Icmpv6Repr::ParamProblem {
                        reason: Icmpv6ParamProblem::UnrecognizedNxtHdr,
                        pointer: 6,
                        header,
                        data,
                    },
                };
                self.send_answer(ends, IpProtocol::Icmpv6, error.buffer_len(), link, |buffer| {
                    let mut out = Icmpv6Packet::new_unchecked(buffer);
                    let (source, destination) = (header.dst_addr, header.src_addr);
                    error.emit(&source, &destination, &mut out, &ignored);
                });
            }
        }
        self.outgoing.counters.icmp_sent += 1;
        Ok(())
    }

    fn send_answer<L: Link>(
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

#[derive(Debug, Clone, Copy)]
enum Unreachable {
    Port,
    Protocol,
}
