//! Sent packets: the stack's own replies, and transport packets in fragments.

use super::PACKET_BYTES_MAX;
use crate::context::Context;
use crate::counters::DropReason;
use crate::error::Error;
use crate::ip;
use crate::ip::addressing::NextHop;
use crate::ip::layer::IpLayer;
use crate::ip::packet::Packet;
use crate::link::Link;
use crate::link::Offload;
use crate::output::{Checksums, Output, write_checksum};
use crate::wire::{Icmpv4Packet, IpProtocol, IpRepr};
use std::net::IpAddr;

impl IpLayer {
    /// Answers an echo request.
    pub(crate) fn answer_echo<L: Link>(&mut self, cx: &mut Context, packet: &Packet, link: &mut L) {
        let request = packet.payload();
        let Some(destination) = self.answer_source(packet) else {
            return;
        };
        let addresses = (destination, packet.header.source);
        let (protocol, reply_type) = match addresses.0 {
            IpAddr::V4(_) => (IpProtocol::Icmp, 0),
            IpAddr::V6(_) => (IpProtocol::Icmpv6, 129),
        };
        self.send_answer(cx, addresses, protocol, request.len(), link, |buffer| {
            // The reply is the request with another type.
            buffer.copy_from_slice(request);
            buffer[0] = reply_type;
            if protocol == IpProtocol::Icmp {
                Icmpv4Packet::new_unchecked(buffer).fill_checksum();
            }
        });
        self.outgoing.counters.icmp_sent += 1;
    }

    /// The source address of a reply to `packet`: its destination, or for broadcast and multicast
    /// the source address towards its sender.
    fn answer_source(&self, packet: &Packet) -> Option<IpAddr> {
        if self.addressing.is_local(packet.header.destination) {
            return Some(packet.header.destination);
        }
        self.addressing.source_for(packet.header.source).ok()
    }

    pub(crate) fn send_answer<L: Link>(
        &mut self,
        cx: &mut Context,
        (source, destination): (IpAddr, IpAddr),
        protocol: IpProtocol,
        len: usize,
        link: &mut L,
        fill: impl FnOnce(&mut [u8]),
    ) {
        let Ok(next_hop) = self.addressing.next_hop(destination) else {
            self.outgoing.counters.drop(DropReason::NoRoute);
            return;
        };
        let header: IpRepr = ip::repr(source, destination, protocol, len, ip::HOP_LIMIT);
        let start = header.header_len();
        let mut packet = vec![0; start + len];
        header.emit(&mut packet[..], &ip::header_checksums_only());
        fill(&mut packet[start..]);
        write_checksum(&mut packet, (start, 0), (source, destination), protocol, Checksums::Whole);
        self.send_whole(cx, next_hop, &packet, self.mtu_to(cx.now, destination), link);
    }

    /// Sends a transport packet, fragmented if it exceeds the path MTU.
    pub(crate) fn send_transport<L: Link>(
        &mut self,
        cx: &mut Context,
        next_hop: NextHop,
        (addresses, protocol, hop_limit, traffic_class): ((IpAddr, IpAddr), IpProtocol, u8, u8),
        len: usize,
        link: &mut L,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), Error> {
        let header = ip::repr(addresses.0, addresses.1, protocol, len, hop_limit);
        let start = header.header_len();
        let total = start + len;
        // IPv4 counts its header in the length, IPv6 does not.
        let counted = if addresses.0.is_ipv4() { total } else { len };
        if counted > PACKET_BYTES_MAX {
            return Err(Error::MessageTooLarge);
        }
        let write = |packet: &mut [u8], checksums| {
            header.emit(&mut packet[..], &ip::header_checksums_only());
            if traffic_class != 0 {
                ip::set_traffic_class(packet, traffic_class);
            }
            fill(&mut packet[start..]);
            write_checksum(packet, (start, 0), addresses, protocol, checksums)
        };
        let mtu = self.mtu_to(cx.now, addresses.1);
        if next_hop != NextHop::Own && total > mtu {
            let mut packet = vec![0; total];
            write(&mut packet, Checksums::Whole);
            self.send_whole(cx, next_hop, &packet, mtu, link);
            return Ok(());
        }
        let mut output = Output { link, state: &mut self.outgoing };
        output.send(next_hop, total, |packet, checksums| {
            let checksum = write(packet, checksums);
            ((), Offload { checksum, segment_bytes: None })
        });
        Ok(())
    }

    /// Sends a complete packet, fragmented if it exceeds `mtu`.
    pub(crate) fn send_whole<L: Link>(
        &mut self,
        cx: &mut Context,
        next_hop: NextHop,
        packet: &[u8],
        mtu: usize,
        link: &mut L,
    ) {
        let ident = cx.random.next_u32();
        let mut output = Output { link, state: &mut self.outgoing };
        if packet.len() <= mtu || next_hop == NextHop::Own {
            output.reply(next_hop, packet);
        } else {
            super::fragments::split(packet, mtu, ident, |fragment| {
                output.reply(next_hop, fragment)
            });
        }
    }
}
