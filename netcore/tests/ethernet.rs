//! Stacks on an Ethernet link: who is where, and what nobody believes.

mod harness;

use bytes::Bytes;
use harness::{ETHERNET_HEADER, Pair, Side, addr, read};
use netcore::queue::{Datagram, DatagramQueue, SocketQueue};
use netcore::smoltcp::time::{Duration, Instant};
use netcore::smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    Icmpv6Packet, IpProtocol, Ipv4Packet, Ipv6Packet, UdpPacket,
};
use netcore::{Config, DropReason, Error, HasChannel, MacAddr, NeighbourInfo, icmp, raw, tcp, udp};
use proptest::prelude::*;
use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

const NEAR: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const FAR: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 3]);
const ALL_NODES: MacAddr = MacAddr([0x33, 0x33, 0, 0, 0, 1]);

fn v4(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

fn v6(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last)
}

/// A link whose addresses are in use.
fn settled() -> Pair {
    settled_with(Config::default())
}

fn settled_with(config: Config) -> Pair {
    let mut pair = Pair::ethernet(config);
    pair.advance(Duration::from_secs(2));
    pair
}

/// What passes on the wire from here on.
#[derive(Clone, Default)]
struct Tap(Rc<RefCell<Vec<Bytes>>>);

/// What a frame says, as far as these tests care.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    /// Who has the second address? Tell the first.
    ArpRequest(Ipv4Addr, Ipv4Addr),
    ArpReply(Ipv4Addr, Ipv4Addr),
    Solicitation(Ipv6Addr, Ipv6Addr),
    Advertisement(Ipv6Addr, Ipv6Addr),
    Packet(EthernetProtocol),
}

impl Tap {
    fn new(pair: &mut Pair) -> Self {
        Self::that_loses(pair, |_| false)
    }

    /// One on a wire that loses what it is told to.
    fn that_loses(pair: &mut Pair, mut loses: impl FnMut(&[u8]) -> bool + 'static) -> Self {
        let tap = Self::default();
        let sink = tap.clone();
        pair.wire = Box::new(move |frame| {
            sink.0.borrow_mut().push(frame.clone());
            (!loses(&frame)).then_some(frame)
        });
        tap
    }

    fn take(&self) -> Vec<Bytes> {
        self.0.take()
    }

    /// What was said since the last call: from where, to where, and what.
    fn said(&self) -> Vec<(MacAddr, MacAddr, Said)> {
        self.take().iter().map(|frame| said(frame)).collect()
    }
}

fn said(frame: &[u8]) -> (MacAddr, MacAddr, Said) {
    let frame = EthernetFrame::new_checked(frame).expect("a frame");
    let said = match frame.ethertype() {
        EthernetProtocol::Arp => {
            let packet = ArpPacket::new_checked(frame.payload()).expect("well-formed");
            let Ok(ArpRepr::EthernetIpv4 {
                operation,
                source_protocol_addr,
                source_hardware_addr,
                target_protocol_addr,
                ..
            }) = ArpRepr::parse(&packet)
            else {
                panic!("well-formed")
            };
            assert_eq!(source_hardware_addr, frame.src_addr());
            match operation {
                ArpOperation::Request => {
                    Said::ArpRequest(source_protocol_addr, target_protocol_addr)
                }
                _ => Said::ArpReply(source_protocol_addr, target_protocol_addr),
            }
        }
        EthernetProtocol::Ipv6 => {
            let packet = Ipv6Packet::new_checked(frame.payload()).expect("well-formed");
            let ends = (packet.src_addr(), packet.dst_addr());
            match (packet.next_header(), packet.payload().first()) {
                (IpProtocol::Icmpv6, Some(kind @ (135 | 136))) => {
                    assert_eq!(packet.hop_limit(), 255);
                    let message = Icmpv6Packet::new_checked(packet.payload()).expect("whole");
                    assert!(message.verify_checksum(&ends.0, &ends.1));
                    match kind {
                        135 => Said::Solicitation(ends.0, message.target_addr()),
                        _ => Said::Advertisement(ends.1, message.target_addr()),
                    }
                }
                _ => Said::Packet(EthernetProtocol::Ipv6),
            }
        }
        other => Said::Packet(other),
    };
    (MacAddr(frame.src_addr().0), MacAddr(frame.dst_addr().0), said)
}

fn framed((from, to): (MacAddr, MacAddr), protocol: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = to.octets().to_vec();
    frame.extend(from.octets());
    frame.extend(protocol.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An ARP message in a frame.
fn arp(
    (from, to): (MacAddr, MacAddr),
    is_request: bool,
    (sender, at): (Ipv4Addr, MacAddr),
    target: Ipv4Addr,
) -> Vec<u8> {
    let repr = ArpRepr::EthernetIpv4 {
        operation: if is_request { ArpOperation::Request } else { ArpOperation::Reply },
        source_hardware_addr: EthernetAddress(at.octets()),
        source_protocol_addr: sender,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: target,
    };
    let mut message = [0; 28];
    repr.emit(&mut ArpPacket::new_unchecked(&mut message[..]));
    framed((from, to), 0x0806, &message)
}

/// A message of Neighbour Discovery in a frame: its kind, flags, target and options.
fn ndp(
    (from, to): (MacAddr, MacAddr),
    (source, destination): (Ipv6Addr, Ipv6Addr),
    (kind, flags): (u8, u8),
    target: Ipv6Addr,
    options: &[u8],
) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((24 + options.len() as u16).to_be_bytes());
    packet.extend([58, 255]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend([kind, 0, 0, 0, flags, 0, 0, 0]);
    packet.extend(target.octets());
    packet.extend(options);
    if packet.len() >= 44 {
        Icmpv6Packet::new_unchecked(&mut packet[40..]).fill_checksum(&source, &destination);
    }
    framed((from, to), 0x86dd, &packet)
}

/// The option with the hardware address of a solicitation's source, or an advertisement's target.
fn link_option(kind: u8, at: MacAddr) -> Vec<u8> {
    [&[kind, 1][..], &at.octets()].concat()
}

fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | high & 0xff, low)
}

/// The neighbours of one side by address, without those that announce themselves.
fn neighbours(pair: &mut Pair, side: Side) -> Vec<(IpAddr, Option<MacAddr>, &'static str)> {
    let snapshot = pair.host(side).stack.snapshot();
    let all = snapshot.neighbours.into_iter();
    let mut all: Vec<_> = all
        .map(|NeighbourInfo { address, hardware_address, state }| {
            (address, hardware_address, state)
        })
        .collect();
    all.sort();
    all
}

fn dropped(pair: &mut Pair, side: Side, reason: DropReason) -> u64 {
    pair.host(side).stack.counters().dropped(reason)
}

fn bind(pair: &mut Pair, side: Side, endpoint: &str) -> Arc<DatagramQueue> {
    match pair.call(side, None, udp::Command::Bind { endpoint: addr(endpoint) }) {
        Ok((_, Some(SocketQueue::Datagram(queue)))) => queue,
        other => panic!("binding gave {other:?}"),
    }
}

fn open(pair: &mut Pair, side: Side, command: impl Into<netcore::Command>) -> Arc<DatagramQueue> {
    match pair.call(side, None, command) {
        Ok((_, Some(SocketQueue::Datagram(queue)))) => queue,
        other => panic!("opening gave {other:?}"),
    }
}

fn send(queue: &DatagramQueue, to: &str, payload: &'static [u8]) {
    let datagram = Datagram::new(addr(to), Bytes::from_static(payload));
    queue.try_send(datagram).expect("room");
}

fn received(queue: &DatagramQueue) -> Option<Bytes> {
    queue.try_recv().ok().map(|datagram| datagram.payload)
}

/// Sends a datagram from near to far, and has it arrive.
fn exchange(pair: &mut Pair, from: &str, to: &str) {
    let near = bind(pair, Side::Near, from);
    let far = bind(pair, Side::Far, to);
    send(&near, to, b"hello");
    pair.run();
    assert_eq!(received(&far).as_deref(), Some(&b"hello"[..]));
    near.close();
    far.close();
    pair.run();
}

#[test]
fn streams_go_over_both_families() {
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
fn a_neighbour_is_asked_once_and_what_waits_leaves_with_the_answer() {
    let mut pair = settled();
    let near = bind(&mut pair, Side::Near, "10.0.0.1:1000");
    let far = bind(&mut pair, Side::Far, "10.0.0.2:2000");
    let tap = Tap::new(&mut pair);

    for payload in [&b"a"[..], b"b", b"c"] {
        send(&near, "10.0.0.2:2000", payload);
    }
    pair.run();

    let packet = (NEAR, FAR, Said::Packet(EthernetProtocol::Ipv4));
    let asked = (NEAR, MacAddr::BROADCAST, Said::ArpRequest(v4(1), v4(2)));
    let answered = (FAR, NEAR, Said::ArpReply(v4(2), v4(1)));
    assert_eq!(tap.said(), [asked, answered, packet.clone(), packet.clone(), packet]);
    let all: Vec<_> = std::iter::from_fn(|| received(&far)).collect();
    assert_eq!(all, ["a", "b", "c"]);
    assert_eq!(neighbours(&mut pair, Side::Near), [(v4(2).into(), Some(FAR), "REACHABLE")]);
    // Who asked is known, but not whether it hears.
    assert_eq!(neighbours(&mut pair, Side::Far), [(v4(1).into(), Some(NEAR), "STALE")]);
    near.close();
    far.close();
}

#[test]
fn over_ipv6_the_solicited_node_is_asked() {
    let mut pair = settled();
    let tap = Tap::new(&mut pair);

    exchange(&mut pair, "[fd00::1]:1000", "[fd00::2]:2000");

    let group = MacAddr([0x33, 0x33, 0xff, 0, 0, 2]);
    let expected = [
        (NEAR, group, Said::Solicitation(v6(1), v6(2))),
        (FAR, NEAR, Said::Advertisement(v6(1), v6(2))),
        (NEAR, FAR, Said::Packet(EthernetProtocol::Ipv6)),
    ];
    assert_eq!(tap.said(), expected);
}

#[test]
fn nobody_there_is_host_unreachable_after_three_seconds() {
    for target in ["10.0.0.9:80", "[fd00::9]:80"] {
        let mut pair = settled();
        let tap = Tap::new(&mut pair);
        let start = pair.now;

        assert_eq!(pair.connect(Side::Near, target).err(), Some(Error::HostUnreachable));

        let waited = pair.now - start;
        assert!((2900..=4000).contains(&waited.total_millis()), "{target}: {waited}");
        assert_eq!(tap.said().len(), 3, "{target}: asked three times");
        assert!(neighbours(&mut pair, Side::Near).is_empty(), "{target}: forgotten");
        assert!(dropped(&mut pair, Side::Near, DropReason::NeighbourUnknown) > 0);
    }
}

#[test]
fn connected_datagram_and_ping_sockets_learn_that_nobody_is_there() {
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
fn an_answer_that_comes_late_is_in_time() {
    let mut pair = settled();
    let mut lost = 0;
    // The first two questions get lost.
    let tap = Tap::that_loses(&mut pair, move |frame| {
        let is_question = matches!(said(frame).2, Said::ArpRequest(..));
        lost += u32::from(is_question);
        is_question && lost <= 2
    });
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");

    let near = pair.connect(Side::Near, "10.0.0.2:80").expect("a listener");

    let question = (NEAR, MacAddr::BROADCAST, Said::ArpRequest(v4(1), v4(2)));
    assert_eq!(tap.said().iter().filter(|said| **said == question).count(), 3);
    pair.accept(Side::Far, listener).expect("a connection").abort();
    near.abort();
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

#[test]
fn who_was_not_heard_for_long_is_used_and_asked_alone() {
    for (from, to, question, answer) in [
        (
            "10.0.0.1:1000",
            "10.0.0.2:2000",
            Said::ArpRequest(v4(1), v4(2)),
            Said::ArpReply(v4(2), v4(1)),
        ),
        (
            "[fd00::1]:1000",
            "[fd00::2]:2000",
            Said::Solicitation(v6(1), v6(2)),
            Said::Advertisement(v6(1), v6(2)),
        ),
    ] {
        let mut pair = settled();
        exchange(&mut pair, from, to);
        pair.advance(Duration::from_secs(50));
        assert_eq!(neighbours(&mut pair, Side::Near)[0].2, "STALE");
        let tap = Tap::new(&mut pair);

        exchange(&mut pair, from, to);

        let all = tap.said();
        assert_eq!(all.len(), 3, "{all:?}");
        assert!(matches!(all[0], (NEAR, FAR, Said::Packet(_))), "{all:?}");
        assert_eq!(all[1..], [(NEAR, FAR, question), (FAR, NEAR, answer)]);
        assert_eq!(neighbours(&mut pair, Side::Near)[0].2, "REACHABLE");
    }
}

#[test]
fn who_has_gone_is_forgotten_after_three_questions() {
    let mut pair = settled();
    exchange(&mut pair, "10.0.0.1:1000", "10.0.0.2:2000");
    pair.advance(Duration::from_secs(50));
    let tap = Tap::that_loses(&mut pair, |_| true);
    let near = bind(&mut pair, Side::Near, "10.0.0.1:1000");

    send(&near, "10.0.0.2:2000", b"a");
    pair.advance(Duration::from_millis(2500));
    send(&near, "10.0.0.2:2000", b"b");
    pair.run();
    assert_eq!(tap.said().iter().filter(|said| said.1 == FAR).count(), 2 + 3, "used meanwhile");
    pair.advance(Duration::from_secs(1));

    assert!(neighbours(&mut pair, Side::Near).is_empty());
    assert_eq!(near.take_error(), None);
    near.close();
}

#[test]
fn new_addresses_are_announced() {
    let mut pair = Pair::ethernet(Config::default());
    let tap = Tap::new(&mut pair);
    pair.run();

    let all = tap.said();
    let gratuitous = (NEAR, MacAddr::BROADCAST, Said::ArpRequest(v4(1), v4(1)));
    assert!(all.contains(&gratuitous), "{all:?}");
    pair.advance(Duration::from_secs(1));
    let all = tap.said();
    let advertised =
        (NEAR, ALL_NODES, Said::Advertisement("ff02::1".parse().expect("a group"), v6(1)));
    assert!(all.contains(&advertised), "{all:?}");

    pair.near.stack.add_address("10.0.0.7/24".parse().expect("a network")).expect("a host");
    pair.run();
    let gratuitous = (NEAR, MacAddr::BROADCAST, Said::ArpRequest(v4(7), v4(7)));
    assert_eq!(tap.said(), [gratuitous]);
}

#[test]
fn a_neighbour_that_moves_says_so_and_is_believed() {
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
fn a_new_ipv6_address_is_not_used_until_nobody_has_said_that_it_is_taken() {
    let mut pair = Pair::ethernet(Config { link_local: false, ..Config::default() });
    let tap = Tap::new(&mut pair);
    pair.run();
    let probe = Said::Solicitation(Ipv6Addr::UNSPECIFIED, v6(1));
    let probes = |all: Vec<(MacAddr, MacAddr, Said)>| {
        all.into_iter().filter(|(.., said)| *said == probe).count()
    };
    assert_eq!(probes(tap.said()), 1);

    // Not as a source, not as a destination, and not answered for.
    let command = tcp::Command::Connect {
        remote: addr("[fd00::2]:80"),
        local: None,
        options: Default::default(),
    };
    let channel = pair.near.stack.command_channel();
    let mut connecting = pin!(channel.open(None, command));
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
    assert_eq!(tap.said(), []);

    pair.advance(Duration::from_secs(1));
    tap.take();
    pair.inject(Side::Near, ask);
    pair.run();
    assert_eq!(tap.said(), [(NEAR, OTHER, Said::Advertisement(v6(3), v6(1)))]);
}

#[test]
fn who_sees_that_the_link_is_up_sees_that_addresses_are_to_be_probed() {
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
    let mut pair = Pair::ethernet(Config { dad_transmits: 0, ..Config::default() });
    pair.run();

    exchange(&mut pair, "[fd00::1]:1000", "[fd00::2]:2000");
}

#[test]
fn an_address_that_another_node_has_is_given_up() {
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
fn what_a_link_brings_back_is_no_duplicate() {
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
fn who_claims_an_address_of_the_stacks_is_counted_answered_now_and_then_and_not_believed() {
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
    let defence = (FAR, MacAddr::BROADCAST, Said::ArpRequest(v4(2), v4(2)));
    assert_eq!(tap.said(), [defence], "once in ten seconds");
    let known: Vec<_> = neighbours(&mut pair, Side::Far);
    assert!(known.iter().all(|entry| entry.1 != Some(OTHER)), "{known:?}");
    pair.run();
    assert!(pair.far.stack.addresses().iter().any(|own| own.addr() == v4(2)));
    pair.advance(Duration::from_secs(10));
    tap.take();
    pair.inject(Side::Far, claim);
    pair.run();
    assert_eq!(tap.said().len(), 1);
}

#[test]
fn answers_that_nobody_asked_for_leave_nothing_behind() {
    let mut pair = settled();
    let before = neighbours(&mut pair, Side::Far);

    for n in 0..5000u16 {
        let at = MacAddr([2, 1, 0, 0, (n >> 8) as u8, n as u8]);
        let sender = Ipv4Addr::new(10, 0, (n >> 8) as u8, n as u8 | 4);
        pair.inject(Side::Far, arp((at, FAR), false, (sender, at), v4(2)));
        // Gratuitous, and a question to somebody else.
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
fn who_asks_for_the_stack_is_answered_and_remembered_up_to_the_bound() {
    let mut pair = settled_with(Config { neighbours_max: 50, ..Config::default() });
    exchange(&mut pair, "10.0.0.1:1000", "10.0.0.2:2000");
    // Far has sent to near, and keeps it whoever else asks.
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

    let answers = tap.said();
    assert_eq!(answers.len(), 1000);
    let known = neighbours(&mut pair, Side::Far);
    assert_eq!(known.len(), 50);
    assert!(known.contains(&(v4(1).into(), Some(NEAR), "REACHABLE")), "{known:?}");
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

#[test]
fn arp_that_cannot_be_true_changes_nothing() {
    let mut pair = settled();
    exchange(&mut pair, "10.0.0.1:1000", "10.0.0.2:2000");
    let before = neighbours(&mut pair, Side::Far);
    let tap = Tap::new(&mut pair);
    let group = MacAddr([3, 0, 0, 0, 0, 3]);
    let everybody = MacAddr::BROADCAST;
    let good = arp((OTHER, everybody), true, (v4(3), OTHER), v4(2));

    let mut bad = vec![
        // Hardware addresses that nobody can have, and the stack's own.
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
        // Questions for nobody here.
        arp((OTHER, everybody), true, (v4(3), OTHER), Ipv4Addr::LOCALHOST),
        arp((OTHER, everybody), true, (v4(3), OTHER), v4(255)),
        // Frames from nobody, and for somebody else.
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
    for frame in bad {
        pair.inject(Side::Far, frame.clone());
        pair.run();
        assert_eq!(tap.said(), [], "{frame:02x?}");
        assert_eq!(neighbours(&mut pair, Side::Far), before, "{frame:02x?}");
    }

    pair.inject(Side::Far, good);
    pair.run();
    assert_eq!(tap.said(), [(FAR, OTHER, Said::ArpReply(v4(2), v4(3)))]);
}

#[test]
fn who_has_no_address_yet_may_ask_whether_the_stack_has_it() {
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
        (FAR, OTHER, Said::ArpReply(v4(2), Ipv4Addr::UNSPECIFIED)),
        (FAR, ALL_NODES, Said::Advertisement(to_all, v6(2))),
    ];
    assert_eq!(tap.said(), expected);
    assert!(neighbours(&mut pair, Side::Far).iter().all(|entry| entry.1 != Some(OTHER)));
}

#[test]
fn discovery_that_cannot_be_true_changes_nothing() {
    let mut pair = settled();
    exchange(&mut pair, "[fd00::1]:1000", "[fd00::2]:2000");
    let before = neighbours(&mut pair, Side::Far);
    let tap = Tap::new(&mut pair);
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
        // From who has no address, with one, and not to those who are asked.
        ndp(ends, (nobody, packet.1), (135, 0), v6(2), &link_option(1, OTHER)),
        ndp((OTHER, ALL_NODES), (nobody, to_all), (135, 0), v6(2), &[]),
        ndp((OTHER, ALL_NODES), (nobody, to_all), (136, 0), v6(1), &[]),
        // For nobody here, and for many.
        ndp(ends, packet, (135, 0), v6(3), &link_option(1, OTHER)),
        ndp(ends, packet, (135, 0), to_all, &link_option(1, OTHER)),
        // From the stack itself, as it were.
        ndp(ends, (v6(2), packet.1), (135, 0), v6(2), &link_option(1, OTHER)),
        // An answer to many is no answer; the hardware address of a group is nobody's.
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
    for frame in bad {
        pair.inject(Side::Far, frame.clone());
        pair.run();
        assert_eq!(tap.said(), [], "{frame:02x?}");
        assert_eq!(neighbours(&mut pair, Side::Far), before, "{frame:02x?}");
    }

    pair.inject(Side::Far, good);
    pair.run();
    assert_eq!(tap.said(), [(FAR, OTHER, Said::Advertisement(v6(3), v6(2)))]);
}

#[test]
fn frames_for_others_and_of_other_kinds_are_dropped_and_counted() {
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

#[test]
fn groups_and_everybody_are_reached_without_a_question() {
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
        assert_eq!(tap.said(), [(NEAR, at, Said::Packet(EthernetProtocol::Ipv4))]);
        assert_eq!(received(&far).as_deref(), Some(&b"all"[..]), "{to}");
    }
    near.close();
    far.close();
}

#[test]
fn without_an_address_everybody_can_be_asked_and_heard() {
    let mut pair = settled();
    // Near is a server, far has nothing yet.
    let config = Config { hardware_address: Some(FAR), ..Config::default() };
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
        assert_eq!(said(&frame).1, MacAddr::BROADCAST);
    }
    server.close();
    client.close();
}

#[test]
fn a_raw_socket_hears_routers_with_nothing_but_the_link_local_address() {
    let mut pair = settled();
    let config = Config { hardware_address: Some(FAR), ..Config::default() };
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
    assert_eq!(said(&sent[0]).1, MacAddr([0x33, 0x33, 0, 0, 0, 2]));

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

#[test]
fn an_idle_link_needs_no_attention() {
    let mut pair = settled();
    exchange(&mut pair, "10.0.0.1:1000", "10.0.0.2:2000");
    exchange(&mut pair, "[fd00::1]:1000", "[fd00::2]:2000");

    for side in [Side::Near, Side::Far] {
        let now = pair.now;
        assert_eq!(pair.host(side).stack.poll_at(now), None);
    }
}

#[test]
fn checksums_are_whole_behind_the_header() {
    let mut pair = settled();
    let tap = Tap::new(&mut pair);

    exchange(&mut pair, "10.0.0.1:1000", "10.0.0.2:2000");

    let frames = tap.take();
    let frame = frames.iter().find(|frame| matches!(said(frame).2, Said::Packet(_)));
    let packet = &frame.expect("a datagram")[ETHERNET_HEADER..];
    let datagram = UdpPacket::new_checked(&packet[20..]).expect("whole");
    assert!(datagram.verify_checksum(&v4(1).into(), &v4(2).into()));
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
        let mut pair = settled_with(Config { neighbours_max: 8, ..Config::default() });
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
