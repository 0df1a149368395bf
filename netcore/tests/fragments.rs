//! IPv6 fragments that this stack never sends, and invalid ones.

mod harness;

use harness::{Pair, Side, addr};
use netcore::device::smoltcp::wire::{IpProtocol, Ipv6Packet, UdpPacket};
use netcore::queue::{DatagramQueue, SocketQueue};
use netcore::{DropReason, udp};
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

const NEAR: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const FAR: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
const UDP: u8 = 17;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// A packet to far.
fn packet(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 40];
    bytes.extend(payload);
    let mut packet = Ipv6Packet::new_unchecked(&mut bytes);
    packet.set_version(6);
    packet.set_payload_len(payload.len() as u16);
    packet.set_hop_limit(64);
    packet.set_next_header(IpProtocol::from(next_header));
    packet.set_src_addr(NEAR);
    packet.set_dst_addr(FAR);
    bytes
}

/// A fragment header and what follows it.
fn fragment(next_header: u8, offset: u16, more: bool, ident: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = (offset | u16::from(more)).to_be_bytes();
    let header = [next_header, 0, high, low, 0, 0, 0, ident];
    [&header[..], payload].concat()
}

/// A datagram to port 9 with so many bytes.
fn datagram(len: usize) -> Vec<u8> {
    let mut bytes = vec![7; 8 + len];
    let mut datagram = UdpPacket::new_unchecked(&mut bytes[..]);
    datagram.set_src_port(9);
    datagram.set_dst_port(9);
    datagram.set_len(8 + len as u16);
    datagram.fill_checksum(&NEAR.into(), &FAR.into());
    bytes
}

/// Destination Options with padding alone, so many times 8 bytes long.
fn destination_options(next_header: u8, eights: u8) -> Vec<u8> {
    let mut bytes = vec![0; 8 * usize::from(eights)];
    bytes[..4].copy_from_slice(&[next_header, eights - 1, 1, 8 * eights - 4]);
    bytes
}

struct Bench {
    pair: Pair,
    socket: Arc<DatagramQueue>,
}

impl Bench {
    fn new() -> Self {
        let mut pair = Pair::new();
        let endpoint = addr("[fd00::2]:9");
        match pair.call(Side::Far, None, udp::Command::Bind { endpoint }) {
            Ok((_, Some(SocketQueue::Datagram(socket)))) => Self { pair, socket },
            other => panic!("{other:?}"),
        }
    }

    /// The lengths of the received datagrams, and the reasons of drops.
    fn put(&mut self, packets: &[Vec<u8>]) -> (Vec<usize>, Vec<DropReason>) {
        let before = self.pair.far.stack.counters().clone();
        for packet in packets {
            self.pair.inject(Side::Far, packet.clone());
        }
        self.pair.run();
        let after = self.pair.far.stack.counters();
        let new = after.drops().filter(|(reason, count)| *count > before.dropped(*reason));
        let lengths = std::iter::from_fn(|| self.socket.try_recv().ok());
        (lengths.map(|got| got.payload.len()).collect(), new.map(|(reason, _)| reason).collect())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.socket.close();
    }
}

#[test]
fn fragmented_extension_headers_are_reassembled() {
    for eights in [1, 2, 5] {
        let part = [destination_options(UDP, eights), datagram(1000)].concat();
        for cut in [48, 64, 512] {
            let first = packet(FRAGMENT, &fragment(DESTINATION_OPTIONS, 0, true, 1, &part[..cut]));
            // Only the Next Header field of the first fragment counts (RFC 8200 section 4.5).
            for next_header in [DESTINATION_OPTIONS, UDP, 99] {
                let last = fragment(next_header, cut as u16, false, 1, &part[cut..]);
                let last = packet(FRAGMENT, &last);
                for order in [[&first, &last], [&last, &first]] {
                    let mut bench = Bench::new();

                    let got = bench.put(&order.map(Clone::clone));

                    assert_eq!(got, (vec![1000], vec![]), "{eights} {cut} {next_header}");
                }
            }
        }
    }
}

#[test]
fn extension_headers_before_the_fragment_header_are_skipped() {
    let part = datagram(1000);
    let mut bench = Bench::new();
    let fragments =
        [(0, true, &part[..512]), (512, false, &part[512..])].map(|(offset, more, payload)| {
            let rest = fragment(UDP, offset, more, 1, payload);
            packet(DESTINATION_OPTIONS, &[destination_options(FRAGMENT, 1), rest].concat())
        });

    assert_eq!(bench.put(&fragments), (vec![1000], vec![]));
}

#[test]
fn atomic_fragment_is_a_whole_packet() {
    let part = datagram(1000);
    let mut bench = Bench::new();
    let first = packet(FRAGMENT, &fragment(UDP, 0, true, 1, &part[..512]));
    let last = packet(FRAGMENT, &fragment(UDP, 512, false, 1, &part[512..]));
    let atomic = packet(FRAGMENT, &fragment(UDP, 0, false, 1, &datagram(5)));
    let with_options = [destination_options(UDP, 1), datagram(6)].concat();
    let with_options = packet(FRAGMENT, &fragment(DESTINATION_OPTIONS, 0, false, 1, &with_options));

    // It neither joins nor disturbs others with its identification (RFC 6946).
    assert_eq!(bench.put(&[first, atomic, with_options, last]), (vec![5, 6, 1000], vec![]));
}

#[test]
fn overlapping_fragments_discard_their_packet() {
    let part = datagram(1000);
    let mut bench = Bench::new();
    let piece = |from: usize, to: usize| {
        packet(FRAGMENT, &fragment(UDP, from as u16, to < part.len(), 1, &part[from..to]))
    };

    let got = bench.put(&[piece(0, 512), piece(504, 1008)]);
    let rest = bench.put(&[piece(512, 1008)]);

    assert_eq!(got, (vec![], vec![DropReason::BadFragment]));
    assert_eq!(rest, (vec![], vec![]));
    // A whole repetition is no overlap.
    bench.pair.advance(Duration::from_secs(61));
    let repeated = [piece(0, 512), piece(0, 512), piece(512, 1008)];
    assert_eq!(bench.put(&repeated), (vec![1000], vec![]));
}

#[test]
fn first_fragment_without_all_headers_is_dropped() {
    let with_options = [destination_options(UDP, 2), datagram(1000)].concat();
    let nested = fragment(UDP, 0, false, 3, &datagram(1000));
    for (next_header, part, cut) in [
        (DESTINATION_OPTIONS, &with_options, 8),
        (DESTINATION_OPTIONS, &with_options, 16),
        (6, &datagram(1000), 16),
        (FRAGMENT, &nested, 512),
    ] {
        let mut bench = Bench::new();

        let first = packet(FRAGMENT, &fragment(next_header, 0, true, 1, &part[..cut]));

        assert_eq!(bench.put(&[first]), (vec![], vec![DropReason::BadFragment]), "{cut}");
    }
}
