//! UDP-Lite (RFC 3828) between two stacks, by commands.
//!
//! cargo test -p netcore --features udp-lite --test udp_lite

mod harness;

use bytes::Bytes;
use harness::{Pair, Side, addr};
use netcore::udp_lite::{Command, Response};
use netcore::{DropReason, Error, SocketId};
use std::cell::Cell;
use std::rc::Rc;

fn bind(pair: &mut Pair, side: Side, endpoint: &str) -> SocketId {
    let command = Command::Bind { endpoint: addr(endpoint) };
    match pair.call(side, None, command).expect("free").0.try_into() {
        Ok(Response::Bound { handle, .. }) => handle,
        other => panic!("{other:?}"),
    }
}

fn send(pair: &mut Pair, from: SocketId, to: &str, coverage: Option<u16>, payload: &'static [u8]) {
    let buf = Bytes::from_static(payload);
    let command = Command::Send { endpoint: addr(to), coverage, buf };
    pair.call(Side::Near, Some(from), command).expect("room");
}

fn receive(pair: &mut Pair, socket: SocketId) -> (String, Bytes) {
    match pair.call(Side::Far, Some(socket), Command::Recv).expect("a datagram").0.try_into() {
        Ok(Response::Received { remote, buf }) => (remote.to_string(), buf),
        other => panic!("{other:?}"),
    }
}

fn close(pair: &mut Pair, near: SocketId, far: SocketId) {
    pair.call(Side::Near, Some(near), Command::Close).expect("open");
    pair.call(Side::Far, Some(far), Command::Close).expect("open");
    let gone = pair.call(Side::Far, Some(far), Command::Recv);
    assert_eq!(gone.err(), Some(Error::Closed));
}

#[test]
fn datagrams_arrive_over_both_families() {
    let mut pair = Pair::new();
    let far = bind(&mut pair, Side::Far, "[::]:7");
    for (local, remote, seen) in [
        ("10.0.0.1:5", "10.0.0.2:7", "[::ffff:10.0.0.1]:5"),
        ("[fd00::1]:5", "[fd00::2]:7", "[fd00::1]:5"),
    ] {
        let near = bind(&mut pair, Side::Near, local);
        send(&mut pair, near, remote, None, b"all of it");
        assert_eq!(receive(&mut pair, far), (seen.to_owned(), Bytes::from_static(b"all of it")));
        pair.call(Side::Near, Some(near), Command::Close).expect("open");
    }
    pair.call(Side::Far, Some(far), Command::Close).expect("open");
}

#[test]
fn datagram_damaged_outside_its_coverage_is_delivered() {
    let mut pair = Pair::new();
    let near = bind(&mut pair, Side::Near, "10.0.0.1:5");
    let far = bind(&mut pair, Side::Far, "10.0.0.2:7");
    let damage_at = Rc::new(Cell::new(0));
    let at = damage_at.clone();
    pair.wire = Box::new(move |packet| {
        let mut packet = packet.to_vec();
        packet[28 + at.get()] ^= 0x20;
        Some(packet.into())
    });

    damage_at.set(5);
    send(&mut pair, near, "10.0.0.2:7", Some(4), b"headTAIL");
    assert_eq!(receive(&mut pair, far).1, "headTaIL");

    damage_at.set(3);
    send(&mut pair, near, "10.0.0.2:7", Some(4), b"headTAIL");
    pair.run();
    assert_eq!(pair.far.stack.counters().dropped(DropReason::Checksum), 1);
    close(&mut pair, near, far);
}

#[test]
fn port_without_socket_is_answered_and_queue_is_bounded() {
    let mut pair = Pair::new();
    let near = bind(&mut pair, Side::Near, "10.0.0.1:5");
    let far = bind(&mut pair, Side::Far, "10.0.0.2:7");
    send(&mut pair, near, "10.0.0.2:8", None, b"nobody");
    pair.run();
    assert_eq!(pair.far.stack.counters().icmp_sent, 1);

    static LARGE: [u8; 60_000] = [0; 60_000];
    for _ in 0..1000 {
        send(&mut pair, near, "10.0.0.2:7", None, &LARGE);
        pair.run();
    }
    assert!(pair.far.stack.counters().dropped(DropReason::QueueFull) > 0);
    close(&mut pair, near, far);
}
