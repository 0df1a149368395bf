//! Which packets are answered with an ICMP error, and which must not be (RFC 1122 section 3.2.2,
//! RFC 4443, RFC 8200).

mod harness;

use harness::{Pair, Side};
use netcore::device::smoltcp::wire::{
    Icmpv4Packet, Icmpv6Packet, IpProtocol, Ipv4Packet, Ipv6Packet,
};
use netcore::{Config, DropReason, IpConfig};
use std::cell::RefCell;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::time::Duration;

const NEAR: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const FAR: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Type, code, and what follows the checksum.
type Error = (u8, u8, u32);

fn v6_to(destination: Ipv6Addr, next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 40];
    bytes.extend(payload);
    let mut packet = Ipv6Packet::new_unchecked(&mut bytes);
    packet.set_version(6);
    packet.set_payload_len(payload.len() as u16);
    packet.set_hop_limit(64);
    packet.set_next_header(IpProtocol::from(next_header));
    packet.set_src_addr(NEAR);
    packet.set_dst_addr(destination);
    bytes
}

fn v6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    v6_to(FAR, next_header, payload)
}

fn v4_to(destination: [u8; 4], options: &[u8], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 20];
    bytes.extend(options);
    bytes.extend(payload);
    let len = bytes.len() as u16;
    let mut packet = Ipv4Packet::new_unchecked(&mut bytes);
    packet.set_version(4);
    packet.set_header_len(20 + options.len() as u8);
    packet.set_total_len(len);
    packet.set_ident(77);
    packet.set_hop_limit(64);
    packet.set_next_header(IpProtocol::from(protocol));
    packet.set_src_addr(Ipv4Addr::new(10, 0, 0, 1));
    packet.set_dst_addr(destination.into());
    packet.fill_checksum();
    bytes
}

fn v4(options: &[u8], protocol: u8, payload: &[u8]) -> Vec<u8> {
    v4_to([10, 0, 0, 2], options, protocol, payload)
}

struct Bench {
    pair: Pair,
    sent: Rc<RefCell<Vec<Vec<u8>>>>,
}

impl Bench {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        let mut pair = Pair::with(config, 1500);
        let sent = Rc::new(RefCell::new(Vec::new()));
        let sink = sent.clone();
        pair.wire = Box::new(move |packet| {
            sink.borrow_mut().push(packet.to_vec());
            None
        });
        Self { pair, sent }
    }

    /// Far's answers to a packet; each must be an ICMP error that quotes it.
    fn put(&mut self, packet: &[u8]) -> Option<Error> {
        self.pair.inject(Side::Far, packet.to_vec());
        self.pair.run();
        self.error(packet)
    }

    fn error(&mut self, about: &[u8]) -> Option<Error> {
        let mut sent = self.sent.take();
        let answer = sent.pop()?;
        assert_eq!(sent.len(), 0);
        let start = if answer[0] >> 4 == 4 { 20 } else { 40 };
        let message = &answer[start..];
        match start {
            20 => assert!(Icmpv4Packet::new_unchecked(message).verify_checksum()),
            _ => {
                let ip = Ipv6Packet::new_unchecked(&answer[..]);
                let ends = (ip.src_addr(), ip.dst_addr());
                assert_eq!(ends, (FAR, NEAR));
                assert!(Icmpv6Packet::new_unchecked(message).verify_checksum(&ends.0, &ends.1));
            }
        }
        assert!(answer.len() <= if start == 20 { 576 } else { 1280 }, "{}", answer.len());
        let quoted = &message[8..];
        assert_eq!(quoted, &about[..quoted.len()], "what came is quoted as it came");
        assert!(quoted.len() == about.len() || quoted.len() > 500);
        let rest = u32::from_be_bytes([message[4], message[5], message[6], message[7]]);
        Some((message[0], message[1], rest))
    }
}

/// An unknown option of this kind in Destination Options, or Hop-by-Hop Options.
fn option(kind: u8) -> Vec<u8> {
    vec![59, 0, kind, 4, 0, 0, 0, 0]
}

#[test]
fn ipv6_errors_are_sent_as_rfc_4443_requires() {
    let mut big = vec![0; 1400];
    big[1] = 9;
    for (what, packet, error) in [
        ("a datagram with a bad checksum", v6(17, &[0, 9, 0, 9, 0, 8, 0xff, 0xff]), None),
        ("an unknown next header", v6(99, &[0; 8]), Some((4, 1, 6))),
        ("a large one", v6(99, &big), Some((4, 1, 6))),
        ("one behind options", v6(60, &[99, 0, 1, 4, 0, 0, 0, 0, 1, 2, 3]), Some((4, 1, 40))),
        (
            "one behind two headers",
            v6(0, &[60, 0, 1, 4, 0, 0, 0, 0, 99, 0, 1, 4, 0, 0, 0, 0, 1]),
            Some((4, 1, 48)),
        ),
        ("one behind an atomic fragment", v6(44, &[99, 0, 0, 0, 0, 0, 0, 1, 1]), Some((4, 1, 40))),
        ("no next header", v6(59, &[1, 2, 3]), None),
        (
            "Hop-by-Hop Options that are not first",
            v6(60, &[0, 0, 1, 4, 0, 0, 0, 0, 59, 0, 1, 4, 0, 0, 0, 0]),
            Some((4, 1, 40)),
        ),
        ("an option to be passed over", v6(60, &option(0x1e)), None),
        ("an option to be dropped for", v6(60, &option(0x5e)), None),
        ("an option to be told of", v6(60, &option(0x9e)), Some((4, 2, 42))),
        ("an option to be told of, unless to many", v6(60, &option(0xde)), Some((4, 2, 42))),
        ("the same in Hop-by-Hop Options", v6(0, &option(0xde)), Some((4, 2, 42))),
        ("an option of many", v6_to(ALL_NODES, 60, &option(0x9e)), Some((4, 2, 42))),
        ("an option not of many", v6_to(ALL_NODES, 60, &option(0xde)), None),
        ("a next header of many", v6_to(ALL_NODES, 99, &[0; 8]), None),
        ("a route that goes on", v6(43, &[59, 0, 0, 1, 0, 0, 0, 0]), Some((4, 0, 42))),
        ("a route of type 4 that goes on", v6(43, &[59, 0, 4, 2, 0, 0, 0, 0]), Some((4, 0, 42))),
        ("a route that is over", v6(43, &[59, 0, 99, 0, 0, 0, 0, 0]), None),
        (
            "a fragment of 9 bytes and more",
            v6(44, &[99, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
            Some((4, 0, 4)),
        ),
        (
            "a fragment past the end",
            v6(44, &[99, 0, 0xff, 0xf8, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8]),
            Some((4, 0, 42)),
        ),
        (
            "a first fragment without all headers",
            v6(44, &[6, 0, 0, 1, 0, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8]),
            Some((4, 3, 0)),
        ),
        ("for somebody else", v6_to("fd00::3".parse().expect("it is"), 60, &option(0x9e)), None),
        // An ICMPv6 error, and a redirect: of neither is there another error.
        ("an error with a bad option", v6(60, &[58, 0, 0x9e, 4, 0, 0, 0, 0, 1, 4, 0, 0]), None),
        ("a redirect with a bad option", v6(60, &[58, 0, 0x9e, 4, 0, 0, 0, 0, 137, 0, 0, 0]), None),
        (
            "a request with a bad option",
            v6(60, &[58, 0, 0x9e, 4, 0, 0, 0, 0, 128, 0, 0, 0]),
            Some((4, 2, 42)),
        ),
    ] {
        assert_eq!(Bench::new().put(&packet), error, "{what}");
    }
}

#[test]
fn ipv4_errors_are_sent_as_rfc_1122_requires() {
    let udp = [0, 9, 0, 9, 0, 8, 0, 0];
    let broadcast = [10, 0, 0, 255];
    for (what, packet, error) in [
        ("a port of nobody", v4(&[], 17, &udp), Some((3, 3, 0))),
        ("a port of nobody with options", v4(&[7, 4, 4, 0], 17, &udp), Some((3, 3, 0))),
        ("an unknown protocol", v4(&[], 99, &[0; 8]), Some((3, 2, 0))),
        ("a large one", v4(&[], 99, &[0; 1400]), Some((3, 2, 0))),
        ("an unknown option", v4(&[0x9e, 4, 1, 2], 99, &[]), Some((3, 2, 0))),
        ("an option without a length", v4(&[1, 1, 1, 7], 17, &udp), Some((12, 0, 23 << 24))),
        ("an option of length 0", v4(&[7, 0, 0, 0], 17, &udp), Some((12, 0, 20 << 24))),
        ("an option of length 1", v4(&[1, 7, 1, 0], 17, &udp), Some((12, 0, 21 << 24))),
        ("an option past the end", v4(&[7, 5, 4, 0], 17, &udp), Some((12, 0, 20 << 24))),
        ("a source route", v4(&[131, 3, 4, 0], 17, &udp), None),
        ("an ICMP error with a bad option", v4(&[7, 0, 0, 0], 1, &[3, 3, 0, 0, 0, 0, 0, 0]), None),
        ("a ping with a bad option", v4(&[7, 0, 0, 0], 1, &[8; 8]), Some((12, 0, 20 << 24))),
        ("a bad option of many", v4_to(broadcast, &[7, 0, 0, 0], 17, &udp), None),
        ("a protocol of many", v4_to(broadcast, &[], 99, &udp), None),
        ("a port of many", v4_to(broadcast, &[], 17, &udp), None),
        ("for somebody else", v4_to([10, 0, 0, 3], &[7, 0, 0, 0], 17, &udp), None),
    ] {
        assert_eq!(Bench::new().put(&packet), error, "{what}");
    }
}

/// A fragment of either family.
fn fragment(is_v4: bool, is_first: bool) -> Vec<u8> {
    if !is_v4 {
        let offset = if is_first { 1 } else { 8 };
        return v6(44, &[99, 0, 0, offset, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8]);
    }
    let mut bytes = v4(&[], 99, &[1, 2, 3, 4, 5, 6, 7, 8]);
    let mut packet = Ipv4Packet::new_unchecked(&mut bytes);
    packet.set_more_frags(is_first);
    packet.set_frag_offset(if is_first { 0 } else { 8 });
    packet.fill_checksum();
    bytes
}

#[test]
fn reassembly_timeout_quotes_the_first_fragment() {
    for (is_v4, error) in [(true, (11, 1, 0)), (false, (3, 1, 0))] {
        for (is_first, error) in [(true, Some(error)), (false, None)] {
            let mut bench = Bench::new();
            let part = fragment(is_v4, is_first);

            assert_eq!(bench.put(&part), None);
            bench.pair.advance(Duration::from_secs(59));
            assert_eq!(bench.error(&part), None);
            bench.pair.advance(Duration::from_secs(2));

            assert_eq!(bench.error(&part), error, "{is_v4} {is_first}");
            let counters = bench.pair.far.stack.counters();
            assert_eq!(counters.dropped(DropReason::FragmentExpired), 1);
        }
    }
}

#[test]
fn all_icmp_errors_share_one_rate_limit() {
    let config = Config {
        ip: IpConfig { icmp_errors_per_second: 3, ..IpConfig::default() },
        ..Config::default()
    };
    let mut bench = Bench::with(config);
    bench.pair.advance(Duration::from_secs(1));
    for packet in [
        v6(99, &[0; 8]),
        v6(60, &option(0x9e)),
        v4(&[7, 0, 0, 0], 17, &[0; 8]),
        v4(&[], 99, &[]),
        v6(43, &[59, 0, 0, 1, 0, 0, 0, 0]),
    ] {
        bench.put(&packet);
    }

    let counters = bench.pair.far.stack.counters();
    assert_eq!((counters.icmp_sent, counters.dropped(DropReason::RateLimited)), (3, 2));
}

#[test]
fn echo_requests_by_any_ip_alone_can_be_left_unanswered() {
    let is_answered = |any_ip_echo: bool, packet: &[u8]| {
        let ip = IpConfig { any_ip_echo, ..IpConfig::default() };
        let mut bench = Bench::with(Config { ip, ..Config::default() });
        bench.pair.far.stack.set_any_ip(true);
        bench.pair.inject(Side::Far, packet.to_vec());
        bench.pair.run();
        !bench.sent.take().is_empty()
    };
    let request = [8, 0, 0xf7, 0xff, 0, 0, 0, 0];
    let (own, other) = (v4(&[], 1, &request), v4_to([192, 0, 2, 1], &[], 1, &request));

    assert!(is_answered(true, &own) && is_answered(true, &other));
    assert!(is_answered(false, &own));
    assert!(!is_answered(false, &other));
}
