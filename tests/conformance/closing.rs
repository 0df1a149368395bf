//! Shutdown, close, reset.

use crate::case::Backends::Both;
use crate::case::{ALL, ASYNC, BAD_NETWORK, Case, INSIDE, MINUTES, STOPS, SYNC, TOKIO, case};
use crate::sockets::{Stream, kind};
use crate::world::World;
use netstack::Direction;
use netstack::blocking;
use std::io::ErrorKind;
use std::net::Shutdown;
use std::time::Duration;
use tests::noise;
use tokio::time::{Instant, sleep};

pub(crate) const CASES: &[Case] = &[
    case!(34, "after a shutdown of writing the other direction goes on", ALL, Both, half_close),
    case!(35, "the end follows all data in flight", ALL, Both, end_follows),
    case!(36, "writing after a shutdown is a broken pipe", ALL, Both, write_after_shutdown),
    case!(36, "shutting down again is no error", ASYNC, Both, shutdown_again),
    case!(36, "shutting down after a reset is no error", ASYNC, Both, shutdown_after_reset),
    case!(
        37,
        "after a shutdown of reading received data is read, then 0",
        SYNC,
        Both,
        shutdown_read
    ),
    case!(37, "a shutdown of reading wakes a reader", SYNC, Both, shutdown_read_wakes),
    case!(37, "a shutdown of reading sends nothing", TOKIO, INSIDE, shutdown_read_sends_nothing),
    case!(37, "a shutdown of both directions closes both", SYNC, Both, shutdown_both),
    case!(38, "the end stays the end", ALL, Both, end_stays),
    case!(39, "dropping unread bytes resets, after all sent data", ALL, Both, drop_unread),
    case!(40, "dropping a drained stream sends a FIN, then resets", ALL, Both, drop_read),
    case!(41, "a linger of zero resets", ASYNC, Both, zero_linger),
    case!(42, "a reset wakes a reader", ASYNC, Both, reset_wakes),
    case!(43, "stopping the stack ends all pending calls", ASYNC, STOPS, stopped),
    case!(43, "handles that outlive the stack fail", ALL, STOPS, outlived),
    case!(44, "10,000 connections leave nothing behind", TOKIO, MINUTES, ten_thousand),
    case!(45, "a peer that is gone is forgotten after a close", ASYNC, BAD_NETWORK, dead_peer),
    case!(45, "a peer that never closes is forgotten", ASYNC, INSIDE, peer_never_closes),
    case!(46, "a peer that acknowledges nothing times out", ASYNC, BAD_NETWORK, times_out),
];

async fn half_close(world: World) {
    let (client, server) = world.pair().await;
    client.write_all(b"question").await.expect("open");
    client.shutdown(Shutdown::Write).await.expect("open");

    assert_eq!(server.read_to_end().await.expect("open"), b"question");
    server.write_all(b"answer").await.expect("open");
    drop(server);

    assert_eq!(client.read_to_end().await.expect("open"), b"answer");
}

async fn end_follows(world: World) {
    let (client, server) = world.pair().await;
    let data = noise(200_000);
    let (sent, received) = tokio::join!(
        async {
            client.write_all(&data).await.expect("open");
            client.shutdown(Shutdown::Write).await.expect("open");
        },
        server.read_to_end()
    );

    let ((), received) = (sent, received.expect("open"));
    assert!(received == data, "{} bytes", received.len());
}

async fn write_after_shutdown(world: World) {
    let (client, _server) = world.pair().await;
    client.shutdown(Shutdown::Write).await.expect("open");

    assert_eq!(kind(client.write(b"x").await), Err(ErrorKind::BrokenPipe));
}

async fn shutdown_again(world: World) {
    let (client, server) = world.pair().await;
    for _ in 0..3 {
        client.shutdown(Shutdown::Write).await.expect("no error");
    }
    assert_eq!(server.read(&mut [0]).await.expect("the end"), 0);
    server.shutdown(Shutdown::Write).await.expect("no error");
}

async fn shutdown_after_reset(world: World) {
    let (client, server) = world.pair().await;
    client.set_zero_linger().expect("open");
    drop(client);
    server.readable().await.expect("an error to read");

    server.shutdown(Shutdown::Write).await.expect("no error");
}

async fn shutdown_read(world: World) {
    let (client, server) = world.pair().await;
    client.write_all(b"unread").await.expect("open");
    assert_eq!(server.peek(&mut [0]).await.expect("open"), 1);

    server.shutdown(Shutdown::Read).await.expect("open");

    assert_eq!(server.read_to_end().await.expect("open"), b"unread");
    assert_eq!(server.read(&mut [0]).await.expect("the end"), 0);
    server.write_all(b"still writes").await.expect("open");
    assert_eq!(client.read_up_to(12).await.expect("open"), b"still writes");
}

async fn shutdown_read_wakes(world: World) {
    let (client, server) = world.pair().await;
    let reader = server.clone();
    let reading = tokio::spawn(async move { reader.read(&mut [0]).await });
    world.settle().await;
    assert!(!reading.is_finished());

    server.shutdown(Shutdown::Read).await.expect("open");

    assert_eq!(reading.await.expect("no panic").expect("the end"), 0);
    server.write_all(b"still writes").await.expect("open");
    assert_eq!(client.read_up_to(12).await.expect("open"), b"still writes");
}

async fn shutdown_read_sends_nothing(world: World) {
    let there = world.simulation();
    let listener = world.far.net().tcp_listen(world.far.address(80)).await.expect("free");
    let connecting = world.near.net().tcp_connect(world.far.address(80));
    let (client, accepted) = tokio::join!(connecting, listener.accept());
    let client = blocking::TcpStream::from(client.expect("a listener"));
    world.settle().await;
    let sent = there.near.counters(Direction::Outbound).sent;

    client.shutdown(Shutdown::Read).expect("open");
    world.settle().await;

    assert_eq!(there.near.counters(Direction::Outbound).sent, sent);
    drop((client, accepted));
}

async fn shutdown_both(world: World) {
    let (client, server) = world.pair().await;
    client.write_all(b"last words").await.expect("open");

    client.shutdown(Shutdown::Both).await.expect("open");

    assert_eq!(client.read(&mut [0]).await.expect("the end"), 0);
    assert_eq!(kind(client.write(b"x").await), Err(ErrorKind::BrokenPipe));
    assert_eq!(server.read_to_end().await.expect("open"), b"last words");
}

async fn end_stays(world: World) {
    let (client, server) = world.pair().await;
    drop(client);
    for _ in 0..3 {
        assert_eq!(server.read(&mut [0]).await.expect("the end"), 0);
    }
}

async fn drop_unread(world: World) {
    let (client, server) = world.pair().await;
    server.write_all(b"last words").await.expect("open");
    assert_eq!(client.peek(&mut [0]).await.expect("open"), 1);
    client.write_all(b"never read").await.expect("open");
    assert_eq!(server.peek(&mut [0]).await.expect("open"), 1);

    drop(server);
    world.settle().await;

    // RFC 2525 section 2.17; data received before the reset is kept.
    assert_eq!(client.read_up_to(10).await.expect("received before"), b"last words");
    assert_eq!(kind(client.read(&mut [0]).await), Err(ErrorKind::ConnectionReset));
}

async fn drop_read(world: World) {
    let (client, server) = world.pair().await;
    drop(server);
    assert_eq!(client.read(&mut [0]).await.expect("the end"), 0);

    let mut written = Ok(0);
    for _ in 0..100 {
        written = kind(client.write(b"never read").await);
        if written.is_err() {
            break;
        }
        world.settle().await;
    }

    let expected = [Err(ErrorKind::BrokenPipe), Err(ErrorKind::ConnectionReset)];
    assert!(expected.contains(&written), "{written:?}");
}

async fn zero_linger(world: World) {
    let (client, server) = world.pair().await;
    client.set_zero_linger().expect("open");
    assert_eq!(client.linger().expect("open"), Some(Duration::ZERO));

    drop(client);

    assert_eq!(kind(server.read(&mut [0]).await), Err(ErrorKind::ConnectionReset));
}

async fn reset_wakes(world: World) {
    let (client, server) = world.pair().await;
    let reader = server.clone();
    let reading = tokio::spawn(async move { reader.read(&mut [0]).await });
    world.settle().await;
    client.set_zero_linger().expect("open");

    drop(client);

    let read = reading.await.expect("no panic");
    assert_eq!(kind(read), Err(ErrorKind::ConnectionReset));
    assert_dead(&server).await;
}

/// Every call on a reset stream returns at once.
async fn assert_dead(stream: &Stream) {
    for _ in 0..2 {
        let read = kind(stream.read(&mut [0]).await);
        assert!(matches!(read, Ok(0) | Err(ErrorKind::ConnectionReset)), "{read:?}");
        let written = kind(stream.write(b"x").await);
        let expected = [Err(ErrorKind::BrokenPipe), Err(ErrorKind::ConnectionReset)];
        assert!(expected.contains(&written), "{written:?}");
    }
}

async fn stopped(world: World) {
    let (client, server) = world.pair().await;
    let listener = world.near.listen(world.near.address(0)).await.expect("a free port");
    let socket = world.near.bind_udp(world.near.address(0)).await.expect("a free port");
    while client.try_write(&[7; 1 << 16]).is_ok() {}
    let (reader, writer, host) = (client.clone(), client.clone(), world.near.clone());
    let (full, unused) = (vec![7; 8 << 20], world.far.address(1));
    // So that the connect waits.
    let there = world.simulation();
    there.near.set_link(there.near.link().down());
    let waiting = [
        tokio::spawn(async move { reader.read(&mut [0]).await.map(drop) }),
        tokio::spawn(async move { writer.write_all(&full).await }),
        tokio::spawn(async move { listener.accept().await.map(drop) }),
        tokio::spawn(async move { socket.recv_from(&mut [0]).await.map(drop) }),
        tokio::spawn(async move { host.connect(unused).await.map(drop) }),
    ];
    world.settle().await;

    world.near.stop();

    for waiting in waiting {
        let ended = waiting.await.expect("no panic");
        assert_eq!(kind(ended), Err(ErrorKind::BrokenPipe));
    }
    drop((client, server));
}

async fn outlived(world: World) {
    let (client, server) = world.pair().await;
    let (listener, address) = world.listen().await;
    let socket = world.near.bind_udp(world.near.address(0)).await.expect("a free port");
    let gone = Err(ErrorKind::BrokenPipe);

    world.near.stop();
    world.settle().await;

    assert_eq!(kind(client.read(&mut [0]).await.map(drop)), gone);
    assert_eq!(kind(client.write(b"x").await.map(drop)), gone);
    assert_eq!(kind(client.peek(&mut [0]).await.map(drop)), gone);
    assert_eq!(kind(socket.recv_from(&mut [0]).await.map(drop)), gone);
    assert_eq!(kind(socket.send_to(b"x", address).await.map(drop)), gone);
    assert_eq!(kind(world.near.connect(address).await.map(drop)), gone);
    assert_eq!(kind(world.near.listen(world.near.address(0)).await.map(drop)), gone);
    assert!(client.local_addr().is_ok());
    drop((server, listener));
}

async fn ten_thousand(world: World) {
    let (listener, address) = world.listen().await;
    for _ in 0..100 {
        let mut open = Vec::new();
        for _ in 0..100 {
            let (client, accepted) = tokio::join!(world.near.connect(address), listener.accept());
            open.push((client.expect("a listener"), accepted.expect("a client")));
        }
        // The end of the run checks that nothing of them is left.
        drop(open);
        sleep(Duration::from_millis(500)).await;
    }
}

async fn dead_peer(world: World) {
    let there = world.simulation();
    let (client, server) = world.pair().await;
    there.near.set_link(there.near.link().down());
    client.write_all(b"into the void").await.expect("open");

    drop(client);

    assert_free_within_a_minute(&world).await;
    drop(server);
}

async fn peer_never_closes(world: World) {
    let (client, server) = world.pair().await;

    drop(client);

    assert_eq!(server.read(&mut [0]).await.expect("the end"), 0);
    assert_free_within_a_minute(&world).await;
    drop(server);
}

async fn assert_free_within_a_minute(world: &World) {
    sleep(Duration::from_secs(61)).await;
    let left = world.near.net().snapshot().await.expect("running");
    assert!(left.sockets.is_empty() && left.buffer_bytes == 0, "left behind:\n{left}");
}

async fn times_out(world: World) {
    let there = world.simulation();
    let (client, server) = world.pair().await;
    there.near.set_link(there.near.link().down());
    let start = Instant::now();
    client.write_all(b"into the void").await.expect("room");
    let sent = there.near.counters(Direction::Outbound).sent;

    assert_eq!(kind(client.read(&mut [0]).await), Err(ErrorKind::TimedOut));

    let took = start.elapsed().as_secs();
    assert!((900..=1000).contains(&took), "{took} s, and Config has 924");
    assert!(there.near.counters(Direction::Outbound).sent - sent > 5, "it was sent again");
    let written = kind(client.write(b"x").await);
    let expected = [Err(ErrorKind::TimedOut), Err(ErrorKind::BrokenPipe)];
    assert!(expected.contains(&written), "{written:?}");
    there.near.set_link(there.near.link().up());
    drop(server);
}
