//! What it costs a stack to be watched: the throughput of one TCP stream beside idle connections, with
//! and without a client of the control socket that reads what `netstack top` reads, in turn.
//!
//! ```sh
//! cargo bench -p netstack --features control --bench watched
//! ```
//!
//! The client and the server of the control socket are threads of this process. Quote the ratio, from an
//! otherwise idle machine.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

#[path = "../common/idle.rs"]
mod idle;

use anyhow::{Context, Result};
use clap::Parser;
use idle::connect_idle;
use netstack::control::{Answer, Client, Command};
use netstack::{Pair, Stack};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Measures what it costs a stack to be watched
#[derive(Parser)]
struct Args {
    /// Idle connections
    #[arg(long, default_value_t = 10_000)]
    idle: usize,
    /// How often each is measured; the medians are shown
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// How long each figure is measured, in seconds
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// The time between two readings, in seconds
    #[arg(long, default_value_t = 1.0)]
    interval: f64,
    /// The argument that cargo passes to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// What was measured with a client.
struct Watched {
    gbit_s: f64,
    /// How long a reading took.
    reading: Duration,
}

const BLOCK: usize = 64 * 1024;

fn main() -> Result<()> {
    let args = Args::parse();
    let time = Duration::try_from_secs_f64(args.seconds).context("--seconds")?;
    let interval = Duration::try_from_secs_f64(args.interval).context("--interval")?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("control");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let _context = runtime.enter();
    let (near, far) = Pair::new().control(&path).spawn()?;
    let _held = runtime.block_on(connect_idle(&near, &far, args.idle))?;
    let (mut alone, mut watched) = (Vec::new(), Vec::new());
    // In turn, so that a machine that slows down does so for both.
    for _ in 0..args.runs.max(1) {
        let measure = || runtime.block_on(measure(&near, &far, time));
        alone.push(measure()?);
        watched.push(watch(&path, interval, measure)?);
    }
    let alone = median(alone);
    let reading = median(watched.iter().map(|it| it.reading.as_secs_f64() * 1e3).collect());
    let watched = median(watched.into_iter().map(|it| it.gbit_s).collect());
    println!("| {} idle connections | Gbit/s | ratio | a reading takes |", args.idle);
    println!("|---|--:|--:|--:|");
    println!("| alone | {alone:.1} | 1.00 | – |");
    let ratio = watched / alone;
    let every = args.interval;
    println!("| read every {every} s | {watched:.1} | {ratio:.3} | {reading:.0} ms |");
    Ok(())
}

/// Measures while a client reads the stack.
fn watch(path: &Path, interval: Duration, measure: impl Fn() -> Result<f64>) -> Result<Watched> {
    let mut client = Client::connect(path)?;
    let (stop, stopped) = channel::<()>();
    let reader = std::thread::spawn(move || -> Result<Duration> {
        let (mut total, mut readings) = (Duration::ZERO, 0);
        loop {
            let began = Instant::now();
            read(&mut client)?;
            total += began.elapsed();
            readings += 1;
            let left = interval.saturating_sub(began.elapsed());
            if stopped.recv_timeout(left) != Err(RecvTimeoutError::Timeout) {
                return Ok(total / readings);
            }
        }
    });
    let gbit_s = measure()?;
    drop(stop);
    let reading = reader.join().ok().context("the client has panicked")??;
    Ok(Watched { gbit_s, reading })
}

/// Reads what `netstack top` does.
fn read(client: &mut Client) -> Result<usize> {
    client.ask_one(&Command::Stack {})?;
    client.ask_one(&Command::Counters {})?;
    let mut flows = 0;
    for answer in client.ask(&Command::Flows {})? {
        if let Answer::Flows(some) = answer? {
            flows += some.len();
        }
    }
    Ok(flows)
}

/// The throughput of a stream that is new, in Gbit/s.
async fn measure(near: &Stack, far: &Stack, time: Duration) -> Result<f64> {
    let listener = far.net().tcp_listen("10.0.0.2:0").await?;
    let port = listener.local_addr()?;
    let (client, accepted) = tokio::join!(near.net().tcp_connect(port), listener.accept());
    let (mut from, mut to) = (client?, accepted?.0);
    let writing = tokio::spawn(async move {
        let block = vec![7; BLOCK];
        while from.write_all(&block).await.is_ok() {}
    });
    // As a task: the future of the main thread is scheduled apart from the others.
    let reading = tokio::spawn(async move {
        let mut block = vec![0; BLOCK];
        // The beginning is slow start.
        let warm = Instant::now();
        while warm.elapsed() < time / 8 {
            let _ = to.read(&mut block).await?;
        }
        let (mut bytes, start) = (0, Instant::now());
        while start.elapsed() < time {
            bytes += to.read(&mut block).await?;
        }
        anyhow::Ok(bytes as f64 * 8.0 / start.elapsed().as_secs_f64() / 1e9)
    });
    let rate = reading.await??;
    writing.abort();
    Ok(rate)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
