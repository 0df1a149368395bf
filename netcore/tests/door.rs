//! Packets that are dropped before the sockets, and the limits of answers.

mod harness;

use harness::{Pair, Side};
use netcore::device::smoltcp::phy::ChecksumCapabilities;
use netcore::device::smoltcp::wire::{
    Icmpv4Message, Icmpv4Packet, IpAddress, IpProtocol, IpRepr, TcpControl, TcpPacket, TcpRepr,
    TcpSeqNumber, UdpPacket, UdpRepr,
};
use netcore::queue::SocketQueue;
use netcore::{Config, DropReason, IpConfig, tcp, udp};
use std::net::IpAddr;
use std::time::Duration;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// An IP packet with a payload that `fill` writes.
fn packet(
    (source, destination): (IpAddr, IpAddr),
    protocol: IpProtocol,
    len: usize,
    fill: impl FnOnce(&mut [u8], &IpAddress, &IpAddress),
) -> Vec<u8> {
    let ends = (IpAddress::from(source), IpAddress::from(destination));
    let header = IpRepr::new(ends.0, ends.1, protocol, len, 64);
    let mut packet = vec![0; header.buffer_len()];
    header.emit(&mut packet[..], &ChecksumCapabilities::default());
    fill(&mut packet[header.header_len()..], &ends.0, &ends.1);
    packet
}

fn syn(source: &str, destination: &str) -> Vec<u8> {
    let segment = TcpRepr {
        src_port: 80,
        dst_port: 80,
        control: TcpControl::Syn,
        seq_number: TcpSeqNumber(7),
        ack_number: None,
        window_len: 1000,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let ends = (ip(source), ip(destination));
    packet(ends, IpProtocol::Tcp, segment.buffer_len(), |buffer, source, destination| {
        let checksums = ChecksumCapabilities::default();
        segment.emit(&mut TcpPacket::new_unchecked(buffer), source, destination, &checksums);
    })
}

fn datagram(
    source: &str,
    destination: &str,
    alter: impl FnOnce(&mut UdpPacket<&mut [u8]>),
) -> Vec<u8> {
    let (header, payload) = (UdpRepr { src_port: 9, dst_port: 9 }, b"hello");
    let len = header.header_len() + payload.len();
    let ends = (ip(source), ip(destination));
    packet(ends, IpProtocol::Udp, len, |buffer, source, destination| {
        let mut datagram = UdpPacket::new_unchecked(buffer);
        let fill = |buffer: &mut [u8]| buffer.copy_from_slice(payload);
        let checksums = ChecksumCapabilities::default();
        header.emit(&mut datagram, source, destination, payload.len(), fill, &checksums);
        alter(&mut datagram);
    })
}

/// An ICMP message of 8 bytes.
fn icmp(source: &str, destination: &str, kind: Icmpv4Message) -> Vec<u8> {
    let ends = (ip(source), ip(destination));
    packet(ends, IpProtocol::Icmp, 8, |buffer, _, _| {
        let mut message = Icmpv4Packet::new_unchecked(buffer);
        message.set_msg_type(kind);
        message.fill_checksum();
    })
}

/// Far's answers to a packet, and their counts.
fn inject(pair: &mut Pair, packet: Vec<u8>) -> (u64, Vec<(DropReason, u64)>) {
    let before = pair.far.stack.counters().clone();
    pair.inject(Side::Far, packet);
    pair.advance(Duration::from_millis(50));
    let after = pair.far.stack.counters();
    let drops = after.drops().map(|(reason, count)| (reason, count - before.dropped(reason)));
    (after.frames_sent - before.frames_sent, drops.filter(|(_, count)| *count > 0).collect())
}

#[test]
fn packets_with_impossible_addresses_are_dropped() {
    let mut pair = Pair::new();
    let listeners = ["0.0.0.0:80", "[::]:80"]
        .map(|local| pair.listen_with(Side::Far, local, v6_only()).expect("a free port"));
    for (source, destination, reason) in [
        // Land: from the stack to itself.
        ("10.0.0.2", "10.0.0.2", DropReason::MartianSource),
        ("fd00::2", "fd00::2", DropReason::MartianSource),
        ("127.0.0.1", "10.0.0.2", DropReason::MartianSource),
        ("::1", "fd00::2", DropReason::MartianSource),
        ("0.0.0.0", "10.0.0.2", DropReason::MartianSource),
        ("0.1.2.3", "10.0.0.2", DropReason::MartianSource),
        ("::", "fd00::2", DropReason::MartianSource),
        ("224.0.0.1", "10.0.0.2", DropReason::MartianSource),
        ("ff02::1", "fd00::2", DropReason::MartianSource),
        ("240.0.0.1", "10.0.0.2", DropReason::MartianSource),
        ("255.255.255.255", "10.0.0.2", DropReason::MartianSource),
        ("10.0.0.255", "10.0.0.2", DropReason::MartianSource),
        ("::ffff:10.0.0.1", "fd00::2", DropReason::MartianSource),
        ("10.0.0.1", "127.0.0.1", DropReason::MartianDestination),
        ("fd00::1", "::1", DropReason::MartianDestination),
        ("10.0.0.1", "0.0.0.0", DropReason::MartianDestination),
        ("10.0.0.1", "0.0.0.1", DropReason::MartianDestination),
        ("fd00::1", "::", DropReason::MartianDestination),
        ("fd00::1", "::ffff:10.0.0.2", DropReason::MartianDestination),
        ("10.0.0.1", "10.0.0.3", DropReason::NotForUs),
        ("fd00::1", "fd00::3", DropReason::NotForUs),
        // A connection to the broadcast address.
        ("10.0.0.1", "10.0.0.255", DropReason::NotForUs),
        ("10.0.0.1", "224.0.0.1", DropReason::NotForUs),
        ("fd00::1", "ff02::1", DropReason::NotForUs),
    ] {
        let result = inject(&mut pair, syn(source, destination));

        assert_eq!(result, (0, vec![(reason, 1)]), "{source} to {destination}");
    }
    assert_eq!(inject(&mut pair, syn("10.0.0.1", "10.0.0.2")), (1, vec![]));
    assert_eq!(inject(&mut pair, syn("fd00::1", "fd00::2")), (1, vec![]));
    for listener in listeners {
        pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
    }
}

fn v6_only() -> tcp::ListenOptions {
    tcp::ListenOptions { families: tcp::Families::V6Only, ..Default::default() }
}

#[test]
fn missing_udp_checksum_is_accepted_over_ipv4_only() {
    let mut pair = Pair::new();
    let sockets = ["10.0.0.2:9", "[fd00::2]:9"].map(|local| {
        let endpoint = harness::addr(local);
        match pair.call(Side::Far, None, udp::Command::Bind { endpoint }) {
            Ok((_, Some(SocketQueue::Datagram(queue)))) => queue,
            other => panic!("{other:?}"),
        }
    });

    let without = |datagram: &mut UdpPacket<&mut [u8]>| datagram.set_checksum(0);
    let v4 = inject(&mut pair, datagram("10.0.0.1", "10.0.0.2", without));
    let v6 = inject(&mut pair, datagram("fd00::1", "fd00::2", without));
    let wrong = |datagram: &mut UdpPacket<&mut [u8]>| {
        datagram.set_checksum(datagram.checksum() ^ 1);
    };
    let wrong = inject(&mut pair, datagram("fd00::1", "fd00::2", wrong));

    assert_eq!(v4, (0, vec![]));
    assert_eq!(v6, (0, vec![(DropReason::NoChecksum, 1)]));
    assert_eq!(wrong, (0, vec![(DropReason::Checksum, 1)]));
    for socket in sockets {
        socket.close();
    }
}

#[test]
fn broadcast_and_multicast_packets_are_not_answered() {
    let mut pair = Pair::new();
    let nobody = (0, vec![(DropReason::NoListener, 1)]);
    for destination in ["10.0.0.255", "255.255.255.255", "224.0.0.1"] {
        let echo = icmp("10.0.0.1", destination, Icmpv4Message::EchoRequest);
        assert_eq!(inject(&mut pair, echo), nobody, "{destination}");
        let datagram = datagram("10.0.0.1", destination, |_| {});
        assert_eq!(inject(&mut pair, datagram), nobody, "{destination}");
    }
    let datagram = datagram("fd00::1", "ff02::1", |_| {});
    assert_eq!(inject(&mut pair, datagram), nobody);
    let echo = icmp("10.0.0.1", "10.0.0.2", Icmpv4Message::EchoRequest);
    assert_eq!(inject(&mut pair, echo), (1, vec![]));
}

#[test]
fn icmp_error_is_not_answered_by_an_icmp_error() {
    let mut pair = Pair::new();
    for kind in [
        Icmpv4Message::DstUnreachable,
        Icmpv4Message::Redirect,
        Icmpv4Message::TimeExceeded,
        Icmpv4Message::ParamProblem,
    ] {
        assert_eq!(inject(&mut pair, icmp("10.0.0.1", "10.0.0.2", kind)).0, 0, "{kind}");
    }
}

#[test]
fn icmp_errors_are_rate_limited() {
    let mut pair = Pair::with(
        Config {
            ip: IpConfig { icmp_errors_per_second: 10, ..IpConfig::default() },
            ..Config::default()
        },
        1500,
    );
    pair.advance(Duration::from_secs(1));
    let mut flood = |source, destination| {
        let before = pair.far.stack.counters().icmp_sent;
        for _ in 0..100 {
            pair.inject(Side::Far, datagram(source, destination, |_| {}));
        }
        pair.advance(Duration::from_millis(500));
        pair.far.stack.counters().icmp_sent - before
    };

    assert_eq!(flood("10.0.0.1", "10.0.0.2"), 10);
    assert_eq!(flood("fd00::1", "fd00::2"), 5);

    let counters = pair.far.stack.counters();
    assert_eq!(counters.dropped(DropReason::RateLimited), 185);
    assert_eq!(counters.dropped(DropReason::NoListener), 15);
}
