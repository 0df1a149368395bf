//! The load: a client on the kernel's sockets, and the server on them that is the ceiling.

use crate::figures::Figures;
use anyhow::{Context, Result, bail};
use socket2::{Domain, Socket, Type};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const BLOCK: usize = 64 * 1024;
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// The beginning of a stream is slow start.
const WARM_UP: Duration = Duration::from_millis(500);
/// The pause after one test's streams before the next test.
const PAUSE: Duration = Duration::from_millis(300);

/// A server or client on the kernel's sockets.
///
/// The congestion control is set on each socket: the default of a namespace must be one that the
/// machine allows to all users, and on many CUBIC is not.
fn socket(congestion_control: &str) -> Result<TcpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket
        .set_tcp_congestion(congestion_control.as_bytes())
        .with_context(|| format!("congestion control {congestion_control}"))?;
    socket.set_nonblocking(true)?;
    Ok(TcpSocket::from_std_stream(socket.into()))
}

/// Serves on the kernel's loopback, until it is killed.
pub(crate) async fn serve_kernel(congestion_control: &str) -> Result<()> {
    let socket = socket(congestion_control)?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], protocol::PORT)))?;
    // As tokio's and std's `TcpListener::bind`; accepted connections inherit the options.
    let listener: TcpListener = socket.listen(1024)?;
    let datagrams = tokio::net::UdpSocket::bind(listener.local_addr()?).await?;
    tokio::spawn(protocol::echo_datagrams(datagrams));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(protocol::serve(stream));
    }
}

/// Where the load is put, and how.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) server: SocketAddr,
    /// That of the clients' sockets.
    pub(crate) congestion_control: &'a str,
}

/// Takes every figure of a server.
pub(crate) async fn measure(server: Target<'_>, idle: usize, seconds: f64) -> Result<Figures> {
    let time = Duration::from_secs_f64(seconds);
    let mut held = Vec::with_capacity(idle);
    for made in 0..idle {
        let opened = open(server, b'I').await;
        held.push(opened.with_context(|| format!("idle connection {made}"))?);
    }
    let mut figures = Figures::default();
    let mut put = |key: &str, value: f64| figures.0.insert(key.to_owned(), value);
    for (key, mode, streams) in
        [("up_1", b'U', 1), ("down_1", b'D', 1), ("up_8", b'U', 8), ("down_8", b'D', 8)]
    {
        let rate = bulk(server, mode, streams, time).await.with_context(|| key.to_owned())?;
        put(key, rate / 1e9);
    }
    let (p50, p99) = round_trip(server, time).await.context("round trip")?;
    put("rtt_p50_us", p50);
    put("rtt_p99_us", p99);
    put("connections_s", connections(server, time).await.context("connections")?);
    Ok(figures)
}

/// A connection, and its first byte sent.
pub(crate) async fn open(server: Target<'_>, mode: u8) -> Result<TcpStream> {
    let connecting = socket(server.congestion_control)?.connect(server.server);
    let mut stream = tokio::time::timeout(PATIENCE, connecting).await??;
    stream.set_nodelay(true)?;
    stream.write_all(&[mode]).await?;
    Ok(stream)
}

/// Receives over one connection; returns bit/s.
pub(crate) async fn download(server: Target<'_>, time: Duration) -> Result<f64> {
    bulk(server, b'D', 1, time).await
}

/// Transfers bytes over this many connections; returns bit/s.
async fn bulk(server: Target<'_>, mode: u8, streams: usize, time: Duration) -> Result<f64> {
    let total = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for _ in 0..streams {
        let mut stream = open(server, mode).await?;
        let total = total.clone();
        tasks.push(tokio::spawn(async move {
            let mut block = vec![1; BLOCK];
            loop {
                let moved = match mode {
                    b'U' => stream.write(&block).await,
                    _ => stream.read(&mut block).await,
                };
                match moved {
                    Ok(0) | Err(_) => break,
                    Ok(n) => total.fetch_add(n as u64, Relaxed),
                };
            }
        }));
    }
    tokio::time::sleep(WARM_UP).await;
    let (before, start) = (total.load(Relaxed), Instant::now());
    tokio::time::sleep(time).await;
    let moved = total.load(Relaxed) - before;
    let rate = moved as f64 * 8.0 / start.elapsed().as_secs_f64();
    for task in tasks {
        task.abort();
    }
    tokio::time::sleep(PAUSE).await;
    if moved == 0 {
        bail!("not a byte has moved");
    }
    Ok(rate)
}

/// 64 bytes there and back, again and again; the median and the 99th percentile in µs.
pub(crate) async fn round_trip(server: Target<'_>, time: Duration) -> Result<(f64, f64)> {
    let mut stream = open(server, b'R').await?;
    let (mut message, mut samples, start) = ([0; 64], Vec::new(), Instant::now());
    while start.elapsed() < time {
        let sent = Instant::now();
        stream.write_all(&message).await?;
        tokio::time::timeout(PATIENCE, stream.read_exact(&mut message)).await??;
        samples.push(sent.elapsed().as_secs_f64() * 1e6);
    }
    samples.sort_by(f64::total_cmp);
    let at = |quantile: f64| samples[((samples.len() - 1) as f64 * quantile) as usize];
    Ok((at(0.5), at(0.99)))
}

/// Connections made, used and closed one after the other, in a second.
async fn connections(server: Target<'_>, time: Duration) -> Result<f64> {
    let (mut made, start) = (0_u32, Instant::now());
    while start.elapsed() < time {
        let mut stream = open(server, b'X').await?;
        tokio::time::timeout(PATIENCE, stream.read(&mut [0; 1])).await??;
        made += 1;
    }
    Ok(f64::from(made) / start.elapsed().as_secs_f64())
}
