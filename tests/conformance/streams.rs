//! The bytes of a stream.

use crate::case::Backends::Both;
use crate::case::{ALL, ASYNC, BAD_NETWORK, Backends, Case, INSIDE, TOKIO, case};
use crate::sockets::{Stream, kind};
use crate::world::World;
use futures::FutureExt;
use netstack::Direction;
use netstack::sim::LinkConfig;
use std::io::{ErrorKind, IoSlice, IoSliceMut};
use std::net::Shutdown;
use std::time::Duration;
use tests::noise;
use tokio::time::timeout;

pub(crate) const CASES: &[Case] = &[
    case!(21, "a mebibyte in small pieces arrives whole, then the end", ALL, Both, mebibyte),
    case!(21, "a mebibyte arrives whole over a bad link", ASYNC, BAD_NETWORK, mebibyte_bad_link),
    case!(21, "a lost segment only delays", ASYNC, BAD_NETWORK, lost_segments),
    case!(21, "no packet is larger than the link takes", ASYNC, INSIDE, small_packets),
    case!(22, "a thousand round trips keep their order", ALL, Both, ping_pong),
    case!(23, "a read does not wait to fill its buffer", ALL, Both, short_read),
    case!(23, "several buffers are read and written in turn", ALL, Both, vectored),
    case!(24, "an empty read gives 0 and takes nothing", ALL, Both, empty_read),
    case!(24, "an empty read does not wait for data", ALL, DOES_NOT_WAIT, empty_read_of_nothing),
    case!(24, "an empty write gives 0 and is not the end", ALL, Both, empty_write),
    case!(25, "peeking leaves the bytes", ALL, Both, peek),
    case!(25, "peeking at nothing would block", ALL, Both, peek_nothing),
    case!(25, "peeking at the end gives 0", ALL, Both, peek_end),
    case!(25, "peeking after a reset is as reading", ASYNC, Both, peek_reset),
    case!(26, "reading nothing and writing to a full stream would block", ALL, Both, would_block),
    case!(26, "readable waits for data and writable for room", ASYNC, Both, readiness_comes),
    case!(27, "a fresh stream is writable and not readable", ASYNC, TOKIO_ASSUMES, fresh),
    case!(27, "readiness stays until a read would block", ASYNC, Both, readiness_stays),
    case!(27, "the end is readable and writable", ASYNC, Both, readiness_at_the_end),
    case!(28, "a writer waits for a reader, and loses nothing", ALL, Both, back_pressure),
    case!(28, "unread data is bounded by Config", TOKIO, INSIDE, bounded),
    case!(29, "a dropped read loses nothing", ASYNC, Both, dropped_read),
    case!(30, "a dropped write has sent nothing", ASYNC, Both, dropped_write),
    case!(31, "a reader and a writer wake independently", ASYNC, Both, independent_wakers),
    case!(32, "many tasks use one stream at once", ASYNC, Both, many_tasks),
    case!(33, "all that was written before a drop arrives", ALL, Both, write_and_drop),
    case!(33, "all that was written before a shutdown arrives", ALL, Both, write_and_shutdown),
];

/// Linux waits for the first byte even if it is to read none.
const DOES_NOT_WAIT: Backends = Backends::Ours("the kernel waits for data");

/// tokio spares itself a wait where an answer may be there already.
const TOKIO_ASSUMES: Backends =
    Backends::Ours("tokio takes a fresh stream for readable until it is tried");

async fn mebibyte(world: World) {
    let (client, server) = world.pair().await;
    transfer(client, server, 1 << 20).await;
}

async fn mebibyte_bad_link(world: World) {
    let there = world.simulation();
    let (client, server) = world.pair().await;
    let bad = LinkConfig::new().delay(Duration::from_millis(5)).loss(0.05);
    there.near.set_link(bad.reorder(0.05).duplicate(0.05).corrupt(0.01));

    transfer(client, server, 1 << 20).await;

    there.near.set_link(LinkConfig::new());
}

async fn lost_segments(world: World) {
    let there = world.simulation();
    let (client, server) = world.pair().await;
    let mut large = 0;
    there.near.set_filter(move |_, packet| {
        large += u32::from(packet.len() > 1000);
        packet.len() <= 1000 || ![1, 5, 6, 20].contains(&large)
    });

    transfer(client, server, 100_000).await;

    assert_eq!(there.near.counters(Direction::Outbound).lost, 4);
}

async fn small_packets(world: World) {
    let there = world.simulation();
    let (client, server) = world.pair().await;

    transfer(client, server, 100_000).await;

    assert_eq!(there.near.counters(Direction::Outbound).lost_mtu, 0);
    assert!(there.near.counters(Direction::Outbound).sent >= 100_000 / 1500);
}

async fn transfer(client: Stream, server: Stream, len: usize) {
    let data = noise(len);
    let send = async {
        for piece in data.chunks(1024) {
            client.write_all(piece).await.expect("open");
        }
        client.shutdown(Shutdown::Write).await.expect("open");
    };

    let ((), received) = tokio::join!(send, server.read_to_end());

    let received = received.expect("open");
    assert!(received == data, "{} bytes of {len}", received.len());
}

async fn ping_pong(world: World) {
    let (client, server) = world.pair().await;
    client.set_nodelay(true).expect("open");
    server.set_nodelay(true).expect("open");
    let echo = async {
        loop {
            let message = server.read_up_to(8).await.expect("open");
            server.write_all(&message).await.expect("open");
            if message.is_empty() {
                return server.shutdown(Shutdown::Write).await.expect("open");
            }
        }
    };
    let ask = async {
        for number in 0..1000u64 {
            client.write_all(&number.to_be_bytes()).await.expect("open");
            assert_eq!(client.read_up_to(8).await.expect("open"), number.to_be_bytes());
        }
        client.shutdown(Shutdown::Write).await.expect("open");
        assert_eq!(client.read(&mut [0]).await.expect("the end"), 0);
    };

    tokio::join!(echo, ask);
}

async fn short_read(world: World) {
    let (client, server) = world.pair().await;
    client.write_all(b"x").await.expect("open");

    let n = server.read(&mut [0; 1000]).await.expect("open");

    assert_eq!(n, 1);
}

async fn vectored(world: World) {
    let (client, server) = world.pair().await;
    let pieces = [&b"one"[..], b"", b"two", b"three"].map(IoSlice::new);

    assert_eq!(client.try_write_vectored(&pieces).expect("room"), 11);
    // They may come in several segments.
    while server.peek(&mut [0; 11]).await.expect("open") < 11 {
        world.settle().await;
    }
    let (mut first, mut second, mut third) = ([0; 4], [0; 0], [0; 10]);
    let mut buffers = [&mut first[..], &mut second, &mut third].map(IoSliceMut::new);

    assert_eq!(server.try_read_vectored(&mut buffers).expect("data"), 11);
    assert_eq!((&first, &third[..7]), (b"onet", &b"wothree"[..]));
}

async fn empty_read(world: World) {
    let (client, server) = world.pair().await;
    client.write_all(b"x").await.expect("open");
    assert_eq!(server.peek(&mut [0]).await.expect("open"), 1);
    assert_eq!(server.read(&mut []).await.expect("open"), 0);

    assert_eq!(server.read_up_to(1).await.expect("open"), b"x");
}

async fn empty_read_of_nothing(world: World) {
    let (_client, server) = world.pair().await;
    assert_eq!(server.read(&mut []).await.expect("open"), 0);
}

async fn empty_write(world: World) {
    let (client, server) = world.pair().await;

    assert_eq!(client.write(&[]).await.expect("open"), 0);
    world.settle().await;

    assert_eq!(kind(server.try_read(&mut [0])), Err(ErrorKind::WouldBlock));
    client.write_all(b"x").await.expect("open");
    assert_eq!(server.read_up_to(1).await.expect("open"), b"x");
}

async fn peek(world: World) {
    let (client, server) = world.pair().await;
    client.write_all(b"hello").await.expect("open");
    let mut buf = [0; 1];
    server.peek(&mut buf).await.expect("open");

    for _ in 0..2 {
        assert_eq!(server.peek(&mut buf).await.expect("open"), 1);
        assert_eq!(&buf, b"h");
    }

    assert_eq!(server.read_up_to(5).await.expect("open"), b"hello");
}

async fn peek_nothing(world: World) {
    let (_client, server) = world.pair().await;
    assert_eq!(kind(server.try_peek(&mut [0])), Err(ErrorKind::WouldBlock));
}

async fn peek_end(world: World) {
    let (client, server) = world.pair().await;
    drop(client);
    assert_eq!(server.peek(&mut [0]).await.expect("the end"), 0);
    assert_eq!(server.peek(&mut [0]).await.expect("still the end"), 0);
}

async fn peek_reset(world: World) {
    let (client, server) = world.pair().await;
    client.set_zero_linger().expect("open");
    drop(client);

    assert_eq!(kind(server.peek(&mut [0]).await), Err(ErrorKind::ConnectionReset));
}

/// Writes until that would block, also after the peer has had time to take the data; returns the
/// number of bytes. Only in virtual time is it certain that the peer takes no more.
async fn fill(world: &World, stream: &Stream) -> usize {
    let (mut total, piece) = (0, [7; 64 * 1024]);
    loop {
        match stream.try_write(&piece) {
            Ok(n) => total += n,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                world.settle().await;
                match stream.try_write(&piece) {
                    Ok(n) => total += n,
                    Err(_) => return total,
                }
            }
        }
        assert!(total < 256 << 20, "there is no bound");
    }
}

async fn would_block(world: World) {
    let (client, server) = world.pair().await;

    assert_eq!(kind(server.try_read(&mut [0])), Err(ErrorKind::WouldBlock));
    let total = fill(&world, &client).await;

    assert_eq!(server.read_up_to(total).await.expect("open").len(), total);
}

async fn readiness_comes(world: World) {
    let (client, server) = world.pair().await;
    // Until it is tried, tokio takes a fresh stream for readable.
    assert_eq!(kind(server.try_read(&mut [0])), Err(ErrorKind::WouldBlock));
    let mut readable = server.readable();
    assert!(futures::poll!(&mut readable).is_pending());
    client.write_all(b"x").await.expect("open");
    readable.await.expect("open");
    assert_eq!(server.read_up_to(1).await.expect("open"), b"x");

    client.writable().await.expect("open");
    let total = fill(&world, &client).await;
    let mut writable = client.writable();
    let is_writable = futures::poll!(&mut writable).is_ready();
    assert!(!(is_writable && world.is_ours()), "there is no room yet");
    server.read_up_to(total).await.expect("open");
    if !is_writable {
        writable.await.expect("open");
    }
    assert!(client.try_write(b"x").is_ok());

    server.read_up_to(1).await.expect("open");
}

async fn fresh(world: World) {
    let (client, server) = world.pair().await;
    for stream in [client, server] {
        assert!(stream.writable().now_or_never().is_some());
        assert!(stream.readable().now_or_never().is_none());
    }
}

async fn readiness_stays(world: World) {
    let (client, server) = world.pair().await;
    client.write_all(b"four").await.expect("open");
    server.readable().await.expect("open");
    assert!(server.readable().now_or_never().is_some());

    assert_eq!(server.try_read(&mut [0; 2]).expect("data"), 2);
    assert!(server.readable().now_or_never().is_some());
    assert_eq!(server.try_read(&mut [0; 2]).expect("data"), 2);
    assert_eq!(kind(server.try_read(&mut [0; 2])), Err(ErrorKind::WouldBlock));

    assert!(server.readable().now_or_never().is_none());
}

async fn readiness_at_the_end(world: World) {
    let (client, server) = world.pair().await;
    fill(&world, &server).await;
    drop(client);

    server.readable().await.expect("at the end");
    server.writable().await.expect("at the end");
}

async fn back_pressure(world: World) {
    let (client, server) = world.pair().await;
    let total = fill(&world, &client).await;
    assert!(total > 0);

    let (rest, received) = tokio::join!(
        async {
            client.write_all(b"the rest").await.expect("open");
            drop(client);
        },
        server.read_to_end()
    );

    let ((), received) = (rest, received.expect("open"));
    assert_eq!(received.len(), total + 8);
    assert!(received.ends_with(b"the rest"));
}

async fn bounded(world: World) {
    let (client, server) = world.pair().await;
    let config = netstack::Config::default();

    let total = fill(&world, &client).await;

    // Each end has a buffer of the connection's and a queue of the handle's.
    let buffers = config.tcp.send_buffer_bytes + config.tcp.recv_buffer_bytes;
    assert!(total <= buffers + 2 * config.tcp.stream_queue_bytes, "{total} bytes were taken");
    server.read_up_to(total).await.expect("open");
}

async fn dropped_read(world: World) {
    let (client, server) = world.pair().await;
    let data = noise(100_000);
    let send = async {
        for piece in data.chunks(777) {
            client.write_all(piece).await.expect("open");
            tokio::task::yield_now().await;
        }
        drop(client);
    };
    let receive = async {
        let (mut received, mut buf, mut dropped) = (Vec::new(), [0; 1000], 0);
        loop {
            let n = match server.read(&mut buf).now_or_never() {
                Some(n) => n.expect("open"),
                None => {
                    dropped += 1;
                    server.readable().await.expect("open");
                    continue;
                }
            };
            received.extend_from_slice(&buf[..n]);
            if n == 0 {
                return (received, dropped);
            }
        }
    };

    let ((), (received, dropped)) = tokio::join!(send, receive);

    assert!(dropped > 0, "a read was dropped at least once");
    assert!(received == data, "{} bytes", received.len());
}

async fn dropped_write(world: World) {
    let (client, server) = world.pair().await;
    let mut total = fill(&world, &client).await;
    // The last one of these is dropped while it waits.
    while let Some(written) = client.write(&[8; 1000]).now_or_never() {
        total += written.expect("open");
    }

    assert_eq!(server.read_up_to(total).await.expect("open").len(), total);
    client.write_all(b"other").await.expect("open");
    drop(client);

    assert_eq!(server.read_to_end().await.expect("open"), b"other");
}

/// More than any stack buffers without a reader.
const REST: usize = 16 << 20;

async fn independent_wakers(world: World) {
    let (client, server) = world.pair().await;
    let total = fill(&world, &client).await;
    let (reader, writer) = (client.clone(), client.clone());
    let reading = tokio::spawn(async move { reader.read_up_to(1).await });
    let writing = tokio::spawn(async move { writer.write_all(&vec![8; REST]).await });
    world.settle().await;
    assert!(!reading.is_finished() && !writing.is_finished());

    server.write_all(b"x").await.expect("open");
    assert_eq!(reading.await.expect("no panic").expect("open"), b"x");
    assert!(!writing.is_finished());
    let received = server.read_up_to(total + REST).await.expect("open");
    writing.await.expect("no panic").expect("open");

    assert_eq!(received.iter().filter(|byte| **byte == 8).count(), REST);
}

async fn many_tasks(world: World) {
    let (client, server) = world.pair().await;
    let tasks = (0..32).map(|number| {
        let stream = client.clone();
        tokio::spawn(async move {
            for round in 0..50 {
                match (number + round) % 6 {
                    0 => drop(stream.try_read(&mut [0; 10])),
                    1 => drop(stream.peek(&mut [0; 10]).now_or_never()),
                    2 => assert!(stream.local_addr().is_ok() && stream.peer_addr().is_ok()),
                    3 => stream.set_nodelay(round % 2 == 0).expect("open"),
                    4 => stream.set_ttl(64).expect("open"),
                    _ => drop(stream.read(&mut [0; 10]).now_or_never()),
                }
                tokio::task::yield_now().await;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("no panic");
    }

    client.write_all(b"ping").await.expect("open");
    assert_eq!(server.read_up_to(4).await.expect("open"), b"ping");
    server.write_all(b"pong").await.expect("open");
    assert_eq!(client.read_up_to(4).await.expect("open"), b"pong");
}

async fn write_and_drop(world: World) {
    let (client, server) = world.pair().await;
    let data = noise(300_000);

    let (sent, received) = tokio::join!(
        async {
            client.write_all(&data).await.expect("open");
            drop(client);
        },
        timeout(Duration::from_secs(30), server.read_to_end())
    );

    let ((), received) = (sent, received.expect("the end comes").expect("open"));
    assert!(received == data, "{} bytes", received.len());
}

async fn write_and_shutdown(world: World) {
    let (client, server) = world.pair().await;
    client.write_all(b"last words").await.expect("open");
    client.shutdown(Shutdown::Write).await.expect("open");

    assert_eq!(server.read_to_end().await.expect("open"), b"last words");
}
