//! Spoofed, foreign and malformed frames.

use crate::frames::{Content, Tap, arp, framed, link_option, ndp, solicited_node};
use crate::harness::{ETHERNET_HEADER, Pair, Side};
use crate::{
    ALL_NODES, FAR, NEAR, OTHER, bind, dropped, exchange, neighbours, received, send, settled,
    settled_with, v4, v6,
};
use netcore::device::smoltcp::wire::{Icmpv6Packet, Ipv4Packet};
use netcore::{Config, DropReason, EthernetConfig, MacAddr};
use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

#[test]
fn address_claims_are_counted_defended_and_never_learned() {
    let mut pair = settled();
    let tap = Tap::new(&mut pair);
    let claim = arp((OTHER, MacAddr::BROADCAST), true, (v4(2), OTHER), v4(2));

    for _ in 0..100 {
        pair.inject(Side::Far, claim.clone());
    }
    let reply = arp((OTHER, FAR), false, (v4(2), OTHER), v4(1));
    pair.inject(Side::Far, reply);
    let option = link_option(2, OTHER);
    for source in [v6(3), v6(2)] {
        let ends = (source, "ff02::1".parse().expect("a group"));
        pair.inject(Side::Far, ndp((OTHER, ALL_NODES), ends, (136, 0x20), v6(2), &option));
    }
    pair.run();

    assert_eq!(pair.far.stack.counters().address_conflicts, 103);
    let defence = (FAR, MacAddr::BROADCAST, Content::ArpRequest(v4(2), v4(2)));
    assert_eq!(tap.take_parsed(), [defence], "once in ten seconds");
    let known: Vec<_> = neighbours(&mut pair, Side::Far);
    assert!(known.iter().all(|entry| entry.1 != Some(OTHER)), "{known:?}");
    pair.run();
    assert!(pair.far.stack.addresses().iter().any(|own| own.addr() == v4(2)));
    pair.advance(Duration::from_secs(10));
    tap.take();
    pair.inject(Side::Far, claim);
    pair.run();
    assert_eq!(tap.take_parsed().len(), 1);
}

#[test]
fn unsolicited_answers_create_no_neighbour() {
    let mut pair = settled();
    let before = neighbours(&mut pair, Side::Far);

    for n in 0..5000u16 {
        let at = MacAddr([2, 1, 0, 0, (n >> 8) as u8, n as u8]);
        let sender = Ipv4Addr::new(10, 0, (n >> 8) as u8, n as u8 | 4);
        pair.inject(Side::Far, arp((at, FAR), false, (sender, at), v4(2)));
        // A gratuitous announcement, and a request to another host.
        pair.inject(Side::Far, arp((at, MacAddr::BROADCAST), true, (sender, at), sender));
        pair.inject(Side::Far, arp((at, MacAddr::BROADCAST), true, (sender, at), v4(77)));
        for (flags, destination, to) in
            [(0x60, v6(2), FAR), (0x20, "ff02::1".parse().expect("a group"), ALL_NODES)]
        {
            let ends = (v6(1000 + n), destination);
            let option = link_option(2, at);
            pair.inject(Side::Far, ndp((at, to), ends, (136, flags), v6(1000 + n), &option));
        }
    }
    pair.run();

    assert_eq!(neighbours(&mut pair, Side::Far), before);
}

#[test]
fn soliciting_neighbours_are_answered_and_bounded() {
    let mut pair = settled_with(Config {
        ethernet: EthernetConfig { neighbours_max: 50, ..EthernetConfig::default() },
        ..Config::default()
    });
    exchange(&mut pair, "10.0.0.1:1000", "10.0.0.2:2000");
    // Far has sent to near and keeps its entry despite other solicitations.
    exchange_back(&mut pair);
    let tap = Tap::new(&mut pair);

    for n in 0..500u16 {
        let at = MacAddr([2, 1, 0, 0, (n >> 8) as u8, n as u8]);
        let sender = Ipv4Addr::new(10, 0, 1 + (n >> 8) as u8, n as u8);
        pair.inject(Side::Far, arp((at, MacAddr::BROADCAST), true, (sender, at), v4(2)));
        let ends = (v6(1000 + n), solicited_node(v6(2)));
        let to = MacAddr([0x33, 0x33, 0xff, 0, 0, 2]);
        pair.inject(Side::Far, ndp((at, to), ends, (135, 0), v6(2), &link_option(1, at)));
    }
    pair.run();

    let answers = tap.take_parsed();
    assert_eq!(answers.len(), 1000);
    let known = neighbours(&mut pair, Side::Far);
    assert_eq!(known.len(), 50);
    assert!(known.contains(&(v4(1).into(), Some(NEAR), "REACHABLE")), "{known:?}");
}

#[test]
fn invalid_arp_changes_no_neighbour() {
    let mut pair = settled();
    exchange(&mut pair, "10.0.0.1:1000", "10.0.0.2:2000");
    let group = MacAddr([3, 0, 0, 0, 0, 3]);
    let everybody = MacAddr::BROADCAST;
    let good = arp((OTHER, everybody), true, (v4(3), OTHER), v4(2));

    let mut bad = vec![
        // Invalid hardware addresses of a host, and the stack's own.
        arp((OTHER, everybody), true, (v4(1), group), v4(2)),
        arp((OTHER, everybody), true, (v4(1), everybody), v4(2)),
        arp((OTHER, everybody), true, (v4(1), MacAddr::UNSPECIFIED), v4(2)),
        arp((OTHER, everybody), true, (v4(1), FAR), v4(2)),
        // Addresses that no neighbour can have.
        arp((OTHER, everybody), true, (Ipv4Addr::new(127, 0, 0, 1), OTHER), v4(2)),
        arp((OTHER, everybody), true, (Ipv4Addr::BROADCAST, OTHER), v4(2)),
        arp((OTHER, everybody), true, (v4(255), OTHER), v4(2)),
        arp((OTHER, everybody), true, (Ipv4Addr::new(224, 0, 0, 1), OTHER), v4(2)),
        arp((OTHER, everybody), true, (Ipv4Addr::new(0, 0, 0, 1), OTHER), v4(2)),
        // Requests for addresses of other hosts.
        arp((OTHER, everybody), true, (v4(3), OTHER), Ipv4Addr::LOCALHOST),
        arp((OTHER, everybody), true, (v4(3), OTHER), v4(255)),
        // Frames from an invalid source, and for another host.
        arp((group, everybody), true, (v4(3), OTHER), v4(2)),
        arp((FAR, everybody), true, (v4(3), OTHER), v4(2)),
        arp((OTHER, NEAR), true, (v4(3), OTHER), v4(2)),
    ];
    bad.extend((0..good.len()).map(|len| good[..len].to_vec()));
    for byte in ETHERNET_HEADER..ETHERNET_HEADER + 8 {
        let mut altered = good.clone();
        altered[byte] ^= 0x40;
        bad.push(altered);
    }

    assert_only_the_good_one_counts(&mut pair, &bad, &good, Content::ArpReply(v4(2), v4(3)));
}

#[test]
fn invalid_neighbour_discovery_changes_no_neighbour() {
    let mut pair = settled();
    exchange(&mut pair, "[fd00::1]:1000", "[fd00::2]:2000");
    let ends = (OTHER, MacAddr([0x33, 0x33, 0xff, 0, 0, 2]));
    let packet = (v6(3), solicited_node(v6(2)));
    let good = ndp(ends, packet, (135, 0), v6(2), &link_option(1, OTHER));
    let to_all: Ipv6Addr = "ff02::1".parse().expect("a group");
    let nobody = Ipv6Addr::UNSPECIFIED;
    let group = MacAddr([0x33, 0x33, 0, 0, 0, 9]);

    let mut bad = vec![
        // The source's hardware address: a group's, the stack's own, too long, too short, nothing.
        ndp(ends, packet, (135, 0), v6(2), &link_option(1, group)),
        ndp(ends, packet, (135, 0), v6(2), &link_option(1, FAR)),
        ndp(ends, packet, (135, 0), v6(2), &[&[1, 2][..], &[2; 14]].concat()),
        ndp(ends, packet, (135, 0), v6(2), &[1, 1, 2, 0, 0]),
        ndp(ends, packet, (135, 0), v6(2), &[1, 0, 2, 0, 0, 0, 0, 3]),
        ndp(ends, packet, (135, 0), v6(2), &[200, 5, 2, 0, 0, 0, 0, 3]),
        // From the unspecified address with a source option, or not to the solicited-node group.
        ndp(ends, (nobody, packet.1), (135, 0), v6(2), &link_option(1, OTHER)),
        ndp((OTHER, ALL_NODES), (nobody, to_all), (135, 0), v6(2), &[]),
        ndp((OTHER, ALL_NODES), (nobody, to_all), (136, 0), v6(1), &[]),
        // For another host, and for a group.
        ndp(ends, packet, (135, 0), v6(3), &link_option(1, OTHER)),
        ndp(ends, packet, (135, 0), to_all, &link_option(1, OTHER)),
        // From the stack itself, as it were.
        ndp(ends, (v6(2), packet.1), (135, 0), v6(2), &link_option(1, OTHER)),
        // A solicited advertisement to a group, and the hardware address of a group.
        ndp((OTHER, ALL_NODES), (v6(1), to_all), (136, 0x60), v6(1), &link_option(2, OTHER)),
        ndp((OTHER, FAR), (v6(1), v6(2)), (136, 0x60), v6(1), &link_option(2, group)),
        ndp((OTHER, FAR), (v6(1), v6(2)), (136, 0x60), v6(1), &link_option(2, FAR)),
        // For one, in a frame for many.
        ndp((OTHER, ALL_NODES), (v6(1), v6(2)), (136, 0x60), v6(1), &link_option(2, OTHER)),
    ];
    // From behind a router, with another code, with a bad checksum.
    for (byte, value) in [(7, 254), (7, 64), (41, 1), (43, 0)] {
        let mut altered = good.clone();
        altered[ETHERNET_HEADER + byte] = value;
        if byte == 41 {
            let mut message = Icmpv6Packet::new_unchecked(&mut altered[ETHERNET_HEADER + 40..]);
            message.fill_checksum(&packet.0, &packet.1);
        }
        bad.push(altered);
    }

    assert_only_the_good_one_counts(&mut pair, &bad, &good, Content::Advertisement(v6(3), v6(2)));
}

#[test]
fn foreign_and_unknown_frames_are_dropped_and_counted() {
    let mut pair = settled();
    let datagram = |to: MacAddr, from: MacAddr, protocol| {
        let mut packet = vec![0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        Ipv4Packet::new_unchecked(&mut packet[..]).fill_checksum();
        packet.extend([0, 9, 7, 0xd0, 0, 9, 0, 0, b'x']);
        framed((from, to), protocol, &packet)
    };
    let far = bind(&mut pair, Side::Far, "10.0.0.2:2000");
    let count = |pair: &mut Pair, frame: Vec<u8>, reason| {
        let before = dropped(pair, Side::Far, reason);
        pair.inject(Side::Far, frame);
        pair.run();
        dropped(pair, Side::Far, reason) - before
    };

    for (frame, reason) in [
        (datagram(OTHER, NEAR, 0x0800), DropReason::NotForUs),
        // For one, in a frame for many (RFC 1122 section 3.3.6).
        (datagram(MacAddr::BROADCAST, NEAR, 0x0800), DropReason::NotForUs),
        (datagram(FAR, FAR, 0x0800), DropReason::MartianSource),
        (datagram(FAR, MacAddr::BROADCAST, 0x0800), DropReason::MartianSource),
        (datagram(FAR, NEAR, 0x86dd), DropReason::Malformed),
        (datagram(FAR, NEAR, 0x8100), DropReason::UnknownEtherType),
        (datagram(FAR, NEAR, 0x0026), DropReason::UnknownEtherType),
        (vec![2; 13], DropReason::Malformed),
        (datagram(FAR, NEAR, 0x0800)[..14].to_vec(), DropReason::Malformed),
    ] {
        assert_eq!(count(&mut pair, frame.clone(), reason), 1, "{frame:02x?}");
    }
    assert_eq!(received(&far), None);

    // A short packet is followed by what makes the frame long enough.
    let mut padded = datagram(FAR, NEAR, 0x0800);
    padded.extend([0; 17]);
    pair.inject(Side::Far, padded);
    pair.run();
    assert_eq!(received(&far).as_deref(), Some(&b"x"[..]));
    far.close();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Frames of any bytes, most of them for the stack and of a kind that it knows.
    #[test]
    fn any_frames_change_nothing_for_honest_neighbours(
        frames in proptest::collection::vec(
            (
                prop_oneof![Just(FAR), Just(MacAddr::BROADCAST), Just(ALL_NODES),
                    Just(MacAddr([0x33, 0x33, 0xff, 0, 0, 2])), any::<[u8; 6]>().prop_map(MacAddr)],
                prop_oneof![Just(0x0800u16), Just(0x0806), Just(0x86dd), any::<u16>()],
                proptest::collection::vec(any::<u8>(), 0..100),
                any::<bool>(),
            ),
            1..40,
        ),
    ) {
        let mut pair = settled_with(Config { ethernet: EthernetConfig { neighbours_max: 8, ..EthernetConfig::default() }, ..Config::default() });
        for (to, protocol, mut payload, is_apt) in frames {
            if is_apt {
                // Something of the right length and beginning.
                let start: &[u8] = match protocol {
                    0x0806 => &[0, 1, 8, 0, 6, 4, 0, 1],
                    0x86dd => &[0x60, 0, 0, 0, 0, 32, 58, 255],
                    _ => &[0x45],
                };
                payload.resize(payload.len().max(72), 0);
                payload[..start.len()].copy_from_slice(start);
            }
            pair.inject(Side::Far, framed((OTHER, to), protocol, &payload));
            pair.run();
        }
        prop_assert!(neighbours(&mut pair, Side::Far).len() <= 8);
        exchange(&mut pair, "10.0.0.1:1000", "10.0.0.2:2000");
        exchange(&mut pair, "[fd00::1]:1000", "[fd00::2]:2000");
    }
}

/// Sends a datagram from far to near.
fn exchange_back(pair: &mut Pair) {
    let near = bind(pair, Side::Near, "10.0.0.1:1000");
    let far = bind(pair, Side::Far, "10.0.0.2:2000");
    send(&far, "10.0.0.1:1000", b"hello");
    pair.run();
    assert_eq!(received(&near).as_deref(), Some(&b"hello"[..]));
    near.close();
    far.close();
    pair.run();
}

/// Asserts that far answers the good frame only and learns nothing from the bad ones.
fn assert_only_the_good_one_counts(pair: &mut Pair, bad: &[Vec<u8>], good: &[u8], answer: Content) {
    let before = neighbours(pair, Side::Far);
    let tap = Tap::new(pair);

    for frame in bad {
        pair.inject(Side::Far, frame.clone());
        pair.run();
        assert_eq!(tap.take_parsed(), [], "{frame:02x?}");
        assert_eq!(neighbours(pair, Side::Far), before, "{frame:02x?}");
    }

    pair.inject(Side::Far, good.to_vec());
    pair.run();
    assert_eq!(tap.take_parsed(), [(FAR, OTHER, answer)]);
}
