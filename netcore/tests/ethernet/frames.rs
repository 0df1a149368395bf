//! Frames that pass on the wire, and frames made by hand.

use crate::harness::Pair;
use bytes::Bytes;
use netcore::MacAddr;
use netcore::device::smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    Icmpv6Packet, IpProtocol, Ipv6Packet,
};
use std::cell::RefCell;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

/// A recording of the frames on the wire.
#[derive(Clone, Default)]
pub(crate) struct Tap(Rc<RefCell<Vec<Bytes>>>);

/// The content of a frame, as far as these tests need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// Who has the second address? Tell the first.
    ArpRequest(Ipv4Addr, Ipv4Addr),
    ArpReply(Ipv4Addr, Ipv4Addr),
    Solicitation(Ipv6Addr, Ipv6Addr),
    Advertisement(Ipv6Addr, Ipv6Addr),
    Packet(EthernetProtocol),
}

impl Tap {
    pub(crate) fn new(pair: &mut Pair) -> Self {
        Self::that_loses(pair, |_| false)
    }

    /// A recording on a wire that loses the frames for which `loses` returns true.
    pub(crate) fn that_loses(
        pair: &mut Pair,
        mut loses: impl FnMut(&[u8]) -> bool + 'static,
    ) -> Self {
        let tap = Self::default();
        let sink = tap.clone();
        pair.wire = Box::new(move |frame| {
            sink.0.borrow_mut().push(frame.clone());
            (!loses(&frame)).then_some(frame)
        });
        tap
    }

    pub(crate) fn take(&self) -> Vec<Bytes> {
        self.0.take()
    }

    /// The frames since the last call: source, destination and content.
    pub(crate) fn take_parsed(&self) -> Vec<(MacAddr, MacAddr, Content)> {
        self.take().iter().map(|frame| parse_frame(frame)).collect()
    }
}

pub(crate) fn parse_frame(frame: &[u8]) -> (MacAddr, MacAddr, Content) {
    let frame = EthernetFrame::new_checked(frame).expect("a frame");
    let content = match frame.ethertype() {
        EthernetProtocol::Arp => {
            let packet = ArpPacket::new_checked(frame.payload()).expect("well-formed");
            let Ok(ArpRepr::EthernetIpv4 {
                operation,
                source_protocol_addr,
                source_hardware_addr,
                target_protocol_addr,
                ..
            }) = ArpRepr::parse(&packet)
            else {
                panic!("well-formed")
            };
            assert_eq!(source_hardware_addr, frame.src_addr());
            match operation {
                ArpOperation::Request => {
                    Content::ArpRequest(source_protocol_addr, target_protocol_addr)
                }
                _ => Content::ArpReply(source_protocol_addr, target_protocol_addr),
            }
        }
        EthernetProtocol::Ipv6 => {
            let packet = Ipv6Packet::new_checked(frame.payload()).expect("well-formed");
            let ends = (packet.src_addr(), packet.dst_addr());
            match (packet.next_header(), packet.payload().first()) {
                (IpProtocol::Icmpv6, Some(kind @ (135 | 136))) => {
                    assert_eq!(packet.hop_limit(), 255);
                    let message = Icmpv6Packet::new_checked(packet.payload()).expect("whole");
                    assert!(message.verify_checksum(&ends.0, &ends.1));
                    match kind {
                        135 => Content::Solicitation(ends.0, message.target_addr()),
                        _ => Content::Advertisement(ends.1, message.target_addr()),
                    }
                }
                _ => Content::Packet(EthernetProtocol::Ipv6),
            }
        }
        other => Content::Packet(other),
    };
    (MacAddr(frame.src_addr().0), MacAddr(frame.dst_addr().0), content)
}

pub(crate) fn framed((from, to): (MacAddr, MacAddr), protocol: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = to.octets().to_vec();
    frame.extend(from.octets());
    frame.extend(protocol.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An ARP message in a frame.
pub(crate) fn arp(
    (from, to): (MacAddr, MacAddr),
    is_request: bool,
    (sender, at): (Ipv4Addr, MacAddr),
    target: Ipv4Addr,
) -> Vec<u8> {
    let repr = ArpRepr::EthernetIpv4 {
        operation: if is_request { ArpOperation::Request } else { ArpOperation::Reply },
        source_hardware_addr: EthernetAddress(at.octets()),
        source_protocol_addr: sender,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: target,
    };
    let mut message = [0; 28];
    repr.emit(&mut ArpPacket::new_unchecked(&mut message[..]));
    framed((from, to), 0x0806, &message)
}

/// A message of Neighbour Discovery in a frame: its kind, flags, target and options.
pub(crate) fn ndp(
    (from, to): (MacAddr, MacAddr),
    (source, destination): (Ipv6Addr, Ipv6Addr),
    (kind, flags): (u8, u8),
    target: Ipv6Addr,
    options: &[u8],
) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((24 + options.len() as u16).to_be_bytes());
    packet.extend([58, 255]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend([kind, 0, 0, 0, flags, 0, 0, 0]);
    packet.extend(target.octets());
    packet.extend(options);
    if packet.len() >= 44 {
        Icmpv6Packet::new_unchecked(&mut packet[40..]).fill_checksum(&source, &destination);
    }
    framed((from, to), 0x86dd, &packet)
}

/// The option with the hardware address of a solicitation's source, or an advertisement's target.
pub(crate) fn link_option(kind: u8, at: MacAddr) -> Vec<u8> {
    [&[kind, 1][..], &at.octets()].concat()
}

pub(crate) fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | high & 0xff, low)
}
