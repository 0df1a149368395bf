//! Segmentation of TCP packets, as by network cards (TSO).

use crate::output::{Checksums, write_checksum};
use crate::wire::{IPV6_HEADER_LEN, IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket};
use std::num::NonZeroUsize;

/// Offsets of the headers of a TCP packet in its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpHeaders {
    /// The IP header; the bytes before it are repeated before each piece.
    pub ip: usize,
    /// The TCP header.
    pub tcp: usize,
}

/// Splits a TCP packet into pieces with at most `piece_bytes` of payload each, and passes them to
/// `send` in order, complete and with checksums. Ignores the checksum of the packet itself.
///
/// FIN and PSH are on the last piece, CWR on the first (RFC 3168 section 6.1.2).
///
/// # Panics
///
/// If the frame does not end with the TCP packet, or the headers are incomplete.
pub fn cut_segments(
    frame: &[u8],
    at: TcpHeaders,
    piece_bytes: NonZeroUsize,
    mut send: impl FnMut(&[u8]),
) {
    let start = at.tcp + usize::from(TcpPacket::new_unchecked(&frame[at.tcp..]).header_len());
    let (headers, payload) = frame.split_at(start);
    let pieces = payload.len().div_ceil(piece_bytes.get()).max(1);
    let mut piece = Vec::with_capacity(start + payload.len().min(piece_bytes.get()));
    for index in 0..pieces {
        let from = index * piece_bytes.get();
        piece.clear();
        piece.extend_from_slice(headers);
        piece.extend_from_slice(&payload[from..payload.len().min(from + piece_bytes.get())]);
        let mut segment = TcpPacket::new_unchecked(&mut piece[at.tcp..]);
        segment.set_seq_number(segment.seq_number() + from);
        if index > 0 {
            segment.set_cwr(false);
        }
        if index + 1 < pieces {
            segment.set_fin(false);
            segment.set_psh(false);
        }
        let packet = &mut piece[at.ip..];
        let addresses = match packet[0] >> 4 {
            4 => {
                let len = packet.len() as u16;
                let mut ip = Ipv4Packet::new_unchecked(&mut *packet);
                ip.set_total_len(len);
                // Each is a datagram of its own (RFC 6864 section 4.1).
                ip.set_ident(ip.ident().wrapping_add(index as u16));
                ip.fill_checksum();
                (ip.src_addr().into(), ip.dst_addr().into())
            }
            _ => {
                let len = packet.len() - IPV6_HEADER_LEN;
                let mut ip = Ipv6Packet::new_unchecked(&mut *packet);
                ip.set_payload_len(len as u16);
                (ip.src_addr().into(), ip.dst_addr().into())
            }
        };
        write_checksum(packet, (at.tcp - at.ip, 0), addresses, IpProtocol::Tcp, Checksums::Whole);
        send(&piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::IpAddress;
    use proptest::prelude::*;

    /// A TCP packet after `before` other bytes.
    fn packet(is_v4: bool, before: usize, options: usize, payload: &[u8]) -> (Vec<u8>, TcpHeaders) {
        let tcp_len = 20 + 4 * options;
        let len = tcp_len + payload.len();
        let mut frame = vec![9; before];
        if is_v4 {
            frame.extend([0x45, 0]);
            frame.extend((20 + len as u16).to_be_bytes());
            frame.extend([0xff, 0xfe, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        } else {
            frame.extend([0x60, 0, 0, 0]);
            frame.extend((len as u16).to_be_bytes());
            frame.extend([6, 64]);
            frame.extend([0xfd; 32]);
        }
        let at = TcpHeaders { ip: before, tcp: frame.len() };
        frame.extend([0x12, 0x34, 0, 80, 0xff, 0xff, 0xff, 0x00, 0, 0, 0, 9]);
        frame.extend([((tcp_len / 4) << 4) as u8, 0x99, 0x10, 0, 0, 0, 0, 0]);
        frame.extend(std::iter::repeat_n(1, 4 * options));
        frame.extend(payload);
        (frame, at)
    }

    proptest! {
        #[test]
        fn pieces_are_valid_and_add_up_to_the_payload(
            is_v4: bool,
            before in 0..20_usize,
            options in 0..11_usize,
            payload in proptest::collection::vec(any::<u8>(), 0..5000),
            piece_bytes in 1..3000_usize,
        ) {
            let (frame, at) = packet(is_v4, before, options, &payload);
            let mut pieces = Vec::new();
            let size = NonZeroUsize::new(piece_bytes).expect("it is above 0");

            cut_segments(&frame, at, size, |piece| pieces.push(piece.to_vec()));

            let mut again = Vec::new();
            let before = TcpPacket::new_unchecked(&frame[at.tcp..]);
            for (index, piece) in pieces.iter().enumerate() {
                let is_last = index + 1 == pieces.len();
                let (bytes, addresses): (_, (IpAddress, IpAddress)) = if is_v4 {
                    let ip = Ipv4Packet::new_checked(&piece[at.ip..]).expect("a packet");
                    prop_assert!(ip.verify_checksum());
                    prop_assert_eq!(ip.ident(), 0xfffe_u16.wrapping_add(index as u16));
                    (ip.payload(), (ip.src_addr().into(), ip.dst_addr().into()))
                } else {
                    let ip = Ipv6Packet::new_checked(&piece[at.ip..]).expect("a packet");
                    (ip.payload(), (ip.src_addr().into(), ip.dst_addr().into()))
                };
                let tcp = TcpPacket::new_checked(bytes).expect("a segment");
                prop_assert!(tcp.verify_checksum(&addresses.0, &addresses.1));
                prop_assert_eq!((tcp.fin(), tcp.psh(), tcp.cwr()), (is_last, is_last, index == 0));
                prop_assert_eq!(tcp.seq_number(), before.seq_number() + again.len());
                prop_assert_eq!(tcp.options(), before.options());
                prop_assert!(tcp.payload().len() == piece_bytes || is_last);
                prop_assert_eq!(&piece[..at.ip], &frame[..at.ip]);
                again.extend_from_slice(tcp.payload());
            }
            prop_assert_eq!(again, payload);
        }
    }
}
