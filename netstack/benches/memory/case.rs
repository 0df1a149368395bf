//! One case, and its figures.

use crate::idle::connect_idle;
use netstack::netsocket::{TcpListener, TcpStream, UdpSocket};
use netstack::{Pair, Stack};
use serde::Serialize;
use std::fmt;
use std::io::Result;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::runtime::Runtime;

/// The setup of the two stacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) place: Place,
    pub(crate) idle: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Place {
    /// The kernel's loopback
    Kernel,
    /// Two stacks, as tasks of one runtime
    Tasks,
    /// Two stacks, a thread for each
    Threads,
    /// As tasks, and no packet larger than the MTU
    Packets,
}

/// How much is measured.
pub(crate) struct Settings {
    /// Each of the figures but the last.
    pub(crate) time: Duration,
    /// Connections made for one figure.
    pub(crate) connections: u32,
}

/// The result of one run.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Figures {
    pub(crate) gbit_s: f64,
    pub(crate) rtt_p50_us: f64,
    pub(crate) rtt_p99_us: f64,
    pub(crate) datagrams_s: f64,
    pub(crate) connections_s: f64,
}

const BLOCK: usize = 64 * 1024;
const MESSAGE: usize = 64;

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.place.name())?;
        if self.idle > 0 { write!(f, ", {} idle", self.idle) } else { Ok(()) }
    }
}

impl Place {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel loopback",
            Self::Tasks => "two tasks of one runtime",
            Self::Threads => "a thread for each stack",
            Self::Packets => "two tasks, packets of 1,500 bytes",
        }
    }
}

impl Case {
    /// Measures everything once.
    pub(crate) fn measure(self, settings: &Settings) -> Result<Figures> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let (time, connections) = (settings.time, settings.connections);
        // As a task: the future of the main thread is scheduled apart from the others.
        match self.place {
            Place::Kernel => spawn(&runtime, measure_kernel(time, connections)),
            _ => spawn(&runtime, measure_ours(self, time, connections)),
        }
    }
}

fn spawn(
    runtime: &Runtime,
    measuring: impl Future<Output = Result<Figures>> + Send + 'static,
) -> Result<Figures> {
    runtime.block_on(runtime.spawn(measuring))?
}

async fn measure_ours(case: Case, time: Duration, connections: u32) -> Result<Figures> {
    let pair = Pair::new().jumbo(case.place != Place::Packets);
    let (near, far) = match case.place {
        Place::Threads => pair.spawn_threads()?,
        _ => pair.spawn()?,
    };
    let listener = far.net().tcp_listen("10.0.0.2:80").await?;
    let _held = connect_idle(&near, &far, case.idle).await?;
    let (a, b) = connect(&near, &listener).await?;
    let gbit_s = stream(a, b, time).await?;
    let (a, b) = connect(&near, &listener).await?;
    let (rtt_p50_us, rtt_p99_us) = round_trip(a, b, time).await?;
    let receiver = far.net().udp_bind("10.0.0.2:9").await?;
    let sender = near.net().udp_bind("10.0.0.1:0").await?;
    sender.connect("10.0.0.2:9").await?;
    let sending = async move { while sender.send(&[7; MESSAGE]).await.is_ok() {} };
    let datagrams_s = datagrams(sending, receiver, time).await?;
    let accepting = tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let start = Instant::now();
    for _ in 0..connections {
        near.net().tcp_connect("10.0.0.2:80").await?;
    }
    let connections_s = f64::from(connections) / start.elapsed().as_secs_f64();
    accepting.abort();
    Ok(Figures { gbit_s, rtt_p50_us, rtt_p99_us, datagrams_s, connections_s })
}

async fn connect(near: &Stack, listener: &TcpListener) -> Result<(TcpStream, TcpStream)> {
    let (client, accepted) = tokio::join!(near.net().tcp_connect("10.0.0.2:80"), listener.accept());
    Ok((client?, accepted?.0))
}

async fn measure_kernel(time: Duration, connections: u32) -> Result<Figures> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let connect = async || {
        let connecting = tokio::net::TcpStream::connect(address);
        let (client, accepted) = tokio::join!(connecting, listener.accept());
        let (client, server) = (client?, accepted?.0);
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        Result::Ok((client, server))
    };
    let (a, b) = connect().await?;
    let gbit_s = stream(a, b, time).await?;
    let (a, b) = connect().await?;
    let (rtt_p50_us, rtt_p99_us) = round_trip(a, b, time).await?;
    let receiver = tokio::net::UdpSocket::bind("127.0.0.1:0").await?;
    let sender = tokio::net::UdpSocket::bind("127.0.0.1:0").await?;
    sender.connect(receiver.local_addr()?).await?;
    let sending = async move { while sender.send(&[7; MESSAGE]).await.is_ok() {} };
    let datagrams_s = datagrams(sending, receiver, time).await?;
    let accepting = tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let start = Instant::now();
    for _ in 0..connections {
        tokio::net::TcpStream::connect(address).await?;
    }
    let connections_s = f64::from(connections) / start.elapsed().as_secs_f64();
    accepting.abort();
    Ok(Figures { gbit_s, rtt_p50_us, rtt_p99_us, datagrams_s, connections_s })
}

/// Sends at full rate in one direction; returns Gbit/s.
async fn stream(
    mut from: impl AsyncWrite + Unpin + Send + 'static,
    mut to: impl AsyncRead + Unpin,
    time: Duration,
) -> Result<f64> {
    let writing = tokio::spawn(async move {
        let block = vec![7; BLOCK];
        while from.write_all(&block).await.is_ok() {}
    });
    let mut block = vec![0; BLOCK];
    // The beginning is slow start.
    let warm = Instant::now();
    while warm.elapsed() < time / 4 {
        let _ = to.read(&mut block).await?;
    }
    let (mut bytes, start) = (0, Instant::now());
    while start.elapsed() < time {
        bytes += to.read(&mut block).await?;
    }
    let rate = bytes as f64 * 8.0 / start.elapsed().as_secs_f64() / 1e9;
    writing.abort();
    Ok(rate)
}

/// Sends 64 bytes there and back, again and again; returns the median and the 99th percentile of
/// the time that this takes, in microseconds.
async fn round_trip(
    mut near: impl AsyncRead + AsyncWrite + Unpin,
    mut far: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    time: Duration,
) -> Result<(f64, f64)> {
    let echo = tokio::spawn(async move {
        let mut message = [0; MESSAGE];
        while far.read_exact(&mut message).await.is_ok() {
            far.write_all(&message).await?;
        }
        Result::Ok(())
    });
    let (mut message, mut samples, start) = ([0; MESSAGE], Vec::new(), Instant::now());
    while start.elapsed() < time {
        let sent = Instant::now();
        near.write_all(&message).await?;
        near.read_exact(&mut message).await?;
        samples.push(sent.elapsed().as_secs_f64() * 1e6);
    }
    echo.abort();
    samples.sort_by(f64::total_cmp);
    let at = |quantile: f64| samples[((samples.len() - 1) as f64 * quantile) as usize];
    Ok((at(0.5), at(0.99)))
}

/// Sends datagrams of 64 bytes as fast as possible; returns how many arrive in a second.
async fn datagrams(
    sending: impl Future<Output = ()> + Send + 'static,
    receiver: impl Receive,
    time: Duration,
) -> Result<f64> {
    let sending = tokio::spawn(sending);
    let (mut buffer, mut received, start) = ([0; MESSAGE], 0_u64, Instant::now());
    while start.elapsed() < time {
        receiver.receive(&mut buffer).await?;
        received += 1;
    }
    let rate = received as f64 / start.elapsed().as_secs_f64();
    sending.abort();
    Ok(rate)
}

/// The common part of the two UDP sockets.
trait Receive {
    fn receive(&self, buffer: &mut [u8]) -> impl Future<Output = Result<usize>> + Send;
}

impl Receive for UdpSocket {
    async fn receive(&self, buffer: &mut [u8]) -> Result<usize> {
        self.recv(buffer).await
    }
}

impl Receive for tokio::net::UdpSocket {
    async fn receive(&self, buffer: &mut [u8]) -> Result<usize> {
        self.recv(buffer).await
    }
}
