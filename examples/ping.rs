//! Sends echo requests from the stack and prints what ping prints.
//!
//! ```sh
//! cargo run --release -p examples --example ping -- --count 3 10.9.0.1
//! ```

#![allow(clippy::print_stdout)]

use anyhow::{Context, Result, bail};
use examples::Network;
use netstack::netsocket::{PingError, PingSocket};
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::time::{interval, timeout};

/// Sends ICMP echo requests from a stack on a TUN
#[derive(clap::Parser)]
struct Args {
    #[command(flatten)]
    network: Network,
    /// Who is to answer
    target: IpAddr,
    /// How many requests to send
    #[arg(long, value_name = "N", default_value_t = 4)]
    count: u16,
    /// Seconds between requests
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    interval: f64,
    /// Bytes of payload in each request
    #[arg(long, value_name = "N", default_value_t = 56)]
    size: usize,
    /// Time to live, or hop limit
    #[arg(long, value_name = "N", default_value_t = 64)]
    ttl: u32,
    /// Seconds to wait for each reply
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    timeout: f64,
}

/// What came of the requests.
#[derive(Default)]
struct Statistics {
    sent: usize,
    /// What routers and hosts have reported instead of a reply.
    errors: usize,
    /// How long each reply took, in milliseconds.
    times: Vec<f64>,
}

fn main() -> ExitCode {
    examples::run(async |args: Args| {
        let stack = args.network.start()?;
        let socket = stack.net().ping(args.target).await.context(args.target)?;
        socket.set_ttl(args.ttl)?;
        ping(&socket, &args).await
    })
}

async fn ping(socket: &PingSocket, args: &Args) -> Result<()> {
    let Args { target, count, size, .. } = *args;
    let headers = if target.is_ipv4() { 28 } else { 48 };
    println!("PING {target} ({target}) {size}({}) bytes of data.", size + headers);

    let payload = vec![0x5a; size];
    let pause = Duration::try_from_secs_f64(args.interval).context("--interval")?;
    let patience = Duration::try_from_secs_f64(args.timeout).context("--timeout")?;
    let mut ticks = interval(pause.max(Duration::from_millis(1)));
    let (start, mut statistics) = (Instant::now(), Statistics::default());
    for sequence in 1..=count {
        ticks.tick().await;
        statistics.sent += 1;
        match timeout(patience, socket.ping(sequence, &payload)).await {
            Ok(Ok((reply, time))) => {
                let (bytes, from, ttl) = (reply.payload.len() + 8, reply.from, reply.hop_limit);
                let time = time.as_secs_f64() * 1e3;
                println!(
                    "{bytes} bytes from {from}: icmp_seq={sequence} ttl={ttl} time={time:.3} ms"
                );
                statistics.times.push(time);
            }
            Ok(Err(error)) => match error.get_ref().and_then(|cause| cause.downcast_ref()) {
                Some(PingError { from, error, .. }) => {
                    println!("From {from}: icmp_seq={sequence} {error}");
                    statistics.errors += 1;
                }
                None => println!("icmp_seq={sequence} {error}"),
            },
            Err(_) => println!("no answer yet for icmp_seq={sequence}"),
        }
    }

    println!("\n--- {target} ping statistics ---");
    statistics.print(start.elapsed());
    if statistics.times.is_empty() {
        bail!("{target} did not answer");
    }
    Ok(())
}

impl Statistics {
    /// Prints what ping prints at its end.
    fn print(&self, elapsed: Duration) {
        let Self { sent, errors, times } = self;
        let (received, elapsed) = (times.len(), elapsed.as_millis());
        let loss = 100 * (sent - received) / sent.max(&1);
        let errors = if *errors > 0 { format!(" +{errors} errors,") } else { String::new() };
        println!(
            "{sent} packets transmitted, {received} received,{errors} {loss}% packet loss, \
             time {elapsed}ms"
        );
        if received == 0 {
            return;
        }
        let mean = times.iter().sum::<f64>() / received as f64;
        let variance = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>();
        let deviation = (variance / received as f64).sqrt();
        let min = times.iter().copied().fold(f64::INFINITY, f64::min);
        let max = times.iter().copied().fold(0.0, f64::max);
        println!("rtt min/avg/max/mdev = {min:.3}/{mean:.3}/{max:.3}/{deviation:.3} ms");
    }
}
