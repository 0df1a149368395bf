//! TCP segments that only acknowledge.

use crate::wire::{IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket, TcpSeqNumber};
use std::net::IpAddr;

/// A TCP segment that only acknowledges: it has no data, and no flag but ACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PureAck {
    addresses: (IpAddr, IpAddr),
    ports: (u16, u16),
    number: TcpSeqNumber,
    has_blocks: bool,
}

impl PureAck {
    /// `None` for any other packet, and for one with a fragment or extension header.
    pub(super) fn parse(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => {
                let packet = Ipv4Packet::new_checked(packet).ok()?;
                let is_whole = !packet.more_frags() && packet.frag_offset() == 0;
                let addresses = (packet.src_addr().into(), packet.dst_addr().into());
                (is_whole && packet.next_header() == IpProtocol::Tcp)
                    .then(|| Self::of_segment(addresses, packet.payload()))?
            }
            6 => {
                let packet = Ipv6Packet::new_checked(packet).ok()?;
                let addresses = (packet.src_addr().into(), packet.dst_addr().into());
                (packet.next_header() == IpProtocol::Tcp)
                    .then(|| Self::of_segment(addresses, packet.payload()))?
            }
            _ => None,
        }
    }

    fn of_segment(addresses: (IpAddr, IpAddr), segment: &[u8]) -> Option<Self> {
        let segment = TcpPacket::new_checked(segment).ok()?;
        let others = [segment.syn(), segment.fin(), segment.rst(), segment.psh(), segment.urg()];
        let is_marked = segment.ece() || segment.cwr() || segment.ns();
        if !segment.ack() || is_marked || others.contains(&true) || !segment.payload().is_empty() {
            return None;
        }
        Some(Self {
            addresses,
            ports: (segment.src_port(), segment.dst_port()),
            number: segment.ack_number(),
            has_blocks: segment.selective_ack_ranges().ok()?.iter().any(Option::is_some),
        })
    }

    /// Whether a later one of the same connection says all that this one does. Duplicates say
    /// something by their number (RFC 5681 section 3.2), and blocks of RFC 2018 may be in no other.
    pub(super) fn is_covered_by(&self, later: &Self) -> bool {
        let is_same = self.addresses == later.addresses && self.ports == later.ports;
        is_same && !self.has_blocks && self.number < later.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{ChecksumCapabilities, Ipv4Address, Ipv4Repr, TcpControl, TcpRepr};

    const PORTS: (u16, u16) = (1000, 80);

    fn segment<'a>(number: i32) -> TcpRepr<'a> {
        TcpRepr {
            src_port: PORTS.0,
            dst_port: PORTS.1,
            control: TcpControl::None,
            seq_number: TcpSeqNumber(1),
            ack_number: Some(TcpSeqNumber(number)),
            window_len: 100,
            window_scale: None,
            max_seg_size: None,
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload: &[],
        }
    }

    fn parsed(segment: &TcpRepr<'_>) -> Option<PureAck> {
        let [from, to] = [1, 2].map(|host| Ipv4Address::new(10, 0, 0, host));
        let checksums = ChecksumCapabilities::default();
        let header = Ipv4Repr {
            src_addr: from,
            dst_addr: to,
            next_header: IpProtocol::Tcp,
            payload_len: segment.buffer_len(),
            hop_limit: 64,
        };
        let mut packet = vec![0; header.buffer_len() + segment.buffer_len()];
        let mut ip = Ipv4Packet::new_unchecked(&mut packet[..]);
        header.emit(&mut ip, &checksums);
        let mut tcp = TcpPacket::new_unchecked(ip.payload_mut());
        segment.emit(&mut tcp, &from.into(), &to.into(), &checksums);
        PureAck::parse(&packet)
    }

    #[test]
    fn segment_with_data_or_another_flag_is_no_pure_ack() {
        assert!(parsed(&segment(7)).is_some());
        assert_eq!(parsed(&TcpRepr { payload: b"x", ..segment(7) }), None);
        for control in [TcpControl::Syn, TcpControl::Fin, TcpControl::Rst, TcpControl::Psh] {
            assert_eq!(parsed(&TcpRepr { control, ..segment(7) }), None, "{control:?}");
        }
        assert_eq!(PureAck::parse(&[]), None);
    }

    #[test]
    fn later_ack_of_the_connection_covers_earlier_ones() {
        let ack = |number| parsed(&segment(number)).expect("a pure ACK");

        assert!(ack(7).is_covered_by(&ack(8)));
        assert!(ack(i32::MAX).is_covered_by(&ack(i32::MIN)), "sequence numbers wrap");
        assert!(!ack(8).is_covered_by(&ack(7)));
        assert!(!ack(7).is_covered_by(&ack(7)), "a duplicate");
        let other = parsed(&TcpRepr { src_port: 1001, ..segment(8) }).expect("a pure ACK");
        assert!(!ack(7).is_covered_by(&other), "another connection");
        let sack_ranges = [Some((20, 30)), None, None];
        let blocks = parsed(&TcpRepr { sack_ranges, ..segment(7) }).expect("a pure ACK");
        assert!(!blocks.is_covered_by(&ack(8)), "with blocks");
    }
}
