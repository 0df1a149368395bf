//! Futures that are dropped before they are ready.

use super::{all_is_gone, connect, pair};
use futures::FutureExt;
use futures::poll;
use std::pin::pin;
use std::time::Duration;
use tests::noise;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(start_paused = true)]
async fn dropped_reads_lose_nothing() {
    let (near, far) = pair();
    let (mut client, mut server, listener) = connect(&near, &far).await;
    let data = noise(200_000);
    let sent = data.clone();
    let sending = tokio::spawn(async move {
        for piece in sent.chunks(777) {
            client.write_all(piece).await.expect("open");
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
    });

    let (mut received, mut buffer, mut dropped) = (Vec::new(), [0; 1000], 0);
    loop {
        tokio::select! {
            biased;
            () = tokio::task::yield_now() => dropped += 1,
            read = server.read(&mut buffer) => match read.expect("open") {
                0 => break,
                n => received.extend_from_slice(&buffer[..n]),
            },
        }
        if dropped % 3 == 0 {
            match server.read(&mut buffer).await.expect("open") {
                0 => break,
                n => received.extend_from_slice(&buffer[..n]),
            }
        }
    }

    sending.await.expect("no panic");
    assert!(received == data, "{} bytes after {dropped} dropped reads", received.len());
    drop((server, listener));
    all_is_gone([&near, &far]).await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_write_has_sent_nothing() {
    let (near, far) = pair();
    let (mut client, mut server, listener) = connect(&near, &far).await;
    let mut written = 0;
    // Until the reader, who does not read, stops it.
    while let Ok(n) =
        tokio::time::timeout(Duration::from_secs(5), client.write(&[b'a'; 10_000])).await
    {
        written += n.expect("open");
    }
    assert!(client.write(&[b'b'; 10_000]).now_or_never().is_none());

    let mut received = vec![0; written];
    server.read_exact(&mut received).await.expect("open");
    client.write_all(b"c").await.expect("open");
    drop(client);
    let mut rest = Vec::new();
    server.read_to_end(&mut rest).await.expect("open");

    assert!(received.iter().all(|byte| *byte == b'a'));
    assert_eq!(rest, b"c");
    drop((server, listener));
    all_is_gone([&near, &far]).await;
}

#[tokio::test(start_paused = true)]
async fn dropped_accepts_lose_no_connection() {
    let (near, far) = pair();
    let listener = far.net().tcp_listen("10.0.0.2:80").await.expect("a free port");
    let mut clients = Vec::new();
    for _ in 0..20 {
        assert!(listener.accept().now_or_never().is_none());
        clients.push(near.net().tcp_connect("10.0.0.2:80").await.expect("a listener"));

        let (server, peer) = listener.accept().await.expect("a connection");

        let client = clients.last().expect("just pushed");
        assert_eq!(peer, client.local_addr().expect("infallible"));
        drop(server);
    }
    drop((clients, listener));
    all_is_gone([&near, &far]).await;
}

#[tokio::test(start_paused = true)]
async fn dropped_connects_leave_nothing() {
    let (near, far) = pair();
    // An unused address: the SYN is never answered.
    for _ in 0..100 {
        let mut connecting = pin!(near.net().tcp_connect("10.0.0.99:80"));
        assert!(poll!(connecting.as_mut()).is_pending());
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(near.net().snapshot().await.expect("running").sockets.len(), 1);
        let _ = poll!(connecting.as_mut());
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(near.net().snapshot().await.expect("running").sockets.len(), 0);
    all_is_gone([&near, &far]).await;
}

#[tokio::test(start_paused = true)]
async fn dropped_receives_lose_no_datagram() {
    let (near, far) = pair();
    let sender = near.net().udp_bind("10.0.0.1:0").await.expect("free");
    let receiver = far.net().udp_bind("10.0.0.2:9").await.expect("free");
    let mut buffer = [0; 4];
    for index in 0..100u32 {
        assert!(receiver.recv_from(&mut buffer).now_or_never().is_none());
        sender.send_to(&index.to_be_bytes(), "10.0.0.2:9").await.expect("room");
        let (n, _) = receiver.recv_from(&mut buffer).await.expect("a datagram");
        assert_eq!((n, u32::from_be_bytes(buffer)), (4, index));
    }
    drop((sender, receiver));
    all_is_gone([&near, &far]).await;
}

#[tokio::test(start_paused = true)]
async fn waiters_of_the_two_halves_do_not_disturb_each_other() {
    let (near, far) = pair();
    let (client, mut server, listener) = connect(&near, &far).await;
    let (mut read, mut write) = client.into_split();
    let reading = tokio::spawn(async move {
        let mut byte = [0];
        read.read_exact(&mut byte).await.expect("open");
        (byte[0], read)
    });
    let writing = tokio::spawn(async move {
        write.write_all(&vec![7; 4 << 20]).await.expect("open");
        write
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!reading.is_finished() && !writing.is_finished());

    server.write_all(&[42]).await.expect("open");
    let (byte, read) = reading.await.expect("no panic");
    assert_eq!(byte, 42);
    assert!(!writing.is_finished());
    let mut received = vec![0; 4 << 20];
    server.read_exact(&mut received).await.expect("open");
    let write = writing.await.expect("no panic");

    drop((read, write, server, listener));
    all_is_gone([&near, &far]).await;
}
