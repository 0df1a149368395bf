//! Neighbour resolution, and packets that wait for it.

use crate::frames::{Content, Tap, parse_frame};
use crate::harness::{ETHERNET_HEADER, Side, addr, read};
use crate::{
    FAR, NEAR, bind, dropped, exchange, neighbours, open, received, send, settled, v4, v6,
};
use netcore::device::smoltcp::wire::{EthernetProtocol, UdpPacket};
use netcore::{DropReason, Error, MacAddr, icmp, tcp};
use std::time::Duration;

#[test]
fn streams_transfer_over_both_families() {
    let mut pair = settled();
    for address in ["10.0.0.2:80", "[fd00::2]:80", "[fe80::ff:fe00:2]:80"] {
        let listener = pair.listen(Side::Far, address).expect("a free port");
        let near = pair.connect(Side::Near, address).expect("a listener");
        let far = pair.accept(Side::Far, listener).expect("a connection");
        let data: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();

        let (mut written, mut seen) = (0, Vec::new());
        pair.advance_until(|_| {
            written += near.try_send(&data[written..]).unwrap_or(0);
            seen.extend(read(&far, data.len()).unwrap_or_default());
            seen.len() == data.len()
        });

        assert_eq!(seen, data, "{address}");
        near.close();
        far.close();
        pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
    }
}

#[test]
fn neighbour_is_solicited_once_and_queued_packets_leave() {
    let mut pair = settled();
    let near = bind(&mut pair, Side::Near, "10.0.0.1:1000");
    let far = bind(&mut pair, Side::Far, "10.0.0.2:2000");
    let tap = Tap::new(&mut pair);

    for payload in [&b"a"[..], b"b", b"c"] {
        send(&near, "10.0.0.2:2000", payload);
    }
    pair.run();

    let packet = (NEAR, FAR, Content::Packet(EthernetProtocol::Ipv4));
    let asked = (NEAR, MacAddr::BROADCAST, Content::ArpRequest(v4(1), v4(2)));
    let answered = (FAR, NEAR, Content::ArpReply(v4(2), v4(1)));
    assert_eq!(tap.take_parsed(), [asked, answered, packet.clone(), packet.clone(), packet]);
    let all: Vec<_> = std::iter::from_fn(|| received(&far)).collect();
    assert_eq!(all, ["a", "b", "c"]);
    assert_eq!(neighbours(&mut pair, Side::Near), [(v4(2).into(), Some(FAR), "REACHABLE")]);
    // The sender of the request is known, its reachability is not.
    assert_eq!(neighbours(&mut pair, Side::Far), [(v4(1).into(), Some(NEAR), "STALE")]);
    near.close();
    far.close();
}

#[test]
fn ipv6_solicitation_goes_to_the_solicited_node_group() {
    let mut pair = settled();
    let tap = Tap::new(&mut pair);

    exchange(&mut pair, "[fd00::1]:1000", "[fd00::2]:2000");

    let group = MacAddr([0x33, 0x33, 0xff, 0, 0, 2]);
    let expected = [
        (NEAR, group, Content::Solicitation(v6(1), v6(2))),
        (FAR, NEAR, Content::Advertisement(v6(1), v6(2))),
        (NEAR, FAR, Content::Packet(EthernetProtocol::Ipv6)),
    ];
    assert_eq!(tap.take_parsed(), expected);
}

#[test]
fn unresolved_neighbour_is_host_unreachable_after_three_seconds() {
    for target in ["10.0.0.9:80", "[fd00::9]:80"] {
        let mut pair = settled();
        let tap = Tap::new(&mut pair);
        let start = pair.now;

        assert_eq!(pair.connect(Side::Near, target).err(), Some(Error::HostUnreachable));

        let waited = pair.now - start;
        assert!((2900..=4000).contains(&waited.as_millis()), "{target}: {waited:?}");
        assert_eq!(tap.take_parsed().len(), 3, "{target}: asked three times");
        assert!(neighbours(&mut pair, Side::Near).is_empty(), "{target}: forgotten");
        assert!(dropped(&mut pair, Side::Near, DropReason::NeighbourUnknown) > 0);
    }
}

#[test]
fn connected_udp_and_ping_report_host_unreachable() {
    let mut pair = settled();
    let udp = bind(&mut pair, Side::Near, "10.0.0.1:1000");
    udp.set_peer(Some(addr("10.0.0.9:9")));
    let ping = open(&mut pair, Side::Near, icmp::Command::Open { local: v6(1).into() });

    send(&udp, "10.0.0.9:9", b"hello");
    send(&ping, "[fd00::9]:1", b"hello");
    pair.advance(Duration::from_millis(3500));

    assert_eq!(udp.take_error(), Some(Error::HostUnreachable));
    let report = ping.try_recv().expect("what came of the request");
    assert_eq!((report.peer, report.error), (addr("[fd00::1]:1"), Some(Error::HostUnreachable)));
    for queue in [&udp, &ping] {
        queue.close();
    }
}

#[test]
fn late_answer_still_resolves_the_neighbour() {
    let mut pair = settled();
    let mut lost = 0;
    // The first two requests get lost.
    let tap = Tap::that_loses(&mut pair, move |frame| {
        let is_question = matches!(parse_frame(frame).2, Content::ArpRequest(..));
        lost += u32::from(is_question);
        is_question && lost <= 2
    });
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");

    let near = pair.connect(Side::Near, "10.0.0.2:80").expect("a listener");

    let question = (NEAR, MacAddr::BROADCAST, Content::ArpRequest(v4(1), v4(2)));
    assert_eq!(tap.take_parsed().iter().filter(|frame| **frame == question).count(), 3);
    pair.accept(Side::Far, listener).expect("a connection").abort();
    near.abort();
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

#[test]
fn stale_neighbour_is_used_and_probed_by_unicast() {
    for (from, to, question, answer) in [
        (
            "10.0.0.1:1000",
            "10.0.0.2:2000",
            Content::ArpRequest(v4(1), v4(2)),
            Content::ArpReply(v4(2), v4(1)),
        ),
        (
            "[fd00::1]:1000",
            "[fd00::2]:2000",
            Content::Solicitation(v6(1), v6(2)),
            Content::Advertisement(v6(1), v6(2)),
        ),
    ] {
        let mut pair = settled();
        exchange(&mut pair, from, to);
        pair.advance(Duration::from_secs(50));
        assert_eq!(neighbours(&mut pair, Side::Near)[0].2, "STALE");
        let tap = Tap::new(&mut pair);

        exchange(&mut pair, from, to);

        let all = tap.take_parsed();
        assert_eq!(all.len(), 3, "{all:?}");
        assert!(matches!(all[0], (NEAR, FAR, Content::Packet(_))), "{all:?}");
        assert_eq!(all[1..], [(NEAR, FAR, question), (FAR, NEAR, answer)]);
        assert_eq!(neighbours(&mut pair, Side::Near)[0].2, "REACHABLE");
    }
}

#[test]
fn silent_neighbour_is_removed_after_three_probes() {
    let mut pair = settled();
    exchange(&mut pair, "10.0.0.1:1000", "10.0.0.2:2000");
    pair.advance(Duration::from_secs(50));
    let tap = Tap::that_loses(&mut pair, |_| true);
    let near = bind(&mut pair, Side::Near, "10.0.0.1:1000");

    send(&near, "10.0.0.2:2000", b"a");
    pair.advance(Duration::from_millis(2500));
    send(&near, "10.0.0.2:2000", b"b");
    pair.run();
    assert_eq!(
        tap.take_parsed().iter().filter(|frame| frame.1 == FAR).count(),
        2 + 3,
        "used meanwhile"
    );
    pair.advance(Duration::from_secs(1));

    assert!(neighbours(&mut pair, Side::Near).is_empty());
    assert_eq!(near.take_error(), None);
    near.close();
}

#[test]
fn multicast_and_broadcast_need_no_resolution() {
    let mut pair = settled();
    let near = bind(&mut pair, Side::Near, "10.0.0.1:1000");
    let far = bind(&mut pair, Side::Far, "0.0.0.0:2000");
    far.join("224.1.2.3".parse().expect("a group")).expect("room");
    near.set_options(|options| options.broadcast = true);
    pair.run();
    let tap = Tap::new(&mut pair);

    for (to, at) in [
        ("224.1.2.3:2000", MacAddr([1, 0, 0x5e, 1, 2, 3])),
        ("10.0.0.255:2000", MacAddr::BROADCAST),
        ("255.255.255.255:2000", MacAddr::BROADCAST),
    ] {
        send(&near, to, b"all");
        pair.run();
        assert_eq!(tap.take_parsed(), [(NEAR, at, Content::Packet(EthernetProtocol::Ipv4))]);
        assert_eq!(received(&far).as_deref(), Some(&b"all"[..]), "{to}");
    }
    near.close();
    far.close();
}

#[test]
fn idle_link_needs_no_poll() {
    let mut pair = settled();
    exchange(&mut pair, "10.0.0.1:1000", "10.0.0.2:2000");
    exchange(&mut pair, "[fd00::1]:1000", "[fd00::2]:2000");

    for side in [Side::Near, Side::Far] {
        let now = pair.now;
        assert_eq!(pair.host(side).stack.poll_at(now), None);
    }
}

#[test]
fn udp_checksum_is_complete_on_ethernet() {
    let mut pair = settled();
    let tap = Tap::new(&mut pair);

    exchange(&mut pair, "10.0.0.1:1000", "10.0.0.2:2000");

    let frames = tap.take();
    let frame = frames.iter().find(|frame| matches!(parse_frame(frame).2, Content::Packet(_)));
    let packet = &frame.expect("a datagram")[ETHERNET_HEADER..];
    let datagram = UdpPacket::new_checked(&packet[20..]).expect("whole");
    assert!(datagram.verify_checksum(&v4(1).into(), &v4(2).into()));
}
