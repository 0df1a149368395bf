//! UDP.

use crate::case::Backends::Both;
use crate::case::{Case, INSIDE, SYNC_AND_TOKIO, TOKIO, case};
use crate::sockets::{Udp, kind};
use crate::world::World;
use netstack::Direction;
use std::io::ErrorKind;
use std::net::SocketAddr;
use tests::noise;

pub(crate) const CASES: &[Case] = &[
    case!(52, "a datagram comes with the address it was sent from", SYNC_AND_TOKIO, Both, source),
    case!(53, "without a peer there is nowhere to send to", SYNC_AND_TOKIO, Both, no_peer),
    case!(54, "a short buffer cuts a datagram and not the next", SYNC_AND_TOKIO, Both, truncated),
    case!(54, "an empty datagram is one", SYNC_AND_TOKIO, Both, empty),
    case!(54, "peeking leaves the datagram", SYNC_AND_TOKIO, Both, peek),
    case!(54, "receiving nothing would block", SYNC_AND_TOKIO, Both, would_block),
    case!(55, "a datagram too large fails at once", SYNC_AND_TOKIO, Both, too_large),
    case!(55, "a datagram too large sends nothing", TOKIO, INSIDE, too_large_sends_nothing),
    case!(55, "a datagram larger than the MTU arrives whole", SYNC_AND_TOKIO, Both, fragmented),
    case!(
        58,
        "a connected socket receives only from its peer",
        SYNC_AND_TOKIO,
        Both,
        only_its_peer
    ),
    case!(58, "a connected socket reports a closed port", SYNC_AND_TOKIO, Both, refused),
    case!(58, "connecting again changes the peer", SYNC_AND_TOKIO, Both, another_peer),
    case!(58, "two tasks use one socket at once", SYNC_AND_TOKIO, Both, two_tasks),
    case!(59, "a time to live of a socket reads back", SYNC_AND_TOKIO, Both, ttl),
];

/// A socket of near, a socket of far, and their addresses.
async fn sockets(world: &World) -> ((Udp, SocketAddr), (Udp, SocketAddr)) {
    let near = world.near.bind_udp(world.near.address(0)).await.expect("a free port");
    let far = world.far.bind_udp(world.far.address(0)).await.expect("a free port");
    let addresses = [&near, &far].map(|socket| socket.local_addr().expect("bound"));
    ((near, addresses[0]), (far, addresses[1]))
}

async fn source(world: World) {
    let ((near, near_address), (far, far_address)) = sockets(&world).await;
    let mut buf = [0; 10];

    assert_eq!(near.send_to(b"ping", far_address).await.expect("room"), 4);
    let (n, from) = far.recv_from(&mut buf).await.expect("a datagram");
    assert_eq!((&buf[..n], from), (&b"ping"[..], near_address));
    far.send_to(b"pong", from).await.expect("room");
    let (n, from) = near.recv_from(&mut buf).await.expect("a datagram");
    assert_eq!((&buf[..n], from), (&b"pong"[..], far_address));
}

async fn no_peer(world: World) {
    let ((near, _), _) = sockets(&world).await;

    let sent = near.send(b"x").await.expect_err("nowhere");
    // Rust has no kind for EDESTADDRREQ, which the kernel gives.
    let is_kernels = sent.raw_os_error() == Some(89);
    assert!(sent.kind() == ErrorKind::NotConnected || is_kernels, "{sent:?}");
    assert_eq!(kind(near.peer_addr()), Err(ErrorKind::NotConnected));
}

async fn truncated(world: World) {
    let ((near, _), (far, far_address)) = sockets(&world).await;
    for datagram in [&b"a long one"[..], b"short"] {
        near.send_to(datagram, far_address).await.expect("room");
    }

    let mut buf = [0; 6];
    assert_eq!(far.recv_from(&mut buf).await.expect("a datagram").0, 6);
    assert_eq!(&buf, b"a long");
    assert_eq!(far.recv_from(&mut buf).await.expect("a datagram").0, 5);
    assert_eq!(&buf[..5], b"short");
}

async fn empty(world: World) {
    let ((near, near_address), (far, far_address)) = sockets(&world).await;

    assert_eq!(near.send_to(b"", far_address).await.expect("room"), 0);

    assert_eq!(far.recv_from(&mut [0]).await.expect("a datagram"), (0, near_address));
}

async fn peek(world: World) {
    let ((near, near_address), (far, far_address)) = sockets(&world).await;
    near.send_to(b"hello", far_address).await.expect("room");
    let mut buf = [0; 10];

    for _ in 0..2 {
        assert_eq!(far.peek_from(&mut buf).await.expect("a datagram"), (5, near_address));
        assert_eq!(&buf[..5], b"hello");
    }

    assert_eq!(far.recv_from(&mut buf).await.expect("a datagram"), (5, near_address));
    assert_eq!(kind(far.try_recv_from(&mut buf)), Err(ErrorKind::WouldBlock));
}

async fn would_block(world: World) {
    let ((near, _), (far, far_address)) = sockets(&world).await;
    assert_eq!(kind(far.try_recv_from(&mut [0])), Err(ErrorKind::WouldBlock));

    near.send_to(b"x", far_address).await.expect("room");
    far.peek_from(&mut [0]).await.expect("a datagram");

    assert_eq!(far.try_recv_from(&mut [0]).expect("a datagram").0, 1);
}

async fn too_large(world: World) {
    let ((near, _), (far, far_address)) = sockets(&world).await;

    let error = near.send_to(&[0; 65_536], far_address).await.expect_err("too large");

    // Rust has no stable kind for EMSGSIZE, which the kernel gives.
    let is_kernels = error.raw_os_error() == Some(90);
    assert!(error.kind() == ErrorKind::InvalidInput || is_kernels, "{error:?}");
    near.send_to(b"small", far_address).await.expect("room");
    assert_eq!(far.recv_from(&mut [0; 10]).await.expect("a datagram").0, 5);
}

async fn too_large_sends_nothing(world: World) {
    let ((near, _), (_far, far_address)) = sockets(&world).await;

    // 65,507 bytes are what IPv4 has room for, and IPv6 has 20 more.
    for len in [65_508, 65_528, 100_000] {
        if len == 65_508 && far_address.is_ipv6() {
            continue;
        }
        assert!(near.send_to(&vec![0; len], far_address).await.is_err(), "{len} bytes");
    }
    world.settle().await;

    assert_eq!(world.simulation().near.counters(Direction::Outbound).sent, 0);
}

async fn fragmented(world: World) {
    let ((near, _), (far, far_address)) = sockets(&world).await;
    let mut buf = vec![0; 70_000];
    for len in [1472, 1473, 10_000, 65_507] {
        let data = noise(len);
        assert_eq!(near.send_to(&data, far_address).await.expect("room"), len);
        let (n, _) = far.recv_from(&mut buf).await.expect("a datagram");
        assert!(buf[..n] == data, "{n} bytes of {len}");
    }
}

async fn only_its_peer(world: World) {
    let ((near, near_address), (far, far_address)) = sockets(&world).await;
    let stranger = world.near.bind_udp(world.near.address(0)).await.expect("a free port");
    far.connect(near_address).await.expect("an address");
    assert_eq!(far.peer_addr().expect("connected"), near_address);

    stranger.send_to(b"stranger", far_address).await.expect("room");
    near.send_to(b"peer", far_address).await.expect("room");

    let mut buf = [0; 10];
    assert_eq!(far.recv(&mut buf).await.expect("a datagram"), 4);
    assert_eq!(&buf[..4], b"peer");
    far.send(b"answer").await.expect("room");
    assert_eq!(near.recv_from(&mut buf).await.expect("a datagram"), (6, far_address));
}

async fn refused(world: World) {
    let ((near, _), (far, far_address)) = sockets(&world).await;
    drop(far);
    near.connect(far_address).await.expect("an address");

    near.send(b"to a closed port").await.expect("room");

    assert_eq!(kind(near.recv(&mut [0]).await), Err(ErrorKind::ConnectionRefused));
}

async fn another_peer(world: World) {
    let ((near, near_address), (far, far_address)) = sockets(&world).await;
    let other = world.near.bind_udp(world.near.address(0)).await.expect("a free port");
    let other_address = other.local_addr().expect("bound");

    far.connect(near_address).await.expect("an address");
    far.connect(other_address).await.expect("an address");

    assert_eq!(far.peer_addr().expect("connected"), other_address);
    far.send(b"x").await.expect("room");
    assert_eq!(other.recv_from(&mut [0]).await.expect("a datagram"), (1, far_address));
    assert_eq!(kind(near.try_recv_from(&mut [0])), Err(ErrorKind::WouldBlock));
}

async fn two_tasks(world: World) {
    let ((near, near_address), (far, far_address)) = sockets(&world).await;
    near.connect(far_address).await.expect("an address");
    far.connect(near_address).await.expect("an address");
    let ask = async {
        for number in 0..100u8 {
            near.send(&[number]).await.expect("room");
        }
    };
    let answer = async {
        for number in 0..100u8 {
            let mut buf = [0; 2];
            assert_eq!(far.recv(&mut buf).await.expect("a datagram"), 1);
            assert_eq!(buf[0], number);
            far.send(&buf[..1]).await.expect("room");
        }
    };

    tokio::join!(ask, answer);

    for number in 0..100u8 {
        let mut buf = [0; 2];
        assert_eq!(near.recv(&mut buf).await.expect("an answer"), 1);
        assert_eq!(buf[0], number);
    }
}

async fn ttl(world: World) {
    let ((near, _), _) = sockets(&world).await;
    for ttl in [1, 9, 255] {
        near.set_ttl(ttl).expect("valid");
        assert_eq!(near.ttl().expect("open"), ttl);
    }
    for ttl in [0, 256] {
        assert_eq!(kind(near.set_ttl(ttl)), Err(ErrorKind::InvalidInput), "{ttl}");
    }
}
