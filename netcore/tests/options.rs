//! Socket options that show on the wire, or in a connection's timeout.

mod harness;

use bytes::Bytes;
use harness::{Pair, Side, addr, read};
use netcore::Instant;
use netcore::device::smoltcp::wire::{Ipv4Packet, Ipv6Packet};
use netcore::{Error, Response, tcp, udp};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

const KEEP_ALIVE: tcp::KeepAlive =
    tcp::KeepAlive { idle: Duration::from_secs(10), interval: Duration::from_secs(2), count: 3 };

/// Keeps what crosses the wire from here on.
fn record(pair: &mut Pair) -> Rc<RefCell<Vec<Bytes>>> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let sink = seen.clone();
    pair.wire = Box::new(move |packet| {
        sink.borrow_mut().push(packet.clone());
        Some(packet)
    });
    seen
}

fn secs(from: Instant, to: Instant) -> u64 {
    (to - from).as_secs()
}

#[test]
fn silent_peer_times_out_after_the_configured_probes() {
    let mut pair = Pair::new();
    let (near, far, listener) = pair.connected();
    near.set_options(|options| options.keep_alive = Some(KEEP_ALIVE));
    pair.run();
    let start = pair.now;
    let probes = Rc::new(RefCell::new(0));
    let count = probes.clone();
    pair.wire = Box::new(move |_| {
        *count.borrow_mut() += 1;
        None
    });

    pair.advance_until(|_| near.recv_state().is_closed);

    assert_eq!((read(&near, 10), secs(start, pair.now)), (Err(Error::TimedOut), 16));
    // A reset to the peer comes last.
    assert_eq!(*probes.borrow(), 3 + 1);
    near.close();
    far.abort();
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

#[test]
fn answered_keepalive_probes_keep_the_connection() {
    let mut pair = Pair::new();
    let (near, far, listener) = pair.connected();
    near.set_options(|options| options.keep_alive = Some(KEEP_ALIVE));
    pair.run();
    let packets = record(&mut pair);

    pair.advance(Duration::from_secs(1005));

    // One probe and its answer every ten seconds.
    assert_eq!(packets.borrow().len(), 200);
    near.try_send(b"still there").expect("credit");
    pair.run();
    assert_eq!(read(&far, 20), Ok(b"still there".to_vec()));
    near.set_options(|options| options.keep_alive = None);
    pair.run();
    packets.borrow_mut().clear();
    pair.advance(Duration::from_secs(1000));
    assert!(packets.borrow().len() <= 1, "only the acknowledgement");
    near.close();
    far.close();
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

#[test]
fn unacknowledged_data_ends_a_connection_after_the_user_timeout() {
    let mut pair = Pair::new();
    let (near, far, listener) = pair.connected();
    near.set_options(|options| options.user_timeout = Some(Duration::from_secs(7)));
    pair.advance(Duration::from_secs(1000));
    let start = pair.now;
    pair.wire = Box::new(|_| None);

    near.try_send(b"anybody there?").expect("credit");
    pair.advance_until(|_| near.recv_state().is_closed);

    assert_eq!((read(&near, 10), secs(start, pair.now)), (Err(Error::TimedOut), 7));
    near.close();
    far.abort();
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

#[test]
fn persistent_zero_window_triggers_the_user_timeout() {
    let mut pair = Pair::new();
    let (near, far, listener) = pair.connected();
    near.set_options(|options| options.user_timeout = Some(Duration::from_secs(30)));
    while near.try_send(&[7; 50_000]).is_ok() {
        pair.advance(Duration::from_millis(100));
    }
    let start = pair.now;

    // The far end answers every probe, but nothing is read there. What it acknowledged last came up
    // to a round of the loop before.
    pair.advance_until(|_| near.recv_state().is_closed);

    assert_eq!(read(&near, 10), Err(Error::TimedOut));
    assert!((29..60).contains(&secs(start, pair.now)), "{} s", secs(start, pair.now));
    near.close();
    far.abort();
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

#[test]
fn ip_header_carries_hop_limit_and_traffic_class() {
    for (remote, header) in [("10.0.0.2:80", v4 as fn(&[u8]) -> _), ("[fd00::2]:80", v6)] {
        let mut pair = Pair::new();
        let listener = pair.listen(Side::Far, "[::]:80").expect("a free port");
        let near = pair.connect(Side::Near, remote).expect("a listener");
        let far = pair.accept(Side::Far, listener).expect("a connection");
        near.set_options(|options| {
            options.traffic_class = 0xb8 | 0b11;
            options.hop_limit = Some(7);
        });
        pair.run();
        let packets = record(&mut pair);

        near.try_send(b"expedited").expect("credit");
        pair.run();

        // The two lowest bits are the network's.
        assert_eq!(header(&packets.borrow()[0]), (0xb8, 7), "{remote}");
        assert_eq!(read(&far, 20), Ok(b"expedited".to_vec()));
        near.close();
        far.close();
        pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
    }
}

fn v4(packet: &[u8]) -> (u8, u8) {
    let packet = Ipv4Packet::new_checked(packet).expect("an IPv4 packet");
    (packet.dscp() << 2 | packet.ecn(), packet.hop_limit())
}

fn v6(packet: &[u8]) -> (u8, u8) {
    let packet = Ipv6Packet::new_checked(packet).expect("an IPv6 packet");
    (packet.traffic_class(), packet.hop_limit())
}

#[test]
fn quick_ack_is_not_delayed() {
    let mut pair = Pair::new();
    let (near, far, listener) = pair.connected();
    let acknowledged_at_once = |pair: &mut Pair| {
        let packets = record(pair);
        near.try_send(b"x").expect("credit");
        pair.run();
        let count = packets.borrow().len();
        pair.advance(Duration::from_secs(1));
        count == 2
    };

    // So is every connection at first.
    let first: Vec<_> = (0..20).map(|_| acknowledged_at_once(&mut pair)).collect();
    far.set_options(|options| options.quickack = true);
    pair.run();
    let then: Vec<_> = (0..40).map(|_| acknowledged_at_once(&mut pair)).collect();

    assert_eq!(first, [[true; 16].as_slice(), &[false; 4]].concat());
    assert_eq!(then, [true; 40]);
    near.close();
    far.abort();
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

#[test]
fn options_can_be_replaced_by_command() {
    let mut pair = Pair::new();
    let (near, far, listener) = pair.connected();
    let bound = pair.call(Side::Near, None, udp::Command::Bind { endpoint: addr("0.0.0.0:9") });
    let Ok((Response::Udp(udp::Response::Bound { handle: socket, .. }), _)) = bound else {
        panic!("{bound:?}");
    };
    let options = tcp::Options { hop_limit: Some(7), ..near.options() };
    let command = tcp::Command::SetOptions(Box::new(options.clone()));
    pair.call(Side::Near, Some(near.id()), command.clone()).expect("open");
    let of_udp = udp::Options { hop_limit: Some(9), ..udp::Options::default() };
    pair.call(Side::Near, Some(socket), udp::Command::SetOptions(of_udp)).expect("open");
    let refused = pair.call(Side::Near, Some(socket), command);
    assert_eq!(refused.err(), Some(Error::WrongSocket));

    let seen = record(&mut pair);
    assert_eq!(near.try_send(b"over TCP"), Ok(8));
    let send = udp::Command::Send { endpoint: addr("10.0.0.2:9"), buf: Bytes::from_static(b"x") };
    pair.call(Side::Near, Some(socket), send).expect("room");
    pair.run();

    let limits: Vec<_> = seen.borrow().iter().map(|packet| (packet[15], packet[8])).collect();
    assert!(limits.contains(&(1, 7)) && limits.contains(&(1, 9)), "{limits:?}");
    assert_eq!(near.options().hop_limit, options.hop_limit);
    pair.call(Side::Near, Some(socket), udp::Command::Close).expect("open");
    near.abort();
    far.abort();
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}
