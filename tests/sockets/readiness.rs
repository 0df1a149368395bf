//! Operations of the caller's own that are made when a socket is ready.

use crate::{connect, pair};
use futures::FutureExt;
use netstack::netsocket::Interest;
use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time;

fn would_block<T>() -> io::Result<T> {
    Err(ErrorKind::WouldBlock.into())
}

#[tokio::test(start_paused = true)]
async fn would_block_of_an_operation_clears_readiness() {
    let (near, far) = pair();
    let (mut client, server, _listener) = connect(&near, &far).await;
    client.write_all(b"1234").await.expect("open");
    server.readable().await.expect("open");

    server.try_io(Interest::READABLE, would_block::<()>).expect_err("it would");

    // Received bytes do not make it ready again before more arrive.
    let called = Cell::new(false);
    let again = server.try_io(Interest::READABLE, || {
        called.set(true);
        Ok(())
    });
    assert_eq!(again.map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
    assert!(!called.get());
    assert!(server.readable().now_or_never().is_none());
    client.write_all(b"5678").await.expect("open");
    server.readable().await.expect("more has come");
    let mut buf = [0; 10];
    assert_eq!(server.try_read(&mut buf).expect("data"), 8);
}

#[tokio::test(start_paused = true)]
async fn async_io_calls_its_operation_once_for_each_event() {
    let (near, far) = pair();
    let (mut client, server, _listener) = connect(&near, &far).await;
    let calls = Cell::new(0);
    let eight = server.async_io(Interest::READABLE, || {
        calls.set(calls.get() + 1);
        let mut buf = [0; 8];
        match server.peek(&mut buf).now_or_never().unwrap_or_else(would_block)? {
            8 => server.try_read(&mut buf),
            _ => would_block(),
        }
    });
    let mut eight = pin!(eight);

    client.write_all(b"1234").await.expect("open");
    assert!(time::timeout(Duration::from_secs(1), eight.as_mut()).await.is_err());
    assert_eq!(calls.get(), 1);
    client.write_all(b"5678").await.expect("open");

    assert_eq!(eight.await.expect("eight bytes"), 8);
    assert_eq!(calls.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn async_io_returns_would_block_outside_of_tokio() {
    let (near, far) = pair();
    let (client, _server, _listener) = connect(&near, &far).await;
    let udp = near.net().udp_bind("10.0.0.1:0").await.expect("a free port");

    // tokio's coop budget does not end the poll.
    let polled = poll_fn(|cx| {
        let writing = pin!(client.async_io(Interest::WRITABLE, would_block::<()>));
        let sending = pin!(udp.async_io(Interest::WRITABLE, would_block::<()>));
        Poll::Ready((writing.poll(cx).is_pending(), sending.poll(cx).is_pending()))
    });
    let polled = futures::executor::block_on(tokio::task::coop::unconstrained(polled));

    assert_eq!(polled, (true, true));
}

#[tokio::test(start_paused = true)]
async fn end_of_stream_stays_ready_after_would_block() {
    let (near, far) = pair();
    let (mut client, server, _listener) = connect(&near, &far).await;
    client.shutdown().await.expect("open");
    server.readable().await.expect("the end");

    server.try_io(Interest::READABLE, would_block::<()>).expect_err("it would");

    server.readable().await.expect("the end");
    assert_eq!(server.try_read(&mut [0]).expect("the end"), 0);
}

#[tokio::test(start_paused = true)]
async fn datagram_sockets_wait_for_the_next_datagram() {
    let (near, far) = pair();
    let sender = near.net().udp_bind("10.0.0.1:0").await.expect("a free port");
    let receiver = far.net().udp_bind("10.0.0.2:9").await.expect("a free port");
    sender.send_to(b"one", "10.0.0.2:9").await.expect("room");
    receiver.readable().await.expect("a datagram");

    receiver.try_io(Interest::READABLE, would_block::<()>).expect_err("it would");

    assert!(receiver.readable().now_or_never().is_none());
    sender.send_to(b"two", "10.0.0.2:9").await.expect("room");
    receiver.readable().await.expect("another");
    let mut buf = [0; 10];
    assert_eq!(receiver.try_recv_from(&mut buf).expect("the first").0, 3);
}
