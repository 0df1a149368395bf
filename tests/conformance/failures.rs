//! Errors of a socket, which are reported once.

use crate::case::Backends::Both;
use crate::case::{ALL, ASYNC, BAD_NETWORK, Case, SYNC, SYNC_AND_TOKIO, case};
use crate::sockets::{Stream, Udp, kind};
use crate::world::World;
use std::io::{ErrorKind, IoSlice, IoSliceMut};
use std::net::Shutdown;

pub(crate) const CASES: &[Case] = &[
    case!(61, "a read reports a reset, and no call after it", ALL, Both, reset_at_read),
    case!(61, "a write reports a reset, and no call after it", ALL, Both, reset_at_write),
    case!(61, "a peek reports a reset, and no call after it", ALL, Both, reset_at_peek),
    case!(61, "taking the error reports a reset", ALL, Both, reset_at_take_error),
    case!(61, "a vectored call leaves an error to the next", ALL, Both, reset_after_vectored),
    case!(
        61,
        "a reset is reported to one of a waiting reader and writer",
        ASYNC,
        Both,
        reset_at_one
    ),
    case!(61, "a shutdown of writing hides no reset", ALL, Both, reset_after_shutdown_write),
    case!(61, "a shutdown of reading hides no reset", SYNC, Both, reset_after_shutdown_read),
    case!(61, "a reset after the end is a broken pipe", ALL, Both, reset_after_end),
    case!(61, "a timeout is reported once", ASYNC, BAD_NETWORK, timeout),
    case!(62, "a connection that was reset has no peer", ALL, Both, no_peer_after_reset),
    case!(62, "a connection that was closed has no peer", ALL, Both, no_peer_after_close),
    case!(62, "shutting down a closed connection is an error", SYNC, Both, shutdown_when_over),
    case!(63, "a receive reports a refusal, once", SYNC_AND_TOKIO, Both, refusal_to_receive),
    case!(63, "a send reports a refusal, and sends nothing", SYNC_AND_TOKIO, Both, refusal_to_send),
    case!(63, "taking the error reports a refusal", SYNC_AND_TOKIO, Both, refusal_to_take_error),
    case!(
        63,
        "an unconnected socket reports no refusal",
        SYNC_AND_TOKIO,
        Both,
        refusal_unconnected
    ),
];

/// A stream that its peer has reset, with the error not reported yet.
async fn reset(world: &World) -> Stream {
    let (client, server) = world.pair().await;
    cut(client, &server).await;
    world.settle().await;
    server
}

/// Resets a connection: by dropping it with something unread, which every face can.
async fn cut(client: Stream, server: &Stream) {
    server.write_all(b"x").await.expect("open");
    client.peek(&mut [0]).await.expect("open");
    drop(client);
}

/// Checks the calls after the error was reported.
async fn assert_reported(stream: &Stream) {
    for _ in 0..2 {
        assert_eq!(stream.read(&mut [0]).await.expect("the end"), 0);
        assert_eq!(stream.peek(&mut [0]).await.expect("the end"), 0);
        assert_eq!(kind(stream.write(b"x").await), Err(ErrorKind::BrokenPipe));
        assert!(stream.take_error().expect("open").is_none());
    }
}

async fn reset_at_read(world: World) {
    let stream = reset(&world).await;

    assert_eq!(kind(stream.read(&mut [0]).await), Err(ErrorKind::ConnectionReset));

    assert_reported(&stream).await;
}

async fn reset_at_write(world: World) {
    let stream = reset(&world).await;

    assert_eq!(kind(stream.write(b"x").await), Err(ErrorKind::ConnectionReset));

    assert_reported(&stream).await;
}

async fn reset_at_peek(world: World) {
    let stream = reset(&world).await;

    assert_eq!(kind(stream.peek(&mut [0]).await), Err(ErrorKind::ConnectionReset));

    assert_reported(&stream).await;
}

async fn reset_at_take_error(world: World) {
    let stream = reset(&world).await;

    let taken = stream.take_error().expect("open").expect("it was reset");

    assert_eq!(taken.kind(), ErrorKind::ConnectionReset);
    assert_reported(&stream).await;
}

async fn reset_after_vectored(world: World) {
    let (client, server) = world.pair().await;
    client.write_all(b"last").await.expect("open");
    server.peek(&mut [0]).await.expect("open");
    cut(client, &server).await;
    world.settle().await;

    let (mut first, mut second) = ([0; 4], [0; 4]);
    let mut bufs = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
    assert_eq!(server.try_read_vectored(&mut bufs).expect("received before"), 4);
    let bufs = [IoSlice::new(b"a"), IoSlice::new(b"b")];
    assert_eq!(kind(server.try_write_vectored(&bufs)), Err(ErrorKind::ConnectionReset));

    assert_reported(&server).await;
}

async fn reset_at_one(world: World) {
    let (client, server) = world.pair().await;
    while server.try_write(&[7; 1 << 16]).is_ok() {
        world.settle().await;
    }
    let (reader, writer) = (server.clone(), server.clone());
    let reading = tokio::spawn(async move { reader.read(&mut [0]).await });
    let writing = tokio::spawn(async move { writer.write(b"waits for room").await });
    world.settle().await;
    assert!(!reading.is_finished() && !writing.is_finished());

    // With something unread.
    drop(client);

    let read = kind(reading.await.expect("no panic"));
    let written = kind(writing.await.expect("no panic"));
    let one = (Err(ErrorKind::ConnectionReset), Err(ErrorKind::BrokenPipe));
    let other = (Ok(0), Err(ErrorKind::ConnectionReset));
    assert!((read, written) == one || (read, written) == other, "{read:?}, {written:?}");
    assert_reported(&server).await;
}

async fn reset_after_shutdown_write(world: World) {
    let (client, server) = world.pair().await;
    server.write_all(b"x").await.expect("open");
    client.peek(&mut [0]).await.expect("open");
    server.shutdown(Shutdown::Write).await.expect("open");
    assert_eq!(kind(server.write(b"x").await), Err(ErrorKind::BrokenPipe));
    drop(client);
    world.settle().await;

    assert_eq!(kind(server.write(b"x").await), Err(ErrorKind::ConnectionReset));

    assert_reported(&server).await;
}

async fn reset_after_shutdown_read(world: World) {
    let (client, server) = world.pair().await;
    server.shutdown(Shutdown::Read).await.expect("open");
    assert_eq!(server.read(&mut [0]).await.expect("the end"), 0);
    cut(client, &server).await;
    world.settle().await;

    assert_eq!(kind(server.read(&mut [0]).await), Err(ErrorKind::ConnectionReset));

    assert_reported(&server).await;
}

async fn reset_after_end(world: World) {
    let (client, server) = world.pair().await;
    drop(client);
    assert_eq!(server.read(&mut [0]).await.expect("the end"), 0);
    server.write_all(b"too late").await.expect("it is not known yet");
    world.settle().await;

    let taken = server.take_error().expect("open").expect("it was reset");

    assert_eq!(taken.kind(), ErrorKind::BrokenPipe);
    assert_reported(&server).await;
}

async fn timeout(world: World) {
    let there = world.simulation();
    let (client, server) = world.pair().await;
    there.near.set_link(there.near.link().down());
    client.write_all(b"into the void").await.expect("room");
    client.readable().await.expect("an error to read");

    assert_eq!(kind(client.write(b"x").await), Err(ErrorKind::TimedOut));

    assert_reported(&client).await;
    there.near.set_link(there.near.link().up());
    drop(server);
}

async fn no_peer_after_reset(world: World) {
    let stream = reset(&world).await;
    let local = stream.local_addr().expect("it stays");

    assert_eq!(kind(stream.peer_addr()), Err(ErrorKind::NotConnected));

    assert_eq!(kind(stream.read(&mut [0]).await), Err(ErrorKind::ConnectionReset));
    assert_eq!(stream.local_addr().expect("it stays"), local);
}

async fn no_peer_after_close(world: World) {
    let (client, server) = world.pair().await;
    let peer = client.local_addr().expect("connected");
    client.shutdown(Shutdown::Write).await.expect("open");
    assert_eq!(server.read(&mut [0]).await.expect("the end"), 0);
    assert_eq!(server.peer_addr().expect("half of it is open"), peer);

    server.shutdown(Shutdown::Write).await.expect("open");
    assert_eq!(client.read(&mut [0]).await.expect("the end"), 0);
    world.settle().await;

    for stream in [&client, &server] {
        assert_eq!(kind(stream.peer_addr()), Err(ErrorKind::NotConnected));
    }
}

async fn shutdown_when_over(world: World) {
    let stream = reset(&world).await;

    for how in [Shutdown::Read, Shutdown::Write, Shutdown::Both] {
        assert_eq!(kind(stream.shutdown(how).await), Err(ErrorKind::NotConnected), "{how:?}");
    }

    assert_eq!(kind(stream.read(&mut [0]).await), Err(ErrorKind::ConnectionReset));
}

/// A socket of near that has sent to a closed port of its peer's, and got the ICMP error.
async fn refused(world: &World) -> Udp {
    let near = world.near.bind_udp(world.near.address(0)).await.expect("a free port");
    let far = world.far.bind_udp(world.far.address(0)).await.expect("a free port");
    near.connect(far.local_addr().expect("bound")).await.expect("an address");
    drop(far);
    near.send(b"to a closed port").await.expect("room");
    world.settle().await;
    near
}

async fn refusal_to_receive(world: World) {
    let near = refused(&world).await;

    assert_eq!(kind(near.recv(&mut [0]).await), Err(ErrorKind::ConnectionRefused));

    assert_eq!(kind(near.try_recv_from(&mut [0])), Err(ErrorKind::WouldBlock));
    assert!(near.take_error().expect("open").is_none());
}

async fn refusal_to_send(world: World) {
    let near = refused(&world).await;

    assert_eq!(kind(near.send(b"x").await), Err(ErrorKind::ConnectionRefused));

    world.settle().await;
    assert!(near.take_error().expect("open").is_none(), "that was not sent");
}

async fn refusal_to_take_error(world: World) {
    let near = refused(&world).await;

    let taken = near.take_error().expect("open").expect("it was refused");

    assert_eq!(taken.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(kind(near.try_recv_from(&mut [0])), Err(ErrorKind::WouldBlock));
}

async fn refusal_unconnected(world: World) {
    let near = world.near.bind_udp(world.near.address(0)).await.expect("a free port");
    let far = world.far.bind_udp(world.far.address(0)).await.expect("a free port");
    let closed = far.local_addr().expect("bound");
    drop(far);

    near.send_to(b"to a closed port", closed).await.expect("room");
    world.settle().await;

    assert!(near.take_error().expect("open").is_none());
    near.send_to(b"to a closed port", closed).await.expect("no error");
}
