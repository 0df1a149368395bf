//! ICMP errors of routers.

use super::{Pair, Side};
use bytes::Bytes;
use netcore::device::smoltcp::phy::ChecksumCapabilities;
use netcore::device::smoltcp::wire::{
    Icmpv4Packet, Icmpv6Packet, IpProtocol, IpRepr, Ipv4Packet, Ipv6Packet,
};
use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;

/// An ICMP error about a packet, as its sender gets it from a router of its family.
///
/// # Panics
///
/// If `packet` has no whole IP header.
pub fn error(packet: &[u8], kind: u8, code: u8, rest: u32) -> Vec<u8> {
    let (from, to): (IpAddr, IpAddr) = match packet[0] >> 4 {
        4 => {
            (ROUTER_V4.parse().expect("it is"), Ipv4Packet::new_unchecked(packet).src_addr().into())
        }
        _ => {
            (ROUTER_V6.parse().expect("it is"), Ipv6Packet::new_unchecked(packet).src_addr().into())
        }
    };
    error_between(from, to, packet, kind, code, rest)
}

pub const ROUTER_V4: &str = "10.0.0.254";
pub const ROUTER_V6: &str = "fd00::fe";

pub fn error_between(
    from: IpAddr,
    to: IpAddr,
    packet: &[u8],
    kind: u8,
    code: u8,
    rest: u32,
) -> Vec<u8> {
    let quoted = &packet[..packet.len().min(if from.is_ipv4() { 28 } else { 200 })];
    let mut message = vec![kind, code, 0, 0];
    message.extend(rest.to_be_bytes());
    message.extend(quoted);
    let protocol = if from.is_ipv4() { IpProtocol::Icmp } else { IpProtocol::Icmpv6 };
    let header = IpRepr::new(from.into(), to.into(), protocol, message.len(), 64);
    let mut answer = vec![0; header.header_len()];
    header.emit(&mut answer[..], &ChecksumCapabilities::default());
    match (from, to) {
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            Icmpv6Packet::new_unchecked(&mut message[..]).fill_checksum(&from, &to);
        }
        _ => Icmpv4Packet::new_unchecked(&mut message[..]).fill_checksum(),
    }
    answer.extend(message);
    answer
}

/// "Fragmentation needed" or "packet too big", by the family of the packet.
pub fn too_big(packet: &[u8], mtu: u32) -> Vec<u8> {
    match packet[0] >> 4 {
        4 => error(packet, 3, 4, mtu),
        _ => error(packet, 2, 0, mtu),
    }
}

/// Every packet on the wire that was not lost.
pub type Seen = Rc<RefCell<Vec<Bytes>>>;

/// Puts a router between the hosts that forwards packets of up to `mtu` bytes and answers larger
/// ones with an ICMP error; returns the forwarded packets.
pub fn narrow_hop(pair: &mut Pair, mtu: usize) -> Seen {
    let inlets = pair.inlets();
    let seen = Seen::default();
    let passed = seen.clone();
    pair.wire = Box::new(move |packet| {
        if packet.len() <= mtu {
            passed.borrow_mut().push(packet.clone());
            return Some(packet);
        }
        if packet[0] >> 4 == 4 {
            let header = Ipv4Packet::new_unchecked(&packet[..]);
            assert!(header.dont_frag(), "a router would have to cut it");
        }
        let inlet = &inlets[usize::from(side_of(&packet) == Side::Far)];
        inlet.send(too_big(&packet, mtu as u32).into()).expect("the device is there");
        None
    });
    seen
}

/// The sender of a packet.
pub fn side_of(packet: &[u8]) -> Side {
    let last = match packet[0] >> 4 {
        4 => packet[15],
        _ => packet[23],
    };
    if last == 1 { Side::Near } else { Side::Far }
}
