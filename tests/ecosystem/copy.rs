//! `tokio::io::copy_bidirectional`, which every proxy is made of.

use super::pair;
use std::io::ErrorKind;
use tests::{all_is_gone, noise};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};

#[tokio::test(start_paused = true)]
async fn a_proxy_carries_both_directions_and_closes_each_on_its_own() {
    let (near, far) = pair();
    let origin = near.net().tcp_listen("10.0.0.1:80").await.expect("a free port");
    let front = far.net().tcp_listen("10.0.0.2:8080").await.expect("a free port");
    let back = far.net().clone();
    let proxy = tokio::spawn(async move {
        let (mut client, _) = front.accept().await?;
        let mut server = back.tcp_connect("10.0.0.1:80").await?;
        copy_bidirectional(&mut client, &mut server).await
    });
    let (request, answer) = (noise(700_000), noise(1_100_000));

    let expected = answer.clone();
    let server = tokio::spawn(async move {
        let (mut stream, _) = origin.accept().await.expect("a proxy");
        // The answer begins after the end of the request, which the proxy must pass on.
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await.expect("whole");
        stream.write_all(&answer).await.expect("open");
        received
    });
    let mut client = near.net().tcp_connect("10.0.0.2:8080").await.expect("a listener");
    client.write_all(&request).await.expect("open");
    client.shutdown().await.expect("open");
    let mut received = Vec::new();
    client.read_to_end(&mut received).await.expect("whole");

    assert!(received == expected, "{} bytes", received.len());
    assert!(server.await.expect("no panic") == request);
    let carried = proxy.await.expect("no panic").expect("in good order");
    assert_eq!(carried, (700_000, 1_100_000));
    drop(client);
    all_is_gone([&near, &far]).await;
}

#[tokio::test(start_paused = true)]
async fn a_proxy_learns_of_a_reset() {
    let (near, far) = pair();
    let origin = near.net().tcp_listen("10.0.0.1:80").await.expect("a free port");
    let listener = far.net().tcp_listen("10.0.0.2:8080").await.expect("a free port");
    let client = near.net().tcp_connect("10.0.0.2:8080").await.expect("a listener");
    let (mut front, _) = listener.accept().await.expect("a client");
    let mut back = far.net().tcp_connect("10.0.0.1:80").await.expect("a listener");
    let (server, _) = origin.accept().await.expect("a proxy");

    client.set_linger(Some(std::time::Duration::ZERO)).expect("open");
    drop(client);

    let carried = copy_bidirectional(&mut front, &mut back).await;
    assert_eq!(carried.map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
    drop((front, back, server, origin, listener));
    all_is_gone([&near, &far]).await;
}
