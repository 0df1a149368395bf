//! Stacks that are new on a link: addresses are announced, probed for and given up, or still missing.

use crate::frames::{Content, Tap, arp, link_option, ndp, parse_frame, solicited_node};
use crate::harness::{ETHERNET_HEADER, Pair, Side, addr};
use crate::{
    ALL_NODES, FAR, NEAR, OTHER, bind, exchange, neighbours, open, received, send, settled, v4, v6,
};
use bytes::Bytes;
use netcore::Instant;
use netcore::device::smoltcp::wire::Ipv6Packet;
use netcore::queue::Datagram;
use netcore::{
    Config, Error, EthernetConfig, HasChannel, LinkCapabilities, MacAddr, Medium, raw, tcp,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

#[test]
fn new_addresses_are_announced() {
    let mut pair = Pair::ethernet(Config::default());
    let tap = Tap::new(&mut pair);
    pair.run();

    let all = tap.take_parsed();
    let gratuitous = (NEAR, MacAddr::BROADCAST, Content::ArpRequest(v4(1), v4(1)));
    assert!(all.contains(&gratuitous), "{all:?}");
    pair.advance(Duration::from_secs(1));
    let all = tap.take_parsed();
    let advertised =
        (NEAR, ALL_NODES, Content::Advertisement("ff02::1".parse().expect("a group"), v6(1)));
    assert!(all.contains(&advertised), "{all:?}");

    pair.near.stack.add_address("10.0.0.7/24".parse().expect("a network")).expect("a host");
    pair.run();
    let gratuitous = (NEAR, MacAddr::BROADCAST, Content::ArpRequest(v4(7), v4(7)));
    assert_eq!(tap.take_parsed(), [gratuitous]);
}

#[test]
fn announced_hardware_address_updates_the_neighbour() {
    let mut pair = settled();
    exchange(&mut pair, "10.0.0.1:1000", "10.0.0.2:2000");
    exchange(&mut pair, "[fd00::1]:1000", "[fd00::2]:2000");

    pair.far.stack.set_hardware_address(OTHER).expect("an interface's own");
    pair.advance(Duration::from_secs(2));

    let known = neighbours(&mut pair, Side::Near);
    assert_eq!(known[0], (v4(2).into(), Some(OTHER), "STALE"));
    assert!(known.contains(&(v6(2).into(), Some(OTHER), "STALE")), "{known:?}");
    exchange(&mut pair, "10.0.0.1:1000", "10.0.0.2:2000");
    exchange(&mut pair, "[fd00::1]:1000", "[fd00::2]:2000");
    let link_local = pair.far.stack.addresses().iter().map(|own| own.addr().to_string());
    let link_local: Vec<_> = link_local.filter(|own| own.starts_with("fe80")).collect();
    assert_eq!(link_local, ["fe80::ff:fe00:3"]);
}

#[test]
fn tentative_ipv6_address_is_not_used_before_dad_completes() {
    let mut pair = Pair::ethernet(Config {
        ethernet: EthernetConfig { link_local: false, ..EthernetConfig::default() },
        ..Config::default()
    });
    let tap = Tap::new(&mut pair);
    pair.run();
    let probe = Content::Solicitation(Ipv6Addr::UNSPECIFIED, v6(1));
    let probes = |all: Vec<(MacAddr, MacAddr, Content)>| {
        all.into_iter().filter(|(.., content)| *content == probe).count()
    };
    assert_eq!(probes(tap.take_parsed()), 1);

    // Not as a source, not as a destination, and not answered for.
    let command = tcp::Command::Connect {
        remote: addr("[fd00::2]:80"),
        local: None,
        options: Default::default(),
    };
    let channel = pair.near.stack.command_channel();
    let mut connecting = pin!(channel.call(None, command));
    let mut context = Context::from_waker(Waker::noop());
    assert!(connecting.as_mut().poll(&mut context).is_pending());
    pair.run();
    match connecting.as_mut().poll(&mut context) {
        Poll::Ready(answer) => assert_eq!(answer.err(), Some(Error::AddressNotAvailable)),
        Poll::Pending => panic!("an answer is due"),
    }
    let options = link_option(1, OTHER);
    let ends = (OTHER, MacAddr([0x33, 0x33, 0xff, 0, 0, 1]));
    let ask = ndp(ends, (v6(3), solicited_node(v6(1))), (135, 0), v6(1), &options);
    pair.inject(Side::Near, ask.clone());
    pair.run();
    assert_eq!(tap.take_parsed(), []);

    pair.advance(Duration::from_secs(1));
    tap.take();
    pair.inject(Side::Near, ask);
    pair.run();
    assert_eq!(tap.take_parsed(), [(NEAR, OTHER, Content::Advertisement(v6(3), v6(1)))]);
}

#[test]
fn link_up_and_tentative_addresses_are_published_together() {
    let mut pair = settled();
    pair.near.stack.set_link_up(false);
    pair.run();
    let mut watch = pair.near.stack.watch_network();

    pair.near.stack.set_link_up(true);

    let network = watch.current();
    assert!(network.link.is_up);
    assert!(network.tentative.contains(&IpAddr::from(v6(1))), "{network:?}");
    pair.advance(Duration::from_secs(2));
    assert!(watch.current().tentative.is_empty());
}

#[test]
fn without_detection_addresses_are_used_at_once() {
    let mut pair = Pair::ethernet(Config {
        ethernet: EthernetConfig { dad_transmits: 0, ..EthernetConfig::default() },
        ..Config::default()
    });
    pair.run();

    exchange(&mut pair, "[fd00::1]:1000", "[fd00::2]:2000");
}

#[test]
fn duplicate_address_is_removed() {
    // Far has it already.
    let mut pair = settled();
    pair.near.stack.add_address("fd00::2/64".parse().expect("a network")).expect("a host");
    pair.advance(Duration::from_secs(2));

    assert_eq!(pair.near.stack.counters().duplicate_addresses, 1);
    let own: Vec<_> = pair.near.stack.addresses().iter().map(|own| own.addr()).collect();
    assert!(!own.contains(&v6(2).into()), "{own:?}");
    assert_eq!(pair.far.stack.counters().duplicate_addresses, 0);
    exchange(&mut pair, "[fd00::1]:1000", "[fd00::2]:2000");

    // Both want it at the same time: neither may have it.
    for host in [&mut pair.near, &mut pair.far] {
        host.stack.add_address("fd00::7/64".parse().expect("a network")).expect("a host");
    }
    pair.advance(Duration::from_secs(2));
    for host in [&pair.near, &pair.far] {
        let own: Vec<_> = host.stack.addresses().iter().map(|own| own.addr()).collect();
        assert!(!own.contains(&v6(7).into()), "{own:?}");
    }
}

#[test]
fn looped_back_probe_is_no_duplicate_address() {
    let mut pair = Pair::ethernet(Config::default());
    let tap = Tap::new(&mut pair);
    pair.run();

    for frame in tap.take() {
        for side in [Side::Near, Side::Far] {
            pair.inject(side, frame.to_vec());
        }
    }
    pair.advance(Duration::from_secs(2));

    for side in [Side::Near, Side::Far] {
        assert_eq!(pair.host(side).stack.counters().duplicate_addresses, 0);
        assert_eq!(pair.host(side).stack.counters().address_conflicts, 0);
    }
}

#[test]
fn probe_for_an_own_address_is_answered() {
    let mut pair = settled();
    let tap = Tap::new(&mut pair);

    let probe = (Ipv4Addr::UNSPECIFIED, OTHER);
    pair.inject(Side::Far, arp((OTHER, MacAddr::BROADCAST), true, probe, v4(2)));
    let ends = (OTHER, MacAddr([0x33, 0x33, 0xff, 0, 0, 2]));
    let group = solicited_node(v6(2));
    let probe = ndp(ends, (Ipv6Addr::UNSPECIFIED, group), (135, 0), v6(2), &[]);
    pair.inject(Side::Far, probe);
    pair.run();

    let to_all: Ipv6Addr = "ff02::1".parse().expect("a group");
    let expected = [
        (FAR, OTHER, Content::ArpReply(v4(2), Ipv4Addr::UNSPECIFIED)),
        (FAR, ALL_NODES, Content::Advertisement(to_all, v6(2))),
    ];
    assert_eq!(tap.take_parsed(), expected);
    assert!(neighbours(&mut pair, Side::Far).iter().all(|entry| entry.1 != Some(OTHER)));
}

#[test]
fn broadcast_works_without_an_own_address() {
    let mut pair = settled();
    // Near is a server, far has nothing yet.
    let config = Config {
        ethernet: EthernetConfig { hardware_address: Some(FAR), ..EthernetConfig::default() },
        ..Config::default()
    };
    pair.far.stack = netcore::Netstack::new(config, pair.now);
    pair.run();
    let server = bind(&mut pair, Side::Near, "0.0.0.0:67");
    let client = bind(&mut pair, Side::Far, "0.0.0.0:68");
    for queue in [&server, &client] {
        queue.set_options(|options| options.broadcast = true);
    }
    let tap = Tap::new(&mut pair);

    send(&client, "255.255.255.255:67", b"discover");
    pair.run();

    let request = server.try_recv().expect("it arrives");
    assert_eq!((request.peer, &request.payload[..]), (addr("0.0.0.0:68"), &b"discover"[..]));
    send(&server, "255.255.255.255:68", b"offer");
    pair.run();
    assert_eq!(received(&client).as_deref(), Some(&b"offer"[..]));
    for frame in tap.take() {
        assert_eq!(parse_frame(&frame).1, MacAddr::BROADCAST);
    }
    server.close();
    client.close();
}

#[test]
fn raw_socket_receives_advertisements_on_link_local() {
    let mut pair = settled();
    let config = Config {
        ethernet: EthernetConfig { hardware_address: Some(FAR), ..EthernetConfig::default() },
        ..Config::default()
    };
    pair.far.stack = netcore::Netstack::new(config, pair.now);
    let raw =
        open(&mut pair, Side::Far, raw::Command::Open { version: raw::Version::V6, protocol: 58 });
    pair.advance(Duration::from_secs(2));
    while raw.try_recv().is_ok() {}
    let tap = Tap::new(&mut pair);

    // A solicitation of its own goes out.
    let router_solicitation = {
        let frame = ndp(
            (FAR, ALL_NODES),
            ("fe80::ff:fe00:2".parse().expect("own"), "ff02::2".parse().expect("a group")),
            (133, 0),
            Ipv6Addr::UNSPECIFIED,
            &[],
        );
        Bytes::from(frame).slice(ETHERNET_HEADER..)
    };
    let datagram = Datagram::new(addr("[ff02::2]:0"), router_solicitation);
    raw.try_send(datagram).expect("room");
    pair.run();
    let sent = tap.take();
    assert_eq!(sent.len(), 1);
    assert_eq!(parse_frame(&sent[0]).1, MacAddr([0x33, 0x33, 0, 0, 0, 2]));

    let ends = ("fe80::9".parse().expect("a router"), "ff02::1".parse().expect("a group"));
    let advertisement = ndp((OTHER, ALL_NODES), ends, (134, 0), Ipv6Addr::UNSPECIFIED, &[]);
    pair.inject(Side::Far, advertisement);
    pair.run();

    let heard = raw.try_recv().expect("it is heard");
    assert_eq!((heard.peer.ip(), heard.hop_limit), (ends.0.into(), Some(255)));
    raw.close();
}

#[test]
fn the_link_local_address_is_the_source_for_the_link() {
    let mut pair = settled();
    let near = bind(&mut pair, Side::Near, "[::]:1000");
    let tap = Tap::new(&mut pair);

    send(&near, "[ff02::2]:9", b"link");
    send(&near, "[ff05::2]:9", b"site");
    pair.run();

    let sources: Vec<_> = tap
        .take()
        .iter()
        .map(|frame| Ipv6Packet::new_checked(&frame[ETHERNET_HEADER..]).expect("whole").src_addr())
        .collect();
    assert_eq!(sources, ["fe80::ff:fe00:1".parse::<Ipv6Addr>().expect("own"), v6(1)]);
    near.close();
}

#[test]
fn a_link_is_published_before_the_first_poll() {
    let ethernet = EthernetConfig { hardware_address: Some(FAR), ..EthernetConfig::default() };
    let config = Config { ethernet, ..Config::default() };
    let mut stack = netcore::Netstack::new(config, Instant::ZERO);
    assert_eq!(stack.network().link.hardware_address, None);
    stack.set_link_capabilities(LinkCapabilities::new(Medium::Ethernet, 9000));
    let link = stack.network().link;
    assert_eq!((link.hardware_address, link.mtu), (Some(FAR), 9000));

    stack.add_address("fd00::1/64".parse().expect("a network")).expect("a host");
    let tentative = ["fe80::ff:fe00:2".parse().expect("own"), v6(1)].map(IpAddr::V6);
    assert_eq!(stack.network().tentative, tentative);
}

#[test]
fn random_hardware_addresses_are_local_and_differ() {
    let stack = || netcore::Netstack::new(Config::default(), Instant::ZERO);
    let (one, other) = (stack().hardware_address(), stack().hardware_address());

    assert_ne!(one, other);
    for address in [one, other] {
        assert!(address.is_unicast());
        assert_eq!(address.octets()[0] & 2, 2);
    }
    let refused = stack().set_hardware_address(MacAddr::BROADCAST);
    assert_eq!(refused, Err(Error::AddressNotAvailable));
}
