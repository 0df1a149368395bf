//! Addresses, bind, connect.

use crate::case::Backends::Both;
use crate::case::{ALL, ASYNC, BAD_NETWORK, Case, EXHAUSTS, INSIDE, SYNC_AND_TOKIO, TOKIO, case};
use crate::sockets::{Stream, kind};
use crate::world::{DELAY, World};
use futures::FutureExt;
use netstack::Direction;
use netstack::netsocket::netcore::DropReason;
use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

pub(crate) const CASES: &[Case] = &[
    case!(1, "both sides report the same two addresses", ALL, Both, both_ends_agree),
    case!(2, "port 0 gives an ephemeral port, and not the next one", SYNC_AND_TOKIO, Both, port_0),
    case!(3, "a wildcard takes connections to any address", ALL, Both, wildcard_listener),
    case!(3, "a wildcard takes datagrams to any address", SYNC_AND_TOKIO, Both, wildcard_udp),
    case!(4, "a second bind of the same address and port is refused", SYNC_AND_TOKIO, Both, taken),
    case!(4, "a wildcard and one address conflict on a port", SYNC_AND_TOKIO, Both, conflict),
    case!(4, "the ports of TCP and UDP are independent", SYNC_AND_TOKIO, Both, port_spaces),
    case!(4, "two addresses may have the same port", SYNC_AND_TOKIO, INSIDE, same_port),
    case!(4, "a port is free as soon as its socket is dropped", SYNC_AND_TOKIO, Both, freed),
    case!(5, "a foreign address cannot be bound", SYNC_AND_TOKIO, Both, not_ours),
    case!(6, "a closed port refuses at once", ALL, Both, refused),
    case!(6, "a refusal costs one SYN and one RST", ASYNC, INSIDE, refused_by_two_packets),
    case!(7, "a black hole times out and leaves nothing", ASYNC, BAD_NETWORK, black_hole),
    case!(8, "a lost SYN only delays", ASYNC, BAD_NETWORK, lost_syn),
    case!(8, "a lost SYN|ACK only delays", ASYNC, BAD_NETWORK, lost_syn_ack),
    case!(8, "a lost last ACK only delays", ASYNC, BAD_NETWORK, lost_ack),
    case!(9, "connecting to port 0 fails at once", ALL, Both, port_0_is_no_target),
    case!(9, "connecting to nowhere fails at once", ALL, INSIDE, nowhere),
    case!(10, "a local port that was chosen is honoured", TOKIO, Both, chosen_port),
    case!(10, "a 4-tuple in use cannot be used again", TOKIO, Both, live_tuple),
    case!(11, "without free ports a connect fails until one is freed", TOKIO, EXHAUSTS, no_ports),
    case!(12, "a dropped connect leaves no socket", ASYNC, BAD_NETWORK, dropped_connect),
    case!(12, "a late SYN|ACK is answered by a RST", ASYNC, INSIDE, late_syn_ack),
    case!(13, "a host reaches itself", ALL, Both, itself),
    case!(13, "packets to itself do not leave the host", ASYNC, INSIDE, itself_inside),
];

async fn both_ends_agree(world: World) {
    let listener = world.far.listen(world.far.wildcard(0)).await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let dialled = world.far.address(port);
    let (client, accepted) = tokio::join!(world.near.connect(dialled), listener.accept());
    let (client, (server, peer)) = (client.expect("a listener"), accepted.expect("a client"));

    assert_eq!(client.local_addr().expect("connected"), server.peer_addr().expect("connected"));
    assert_eq!(client.peer_addr().expect("connected"), server.local_addr().expect("connected"));
    assert_eq!(server.local_addr().expect("connected"), dialled);
    assert_eq!(server.peer_addr().expect("connected"), peer);
}

async fn port_0(world: World) {
    let mut ports = Vec::new();
    for _ in 0..1000 {
        // Dropped at once: the kernel may choose it again, and so may we.
        let socket = world.far.bind_udp(world.far.address(0)).await.expect("a free port");
        ports.push(socket.local_addr().expect("bound").port());
    }

    assert!(ports.iter().all(|port| *port != 0));
    if world.is_ours() {
        assert!(ports.iter().all(|port| *port >= 49152), "RFC 6335 section 6");
    }
    let next = ports.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) <= 2).count();
    assert!(next < 50, "{next} of 1,000 were next to the one before (RFC 6056)");
    assert!(ports.iter().collect::<HashSet<_>>().len() > 500);
}

async fn wildcard_listener(world: World) {
    let listener = world.far.listen(world.far.wildcard(0)).await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();

    for address in &world.far.addresses {
        let to = SocketAddr::new(*address, port);
        let (client, accepted) = tokio::join!(world.near.connect(to), listener.accept());
        let (client, server) = (client.expect("a listener"), accepted.expect("a client").0);
        client.write_all(b"x").await.expect("open");
        assert_eq!(server.read_up_to(1).await.expect("open"), b"x");
    }
}

async fn wildcard_udp(world: World) {
    let receiver = world.far.bind_udp(world.far.wildcard(0)).await.expect("a free port");
    let port = receiver.local_addr().expect("bound").port();
    let sender = world.near.bind_udp(world.near.wildcard(0)).await.expect("a free port");

    for address in &world.far.addresses {
        sender.send_to(b"x", SocketAddr::new(*address, port)).await.expect("room");
        assert_eq!(receiver.recv_from(&mut [0; 2]).await.expect("a datagram").0, 1);
    }
}

async fn taken(world: World) {
    let (_listener, address) = world.listen().await;
    let second = world.far.listen(address).await.map(drop);
    assert_eq!(kind(second), Err(ErrorKind::AddrInUse));

    let socket = world.far.bind_udp(world.far.address(0)).await.expect("a free port");
    let second = world.far.bind_udp(socket.local_addr().expect("bound")).await.map(drop);
    assert_eq!(kind(second), Err(ErrorKind::AddrInUse));
}

async fn conflict(world: World) {
    let (_listener, address) = world.listen().await;
    let all = world.far.listen(world.far.wildcard(address.port())).await.map(drop);
    assert_eq!(kind(all), Err(ErrorKind::AddrInUse));

    let all = world.far.bind_udp(world.far.wildcard(0)).await.expect("a free port");
    let port = all.local_addr().expect("bound").port();
    let one = world.far.bind_udp(world.far.address(port)).await.map(drop);
    assert_eq!(kind(one), Err(ErrorKind::AddrInUse));
}

async fn port_spaces(world: World) {
    // Another program may have the same port for UDP, but not for each of these.
    let mut listeners = Vec::new();
    for _ in 0..20 {
        let (listener, address) = world.listen().await;
        listeners.push(listener);
        if world.far.bind_udp(address).await.is_ok() {
            return;
        }
    }
    panic!("no port of a listener can be had for UDP");
}

async fn same_port(world: World) {
    // A blocking stack has one address besides the loopback one.
    let loopback: IpAddr = match world.far.addresses[0] {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let first = world.far.bind_udp(world.far.address(4000)).await.expect("free");
    let second = world.far.bind_udp(SocketAddr::new(loopback, 4000)).await.expect("free");
    let sender = world.far.bind_udp(world.far.address(0)).await.expect("free");

    for (socket, text) in [(&first, b"one"), (&second, b"two")] {
        sender.send_to(text, socket.local_addr().expect("bound")).await.expect("room");
    }

    let mut buf = [0; 3];
    first.recv_from(&mut buf).await.expect("a datagram");
    assert_eq!(&buf, b"one");
    second.recv_from(&mut buf).await.expect("a datagram");
    assert_eq!(&buf, b"two");
}

async fn freed(world: World) {
    let (listener, address) = world.listen().await;
    drop(listener);
    world.far.listen(address).await.expect("free again");

    let socket = world.far.bind_udp(world.far.address(0)).await.expect("a free port");
    let address = socket.local_addr().expect("bound");
    drop(socket);
    world.far.bind_udp(address).await.expect("free again");
}

async fn not_ours(world: World) {
    // Documentation addresses (RFC 5737, RFC 3849), which no host has.
    let address: IpAddr = match world.far.addresses[0] {
        IpAddr::V4(_) => Ipv4Addr::new(192, 0, 2, 1).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    };
    let address = SocketAddr::new(address, 0);

    let listener = world.far.listen(address).await.map(drop);
    let socket = world.far.bind_udp(address).await.map(drop);

    assert_eq!(kind(listener), Err(ErrorKind::AddrNotAvailable));
    assert_eq!(kind(socket), Err(ErrorKind::AddrNotAvailable));
}

async fn refused(world: World) {
    let (_guard, address) = world.closed_port().await;

    let connected = world.near.connect(address).await;

    assert_eq!(kind(connected.map(drop)), Err(ErrorKind::ConnectionRefused));
}

async fn refused_by_two_packets(world: World) {
    let there = world.simulation();
    let start = Instant::now();

    let connected = world.near.connect(world.far.address(9)).await;

    assert_eq!(kind(connected.map(drop)), Err(ErrorKind::ConnectionRefused));
    assert!(start.elapsed() <= 2 * DELAY + Duration::from_millis(50));
    assert_eq!(there.near.counters(Direction::Outbound).sent, 1);
    assert_eq!(there.near.counters(Direction::Inbound).arrived, 1);
}

/// An unused address on the same network.
fn unused(world: &World) -> SocketAddr {
    let address: IpAddr = match world.far.addresses[0] {
        IpAddr::V4(_) => Ipv4Addr::new(10, 0, 0, 99).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x99).into(),
    };
    SocketAddr::new(address, 80)
}

async fn black_hole(world: World) {
    let start = Instant::now();

    let connected = world.near.connect(unused(&world)).await;

    assert_eq!(kind(connected.map(drop)), Err(ErrorKind::TimedOut));
    let took = start.elapsed().as_secs();
    assert!((127..=128).contains(&took), "{took} s, and Config has 127");
    let left = world.near.net().snapshot().await.expect("running");
    assert!(left.sockets.is_empty() && left.timers == 0, "left behind:\n{left}");
}

/// Loses the first packet in one direction that has just these flags.
fn lose_first(world: &World, lost: Direction, flags: u8) {
    let mut is_lost = false;
    world.simulation().near.set_filter(move |direction, packet| {
        let header = if packet[0] >> 4 == 4 { 20 } else { 40 };
        // FIN, SYN, RST, PSH and ACK.
        let is_it = direction == lost && packet[header + 13] & 0x1f == flags && !is_lost;
        is_lost |= is_it;
        !is_it
    });
}

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// Connects, and reads the server's greeting.
async fn connects_late(world: World) {
    let (listener, address) = world.listen().await;
    let serve = async {
        let (server, _) = listener.accept().await.expect("a client");
        server.write_all(b"welcome").await.expect("open");
        server
    };
    let start = Instant::now();

    let (client, server) = tokio::join!(world.near.connect(address), serve);

    let client = client.expect("a listener");
    assert_eq!(client.read_up_to(7).await.expect("open"), b"welcome");
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(
        world.simulation().near.counters(Direction::Outbound).lost
            + world.simulation().near.counters(Direction::Inbound).lost,
        1
    );
    drop(server);
}

async fn lost_syn(world: World) {
    lose_first(&world, Direction::Outbound, SYN);
    connects_late(world).await;
}

async fn lost_syn_ack(world: World) {
    lose_first(&world, Direction::Inbound, SYN | ACK);
    connects_late(world).await;
}

async fn lost_ack(world: World) {
    lose_first(&world, Direction::Outbound, ACK);
    connects_late(world).await;
}

async fn port_0_is_no_target(world: World) {
    let connecting = world.near.connect(world.far.address(0));
    let connected = timeout(Duration::from_secs(5), connecting).await.expect("not a hang");
    assert!(connected.is_err());
}

async fn nowhere(world: World) {
    let elsewhere: IpAddr = match world.far.addresses[0] {
        IpAddr::V4(_) => Ipv4Addr::new(192, 0, 2, 1).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    };
    for (to, expected) in [
        (world.far.address(0), ErrorKind::InvalidInput),
        (SocketAddr::new(elsewhere, 80), ErrorKind::NetworkUnreachable),
    ] {
        let connecting = world.near.connect(to);
        let connected = timeout(Duration::from_secs(5), connecting).await.expect("not a hang");
        assert_eq!(kind(connected.map(drop)), Err(expected), "{to}");
    }
}

async fn chosen_port(world: World) {
    let (listener, address) = world.listen().await;
    let port = free_port(&world).await;

    let client = world.near.connect_from(port, address).await.expect("a listener");

    assert_eq!(client.local_addr().expect("connected"), world.near.address(port));
    assert_eq!(listener.accept().await.expect("a client").1, world.near.address(port));
}

/// A port of near that a listener had until now.
async fn free_port(world: &World) -> u16 {
    let listener = world.near.listen(world.near.address(0)).await.expect("a free port");
    listener.local_addr().expect("bound").port()
}

async fn live_tuple(world: World) {
    let (listener, address) = world.listen().await;
    let port = free_port(&world).await;
    let first = world.near.connect_from(port, address).await.expect("a listener");
    let (server, _) = listener.accept().await.expect("a client");

    let second = kind(world.near.connect_from(port, address).await.map(drop));

    let expected = [Err(ErrorKind::AddrInUse), Err(ErrorKind::AddrNotAvailable)];
    assert!(expected.contains(&second), "{second:?}");
    first.write_all(b"still there").await.expect("open");
    assert_eq!(server.read_up_to(11).await.expect("open"), b"still there");
}

async fn no_ports(world: World) {
    let (listener, address) = world.listen().await;
    let mut clients: Vec<Stream> = Vec::new();
    let mut servers = Vec::new();
    let error = loop {
        match world.near.connect(address).await {
            Ok(client) => clients.push(client),
            Err(error) => break error,
        }
        servers.push(listener.accept().await.expect("a client"));
    };
    assert_eq!((error.kind(), clients.len()), (ErrorKind::AddrNotAvailable, 65536 - 49152));

    // The server closes first, so that it has the TIME-WAIT.
    drop(servers.pop());
    world.settle().await;
    drop(clients.pop());
    world.settle().await;

    // The only free port is the one whose 4-tuple is in TIME-WAIT at the peer (RFC 6191).
    world.near.connect(address).await.expect("one port is free");
}

async fn dropped_connect(world: World) {
    for _ in 0..100 {
        let mut connecting = pin!(world.near.connect(unused(&world)));
        assert!(futures::poll!(connecting.as_mut()).is_pending());
        sleep(Duration::from_millis(1)).await;
        assert_eq!(world.near.net().snapshot().await.expect("running").sockets.len(), 1);
        assert!(futures::poll!(connecting.as_mut()).is_pending());
    }

    sleep(Duration::from_millis(1)).await;
    let left = world.near.net().snapshot().await.expect("running");
    assert!(left.sockets.is_empty() && left.timers == 0, "left behind:\n{left}");
}

async fn late_syn_ack(world: World) {
    let (listener, address) = world.listen().await;
    let there = world.simulation();
    there.near.set_link(there.near.link().delay(Duration::from_millis(100)));

    assert!(timeout(Duration::from_millis(50), world.near.connect(address)).await.is_err());
    sleep(Duration::from_secs(1)).await;

    assert_eq!(world.near.net().snapshot().await.expect("running").counters.resets_sent, 1);
    let far = world.far.net().snapshot().await.expect("running");
    assert_eq!(far.sockets.len(), 1, "only the listener is left:\n{far}");
    assert!(listener.accept().now_or_never().is_none());
}

async fn itself(world: World) {
    let listener = world.near.listen(world.near.address(0)).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (client, accepted) = tokio::join!(world.near.connect(address), listener.accept());
    let (client, server) = (client.expect("a listener"), accepted.expect("a client").0);

    client.write_all(b"to myself").await.expect("open");
    client.shutdown(std::net::Shutdown::Write).await.expect("open");

    assert_eq!(server.read_to_end().await.expect("open"), b"to myself");
}

async fn itself_inside(world: World) {
    itself(world.clone()).await;

    let there = world.simulation();
    let counters = world.near.net().snapshot().await.expect("running").counters;
    assert_eq!(there.near.counters(Direction::Outbound).sent, 0);
    assert!(counters.loopback_packets > 0);
    assert_eq!(counters.dropped(DropReason::NotForUs), 0);
}
