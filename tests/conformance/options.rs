//! Deadlines and options.

use crate::case::Backends::Both;
use crate::case::{ALL, ASYNC, BAD_NETWORK, Case, INSIDE, MINUTES, SYNC, case};
use crate::sockets::kind;
use crate::world::{DELAY, World};
use netstack::Direction;
use netstack::netsocket::KeepAlive;
use netstack::sim::LinkConfig;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

pub(crate) const CASES: &[Case] = &[
    case!(47, "a read timeout ends a read and loses nothing", SYNC, Both, read_timeout),
    case!(47, "a write timeout ends a write", SYNC, Both, write_timeout),
    case!(47, "a timeout of zero is refused", SYNC, Both, zero_timeout),
    case!(48, "a connect with a timeout reaches a listener", SYNC, Both, connect_timeout),
    case!(
        48,
        "a connect with a timeout gives a black hole up",
        SYNC,
        BAD_NETWORK,
        connect_black_hole
    ),
    case!(49, "keep-alive ends a connection whose peer vanished", ASYNC, BAD_NETWORK, keep_alive),
    case!(
        49,
        "keep-alive keeps the connection of a silent peer that is alive",
        ASYNC,
        MINUTES,
        keep_alive_of_the_living
    ),
    case!(
        50,
        "data is unacknowledged for no longer than the user timeout",
        ASYNC,
        BAD_NETWORK,
        user_timeout
    ),
    case!(51, "nodelay reads back", ALL, Both, nodelay),
    case!(51, "a time to live is from 1 to 255 and reads back", ALL, Both, ttl),
    case!(51, "a time to live is on the wire", ASYNC, INSIDE, ttl_on_the_wire),
    case!(51, "keep-alive and user timeout read back", ASYNC, Both, patience),
    case!(51, "linger reads back", ASYNC, Both, linger),
];

const SHORT: Duration = Duration::from_millis(50);

fn is_timeout(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

async fn read_timeout(world: World) {
    let (client, server) = world.pair().await;
    client.set_read_timeout(Some(SHORT)).expect("not zero");
    let start = Instant::now();

    let error = client.read(&mut [0; 10]).await.expect_err("nothing was sent");

    assert!(is_timeout(error.kind()), "{error:?}");
    // The kernel's clock ticks in steps of up to 10 ms.
    assert!(start.elapsed() >= SHORT - Duration::from_millis(10));
    client.set_read_timeout(None).expect("none is fine");
    server.write_all(b"late").await.expect("open");
    assert_eq!(client.read_up_to(4).await.expect("open"), b"late");
}

async fn write_timeout(world: World) {
    let (client, server) = world.pair().await;
    client.set_write_timeout(Some(SHORT)).expect("not zero");
    let mut total = 0;

    let error = loop {
        match client.write(&[7; 100_000]).await {
            Ok(n) => total += n,
            Err(error) => break error,
        }
    };

    assert!(is_timeout(error.kind()), "{error:?}");
    assert_eq!(server.read_up_to(total).await.expect("open").len(), total);
}

async fn zero_timeout(world: World) {
    let (client, _server) = world.pair().await;
    let zero = Some(Duration::ZERO);
    assert_eq!(kind(client.set_read_timeout(zero)), Err(ErrorKind::InvalidInput));
    assert_eq!(kind(client.set_write_timeout(zero)), Err(ErrorKind::InvalidInput));
}

async fn connect_timeout(world: World) {
    let (_listener, address) = world.listen().await;
    world.near.connect_timeout(address, Duration::from_secs(5)).await.expect("a listener");

    let zero = world.near.connect_timeout(address, Duration::ZERO).await.map(drop);
    assert_eq!(kind(zero), Err(ErrorKind::InvalidInput));
}

async fn connect_black_hole(world: World) {
    let unused: IpAddr = match world.far.addresses[0] {
        IpAddr::V4(_) => Ipv4Addr::new(10, 0, 0, 99).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x99).into(),
    };
    let start = Instant::now();

    let connected = world.near.connect_timeout(SocketAddr::new(unused, 80), SHORT).await;

    assert_eq!(kind(connected.map(drop)), Err(ErrorKind::TimedOut));
    assert!(start.elapsed() >= SHORT);
}

const KEEP_ALIVE: KeepAlive =
    KeepAlive { idle: Duration::from_secs(10), interval: Duration::from_secs(2), count: 3 };

async fn keep_alive(world: World) {
    let (client, _server) = world.pair().await;
    client.set_keepalive(KEEP_ALIVE).expect("open");
    let sim = world.simulation();
    let start = sim.sim.elapsed();
    sim.near.set_link(LinkConfig::new().loss(1.0));

    assert_eq!(kind(client.read(&mut [0; 10]).await), Err(ErrorKind::TimedOut));

    let waited = sim.sim.elapsed() - start;
    let given = KEEP_ALIVE.idle + KEEP_ALIVE.interval * KEEP_ALIVE.count;
    // It counts from the peer's last word, which was in the handshake.
    assert!((given - 4 * DELAY..=given).contains(&waited), "{waited:?}");
    sim.near.set_link(LinkConfig::new().delay(DELAY));
}

async fn keep_alive_of_the_living(world: World) {
    let (client, server) = world.pair().await;
    client.set_keepalive(KEEP_ALIVE).expect("open");

    tokio::time::sleep(Duration::from_secs(10_000)).await;

    server.write_all(b"still there").await.expect("open");
    assert_eq!(client.read_up_to(11).await.expect("open"), b"still there");
}

async fn user_timeout(world: World) {
    let (client, _server) = world.pair().await;
    client.set_user_timeout(Duration::from_secs(7)).expect("open");
    let sim = world.simulation();
    sim.near.set_link(LinkConfig::new().loss(1.0));
    let start = sim.sim.elapsed();

    client.write_all(b"never acknowledged").await.expect("room");
    assert_eq!(kind(client.read(&mut [0; 10]).await), Err(ErrorKind::TimedOut));

    let waited = sim.sim.elapsed() - start;
    assert!((7..8).contains(&waited.as_secs()), "{waited:?}");
    sim.near.set_link(LinkConfig::new().delay(DELAY));
}

async fn patience(world: World) {
    let (client, _server) = world.pair().await;
    assert_eq!(client.keepalive().expect("open"), None);
    assert_eq!(client.user_timeout().expect("open"), None);
    client.set_keepalive(KEEP_ALIVE).expect("valid");
    client.set_user_timeout(Duration::from_secs(7)).expect("valid");
    assert_eq!(client.keepalive().expect("open"), Some(KEEP_ALIVE));
    assert_eq!(client.user_timeout().expect("open"), Some(Duration::from_secs(7)));
}

async fn nodelay(world: World) {
    let (client, _server) = world.pair().await;
    assert!(!client.nodelay().expect("open"), "off at first");
    for nodelay in [true, false] {
        client.set_nodelay(nodelay).expect("open");
        assert_eq!(client.nodelay().expect("open"), nodelay);
    }
}

async fn ttl(world: World) {
    let (client, _server) = world.pair().await;
    for ttl in [1, 9, 255] {
        client.set_ttl(ttl).expect("valid");
        assert_eq!(client.ttl().expect("open"), ttl);
    }
    for ttl in [0, 256, 1000] {
        assert_eq!(kind(client.set_ttl(ttl)), Err(ErrorKind::InvalidInput), "{ttl}");
    }
    assert_eq!(client.ttl().expect("open"), 255);
}

async fn ttl_on_the_wire(world: World) {
    let (client, server) = world.pair().await;
    let seen = Arc::new(AtomicU8::new(0));
    let last = seen.clone();
    world.simulation().near.set_filter(move |direction, packet| {
        if direction == Direction::Outbound {
            let position = if packet[0] >> 4 == 4 { 8 } else { 7 };
            last.store(packet[position], Ordering::Relaxed);
        }
        true
    });

    for ttl in [9, 200] {
        client.set_ttl(ttl).expect("valid");
        client.write_all(b"x").await.expect("open");
        server.read_up_to(1).await.expect("open");
        assert_eq!(u32::from(seen.load(Ordering::Relaxed)), ttl);
    }
}

async fn linger(world: World) {
    let (client, server) = world.pair().await;
    assert_eq!(client.linger().expect("open"), None);
    client.set_zero_linger().expect("open");
    assert_eq!(client.linger().expect("open"), Some(Duration::ZERO));
    drop(server);
}
