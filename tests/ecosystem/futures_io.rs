//! The face of futures-io, on an executor that is not tokio's.

use super::FAR;
use async_compat::Compat;
use futures::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use futures::{StreamExt, TryStreamExt};
use netstack::{Pair, Stack};
use tests::noise;

/// Two stacks on threads of their own.
fn pair() -> (Stack, Stack) {
    Pair::new().spawn_threads().expect("threads")
}

#[test]
fn smol_runs_streams_without_a_tokio_runtime() {
    let (near, far) = pair();
    smol::block_on(async {
        let listener = far.net().tcp_listen("[::]:80").await.expect("a free port");
        let echo = smol::spawn(async move {
            for _ in FAR {
                let (stream, _) = listener.accept().await?;
                let (from, mut to) = stream.split();
                smol::io::copy(from, &mut to).await?;
                to.close().await?;
            }
            std::io::Result::Ok(())
        });
        let data = noise(3_000_000);

        for host in FAR {
            let stream = near.net().tcp_connect(format!("{host}:80")).await.expect("a listener");
            let (mut from, mut to) = AsyncReadExt::split(stream);
            let (mut received, sending) = (Vec::new(), async {
                to.write_all(&data).await?;
                to.close().await
            });
            let reading = from.read_to_end(&mut received);
            let (sent, read) = futures::join!(sending, reading);
            sent.expect("open");
            read.expect("whole");
            assert!(received == data, "{} bytes from {host}", received.len());
        }
        echo.await.expect("in good order");
    });
}

#[test]
fn smol_reads_lines() {
    let (near, far) = pair();
    smol::block_on(async {
        let listener = far.net().tcp_listen("10.0.0.2:80").await.expect("a free port");
        let connecting = near.net().tcp_connect("10.0.0.2:80");
        let (client, accepted) = futures::join!(connecting, listener.accept());
        let (mut client, server) = (client.expect("a listener"), accepted.expect("a client").0);

        client.write_all(b"one\ntwo\nthree").await.expect("open");
        client.close().await.expect("open");

        let lines: Vec<String> = BufReader::new(server).lines().try_collect().await.expect("text");
        assert_eq!(lines, ["one", "two", "three"]);
    });
}

#[test]
fn datagrams_and_timers_of_smol_go_together() {
    let (near, far) = pair();
    smol::block_on(async {
        let server = far.net().udp_bind("10.0.0.2:9").await.expect("a free port");
        let client = near.net().udp_bind("10.0.0.1:0").await.expect("a free port");
        let answer = smol::future::or(async { Some(server.recv_bytes_from().await) }, async {
            smol::Timer::after(std::time::Duration::from_millis(20)).await;
            None
        });
        assert!(answer.await.is_none(), "nothing was sent");

        client.send_to(b"ping", "10.0.0.2:9").await.expect("room");

        let (datagram, peer) = server.recv_bytes_from().await.expect("a datagram");
        assert_eq!(datagram, "ping");
        assert_eq!(peer, client.local_addr().expect("infallible"));
    });
}

/// For programs with tokio's traits only: the stream is wrapped as a tokio one.
#[test]
fn async_compat_converts_tokio_traits_to_futures_io() {
    let (near, far) = pair();
    smol::block_on(async {
        let listener = far.net().tcp_listen("10.0.0.2:80").await.expect("a free port");
        let connecting = near.net().tcp_connect("10.0.0.2:80");
        let (client, accepted) = futures::join!(connecting, listener.accept());
        let mut client = Compat::new(client.expect("a listener"));
        let server = Compat::new(accepted.expect("a client").0);

        client.write_all(b"one\ntwo\n").await.expect("open");
        client.close().await.expect("open");

        let lines: Vec<_> = BufReader::new(server).lines().collect().await;
        let lines: Vec<_> = lines.into_iter().map(|line| line.expect("text")).collect();
        assert_eq!(lines, ["one", "two"]);
    });
}
