//! Two stacks joined in memory, beside the kernel's loopback in the same run: one stream, a
//! round trip, connections per second, each with none and with 10,000 idle connections.
//!
//! ```sh
//! cargo bench -p netstack --bench memory
//! ```
//!
//! Absolute figures move with the machine; the ratios are what counts.

#![allow(clippy::print_stdout)]

use netstack::netsocket::{TcpListener, TcpStream};
use netstack::{Pair, Stack};
use std::io::Result;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::runtime::Runtime;

/// How long each figure is measured, each time.
const TIME: Duration = Duration::from_millis(600);
/// How often; the median is printed.
const RUNS: usize = 5;
const IDLE: usize = 10_000;
/// Connections made for one figure: few enough that no port is used twice.
const CONNECTIONS: u32 = 3_000;
const BLOCK: usize = 64 * 1024;

fn main() -> Result<()> {
    println!(
        "Two stacks in memory, MTU 1500; medians of {RUNS} runs. The ratio is to the first row.\n"
    );
    println!(
        "{:<34} {:>10} {:>7} {:>12} {:>10} {:>9}",
        "", "Gbit/s", "ratio", "rtt p50 µs", "p99 µs", "conn/s"
    );
    let mut rows = vec![
        ("two tasks of one runtime", Case::new(Place::Tasks, true, 0)),
        ("… with 10,000 idle connections", Case::new(Place::Tasks, true, IDLE)),
        ("… with packets of 1,500 bytes", Case::new(Place::Tasks, false, 0)),
        ("a thread for each stack", Case::new(Place::Threads, true, 0)),
        ("kernel loopback", Case::new(Place::Kernel, false, 0)),
    ]
    .into_iter()
    .map(|(name, case)| (name, case, Vec::new()))
    .collect::<Vec<_>>();
    // In turn, so that a machine that slows down does so for all.
    for _ in 0..RUNS {
        for (_, case, figures) in &mut rows {
            figures.push(case.measure()?);
        }
    }
    let mut first = None;
    for (name, _, figures) in rows {
        let median = |of: fn(&Figures) -> f64| {
            let mut values: Vec<f64> = figures.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let rate = median(|figures| figures.gigabits);
        let ratio = rate / *first.get_or_insert(rate);
        let (p50, p99) = (median(|figures| figures.p50), median(|figures| figures.p99));
        let connections = median(|figures| figures.connections);
        println!("{name:<34} {rate:>10.1} {ratio:>7.2} {p50:>12.1} {p99:>10.1} {connections:>9.0}");
    }
    Ok(())
}

struct Case {
    place: Place,
    jumbo: bool,
    idle: usize,
}

#[derive(Clone, Copy)]
enum Place {
    Tasks,
    Threads,
    Kernel,
}

struct Figures {
    gigabits: f64,
    p50: f64,
    p99: f64,
    connections: f64,
}

impl Case {
    fn new(place: Place, jumbo: bool, idle: usize) -> Self {
        Self { place, jumbo, idle }
    }

    fn measure(&self) -> Result<Figures> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        match self.place {
            Place::Kernel => measure_kernel(&runtime),
            place => {
                let (jumbo, idle) = (self.jumbo, self.idle);
                // As a task: what runs on the main thread is scheduled apart from the others.
                let measuring = runtime.spawn(measure_ours(place, jumbo, idle));
                runtime.block_on(measuring)?
            }
        }
    }
}

async fn measure_ours(place: Place, jumbo: bool, idle: usize) -> Result<Figures> {
    let pair = Pair::new().jumbo(jumbo);
    let (near, far) = match place {
        Place::Threads => pair.spawn_threads()?,
        _ => pair.spawn()?,
    };
    let listener = far.net().tcp_listen("10.0.0.2:80").await?;
    let mut held = Vec::new();
    for _ in 0..idle {
        held.push(connect(&near, &listener).await?);
    }
    let (a, b) = connect(&near, &listener).await?;
    let gigabits = stream(a, b).await?;
    let (a, b) = connect(&near, &listener).await?;
    let (p50, p99) = round_trip(a, b).await?;
    let accepting = tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let start = Instant::now();
    for _ in 0..CONNECTIONS {
        near.net().tcp_connect("10.0.0.2:80").await?;
    }
    let connections = f64::from(CONNECTIONS) / start.elapsed().as_secs_f64();
    accepting.abort();
    Ok(Figures { gigabits, p50, p99, connections })
}

async fn connect(near: &Stack, listener: &TcpListener) -> Result<(TcpStream, TcpStream)> {
    let (client, accepted) = tokio::join!(near.net().tcp_connect("10.0.0.2:80"), listener.accept());
    Ok((client?, accepted?.0))
}

fn measure_kernel(runtime: &Runtime) -> Result<Figures> {
    let measuring = runtime.spawn(async {
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
        let gigabits = stream(a, b).await?;
        let (a, b) = connect().await?;
        let (p50, p99) = round_trip(a, b).await?;
        let accepting = tokio::spawn(async move { while listener.accept().await.is_ok() {} });
        let start = Instant::now();
        for _ in 0..CONNECTIONS {
            tokio::net::TcpStream::connect(address).await?;
        }
        let connections = f64::from(CONNECTIONS) / start.elapsed().as_secs_f64();
        accepting.abort();
        Ok(Figures { gigabits, p50, p99, connections })
    });
    runtime.block_on(measuring)?
}

/// Moves as much as possible one way; returns Gbit/s.
async fn stream(
    mut from: impl AsyncWrite + Unpin + Send + 'static,
    mut to: impl AsyncRead + Unpin,
) -> Result<f64> {
    let writing = tokio::spawn(async move {
        let block = vec![7; BLOCK];
        while from.write_all(&block).await.is_ok() {}
    });
    let mut block = vec![0; BLOCK];
    // The beginning is slow start.
    let warm = Instant::now();
    while warm.elapsed() < TIME / 4 {
        let _ = to.read(&mut block).await?;
    }
    let (mut bytes, start) = (0, Instant::now());
    while start.elapsed() < TIME {
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
) -> Result<(f64, f64)> {
    let echo = tokio::spawn(async move {
        let mut message = [0; 64];
        while far.read_exact(&mut message).await.is_ok() {
            far.write_all(&message).await?;
        }
        Result::Ok(())
    });
    let (mut message, mut samples, start) = ([0; 64], Vec::new(), Instant::now());
    while start.elapsed() < TIME {
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
