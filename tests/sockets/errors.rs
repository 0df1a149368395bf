//! Errors that end a connection, at reading, writing and connecting.

use super::{all_is_gone, connect, pair};
use netstack::device::{PipeEnd, pipe};
use netstack::{Builder, Error, Stack};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

/// The kind of an error, and its cause.
fn kind_and_cause<T>(result: io::Result<T>) -> (ErrorKind, Error) {
    let Err(error) = result else { panic!("it did not fail") };
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
    (error.kind(), *cause.expect("the cause is kept"))
}

#[tokio::test(start_paused = true)]
async fn a_closed_port_refuses() {
    let (near, far) = pair();

    let connecting = near.net().tcp_connect("10.0.0.2:80").await;

    assert_eq!(kind_and_cause(connecting), (ErrorKind::ConnectionRefused, Error::Refused));
    all_is_gone([&near, &far]).await;
}

#[tokio::test(start_paused = true)]
async fn connect_to_an_unused_address_times_out() {
    let (near, far) = pair();

    let connecting = near.net().tcp_connect("10.0.0.99:80").await;

    assert_eq!(kind_and_cause(connecting), (ErrorKind::TimedOut, Error::TimedOut));
    all_is_gone([&near, &far]).await;
}

#[tokio::test(start_paused = true)]
async fn a_reset_is_reported_once_to_reader_or_writer() {
    let (near, far) = pair();
    let (mut client, server, listener) = connect(&near, &far).await;
    server.set_linger(Some(Duration::ZERO)).expect("never fails");

    drop(server);

    let reset = (ErrorKind::ConnectionReset, Error::Reset);
    assert_eq!(kind_and_cause(client.read(&mut [0]).await), reset);
    assert_eq!(kind_and_cause(client.write(b"x").await), (ErrorKind::BrokenPipe, Error::Ended));
    assert_eq!(client.read(&mut [0]).await.expect("the end"), 0);
    drop((client, listener));
    all_is_gone([&near, &far]).await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_acknowledging_times_out() {
    let ((near, near_end), (far, far_end)) = (host(1), host(2));
    let (near_end, far_end) = (Arc::new(near_end), Arc::new(far_end));
    let wires = [(near_end.clone(), far_end.clone()), (far_end.clone(), near_end.clone())].map(
        |(from, to)| {
            tokio::spawn(async move {
                while let Some(packet) = from.recv().await {
                    to.send(packet).await;
                }
            })
        },
    );
    let (mut client, _server, _listener) = connect(&near, &far).await;

    wires.iter().for_each(JoinHandle::abort);
    client.write_all(b"unheard").await.expect("room");

    let timed_out = (ErrorKind::TimedOut, Error::TimedOut);
    assert_eq!(kind_and_cause(client.read(&mut [0]).await), timed_out);
    assert_eq!(kind_and_cause(client.write(b"x").await), (ErrorKind::BrokenPipe, Error::Ended));
}

/// A stack and the other end of its device.
fn host(number: u8) -> (Stack, PipeEnd) {
    let (device, end) = pipe(1024, 1500);
    let address = format!("10.0.0.{number}/24").parse().expect("a network");
    (Builder::new().address(address).spawn(device).expect("a runtime"), end)
}

#[tokio::test(start_paused = true)]
async fn a_dropped_stack_is_reported_to_all_sockets() {
    let (near, far) = pair();
    let (mut client, server, listener) = connect(&near, &far).await;
    let net = near.net().clone();

    drop(near);

    let gone = (ErrorKind::BrokenPipe, Error::StackGone);
    assert_eq!(kind_and_cause(client.read(&mut [0]).await), gone);
    assert_eq!(kind_and_cause(client.write(b"x").await), gone);
    assert_eq!(kind_and_cause(net.tcp_connect("10.0.0.2:80").await), gone);
    drop((server, listener));
}

#[tokio::test(start_paused = true)]
async fn a_shut_down_stack_is_reported_to_datagram_sockets() {
    let (near, _far) = pair();
    let socket = near.net().udp_bind("10.0.0.1:9").await.expect("a free port");

    near.shutdown(Duration::from_secs(1)).await.expect("a pipe does not fail");

    let gone = (ErrorKind::BrokenPipe, Error::StackGone);
    assert_eq!(kind_and_cause(socket.recv_from(&mut [0]).await), gone);
    assert_eq!(kind_and_cause(socket.send_to(b"x", "10.0.0.2:9").await), gone);
}
