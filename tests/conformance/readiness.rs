//! Readiness that a caller clears, and errors.

use crate::case::Backends::Both;
use crate::case::{Case, INSIDE, TOKIO, case};
use crate::sockets::kind;
use crate::world::{WholePair, World};
use netstack::netsocket::{self, Interest};
use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub(crate) const CASES: &[Case] = &[
    case!(69, "readiness cleared by a caller returns with more data", TOKIO, Both, more),
    case!(69, "waiting for more calls once for each arrival", TOKIO, Both, once_each),
    case!(69, "an arrival while a caller looks is not passed over", TOKIO, Both, arrival_during),
    case!(69, "taking readiness of writing back leaves reading ready", TOKIO, Both, other_side),
    case!(69, "a closed direction stays ready when cleared", TOKIO, Both, ended),
    case!(69, "an error ends a wait for more data", TOKIO, Both, error),
    case!(70, "a stream that was reset is ready for all", TOKIO, Both, ready_after_reset),
    case!(70, "an end makes a stream ready for reading alone", TOKIO, Both, ready_after_end),
    case!(71, "a datagram too little is not ready until another comes", TOKIO, INSIDE, datagrams),
    case!(71, "a datagram without room is tried once for each that left", TOKIO, INSIDE, no_room),
];

fn would_block<T>() -> io::Result<T> {
    Err(ErrorKind::WouldBlock.into())
}

async fn is_pending(world: &World, future: impl Future) -> bool {
    let mut future = pin!(future);
    for _ in 0..3 {
        if futures::poll!(future.as_mut()).is_ready() {
            return false;
        }
        world.settle().await;
    }
    futures::poll!(future.as_mut()).is_pending()
}

/// The same bodies for the kernel's streams and for ours.
macro_rules! bodies {
    ($backend:ident, $stream:ty, $interest:ty) => {
        mod $backend {
            use super::*;

            type Interest = $interest;

            pub(super) async fn more(world: &World, mut client: $stream, server: $stream) {
                client.write_all(b"four").await.expect("open");
                world.settle().await;
                server.readable().await.expect("open");
                for _ in 0..2 {
                    let tried = server.try_io(Interest::READABLE, would_block::<()>);
                    assert_eq!(kind(tried), Err(ErrorKind::WouldBlock));
                }
                assert!(is_pending(world, server.readable()).await);
                assert!(is_pending(world, server.ready(Interest::READABLE)).await);

                client.write_all(b"more").await.expect("open");

                server.readable().await.expect("open");
                let mut buf = [0; 10];
                assert_eq!(server.try_read(&mut buf).expect("it is ready"), 8);
            }

            pub(super) async fn once_each(world: &World, mut client: $stream, server: $stream) {
                let calls = AtomicUsize::new(0);
                let want = |written: usize| (written == 3).then_some(()).map_or(would_block(), Ok);
                let written = AtomicUsize::new(0);
                let waiting = server.async_io(Interest::READABLE, || {
                    calls.fetch_add(1, Ordering::Relaxed);
                    want(written.load(Ordering::Relaxed))
                });
                let writing = async {
                    for _ in 0..3 {
                        written.fetch_add(1, Ordering::Relaxed);
                        client.write_all(b"x").await.expect("open");
                        world.settle().await;
                    }
                };

                let (waited, ()) = tokio::join!(waiting, writing);

                waited.expect("enough data");
                // The kernel also reports a fresh socket.
                let calls_max = if world.is_ours() { 3 } else { 4 };
                let calls = calls.load(Ordering::Relaxed);
                assert!((3..=calls_max).contains(&calls), "{calls}");
            }

            pub(super) async fn arrival_during(
                world: &World,
                mut client: $stream,
                server: $stream,
            ) {
                client.write_all(b"four").await.expect("open");
                world.settle().await;
                server.readable().await.expect("open");
                server.try_io(Interest::READABLE, would_block::<()>).expect_err("too little");
                client.write_all(b"more").await.expect("open");
                world.settle().await;

                // Readiness was not taken since, so it must be reported.
                server.readable().await.expect("open");
                assert_eq!(server.try_read(&mut [0; 10]).expect("it is ready"), 8);
            }

            pub(super) async fn other_side(_: &World, mut client: $stream, server: $stream) {
                client.write_all(b"x").await.expect("open");
                server.readable().await.expect("open");
                server.writable().await.expect("open");

                server.try_io(Interest::WRITABLE, would_block::<()>).expect_err("as it returns");

                server.try_io(Interest::READABLE, || Ok(())).expect("still ready");
            }

            pub(super) async fn ended(_: &World, client: $stream, server: $stream) {
                drop(client);
                for _ in 0..3 {
                    server.readable().await.expect("open");
                    server
                        .try_io(Interest::READABLE, would_block::<()>)
                        .expect_err("as it returns");
                }
            }

            pub(super) async fn error(world: &World, mut client: $stream, server: $stream) {
                client.write_all(b"four").await.expect("open");
                world.settle().await;
                server.readable().await.expect("open");
                server.try_io(Interest::READABLE, would_block::<()>).expect_err("too little");
                assert!(is_pending(world, server.readable()).await);

                client.set_zero_linger().expect("open");
                drop(client);

                server.readable().await.expect("an error to read");
                let taken = server.take_error().expect("open").expect("it was reset");
                assert_eq!(taken.kind(), ErrorKind::ConnectionReset);
            }

            pub(super) async fn ready_after_reset(world: &World, client: $stream, server: $stream) {
                client.set_zero_linger().expect("open");
                drop(client);
                world.settle().await;

                let ready = server.ready(Interest::READABLE).await.expect("an error to read");
                assert!(ready.is_readable() && ready.is_read_closed(), "{ready:?}");
                let ready = server.ready(Interest::WRITABLE).await.expect("an error to write");
                assert!(ready.is_writable() && ready.is_write_closed(), "{ready:?}");
            }

            pub(super) async fn ready_after_end(
                world: &World,
                client: $stream,
                mut server: $stream,
            ) {
                drop(client);
                world.settle().await;
                assert_eq!(server.read(&mut [0]).await.expect("the end"), 0);

                let ready = server.ready(Interest::READABLE).await.expect("open");
                assert!(ready.is_readable() && ready.is_read_closed(), "{ready:?}");
                let ready = server.ready(Interest::WRITABLE).await.expect("open");
                assert!(ready.is_writable() && !ready.is_write_closed(), "{ready:?}");
                assert!(!ready.is_error(), "{ready:?}");
            }
        }
    };
}

bodies!(kernel, tokio::net::TcpStream, tokio::io::Interest);
bodies!(ours, netsocket::TcpStream, netsocket::Interest);

macro_rules! run {
    ($($name:ident),*) => {$(
        async fn $name(world: World) {
            match world.whole_pair().await {
                WholePair::Kernel(client, server) => kernel::$name(&world, client, server).await,
                WholePair::Ours(client, server) => ours::$name(&world, client, server).await,
            }
        }
    )*};
}

run!(more, once_each, arrival_during, other_side, ended, error, ready_after_reset, ready_after_end);

async fn datagrams(world: World) {
    let near = world.near.net().udp_bind(world.near.address(0)).await.expect("free");
    let far = world.far.net().udp_bind(world.far.address(0)).await.expect("free");
    let to = far.local_addr().expect("bound");
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let waiting =
        far.async_io(Interest::READABLE, || match counted.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => would_block(),
            _ => Ok(()),
        });
    let sending = async {
        for _ in 0..3 {
            near.send_to(b"x", to).await.expect("room");
            world.settle().await;
        }
    };

    let (waited, ()) = tokio::join!(waiting, sending);

    waited.expect("the third");
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

async fn no_room(world: World) {
    let near = world.near.net().udp_bind(world.near.address(0)).await.expect("free");
    let to = world.far.address(9);
    let mut queued = 0;
    while near.try_send_to(&[7; 60_000], to).is_ok() {
        queued += 1;
    }
    let (mut tries, mut sent) = (0, 0);

    // Each try that finds no room waits for a datagram to leave.
    while sent < queued {
        near.writable().await.expect("open");
        tries += 1;
        sent += usize::from(near.try_send_to(&[7; 60_000], to).is_ok());
    }

    assert!(tries <= 3 * queued, "{tries} tries to send {queued}");
}
