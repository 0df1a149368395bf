//! Two tunnels and the datagrams between them.

use super::config::{Config, Peer};
use super::counters::WireGuardCounters;
use super::key::Key;
use super::outgoing::Outgoing;
use super::tunnels::Tunnels;
use proptest::prelude::*;
use std::net::{IpAddr, SocketAddr};

/// One end, at an address of its own.
struct End {
    tunnels: Tunnels,
    outgoing: Outgoing,
    counters: WireGuardCounters,
    at: SocketAddr,
}

/// 10.8.0.1 and 10.8.0.2.
const ENDS: [u8; 2] = [1, 2];

fn key(end: u8) -> Key {
    Key::from_bytes([end; 32])
}

fn at(end: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, end], 51820))
}

impl End {
    fn new(end: u8, change: impl FnOnce(&mut Config)) -> Self {
        let other = 3 - end;
        let mut peer = Peer::new(key(other).public());
        peer.allowed_ips.push(IpAddr::from([10, 8, 0, other]).into());
        peer.endpoint = Some(at(other).into());
        let mut config = Config::new(key(end));
        config.peers.push(peer);
        change(&mut config);
        let counters = WireGuardCounters::default();
        let tunnels = Tunnels::new(&config, counters.clone()).expect("no names");
        Self { tunnels, outgoing: Outgoing::new(counters.clone()), counters, at: at(end) }
    }

    fn send(&mut self, packet: &[u8]) {
        self.tunnels.send(packet, &mut self.outgoing);
    }

    /// Gives datagrams to this end; returns the packets in them.
    fn receive(&mut self, source: SocketAddr, datagrams: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        let mut room = vec![0; 2048];
        for datagram in datagrams {
            let Self { tunnels, outgoing, .. } = self;
            let len = tunnels.receive(source, datagram, &mut room, outgoing);
            packets.extend(len.map(|len| room[..len].to_vec()));
        }
        packets
    }

    fn sent(&mut self) -> Vec<Vec<u8>> {
        self.outgoing.take().into_iter().map(|(_, datagram)| datagram).collect()
    }
}

fn pair() -> [End; 2] {
    ENDS.map(|end| End::new(end, |_| ()))
}

/// Delivers all datagrams until there are none; returns the packets of each end.
fn deliver(ends: &mut [End; 2]) -> [Vec<Vec<u8>>; 2] {
    let mut packets = [Vec::new(), Vec::new()];
    loop {
        let mut is_quiet = true;
        for from in 0..2 {
            let source = ends[from].at;
            let datagrams = ends[from].sent();
            is_quiet &= datagrams.is_empty();
            packets[1 - from].extend(ends[1 - from].receive(source, &datagrams));
        }
        if is_quiet {
            return packets;
        }
    }
}

/// An IPv4 packet with a payload of one byte.
fn packet(from: [u8; 4], to: [u8; 4], payload: u8) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 21, 0, 0, 0, 0, 64, 253, 0, 0];
    packet.extend(from.into_iter().chain(to));
    packet.push(payload);
    packet
}

const ONE: [u8; 4] = [10, 8, 0, 1];
const TWO: [u8; 4] = [10, 8, 0, 2];

#[test]
fn packets_wait_for_the_handshake_and_arrive_in_order() {
    let mut ends = pair();
    let packets: Vec<_> = (0..100).map(|number| packet(ONE, TWO, number)).collect();
    packets.iter().for_each(|packet| ends[0].send(packet));
    assert_eq!(deliver(&mut ends), [vec![], packets]);

    let answer = packet(TWO, ONE, 7);
    ends[1].send(&answer);
    assert_eq!(deliver(&mut ends), [vec![answer], vec![]]);
    assert_eq!(ends.each_ref().map(|end| end.counters.handshakes()), [1, 1]);
}

#[test]
fn both_ends_may_begin_at_once() {
    let mut ends = pair();
    let (there, back) = (packet(ONE, TWO, 1), packet(TWO, ONE, 2));
    ends[0].send(&there);
    ends[1].send(&back);
    let starts = [ends[0].sent(), ends[1].sent()];
    let to_first = ends[0].receive(at(2), &starts[1]);
    let to_second = ends[1].receive(at(1), &starts[0]);
    let rest = deliver(&mut ends);
    assert_eq!(
        [[to_first, rest[0].clone()].concat(), [to_second, rest[1].clone()].concat()],
        [vec![back], vec![there]]
    );
}

#[test]
fn a_peer_with_another_key_gets_nothing() {
    let mut ends = pair();
    ends[0] = End::new(1, |config| config.private_key = key(9));
    ends[0].send(&packet(ONE, TWO, 1));
    assert_eq!(deliver(&mut ends), [vec![], vec![] as Vec<Vec<u8>>]);
    assert_eq!((ends[1].counters.dropped_incoming(), ends[1].counters.handshakes()), (1, 0));
}

#[test]
fn a_peer_with_another_preshared_key_gets_nothing() {
    let mut ends = pair();
    ends[0] = End::new(1, |config| config.peers[0].preshared_key = Some(key(9)));
    ends[0].send(&packet(ONE, TWO, 1));
    assert_eq!(deliver(&mut ends), [vec![], vec![] as Vec<Vec<u8>>]);
    assert_eq!(ends[0].counters.handshakes(), 0);
}

#[test]
fn only_allowed_addresses_pass_in_both_directions() {
    let all = |config: &mut Config| {
        config.peers[0].allowed_ips = vec!["0.0.0.0/0".parse().expect("a network")];
    };
    let mut ends = [End::new(1, all), End::new(2, |_| ())];
    let spoofed = packet([192, 0, 2, 99], TWO, 1);
    ends[0].send(&spoofed);
    assert_eq!(deliver(&mut ends)[1], vec![] as Vec<Vec<u8>>);
    assert_eq!(ends[1].counters.not_allowed(), 1);

    // Nobody has the destination.
    ends[1].send(&packet(TWO, [192, 0, 2, 99], 1));
    assert_eq!((ends[1].sent().len(), ends[1].counters.dropped_outgoing()), (0, 1));
}

#[test]
fn of_several_peers_the_longest_prefix_has_an_address() {
    let mut hub = End::new(1, |config| {
        let mut third = Peer::new(key(3).public());
        third.endpoint = Some(at(3).into());
        third.allowed_ips.push("10.8.0.0/24".parse().expect("a network"));
        config.peers.push(third);
    });
    let all = |config: &mut Config| {
        config.private_key = key(3);
        config.peers[0].public_key = key(1).public();
        config.peers[0].endpoint = Some(at(1).into());
    };
    let mut third = End::new(2, all);
    hub.send(&packet(ONE, TWO, 1));
    hub.send(&packet(ONE, [10, 8, 0, 77], 2));
    let sent = hub.outgoing.take();
    assert_eq!(sent.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [at(2), at(3)]);

    // The third is authentic, and has the second's address not.
    third.send(&packet(TWO, ONE, 3));
    let mut received = Vec::new();
    for _ in 0..3 {
        let datagrams = third.sent();
        received.extend(hub.receive(at(3), &datagrams));
        let datagrams = hub.sent();
        third.receive(at(1), &datagrams);
        third.send(&packet([10, 8, 0, 77], ONE, 4));
    }
    assert!(received.iter().all(|it| *it == packet([10, 8, 0, 77], ONE, 4)), "{received:?}");
    assert_eq!((received.is_empty(), hub.counters.not_allowed()), (false, 1));
}

#[test]
fn a_tunnel_has_timers_from_its_first_packet_on() {
    let mut ends = pair();
    let live = |end: &mut End| end.tunnels.tick(&mut end.outgoing);
    assert_eq!(ends.each_mut().map(live), [false, false]);
    ends[0].send(&packet(ONE, TWO, 1));
    assert_eq!(ends.each_mut().map(live), [true, false]);
    deliver(&mut ends);
    assert_eq!(ends.each_mut().map(live), [true, true]);
}

#[test]
fn a_peer_is_where_its_last_authentic_packet_came_from() {
    let mut ends = pair();
    ends[0].send(&packet(ONE, TWO, 1));
    deliver(&mut ends);

    let elsewhere = SocketAddr::from(([198, 51, 100, 1], 7));
    ends[0].send(&packet(ONE, TWO, 2));
    let mut datagrams = ends[0].sent();
    assert_eq!(ends[1].receive(elsewhere, &datagrams).len(), 1);
    // A replay, and one that is not authentic, move nothing.
    assert_eq!(ends[1].receive(at(9), &datagrams).len(), 0);
    datagrams[0][20] ^= 1;
    assert_eq!(ends[1].receive(at(9), &datagrams).len(), 0);

    ends[1].send(&packet(TWO, ONE, 3));
    let [(to, _)] = &ends[1].outgoing.take()[..] else { panic!("one datagram") };
    assert_eq!(*to, elsewhere);
}

#[test]
fn new_keys_between_packets_lose_none() {
    let mut ends = pair();
    let mut expected = [Vec::new(), Vec::new()];
    let mut received = [Vec::new(), Vec::new()];
    for number in 0..60 {
        let (there, back) = (packet(ONE, TWO, number), packet(TWO, ONE, number));
        ends[0].send(&there);
        ends[1].send(&back);
        expected[1].push(there);
        expected[0].push(back);
        // Each end in turn, while packets under the old keys are on their way.
        let End { tunnels, outgoing, .. } = &mut ends[usize::from(number / 5 % 2)];
        if number % 5 == 4 {
            tunnels.peer_mut(0).begin_handshake(outgoing, true);
            // A responder tells later messages from replays by their time.
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let packets = deliver(&mut ends);
        received.iter_mut().zip(packets).for_each(|(all, some)| all.extend(some));
    }
    assert_eq!(received, expected);
    assert!(ends[0].counters.handshakes() >= 10, "{}", ends[0].counters.handshakes());
}

#[test]
fn under_load_a_peer_proves_its_address_with_a_cookie() {
    let mut ends = pair();
    let nobody = |_: &mut Config| ();
    // Messages for this key, which are verified and of no known peer.
    let mut strangers: Vec<End> = (0..101).map(|_| End::new(1, nobody)).collect();
    for (host, stranger) in strangers.iter_mut().enumerate() {
        stranger.send(&packet(ONE, TWO, 1));
        let source = SocketAddr::from(([203, 0, 113, host as u8], 1));
        let datagrams = stranger.sent();
        ends[1].receive(source, &datagrams);
    }
    ends[1].sent();

    ends[0].send(&packet(ONE, TWO, 1));
    let first = ends[0].sent();
    ends[1].receive(at(1), &first);
    let reply = ends[1].sent();
    // Type 3 is a cookie.
    assert_eq!(reply.iter().map(|it| it[0]).collect::<Vec<_>>(), [3]);
    ends[0].receive(at(2), &reply);
    let End { tunnels, outgoing, .. } = &mut ends[0];
    std::thread::sleep(std::time::Duration::from_millis(1));
    tunnels.peer_mut(0).begin_handshake(outgoing, true);
    assert_eq!(deliver(&mut ends)[1].len(), 1, "with the cookie it is answered");
}

proptest! {
    #[test]
    fn any_datagrams_change_nothing(
        datagrams in proptest::collection::vec(
            (0u8..6, proptest::collection::vec(any::<u8>(), 0..200)), 0..40
        ),
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), 1u8..), 0..20),
    ) {
        let mut ends = pair();
        ends[0].send(&packet(ONE, TWO, 0));
        let first = ends[0].sent();
        let mut second = first.clone();
        for (place, flip) in flips {
            // Not in the second code, which is read under load only.
            *place.get_mut(&mut second[0][..132]) ^= flip;
        }
        let noise = datagrams.into_iter().map(|(kind, bytes)| [vec![kind, 0, 0, 0], bytes].concat());
        let noise: Vec<_> = noise.chain(second).filter(|it| *it != first[0]).collect();
        prop_assert_eq!(ends[1].receive(at(9), &noise), Vec::<Vec<u8>>::new());
        ends[1].sent();

        ends[1].receive(at(1), &first);
        prop_assert_eq!(deliver(&mut ends)[1].len(), 1);
    }
}
