//! Counters that add up: every received packet is counted exactly once.

mod harness;

use harness::raw_peer::RawPeer;
use harness::{Pair, Side, addr};
use netcore::device::smoltcp::phy::ChecksumCapabilities;
use netcore::device::smoltcp::wire::{IpProtocol, IpRepr, TcpControl, TcpRepr, UdpPacket};
use netcore::queue::{DatagramQueue, SocketQueue};
use netcore::{Command, Config, Counters, DatagramConfig, DropReason, TcpConfig, raw, tcp, udp};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// How often a packet was delivered, handled and dropped, by reason.
type Fates = (u64, u64, Vec<(DropReason, u64)>);

/// Far's counts of the packets that `inject` sends to it.
fn fates(pair: &mut Pair, inject: impl FnOnce(&mut Pair)) -> Fates {
    let before = pair.far.stack.counters().clone();
    inject(pair);
    pair.run();
    let after = pair.far.stack.counters();
    assert_eq!(after.received(), after.accounted(), "{after:?}");
    let since = |count: fn(&Counters) -> u64| count(after) - count(&before);
    let drops = after.drops().map(|(reason, count)| (reason, count - before.dropped(reason)));
    (
        since(|counters| counters.packets_delivered),
        since(|counters| counters.packets_handled),
        drops.filter(|(_, count)| *count > 0).collect(),
    )
}

fn datagram(source: &str, destination: &str, port: u16) -> Vec<u8> {
    let ends: (IpAddr, IpAddr) =
        (source.parse().expect("an address"), destination.parse().expect("an address"));
    let header = IpRepr::new(ends.0.into(), ends.1.into(), IpProtocol::Udp, 8, 64);
    let mut packet = vec![0; header.buffer_len()];
    header.emit(&mut packet[..], &ChecksumCapabilities::default());
    let mut udp = UdpPacket::new_unchecked(&mut packet[header.header_len()..]);
    udp.set_src_port(9);
    udp.set_dst_port(port);
    udp.set_len(8);
    udp.fill_checksum(&ends.0.into(), &ends.1.into());
    packet
}

fn open(pair: &mut Pair, command: impl Into<Command>) -> Arc<DatagramQueue> {
    match pair.call(Side::Far, None, command) {
        Ok((_, Some(SocketQueue::Datagram(queue)))) => queue,
        other => panic!("{other:?}"),
    }
}

#[test]
fn segment_without_a_listener_is_one_drop() {
    let config = Config {
        tcp: TcpConfig { resets_per_second: 1, ..TcpConfig::default() },
        ..Config::default()
    };
    let mut pair = Pair::with(config, 1500);
    let peer = RawPeer::new(&mut pair, "10.0.0.1:1000", "10.0.0.2:80");
    pair.advance(Duration::from_secs(1));

    let first = fates(&mut pair, |pair| peer.put_syn(pair, None));
    let limited = fates(&mut pair, |pair| peer.put_syn(pair, None));

    assert_eq!(first, (0, 0, vec![(DropReason::NoListener, 1)]));
    assert_eq!(limited, (0, 0, vec![(DropReason::RateLimited, 1)]));
}

#[test]
fn a_segment_of_a_connection_is_delivered_or_dropped_once() {
    let mut pair = Pair::new();
    let (near, far, listener) = pair.connected();
    let mut peer = RawPeer::new(&mut pair, "10.0.0.1:1000", "10.0.0.2:80");
    peer.shake_hands(&mut pair);
    let accepted = pair.accept(Side::Far, listener).expect("a connection");

    for (segment, expected) in [
        (peer.segment(1, 10), (1, 0, vec![])),
        (peer.segment(1 << 30, 10), (0, 0, vec![(DropReason::OutsideWindow, 1)])),
        (
            TcpRepr { control: TcpControl::Syn, ..peer.segment(11, 0) },
            (0, 0, vec![(DropReason::UnexpectedSyn, 1)]),
        ),
        // The second challenge within half a second.
        (
            TcpRepr { control: TcpControl::Syn, ..peer.segment(11, 0) },
            (0, 0, vec![(DropReason::RateLimited, 1)]),
        ),
    ] {
        assert_eq!(fates(&mut pair, |pair| peer.put(pair, &segment)), expected, "{segment:?}");
    }

    for stream in [near, far, accepted] {
        stream.abort();
        stream.close();
    }
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

#[test]
fn a_datagram_for_several_sockets_is_delivered_once() {
    let mut pair = Pair::new();
    let any = udp::Command::Bind { endpoint: addr("0.0.0.0:7") };
    let one = udp::Command::Bind { endpoint: addr("10.0.0.2:8") };
    let sockets = [
        open(&mut pair, any),
        open(&mut pair, one),
        open(&mut pair, raw::Command::Open { version: raw::Version::V4, protocol: 17 }),
    ];

    for (destination, port, expected) in [
        ("10.0.0.2", 7, (1, 0, vec![])),
        ("10.0.0.2", 8, (1, 0, vec![])),
        ("10.0.0.255", 7, (1, 0, vec![])),
        // For the raw socket alone.
        ("10.0.0.2", 9, (1, 0, vec![])),
        ("10.0.0.255", 9, (1, 0, vec![])),
        ("10.0.0.3", 7, (0, 0, vec![(DropReason::NotForUs, 1)])),
    ] {
        let packet = datagram("10.0.0.1", destination, port);
        let counted = fates(&mut pair, |pair| pair.inject(Side::Far, packet));
        assert_eq!(counted, expected, "{destination} {port}");
    }
    let packet = datagram("fd00::1", "fd00::2", 7);
    let nobody = (0, 0, vec![(DropReason::NoListener, 1)]);
    assert_eq!(fates(&mut pair, |pair| pair.inject(Side::Far, packet)), nobody);
    for socket in sockets {
        socket.close();
    }
}

#[test]
fn a_full_queue_is_one_drop_unless_another_socket_takes_it() {
    let config = Config {
        datagram: DatagramConfig { queue_bytes: 4096, ..DatagramConfig::default() },
        ..Config::default()
    };
    let mut pair = Pair::with(config, 1500);
    let socket = open(&mut pair, udp::Command::Bind { endpoint: addr("10.0.0.2:7") });
    let flood = |pair: &mut Pair| {
        for _ in 0..1000 {
            pair.inject(Side::Far, datagram("10.0.0.1", "10.0.0.2", 7));
        }
    };

    let (delivered, handled, drops) = fates(&mut pair, flood);

    assert!(delivered > 0, "{drops:?}");
    assert_eq!((handled, drops), (0, vec![(DropReason::QueueFull, 1000 - delivered)]));
    socket.close();
}

/// RFC 2131 section 4.1.
#[test]
fn a_dhcp_client_is_reached_before_there_is_an_address() {
    let mut pair = Pair::new();
    let client = open(&mut pair, udp::Command::Bind { endpoint: addr("0.0.0.0:68") });
    let other = open(&mut pair, udp::Command::Bind { endpoint: addr("0.0.0.0:69") });
    let not_ours = (0, 0, vec![(DropReason::NotForUs, 1)]);
    let offered = |pair: &mut Pair, source: &str, destination: &str, port: u16| {
        let packet = datagram(source, destination, port);
        fates(pair, |pair| pair.inject(Side::Far, packet))
    };
    let address = |text: &str| text.parse::<IpAddr>().expect("an address");

    // With an address, whatever comes to others is not for the stack.
    assert_eq!(offered(&mut pair, "10.0.0.1", "10.0.0.3", 68), not_ours);
    pair.far.stack.remove_address(address("10.0.0.2")).expect("its own");
    assert_eq!(offered(&mut pair, "10.0.0.1", "10.0.0.3", 68), (1, 0, vec![]));
    let received = client.try_recv().expect("a datagram");
    assert_eq!(received.local, Some(addr("10.0.0.3:68")));
    for (source, destination, port) in
        [("10.0.0.1", "10.0.0.3", 69), ("10.0.0.1", "224.0.0.3", 68), ("fd00::1", "fd00::3", 68)]
    {
        assert_eq!(offered(&mut pair, source, destination, port), not_ours, "{destination}");
    }
    client.close();
    pair.run();
    // Without a client nobody learns that the host is there.
    let nobody = (0, 0, vec![(DropReason::NoListener, 1)]);
    let sent = pair.far.stack.counters().frames_sent;
    assert_eq!(offered(&mut pair, "10.0.0.1", "10.0.0.3", 68), nobody);
    assert_eq!(pair.far.stack.counters().frames_sent, sent);
    other.close();
}
