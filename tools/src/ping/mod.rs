//! `netstack ping`: echo requests from a stack.

mod statistics;

use anyhow::{Context, Result};
use cli::{Network, Stop, flags};
use netstack::Net;
use netstack::netsocket::netcore::Error;
use netstack::netsocket::{PingError, PingReply, PingSocket};
use serde_json::json;
use statistics::Statistics;
use std::io;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::time::{interval, timeout};

/// Send ICMP echo requests from a stack, as ping(8) does
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    network: Network,
    /// An IP address or a name
    target: String,
    /// How many requests to send [default: until SIGINT]
    #[arg(short, long, value_name = "N", value_parser = flags::number::<u64>(1..=u64::MAX, 4))]
    count: Option<u64>,
    /// Seconds between requests
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = flags::seconds)]
    interval: Duration,
    /// Bytes of payload in each request
    #[arg(short, long, value_name = "N", default_value_t = 56, value_parser = flags::number::<usize>(0..=65507, 56))]
    size: usize,
    /// Time to live, or hop limit
    #[arg(short, long, value_name = "N", default_value_t = 64, value_parser = flags::number::<u32>(1..=255, 64))]
    ttl: u32,
    /// The source: an address of the stack
    #[arg(short = 'I', long, value_name = "IP", value_parser = flags::address)]
    source: Option<IpAddr>,
    /// Seconds to wait for each reply
    #[arg(short = 'W', long, value_name = "SECONDS", default_value = "2", value_parser = flags::seconds)]
    timeout: Duration,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
The exit status is ping's: 0 if anything was answered, 1 if not, 2 for any other error.

Examples:
  netstack ping -c 3 10.9.0.1
  netstack ping --link wg:///etc/wireguard/wg0.conf -i 0.2 intranet.test
  netstack ping --json -c 5 10.9.0.1 | jq 'select(.event == \"end\").loss_percent'";

/// Pings, until it is done or a signal.
pub(crate) fn main(args: &Args) -> ExitCode {
    cli::run_parsed(async {
        let pinging = async {
            let stack = args.network.start_ready().await?;
            let net = stack.net().clone();
            cli::finish([stack], ping(&net, args)).await
        };
        match pinging.await {
            Err(error) if !error.is::<&Stop>() => Ok(cli::failed(&error, ExitCode::from(2))),
            result => result,
        }
    })
}

async fn ping(net: &Net, args: &Args) -> Result<ExitCode> {
    let Args { target, size, .. } = args;
    let ip = resolve(net, args).await?;
    let socket = match args.source {
        Some(source) => net.ping_from(source, ip).await.with_context(|| format!("-I {source}"))?,
        None => net.ping(ip).await.with_context(|| target.clone())?,
    };
    socket.set_ttl(args.ttl)?;
    let from = args.source.map_or_else(String::new, |source| format!("from {source} : "));
    match ip {
        _ if args.json => {}
        IpAddr::V4(_) => {
            cli::println!("PING {target} ({ip}) {from}{size}({}) bytes of data.", size + 28);
        }
        IpAddr::V6(_) => cli::println!("PING {target} ({ip}) {from}{size} data bytes"),
    }

    let (start, mut statistics) = (Instant::now(), Statistics::default());
    let sending = send(&socket, args, &mut statistics);
    if let Err(error) = cli::until_stopped(sending).await
        && !matches!(error.downcast_ref(), Some(&&Stop::Signal(_)))
    {
        return Err(error.context(target.clone()));
    }
    match args.json {
        true => cli::println!("{}", statistics.json(target, start.elapsed())),
        false => {
            cli::println!("\n--- {target} ping statistics ---");
            cli::println!("{}", statistics.text(start.elapsed()));
        }
    }
    Ok(ExitCode::from(u8::from(statistics.received() == 0)))
}

/// The address of the target, of the family of the source if there is one.
async fn resolve(net: &Net, Args { target, source, .. }: &Args) -> Result<IpAddr> {
    if let Ok(ip) = target.parse() {
        return Ok(ip);
    }
    let found = net.resolver().lookup_ip(target).await.with_context(|| target.clone())?;
    let fits = |ip: &IpAddr| source.is_none_or(|source| source.is_ipv4() == ip.is_ipv4());
    found.into_iter().find(fits).with_context(|| format!("{target}: no address"))
}

/// Sends the requests, and prints the results.
async fn send(socket: &PingSocket, args: &Args, statistics: &mut Statistics) -> Result<()> {
    let payload = vec![0x5a; args.size];
    let mut ticks = interval(args.interval.max(Duration::from_millis(1)));
    for number in 1..=args.count.unwrap_or(u64::MAX) {
        ticks.tick().await;
        // As ping's, it begins again after 65,535.
        let sequence = number as u16;
        statistics.sent += 1;
        match timeout(args.timeout, socket.ping(sequence, &payload)).await {
            Ok(Ok((reply, time))) => {
                statistics.reply(time);
                show_reply(args, sequence, &reply, time);
            }
            Ok(Err(error)) => {
                statistics.errors += 1;
                show_error(args, sequence, error)?;
            }
            Err(_) if args.json => {
                cli::println!("{}", json!({"event": "timeout", "seq": sequence}))
            }
            Err(_) => cli::println!("no answer yet for icmp_seq={sequence}"),
        }
    }
    Ok(())
}

fn show_reply(args: &Args, sequence: u16, reply: &PingReply, time: Duration) {
    let (bytes, ttl, time) = (reply.payload.len() + 8, reply.hop_limit, time.as_secs_f64() * 1e3);
    if args.json {
        let reply = json!({"event": "reply", "seq": sequence, "from": reply.from, "bytes": bytes,
            "ttl": ttl, "time_ms": time});
        return cli::println!("{reply}");
    }
    let from = match args.target.parse::<IpAddr>() {
        Ok(_) => reply.from.to_string(),
        Err(_) => format!("{} ({})", args.target, reply.from),
    };
    let time = three_digits(time);
    cli::println!("{bytes} bytes from {from}: icmp_seq={sequence} ttl={ttl} time={time} ms");
}

/// Prints what the network reports; errors of this end are returned.
fn show_error(args: &Args, sequence: u16, error: io::Error) -> io::Result<()> {
    let (from, text) = report(error)?;
    if args.json {
        let error = json!({"event": "error", "seq": sequence, "from": from, "error": text});
        cli::println!("{error}");
        return Ok(());
    }
    match from {
        Some(from) => cli::println!("From {from} icmp_seq={sequence} {text}"),
        None => cli::println!("icmp_seq={sequence} {text}"),
    }
    Ok(())
}

/// What ping makes of a report of the network, and who has sent it.
fn report(error: io::Error) -> io::Result<(Option<IpAddr>, String)> {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    let Some(PingError { from, error, .. }) = cause else {
        // The target's hardware address was not resolved.
        return match error.kind() {
            io::ErrorKind::HostUnreachable => Ok((None, "Destination Host Unreachable".into())),
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
    Ok((Some(*from), text.to_owned()))
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
