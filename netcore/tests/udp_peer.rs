//! Connected UDP sockets: their local address, their input, and refused peers.

mod harness;

use bytes::Bytes;
use harness::{Pair, Side, addr};
use netcore::queue::{Datagram, DatagramQueue, SocketQueue};
use netcore::{Config, DropReason, Error, IpConfig, Response, control, udp};
use std::net::SocketAddr;
use std::sync::Arc;

#[test]
fn wildcard_socket_has_a_local_address_while_connected() {
    let mut pair = Pair::new();
    for (wildcard, peers, local) in [
        ("0.0.0.0:1000", ["10.0.0.2:2000", "127.0.0.1:2000"], "10.0.0.1:1000"),
        ("[::]:1001", ["10.0.0.2:2000", "127.0.0.1:2000"], "[::ffff:10.0.0.1]:1001"),
        ("[::]:1002", ["[fd00::2]:2000", "[::1]:2000"], "[fd00::1]:1002"),
    ] {
        let socket = bind(&mut pair, Side::Near, wildcard);
        assert_eq!(socket.local_address(), addr(wildcard));
        for peer in peers {
            assert_eq!(connect(&mut pair, &socket, Some(peer)), Ok(addr(local)), "{peer}");
            assert_eq!(socket.local_address(), addr(local));
        }

        assert_eq!(connect(&mut pair, &socket, None), Ok(addr(wildcard)));

        assert_eq!(socket.local_address(), addr(wildcard));
        assert_eq!(socket.peer(), None);
        socket.close();
    }
}

#[test]
fn connect_to_an_invalid_peer_fails_at_once() {
    let mut pair = Pair::new();
    let v4 = bind(&mut pair, Side::Near, "0.0.0.0:0");
    let dual = bind(&mut pair, Side::Near, "[::]:0");
    for (socket, peer, error) in [
        (&v4, "10.0.0.2:0", Error::ZeroPort),
        (&v4, "[fd00::2]:1", Error::WrongFamily),
        (&v4, "192.0.2.1:1", Error::NetworkUnreachable),
        (&v4, "10.0.0.255:1", Error::BroadcastForbidden),
        (&v4, "255.255.255.255:1", Error::BroadcastForbidden),
        (&dual, "[2001:db8::1]:1", Error::NetworkUnreachable),
    ] {
        assert_eq!(connect(&mut pair, socket, Some(peer)), Err(error), "{peer}");
        assert_eq!(socket.peer(), None, "{peer}");
    }
    connect(&mut pair, &dual, Some("10.0.0.2:1")).expect("a route");
    // Its source is one of IPv4, and stays.
    let other = connect(&mut pair, &dual, Some("[fd00::2]:1"));
    assert_eq!(other, Err(Error::WrongFamily));
    v4.close();
    dual.close();
}

#[test]
fn connect_keeps_the_source_of_queued_datagrams() {
    let mut pair = Pair::new();
    let far = bind(&mut pair, Side::Far, "10.0.0.2:2000");
    let itself = bind(&mut pair, Side::Near, "127.0.0.1:2000");
    let near = bind(&mut pair, Side::Near, "0.0.0.0:1000");
    send(&near, "127.0.0.1:2000", b"before").expect("room");
    connect(&mut pair, &near, Some("10.0.0.2:2000")).expect("a route");
    send(&near, "127.0.0.1:2000", b"after").expect("room");
    pair.run();

    assert_eq!(itself.try_recv().expect("the first").peer, addr("127.0.0.1:1000"));
    assert_eq!(itself.try_recv().expect("the second").peer, addr("10.0.0.1:1000"));
    for socket in [far, itself, near] {
        socket.close();
    }
}

#[test]
fn connected_socket_cannot_send_from_a_removed_address() {
    let mut pair = Pair::new();
    let near = bind(&mut pair, Side::Near, "0.0.0.0:1000");
    let local = connect(&mut pair, &near, Some("10.0.0.2:2000")).expect("a route");
    let address = "10.0.0.1".parse().expect("an address");
    pair.call(Side::Near, None, control::Command::RemoveAddress { address }).expect("it is there");

    send(&near, "10.0.0.2:2000", b"x").expect("room");
    pair.run();

    // As on Linux it keeps what it chose.
    assert_eq!(near.local_address(), local);
    assert!(near.take_error().is_some(), "nothing can be sent from there");
    near.close();
}

#[test]
fn port_unreachable_for_strangers_is_rate_limited() {
    let config = Config {
        ip: IpConfig { icmp_errors_per_second: 5, ..IpConfig::default() },
        ..Config::default()
    };
    let mut pair = Pair::with(config, 1500);
    let near = bind(&mut pair, Side::Near, "10.0.0.1:1000");
    connect(&mut pair, &near, Some("10.0.0.2:2000")).expect("a route");
    let stranger = bind(&mut pair, Side::Far, "10.0.0.2:2001");
    stranger.set_peer(Some(addr("10.0.0.1:1000")));

    let mut refused = 0;
    for _ in 0..50 {
        while send(&stranger, "10.0.0.1:1000", b"x").is_err() {
            refused += 1;
        }
        pair.run();
    }
    refused += u32::from(stranger.take_error().is_some());

    assert_eq!(near.try_recv().err(), Some(Error::WouldBlock));
    assert!((1..=10).contains(&refused), "{refused} answers");
    let counters = pair.near.stack.counters();
    assert_eq!(counters.dropped(DropReason::RateLimited), 50 - u64::from(refused));
    near.close();
    stranger.close();
}

fn connect(
    pair: &mut Pair,
    socket: &DatagramQueue,
    peer: Option<&str>,
) -> Result<SocketAddr, Error> {
    let command = udp::Command::Connect { peer: peer.map(addr) };
    match pair.call(Side::Near, Some(socket.id()), command)? {
        (Response::Udp(udp::Response::Connected { local }), None) => Ok(local),
        other => panic!("connecting answered {other:?}"),
    }
}

fn bind(pair: &mut Pair, side: Side, endpoint: &str) -> Arc<DatagramQueue> {
    let endpoint = addr(endpoint);
    match pair.call(side, None, udp::Command::Bind { endpoint }) {
        Ok((_, Some(SocketQueue::Datagram(queue)))) => queue,
        other => panic!("binding {endpoint} gave {other:?}"),
    }
}

fn send(socket: &DatagramQueue, to: &str, payload: &[u8]) -> Result<(), Error> {
    let peer: SocketAddr = addr(to);
    let payload = Bytes::copy_from_slice(payload);
    socket.try_send(Datagram::new(peer, payload))
}
