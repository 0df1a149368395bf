//! What downloads that nobody reads cost a client beside them: its round trips, and the resident memory
//! beside the bound that holds for all connections of a stack together (`memory_bytes_max`).
//!
//! ```sh
//! cargo bench -p netstack --bench unread
//! ```
//!
//! Two stacks in memory. The servers write as much as they can, of one buffer that all share.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Parser;
use netstack::netsocket::TcpStream;
use netstack::{Config, Pair, Stack, TcpConfig};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Measures round trips beside downloads that nobody reads
#[derive(Parser)]
struct Args {
    /// Downloads that nobody reads
    #[arg(long, default_value_t = 5_000)]
    downloads: usize,
    /// The bound of each stack, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    bound: usize,
    /// How often round trips are measured; the medians are shown
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// How long they are measured each time, in seconds
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// The argument that cargo passes to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// How long the servers may take to fill all windows.
const FILLING: Duration = Duration::from_secs(5);
const REQUEST_BYTES: usize = 64;

fn main() -> Result<()> {
    let args = Args::parse();
    let time = Duration::try_from_secs_f64(args.seconds).context("--seconds")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let _context = runtime.enter();
    let tcp = TcpConfig { memory_bytes_max: Some(args.bound << 20), ..TcpConfig::default() };
    let (near, far) = Pair::new().config(Config { tcp, ..Config::default() }).spawn()?;
    runtime.block_on(async {
        println!("| {} downloads | p50, µs | p99, µs | resident / bound |", args.downloads);
        println!("|---|--:|--:|--:|");
        let trips = measure(&near, &far, args.runs, time).await?;
        println!("| without them | {:.0} | {:.0} | – |", trips.0, trips.1);
        let before = resident_bytes()?;
        let _unread = download(&near, &far, args.downloads).await?;
        tokio::time::sleep(FILLING).await;
        let grown = resident_bytes()?.saturating_sub(before) as f64;
        let trips = measure(&near, &far, args.runs, time).await?;
        let of_bound = grown / (args.bound << 20) as f64;
        println!("| beside them | {:.0} | {:.0} | {of_bound:.2} |", trips.0, trips.1);
        Ok(())
    })
}

/// Starts downloads; returns their ends, which nobody reads.
async fn download(near: &Stack, far: &Stack, downloads: usize) -> Result<Vec<TcpStream>> {
    let block = Bytes::from(vec![7; 64 * 1024]);
    let mut unread = Vec::with_capacity(downloads);
    let listener = far.net().tcp_listen("10.0.0.2:0").await?;
    let address = listener.local_addr()?;
    for _ in 0..downloads {
        let (client, accepted) = tokio::join!(near.net().tcp_connect(address), listener.accept());
        let (server, block) = (accepted?.0, block.clone());
        tokio::spawn(async move { while server.send_bytes(block.clone()).await.is_ok() {} });
        unread.push(client?);
    }
    Ok(unread)
}

/// Round trips of one client for so long: the medians of the runs' medians and 99th percentiles, in
/// microseconds.
async fn measure(near: &Stack, far: &Stack, runs: usize, time: Duration) -> Result<(f64, f64)> {
    let listener = far.net().tcp_listen("10.0.0.2:0").await?;
    let address = listener.local_addr()?;
    let (client, accepted) = tokio::join!(near.net().tcp_connect(address), listener.accept());
    let (mut client, mut server) = (client?, accepted?.0);
    tokio::spawn(async move {
        let mut request = [0; REQUEST_BYTES];
        while server.read_exact(&mut request).await.is_ok() {
            if server.write_all(&request).await.is_err() {
                break;
            }
        }
    });
    // As a task: the future of the main thread is scheduled apart from the others.
    let asking = tokio::spawn(async move {
        let (mut medians, mut tails) = (Vec::new(), Vec::new());
        for _ in 0..runs.max(1) {
            let mut trips = Vec::new();
            let start = Instant::now();
            while start.elapsed() < time {
                let sent = Instant::now();
                client.write_all(&[7; REQUEST_BYTES]).await?;
                client.read_exact(&mut [0; REQUEST_BYTES]).await?;
                trips.push(sent.elapsed().as_secs_f64() * 1e6);
            }
            trips.sort_by(f64::total_cmp);
            medians.push(trips[trips.len() / 2]);
            tails.push(trips[trips.len() * 99 / 100]);
        }
        anyhow::Ok((median(medians), median(tails)))
    });
    asking.await?
}

fn resident_bytes() -> Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kib = line.trim().trim_end_matches(" kB");
    Ok(kib.parse::<usize>()? * 1024)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
