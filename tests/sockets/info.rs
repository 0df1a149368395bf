//! `TCP_INFO` by every kind of handle.

use super::{all_is_gone, connect, pair};
use netstack::Pair;
use netstack::netsocket::TcpStream;
use netstack::netsocket::netcore::TcpState;
use std::io::{ErrorKind, Read, Write};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(start_paused = true)]
async fn stream_and_halves_read_the_same_info() {
    let (near, far) = pair();
    let (mut client, mut server, listener) = connect(&near, &far).await;
    client.write_all(&[7; 5000]).await.expect("open");
    server.read_exact(&mut [0; 5000]).await.expect("open");

    let info = client.info().await.expect("a stack");
    assert_eq!((info.state, info.bytes_acked), (TcpState::Established, 5000));
    assert_eq!(server.info().await.expect("a stack").bytes_received, 5000);
    let (read, write) = client.split();
    for half in [AsRef::<TcpStream>::as_ref(&read), write.as_ref()] {
        assert_eq!(half.info().await.expect("a stack").bytes_sent, 5000);
    }
    let (read, write) = server.into_split();
    for half in [AsRef::<TcpStream>::as_ref(&read), write.as_ref()] {
        assert_eq!(half.info().await.expect("a stack").bytes_received, 5000);
    }
    drop((client, read, write, listener));
    all_is_gone([&near, &far]).await;
}

#[tokio::test(start_paused = true)]
async fn info_tells_ages_after_an_idle_hour() {
    let (near, far) = pair();
    let (mut client, mut server, listener) = connect(&near, &far).await;
    client.write_all(b"x").await.expect("open");
    server.read_exact(&mut [0; 1]).await.expect("open");
    let hour = Duration::from_secs(3600);

    tokio::time::sleep(hour).await;
    let info = client.info().await.expect("a stack");

    assert!(info.age >= hour && info.last_data_sent >= Some(hour), "{info:?}");
    drop((client, server, listener));
    all_is_gone([&near, &far]).await;
}

#[tokio::test(start_paused = true)]
async fn info_outlives_the_connection_and_its_stack() {
    let (near, far) = pair();
    let (mut client, mut server, listener) = connect(&near, &far).await;
    client.write_all(&[7; 100]).await.expect("open");
    client.shutdown().await.expect("open");
    server.read_to_end(&mut Vec::new()).await.expect("open");
    server.shutdown().await.expect("open");
    assert_eq!(client.read(&mut [0]).await.expect("the end"), 0);

    let info = client.info().await.expect("an end");
    assert_eq!((info.bytes_acked, info.state), (100, TcpState::Closed));
    drop((listener, server));
    all_is_gone([&near, &far]).await;
    drop((near, far));
    assert_eq!(client.info().await.expect("still").bytes_acked, 100);
}

#[tokio::test(start_paused = true)]
async fn intercepted_stream_has_info() {
    let (near, far) = pair();
    far.net().control().set_any_ip(true).await.expect("a stack");
    let listener = far.net().tcp_intercept_accept().await.expect("free");
    let (client, accepted) =
        tokio::join!(near.net().tcp_connect("10.0.0.77:443"), listener.accept());
    let (mut client, accepted) = (client.expect("anything"), accepted.expect("a client").0);

    client.write_all(&[7; 10]).await.expect("open");
    accepted.readable().await.expect("open");

    let info = accepted.info().await.expect("a stack");
    assert_eq!((info.bytes_received, info.unread_bytes), (10, 10));
    drop((client, accepted, listener));
    all_is_gone([&near, &far]).await;
}

#[test]
fn blocking_stream_has_info_in_every_mode() {
    let (near, far) = Pair::new().spawn_threads().expect("threads");
    let listener = far.net().blocking().tcp_listen("10.0.0.2:80").expect("free");
    let mut client = near.net().blocking().tcp_connect("10.0.0.2:80").expect("a listener");
    let (mut server, _) = listener.accept().expect("a client");
    client.write_all(b"four").expect("open");
    server.read_exact(&mut [0; 4]).expect("open");

    server.set_nonblocking(true).expect("infallible");

    let info = server.info().expect("a stack");
    assert_eq!((info.bytes_received, info.state), (4, TcpState::Established));
    assert_eq!(client.info().expect("a stack").bytes_sent, 4);
    let clone = client.try_clone().expect("infallible");
    assert_eq!(clone.info().expect("a stack").bytes_sent, 4);
    assert_eq!(server.read(&mut [0]).expect_err("empty").kind(), ErrorKind::WouldBlock);
}
