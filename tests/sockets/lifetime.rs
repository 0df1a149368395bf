//! How stacks begin and end.

use super::{connect, pair};
use bytes::Bytes;
use netstack::device::pipe;
use netstack::{Builder, Config, Pair};
use std::io::ErrorKind;
use std::time::Duration;
use tests::noise;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(start_paused = true)]
async fn shutdown_sends_all_written_data_and_returns() {
    let (near, far) = pair();
    let (mut client, mut server, listener) = connect(&near, &far).await;
    let data = noise(500_000);
    client.write_all(&data).await.expect("open");

    let reading = tokio::spawn(async move {
        let mut received = Vec::new();
        server.read_to_end(&mut received).await.map(|_| received)
    });
    let accepting = tokio::spawn(async move { listener.accept().await.map(drop) });
    near.shutdown(Duration::from_secs(10)).await.expect("a pipe does not fail");

    let received = reading.await.expect("no panic").expect("whole");
    assert!(received == data, "{} bytes", received.len());
    assert_eq!(client.read(&mut [0]).await.expect("closed in good order"), 0);
    let write = client.write_all(b"x").await;
    assert_eq!(write.map_err(|e| e.kind()).err(), Some(ErrorKind::BrokenPipe));
    far.shutdown(Duration::from_secs(10)).await.expect("a pipe does not fail");
    let accepted = accepting.await.expect("no panic");
    assert_eq!(accepted.map_err(|e| e.kind()).err(), Some(ErrorKind::BrokenPipe));
}

#[tokio::test(start_paused = true)]
async fn shutdown_aborts_open_connections_at_the_deadline() {
    let (near, far) = pair();
    let (mut client, mut server, _listener) = connect(&near, &far).await;
    let writing = tokio::spawn(async move { client.write_all(&vec![7; 64 << 20]).await });
    tokio::time::sleep(Duration::from_secs(1)).await;

    let start = tokio::time::Instant::now();
    near.shutdown(Duration::from_secs(3)).await.expect("a pipe does not fail");

    assert_eq!(start.elapsed().as_secs(), 3);
    let written = writing.await.expect("no panic");
    assert_eq!(written.map_err(|e| e.kind()).err(), Some(ErrorKind::BrokenPipe));
    let mut received = Vec::new();
    let end = server.read_to_end(&mut received).await;
    assert_eq!(end.map_err(|e| e.kind()).err(), Some(ErrorKind::ConnectionReset));
}

#[tokio::test(start_paused = true)]
async fn dropping_a_stack_resolves_all_pending_operations() {
    let (near, far) = pair();
    let (mut client, _server, _listener) = connect(&near, &far).await;
    let listener = near.net().tcp_listen("10.0.0.1:81").await.expect("free");
    let socket = near.net().udp_bind("10.0.0.1:9").await.expect("free");
    let net = near.net().clone();
    let waiting = [
        tokio::spawn(async move { client.read(&mut [0]).await.map(drop) }),
        tokio::spawn(async move { listener.accept().await.map(drop) }),
        tokio::spawn(async move { socket.recv(&mut [0]).await.map(drop) }),
        tokio::spawn(async move { net.tcp_connect("10.0.0.99:1").await.map(drop) }),
    ];
    tokio::time::sleep(Duration::from_millis(100)).await;

    let net = near.net().clone();
    drop(near);

    for waiting in waiting {
        let result = waiting.await.expect("no panic");
        assert_eq!(result.map_err(|e| e.kind()).err(), Some(ErrorKind::BrokenPipe));
    }
    let after = net.tcp_listen("10.0.0.1:82").await.map(drop);
    assert_eq!(after.map_err(|e| e.kind()).err(), Some(ErrorKind::BrokenPipe));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_other_end_of_a_pipe_ends_the_stack() {
    let (device, far) = pipe(16, 1500);
    let stack = Builder::new().spawn(device).expect("a runtime");
    let socket = stack.net().udp_bind("127.0.0.1:9").await.expect("free");

    drop(far);

    stack.ended().await.expect("an end in good order");
    let received = socket.recv(&mut [0]).await;
    assert_eq!(received.map_err(|e| e.kind()).err(), Some(ErrorKind::BrokenPipe));
}

#[tokio::test(start_paused = true)]
async fn closes_are_not_lost_in_a_stalled_stack() {
    let config = Config { commands_max: 2, ..Config::default() };
    let (near, far) = Pair::new().config(config).spawn().expect("a runtime");
    let listener = far.net().tcp_listen("10.0.0.2:80").await.expect("free");
    let (mut streams, mut sockets) = (Vec::new(), Vec::new());
    for _ in 0..300 {
        let connecting = near.net().tcp_connect("10.0.0.2:80");
        let (client, server) = tokio::join!(connecting, listener.accept());
        streams.extend([client.expect("a listener"), server.expect("a client").0]);
        sockets.push(near.net().udp_bind("10.0.0.1:0").await.expect("free"));
        sockets.push(near.net().udp_bind("[::1]:0").await.expect("free"));
    }

    // No task runs between these drops, whatever the channel holds.
    drop((streams, sockets, listener));

    super::all_is_gone([&near, &far]).await;
}

#[tokio::test(start_paused = true)]
async fn malformed_packets_are_counted_and_change_nothing() {
    let (device, far) = pipe(1024, 1500);
    let address = "10.0.0.2/24".parse().expect("a network");
    let stack = Builder::new().address(address).spawn(device).expect("a runtime");
    let noise = noise(60_000);
    for len in 0..300 {
        let mut packet = noise[len * 100..len * 100 + len].to_vec();
        if let Some(first) = packet.first_mut() {
            *first = if len % 2 == 0 { 0x45 } else { 0x60 };
        }
        assert!(far.send(Bytes::from(packet)).await);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;

    let snapshot = stack.net().snapshot().await.expect("still running");

    assert_eq!(snapshot.counters.frames_received, 300);
    assert_eq!(snapshot.counters.drops().map(|(_, count)| count).sum::<u64>(), 300);
    assert!(far.try_recv().is_none(), "nothing was answered");
}

#[test]
fn stacks_come_and_go_without_growth() {
    for _ in 0..1000 {
        let (device, _far) = pipe(16, 1500);
        let stack = Builder::new().spawn_thread(device).expect("a thread");
        let socket = stack.net().blocking().udp_bind("127.0.0.1:9").expect("free");
        socket.send_to(b"self", "127.0.0.1:9").expect("room");
        assert_eq!(socket.recv(&mut [0; 10]).expect("a datagram"), 4);
        stack.shutdown_blocking(Duration::from_secs(10)).expect("a pipe does not fail");
    }
    let threads = std::fs::read_dir("/proc/self/task").map(Iterator::count);
    assert!(threads.is_ok_and(|threads| threads < 100), "threads are left behind");
}
