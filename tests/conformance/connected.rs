//! UDP sockets with a peer, and the address that stands for this host.

use crate::case::Backends::Both;
use crate::case::{ALL, Case, SYNC_AND_TOKIO, case};
use crate::sockets::{Udp, kind};
use crate::world::{Host, World};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub(crate) const CASES: &[Case] = &[
    case!(64, "a wildcard socket is at its source once connected", SYNC_AND_TOKIO, Both, concrete),
    case!(64, "a wildcard socket keeps its source with another peer", SYNC_AND_TOKIO, Both, kept),
    case!(
        64,
        "a connected wildcard socket is at one address only",
        SYNC_AND_TOKIO,
        Both,
        elsewhere
    ),
    case!(64, "a connected socket sends to others too", SYNC_AND_TOKIO, Both, to_others),
    case!(65, "datagrams received before a connect are kept", SYNC_AND_TOKIO, Both, came_before),
    case!(66, "a stranger of a connected socket is refused", SYNC_AND_TOKIO, Both, stranger),
    case!(67, "connecting to the wildcard reaches this host", ALL, Both, this_host),
    case!(67, "a datagram to the wildcard reaches this host", SYNC_AND_TOKIO, Both, datagram),
    case!(67, "a peer at the wildcard is this host", SYNC_AND_TOKIO, Both, peer),
    case!(67, "the wildcard is the address of a bound socket", SYNC_AND_TOKIO, Both, own_address),
    case!(68, "port 0 is no destination of datagrams", SYNC_AND_TOKIO, Both, port_0),
];

async fn bind(host: &Host, at: SocketAddr) -> (Udp, SocketAddr) {
    let socket = host.bind_udp(at).await.expect("a free port");
    let address = socket.local_addr().expect("bound");
    (socket, address)
}

async fn concrete(world: World) {
    let (near, wildcard) = bind(&world.near, world.near.wildcard(0)).await;
    let (far, far_address) = bind(&world.far, world.far.address(0)).await;
    assert!(wildcard.ip().is_unspecified());

    near.connect(far_address).await.expect("a route");

    let local = near.local_addr().expect("connected");
    assert!(world.near.addresses.contains(&local.ip()), "{local}");
    assert_eq!(local.port(), wildcard.port());
    near.send(b"x").await.expect("room");
    assert_eq!(far.recv_from(&mut [0]).await.expect("a datagram"), (1, local));
}

async fn kept(world: World) {
    let (near, _) = bind(&world.near, world.near.wildcard(0)).await;
    let (_far, far_address) = bind(&world.far, world.far.address(0)).await;
    near.connect(far_address).await.expect("a route");
    let local = near.local_addr().expect("connected");

    // This host's own address would be the source otherwise.
    let (own, own_address) = bind(&world.near, SocketAddr::new(*last(&world.near), 0)).await;
    near.connect(own_address).await.expect("a route");

    assert_eq!(near.local_addr().expect("connected"), local);
    near.send(b"x").await.expect("room");
    assert_eq!(own.recv_from(&mut [0]).await.expect("a datagram"), (1, local));
}

fn last(host: &Host) -> &IpAddr {
    host.addresses.last().expect("every host has one")
}

async fn elsewhere(world: World) {
    let (near, _) = bind(&world.near, world.near.wildcard(0)).await;
    let (far, far_address) = bind(&world.far, world.far.address(0)).await;
    near.connect(far_address).await.expect("a route");
    let local = near.local_addr().expect("connected");

    let others = world.near.addresses.iter().filter(|ip| **ip != local.ip());
    for other in others {
        far.send_to(b"elsewhere", SocketAddr::new(*other, local.port())).await.expect("room");
    }
    far.send_to(b"here", local).await.expect("room");

    assert_eq!(near.recv(&mut [0; 10]).await.expect("a datagram"), 4);
}

async fn to_others(world: World) {
    let (near, near_address) = bind(&world.near, world.near.address(0)).await;
    let (_far, far_address) = bind(&world.far, world.far.address(0)).await;
    let (other, other_address) = bind(&world.far, world.far.address(0)).await;
    near.connect(far_address).await.expect("a route");

    near.send_to(b"x", other_address).await.expect("room");

    assert_eq!(other.recv_from(&mut [0]).await.expect("a datagram"), (1, near_address));
}

async fn came_before(world: World) {
    let (near, near_address) = bind(&world.near, world.near.address(0)).await;
    let (far, far_address) = bind(&world.far, world.far.address(0)).await;
    let (other, _) = bind(&world.far, world.far.address(0)).await;
    other.send_to(b"stranger", near_address).await.expect("room");
    near.peek_from(&mut [0]).await.expect("a datagram");

    near.connect(far_address).await.expect("a route");
    far.send_to(b"peer", near_address).await.expect("room");

    assert_eq!(near.recv(&mut [0; 10]).await.expect("a datagram"), 8);
    assert_eq!(near.recv(&mut [0; 10]).await.expect("a datagram"), 4);
}

async fn stranger(world: World) {
    let (near, near_address) = bind(&world.near, world.near.address(0)).await;
    let (_far, far_address) = bind(&world.far, world.far.address(0)).await;
    let (other, _) = bind(&world.far, world.far.address(0)).await;
    near.connect(far_address).await.expect("a route");
    other.connect(near_address).await.expect("a route");

    other.send(b"x").await.expect("room");

    assert_eq!(kind(other.recv(&mut [0]).await), Err(ErrorKind::ConnectionRefused));
    assert_eq!(kind(near.try_recv_from(&mut [0])), Err(ErrorKind::WouldBlock));
}

fn loopback(address: SocketAddr) -> IpAddr {
    match address {
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    }
}

async fn this_host(world: World) {
    let listener = world.near.listen(world.near.wildcard(0)).await.expect("a free port");
    let address = listener.local_addr().expect("bound");

    let client = world.near.connect(address).await.expect("this host");

    let (_server, _) = listener.accept().await.expect("a client");
    let there = SocketAddr::new(loopback(address), address.port());
    assert_eq!(client.peer_addr().expect("connected"), there);
}

async fn datagram(world: World) {
    let (receiver, address) = bind(&world.near, world.near.wildcard(0)).await;
    let (sender, from) = bind(&world.near, world.near.wildcard(0)).await;

    sender.send_to(b"x", address).await.expect("room");

    let there = SocketAddr::new(loopback(from), from.port());
    assert_eq!(receiver.recv_from(&mut [0]).await.expect("a datagram"), (1, there));
}

async fn peer(world: World) {
    let (receiver, address) = bind(&world.near, world.near.wildcard(0)).await;
    let (sender, from) = bind(&world.near, world.near.wildcard(0)).await;

    sender.connect(address).await.expect("this host");

    let there = SocketAddr::new(loopback(address), address.port());
    assert_eq!(sender.peer_addr().expect("connected"), there);
    let local = SocketAddr::new(loopback(from), from.port());
    assert_eq!(sender.local_addr().expect("connected"), local);
    sender.send(b"x").await.expect("room");
    assert_eq!(receiver.recv_from(&mut [0]).await.expect("a datagram"), (1, local));
}

/// Over IPv4; over IPv6 it is loopback for every socket.
async fn own_address(world: World) {
    let (receiver, address) = bind(&world.near, world.near.wildcard(0)).await;
    let (sender, from) = bind(&world.near, SocketAddr::new(*last(&world.near), 0)).await;

    sender.connect(address).await.expect("this host");

    let expected = if address.is_ipv4() { from.ip() } else { loopback(address) };
    assert_eq!(sender.peer_addr().expect("connected").ip(), expected);
    sender.send(b"x").await.expect("room");
    assert_eq!(receiver.recv_from(&mut [0]).await.expect("a datagram"), (1, from));
}

async fn port_0(world: World) {
    let (near, _) = bind(&world.near, world.near.address(0)).await;

    let sent = near.send_to(b"x", world.far.address(0)).await;

    assert_eq!(kind(sent), Err(ErrorKind::InvalidInput));
}
