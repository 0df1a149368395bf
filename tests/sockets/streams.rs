//! Bytes over async connections.

use super::{all_is_gone, connect, pair};
use std::io::ErrorKind;
use std::time::Duration;
use tests::noise;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(start_paused = true)]
async fn a_thousand_round_trips_keep_their_order() {
    let (near, far) = pair();
    let (mut client, mut server, listener) = connect(&near, &far).await;
    let echo = tokio::spawn(async move {
        let mut message = [0; 8];
        while server.read_exact(&mut message).await.is_ok() {
            server.write_all(&message).await?;
        }
        server.shutdown().await
    });

    for round in 0..1000u64 {
        client.write_all(&round.to_be_bytes()).await.expect("open");
        let mut answer = [0; 8];
        client.read_exact(&mut answer).await.expect("open");
        assert_eq!(u64::from_be_bytes(answer), round);
    }

    client.shutdown().await.expect("open");
    assert_eq!(client.read(&mut [0]).await.expect("the end"), 0);
    echo.await.expect("no panic").expect("open");
    drop((client, listener));
    all_is_gone([&near, &far]).await;
}

#[tokio::test(start_paused = true)]
async fn a_mebibyte_in_small_pieces_arrives_whole_then_the_end() {
    let (near, far) = pair();
    let (mut client, mut server, listener) = connect(&near, &far).await;
    let data = noise(1 << 20);

    let sent = data.clone();
    let sending = tokio::spawn(async move {
        for piece in sent.chunks(1000) {
            client.write_all(piece).await.expect("open");
        }
    });
    let mut received = Vec::new();
    server.read_to_end(&mut received).await.expect("open");

    sending.await.expect("no panic");
    assert!(received == data, "{} bytes", received.len());
    drop((server, listener));
    all_is_gone([&near, &far]).await;
}

#[tokio::test(start_paused = true)]
async fn dropping_the_write_half_sends_fin_and_reading_works() {
    let (near, far) = pair();
    let (client, mut server, listener) = connect(&near, &far).await;
    let (mut read, mut write) = client.into_split();

    write.write_all(b"question").await.expect("open");
    drop(write);
    let mut question = String::new();
    server.read_to_string(&mut question).await.expect("the end came");
    server.write_all(b"answer").await.expect("open");
    drop(server);
    let mut answer = String::new();
    read.read_to_string(&mut answer).await.expect("the end came");

    assert_eq!((&*question, &*answer), ("question", "answer"));
    drop((read, listener));
    all_is_gone([&near, &far]).await;
}

#[tokio::test(start_paused = true)]
async fn halves_come_together_again_only_with_their_own() {
    let (near, far) = pair();
    let (client, server, listener) = connect(&near, &far).await;
    let (read, write) = client.into_split();
    let (other_read, other_write) = server.into_split();

    let error = read.reunite(other_write).expect_err("halves of different streams");
    let mut client = error.0.reunite(write).expect("of the same stream");
    let server = other_read.reunite(error.1).expect("of the same stream");

    client.write_all(b"still open").await.expect("open");
    drop((client, server, listener));
    all_is_gone([&near, &far]).await;
}

#[tokio::test(start_paused = true)]
async fn the_futures_io_face_carries_the_same_bytes() {
    let (near, far) = pair();
    let (client, server, listener) = connect(&near, &far).await;
    let data = noise(300_000);
    let (sent, mut client, mut server) = (data.clone(), client, server);

    let sending = tokio::spawn(async move {
        futures::AsyncWriteExt::write_all(&mut client, &sent).await?;
        futures::AsyncWriteExt::close(&mut client).await
    });
    let mut received = Vec::new();
    futures::AsyncReadExt::read_to_end(&mut server, &mut received).await.expect("open");

    sending.await.expect("no panic").expect("open");
    assert!(received == data, "{} bytes", received.len());
    drop((server, listener));
    all_is_gone([&near, &far]).await;
}

#[tokio::test(start_paused = true)]
async fn bytes_go_in_and_out_without_a_copy() {
    let (near, far) = pair();
    let (client, server, listener) = connect(&near, &far).await;
    let data = bytes::Bytes::from(noise(500_000));

    let sending = client.send_bytes(data.clone());
    let receiving = async {
        let mut received = Vec::new();
        while received.len() < data.len() {
            let piece = server.recv_bytes(usize::MAX).await.expect("open");
            received.extend_from_slice(&piece);
        }
        received
    };
    let (sent, received) = tokio::join!(sending, receiving);

    sent.expect("open");
    assert!(received == data);
    drop((client, server, listener));
    all_is_gone([&near, &far]).await;
}

#[tokio::test(start_paused = true)]
async fn empty_reads_and_writes_do_nothing() {
    let (near, far) = pair();
    let (mut client, mut server, listener) = connect(&near, &far).await;

    assert_eq!(client.write(&[]).await.expect("open"), 0);
    assert_eq!(server.read(&mut []).await.expect("open"), 0);
    let nothing = tokio::time::timeout(Duration::from_secs(1), server.read(&mut [0])).await;

    assert!(nothing.is_err(), "an empty write is not the end of the stream");
    drop((client, server, listener));
    all_is_gone([&near, &far]).await;
}

#[tokio::test(start_paused = true)]
async fn peeking_leaves_the_bytes() {
    let (near, far) = pair();
    let (mut client, mut server, listener) = connect(&near, &far).await;
    let mut buffer = [0; 5];
    assert_eq!(
        server.try_read(&mut buffer).map_err(|e| e.kind()).err(),
        Some(ErrorKind::WouldBlock)
    );

    client.write_all(b"hello").await.expect("open");
    for _ in 0..2 {
        assert_eq!(server.peek(&mut buffer).await.expect("open"), 5);
        assert_eq!(&buffer, b"hello");
    }
    server.read_exact(&mut buffer).await.expect("open");
    assert_eq!(&buffer, b"hello");
    drop(client);
    assert_eq!(server.peek(&mut buffer).await.expect("the end"), 0);

    drop((server, listener));
    all_is_gone([&near, &far]).await;
}

#[tokio::test(start_paused = true)]
async fn options_read_back() {
    let (near, far) = pair();
    let (client, server, listener) = connect(&near, &far).await;

    assert!(!client.nodelay().expect("infallible"));
    client.set_nodelay(true).expect("infallible");
    assert!(client.nodelay().expect("infallible"));
    assert_eq!(client.ttl().expect("infallible"), 64);
    client.set_ttl(9).expect("valid");
    assert_eq!(client.ttl().expect("infallible"), 9);
    for bad in [0, 256, u32::MAX] {
        assert_eq!(client.set_ttl(bad).map_err(|e| e.kind()).err(), Some(ErrorKind::InvalidInput));
    }
    client.set_linger(Some(Duration::ZERO)).expect("infallible");
    assert_eq!(client.linger().expect("infallible"), Some(Duration::ZERO));

    drop((client, server, listener));
    all_is_gone([&near, &far]).await;
}

#[tokio::test(start_paused = true)]
async fn invalid_address_strings_are_refused() {
    let (near, _far) = pair();
    for text in ["", "10.0.0.2", "10.0.0.2:99999", "[fd00::2:80"] {
        let error = near.net().tcp_connect(text).await.expect_err("not an address");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}");
    }
}
