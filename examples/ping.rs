//! Sends echo requests from the stack and prints what ping prints.
//!
//! ```sh
//! cargo run --release -p examples --example ping -- --count 3 10.9.0.1
//! ```
//!
//! The exit status is ping's: 0 if anything was answered, 1 if not, 2 for any other error.

use anyhow::{Context, Result};
use examples::{Network, Stop, flags, println};
use netstack::Net;
use netstack::netsocket::netcore::Error;
use netstack::netsocket::{PingError, PingSocket};
use std::io;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::time::{interval, timeout};

/// Sends ICMP echo requests from a stack on a TUN
#[derive(clap::Parser)]
struct Args {
    #[command(flatten)]
    network: Network,
    /// The target: an IP address, or a name for --dns
    target: String,
    /// How many requests to send
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = flags::number::<u16>(1..=65535, 4))]
    count: u16,
    /// Seconds between requests
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = flags::seconds)]
    interval: Duration,
    /// Bytes of payload in each request
    #[arg(long, value_name = "N", default_value_t = 56, value_parser = flags::number::<usize>(0..=65507, 56))]
    size: usize,
    /// Time to live, or hop limit
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = flags::number::<u32>(1..=255, 64))]
    ttl: u32,
    /// Seconds to wait for each reply
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = flags::seconds)]
    timeout: Duration,
}

/// The results of the requests.
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
        let pinging = async {
            let stack = args.network.start_ready().await?;
            let net = stack.net().clone();
            examples::finish([stack], ping(&net, &args)).await
        };
        match pinging.await {
            Err(error) if !error.is::<&Stop>() => Ok(examples::failed(&error, ExitCode::from(2))),
            result => result,
        }
    })
}

async fn ping(net: &Net, args: &Args) -> Result<ExitCode> {
    let Args { target, size, .. } = args;
    let ip = resolve(net, target).await?;
    let socket = net.ping(ip).await.with_context(|| target.clone())?;
    socket.set_ttl(args.ttl)?;
    match ip {
        IpAddr::V4(_) => println!("PING {target} ({ip}) {size}({}) bytes of data.", size + 28),
        IpAddr::V6(_) => println!("PING {target} ({ip}) {size} data bytes"),
    }

    let (start, mut statistics) = (Instant::now(), Statistics::default());
    let sending = send(&socket, args, &mut statistics);
    if let Err(error) = examples::until_stopped(sending).await
        && !matches!(error.downcast_ref(), Some(&&Stop::Signal(_)))
    {
        return Err(error.context(target.clone()));
    }
    println!("\n--- {target} ping statistics ---");
    statistics.print(start.elapsed());
    Ok(ExitCode::from(u8::from(statistics.times.is_empty())))
}

async fn resolve(net: &Net, target: &str) -> Result<IpAddr> {
    if let Ok(ip) = target.parse() {
        return Ok(ip);
    }
    net.resolver()
        .lookup_ip(target)
        .await?
        .into_iter()
        .next()
        .with_context(|| format!("{target}: no address"))
}

/// Sends the requests, and prints the results.
async fn send(socket: &PingSocket, args: &Args, statistics: &mut Statistics) -> Result<()> {
    let payload = vec![0x5a; args.size];
    let mut ticks = interval(args.interval.max(Duration::from_millis(1)));
    for sequence in 1..=args.count {
        ticks.tick().await;
        statistics.sent += 1;
        match timeout(args.timeout, socket.ping(sequence, &payload)).await {
            Ok(Ok((reply, time))) => {
                let (bytes, ttl) = (reply.payload.len() + 8, reply.hop_limit);
                let from = match args.target.parse::<IpAddr>() {
                    Ok(_) => reply.from.to_string(),
                    Err(_) => format!("{} ({})", args.target, reply.from),
                };
                let time = time.as_secs_f64() * 1e3;
                let shown = three_digits(time);
                println!(
                    "{bytes} bytes from {from}: icmp_seq={sequence} ttl={ttl} time={shown} ms"
                );
                statistics.times.push(time);
            }
            Ok(Err(error)) => {
                println!("{}", report(error, sequence)?);
                statistics.errors += 1;
            }
            Err(_) => println!("no answer yet for icmp_seq={sequence}"),
        }
    }
    Ok(())
}

/// What ping makes of a report of the network; errors of this end are returned.
fn report(error: io::Error, sequence: u16) -> io::Result<String> {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    let Some(PingError { from, error, .. }) = cause else {
        // The target's hardware address was not resolved.
        return match error.kind() {
            io::ErrorKind::HostUnreachable => {
                Ok(format!("icmp_seq={sequence} Destination Host Unreachable"))
            }
            _ => Err(error),
        };
    };
    let text = match (error, from.is_ipv4()) {
        (Error::TtlExceeded, true) => "Time to live exceeded",
        (Error::TtlExceeded, false) => "Time exceeded: Hop limit",
        (Error::HostUnreachable, true) => "Destination Host Unreachable",
        (Error::HostUnreachable, false) => "Destination unreachable: Address unreachable",
        (Error::NetworkUnreachable, true) => "Destination Net Unreachable",
        (Error::NetworkUnreachable, false) => "Destination unreachable: No route",
        (Error::Refused, true) => "Destination Port Unreachable",
        (Error::Refused, false) => "Destination unreachable: Port unreachable",
        _ => &error.to_string(),
    };
    Ok(format!("From {from} icmp_seq={sequence} {text}"))
}

/// A time in milliseconds, as exact as ping shows it.
fn three_digits(time: f64) -> String {
    let decimals = match time {
        ..0.9995 => 3,
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{time:.decimals$}")
}

impl Statistics {
    /// Prints what ping prints at its end.
    fn print(&self, elapsed: Duration) {
        let Self { sent, errors, times } = self;
        let (received, elapsed) = (times.len(), elapsed.as_millis());
        let loss = 100.0 * (sent - received) as f64 / *sent.max(&1) as f64;
        // Six digits, and no zeros at the end.
        let decimals = if loss < 10.0 { 5 } else { 4 };
        let loss = (loss * 10_f64.powi(decimals)).round() / 10_f64.powi(decimals);
        let errors = if *errors > 0 { format!(" +{errors} errors,") } else { String::new() };
        println!(
            "{sent} packets transmitted, {received} received,{errors} {loss}% packet loss, \
             time {elapsed}ms"
        );
        if received == 0 {
            println!("");
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
