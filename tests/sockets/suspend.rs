//! Connections over a suspend of the machine, and over a stop of the process.

use netstack::netsocket::{KeepAlive, TcpListener, TcpStream};
use netstack::switch::{PortConfig, Switch, SwitchConfig};
use netstack::{Builder, Clock, Stack};
use std::io::ErrorKind;
use std::time::Duration;
use tests::noise;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const HOURS: Duration = Duration::from_secs(8 * 3600);

/// Two stacks on Ethernet with clocks of their own, and a connection between them.
struct World {
    near: Stack,
    far: Stack,
    near_clock: Clock,
    client: TcpStream,
    server: TcpStream,
    _listener: TcpListener,
    _switch: Switch,
}

async fn world() -> World {
    let switch = Switch::new(SwitchConfig::default());
    let near_clock = Clock::new();
    let stack = |clock: &Clock, address: &str| {
        let port = switch.port(PortConfig::default()).expect("room");
        let builder = Builder::new().clock(clock.clone());
        builder.address(address.parse().expect("a network")).spawn(port).expect("a stack")
    };
    let (near, far) = (stack(&near_clock, "10.0.0.1/24"), stack(&Clock::new(), "10.0.0.2/24"));
    let listener = far.net().tcp_listen("10.0.0.2:80").await.expect("free");
    let (client, accepted) = tokio::join!(near.net().tcp_connect("10.0.0.2:80"), listener.accept());
    let (client, (server, _)) = (client.expect("a listener"), accepted.expect("a client"));
    World { near, far, near_clock, client, server, _listener: listener, _switch: switch }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_goes_on_after_a_suspend() {
    let mut world = world().await;

    world.near_clock.skip(HOURS);

    for _ in 0..2 {
        world.client.write_all(b"ping").await.expect("open");
        let mut buffer = [0; 4];
        world.server.read_exact(&mut buffer).await.expect("open");
        world.server.write_all(&buffer).await.expect("open");
        world.client.read_exact(&mut buffer).await.expect("open");
        assert_eq!(&buffer, b"ping");
        world.near_clock.skip(HOURS);
    }
}

#[tokio::test(start_paused = true)]
async fn a_transfer_continues_after_suspends() {
    let World { near, far, near_clock, mut client, mut server, _listener, _switch } = world().await;
    let data = noise(2_000_000);
    let expected = data.clone();
    let sending = tokio::spawn(async move {
        client.write_all(&data).await.expect("open");
        client.shutdown().await.expect("open");
        client
    });

    let mut received = vec![0; 100_000];
    server.read_exact(&mut received).await.expect("open");
    for _ in 0..5 {
        near_clock.skip(HOURS);
        let mut more = vec![0; 100_000];
        server.read_exact(&mut more).await.expect("open");
        received.extend(more);
    }
    server.read_to_end(&mut received).await.expect("open");

    assert!(received == expected, "{} bytes", received.len());
    drop((sending.await.expect("no panic"), server));
    for stack in [&near, &far] {
        assert_eq!(stack.net().snapshot().await.expect("it runs").counters.panics_caught, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn operation_on_a_silent_peer_times_out_after_a_suspend() {
    let World { near, far, near_clock, mut client, server, _listener, _switch } = world().await;
    client.set_user_timeout(Some(Duration::from_secs(60))).expect("open");
    far.net().control().set_link_up(false).await.expect("it runs");
    client.write_all(b"into the void").await.expect("open");
    tokio::time::sleep(Duration::from_secs(1)).await;

    let start = tokio::time::Instant::now();
    near_clock.skip(HOURS);
    let end = client.read(&mut [0]).await.expect_err("a timeout");

    assert_eq!(end.kind(), ErrorKind::TimedOut);
    assert!(start.elapsed() < Duration::from_secs(31), "{:?}", start.elapsed());
    drop((near, server));
}

#[tokio::test(start_paused = true)]
async fn a_stopped_process_continues_with_its_connections() {
    let mut world = world().await;
    world.client.set_keepalive(Some(KeepAlive::default())).expect("open");
    world.client.write_all(b"before").await.expect("open");

    // No task runs in the meantime, and every timer is late.
    tokio::time::advance(HOURS).await;

    let mut buffer = [0; 6];
    world.server.read_exact(&mut buffer).await.expect("open");
    world.server.write_all(b"after!").await.expect("open");
    world.client.read_exact(&mut buffer).await.expect("open");
    assert_eq!(&buffer, b"after!");
}
