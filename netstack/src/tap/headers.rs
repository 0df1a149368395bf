//! The headers of a frame, as far as filters and recorders look at them.

use crate::frame_layout::ethernet_payload;
use crate::wire::{IpProtocol, Ipv4Packet, Ipv6Packet};
use netcore::Medium;
use std::net::IpAddr;

/// What an IP packet is, and where it is from and to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Headers<'a> {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: IpProtocol,
    /// Source and destination, of TCP, UDP and UDP-Lite; of no fragment but the first.
    pub(crate) ports: Option<(u16, u16)>,
    /// From the transport header on; of a packet longer than the capture what is there.
    pub(crate) transport: &'a [u8],
}

/// Those with ports in the first four bytes.
const UDP_LITE: u8 = 136;

impl<'a> Headers<'a> {
    /// `None` if this is no IP packet. Behind extension headers of IPv6 nothing is found.
    pub(crate) fn parse(frame: &'a [u8], medium: Medium) -> Option<Self> {
        let packet = match medium {
            Medium::Ethernet => &frame[ethernet_payload(frame)?..],
            Medium::Ip => frame,
        };
        let (source, destination, protocol, transport, is_first) = match packet.first()? >> 4 {
            4 => {
                let header = Ipv4Packet::new_unchecked(packet);
                let start = usize::from(*packet.first()? & 15) * 4;
                let transport = packet.get(start.max(20)..)?;
                let ends: (IpAddr, IpAddr) = (header.src_addr().into(), header.dst_addr().into());
                (ends.0, ends.1, header.next_header(), transport, header.frag_offset() == 0)
            }
            6 => {
                let transport = packet.get(40..)?;
                let header = Ipv6Packet::new_unchecked(packet);
                let ends: (IpAddr, IpAddr) = (header.src_addr().into(), header.dst_addr().into());
                (ends.0, ends.1, header.next_header(), transport, true)
            }
            _ => return None,
        };
        let has_ports = is_first
            && match protocol {
                IpProtocol::Tcp | IpProtocol::Udp => true,
                other => u8::from(other) == UDP_LITE,
            };
        let ports = transport.first_chunk::<4>().filter(|_| has_ports).map(|bytes| {
            let [a, b, c, d] = *bytes;
            (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
        });
        Some(Self { source, destination, protocol, ports, transport })
    }
}
