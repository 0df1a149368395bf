//! `netstack perf client`.

use crate::perf::output::Output;
use crate::perf::server::{acceptor, interval};
use crate::perf::uri::Uri;
use crate::{certificate, trust};
use anyhow::{Context, Result, bail, ensure};
use cli::{Network, flags};
use netstack::{Net, Pair, Stack};
use perf::client::Options;
use perf::parameters::{
    BLOCK_BYTES_MAX, DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MIN, Direction, Extension,
    OMIT_SECONDS_MAX, SECONDS_MAX, STREAMS_MAX,
};
use perf::server::Server;
use perf::{Acceptor, Connector, Parameters, Scheme};
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};

/// Test the path to a server
///
/// Without a host and a link the server is in this process, on a second stack that is joined in memory:
/// that needs no privilege and measures the stack alone.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// The server, and what the test runs over: tcp://HOST:PORT, udp://, tls://, quic:// or http://,
    /// port 5201 unless given
    uri: Uri,
    #[command(flatten)]
    network: Network,
    #[command(flatten)]
    trust: trust::Flags,
    /// What the streams do: "stream" sends, "request" asks and waits for each response, "connect"
    /// opens a connection for each request
    #[arg(short, long, value_enum, default_value_t = Mode::Stream)]
    mode: Mode,
    /// How many streams there are, in each direction
    #[arg(short = 'P', long, value_name = "N", default_value_t = 1, value_parser = flags::number::<u64>(1..=STREAMS_MAX, 4))]
    parallel: u64,
    /// How many seconds the test runs [default: 10]
    #[arg(short = 't', long = "time", value_name = "SECONDS", value_parser = duration)]
    time: Option<Duration>,
    /// How many bytes are sent in each direction, in place of a time; K, M and G are powers of 1024
    #[arg(short = 'n', long, value_name = "N", value_parser = size, conflicts_with = "time")]
    bytes: Option<u64>,
    /// Let the server send, instead of this end
    #[arg(short = 'R', long)]
    reverse: bool,
    /// Let both ends send at once
    #[arg(long, conflicts_with = "reverse")]
    bidir: bool,
    /// The bytes of a block or a datagram [default: 128K; that of a packet]
    #[arg(short, long, value_name = "N", value_parser = size)]
    length: Option<u64>,
    /// The rate of a stream in bits a second, 0 for no limit; K, M and G are powers of 1000 [default:
    /// 0, of UDP 1M]
    #[arg(short = 'b', long, value_name = "RATE", value_parser = rate)]
    bitrate: Option<u64>,
    /// How many seconds at the start do not count
    #[arg(hide_short_help = true, short = 'O', long, value_name = "SECONDS", default_value_t = 0, conflicts_with = "bytes", value_parser = flags::number::<u64>(0..=OMIT_SECONDS_MAX, 3))]
    omit: u64,
    /// The congestion controller of the senders: cubic, reno or bbr
    #[arg(hide_short_help = true, short = 'C', long, value_name = "NAME")]
    congestion: Option<String>,
    /// Do not hold small segments back
    #[arg(hide_short_help = true, short = 'N', long)]
    no_delay: bool,
    /// Compare each byte with the one that was sent; not with iperf3
    #[arg(long)]
    verify: bool,
    /// The bytes of a request [default: 1, of UDP 16]
    #[arg(hide_short_help = true, long, value_name = "N", value_parser = size)]
    request: Option<u64>,
    /// The bytes of a response [default: 1, of UDP 16]
    #[arg(hide_short_help = true, long, value_name = "N", value_parser = size)]
    response: Option<u64>,
    /// Seconds between two lines; 0 for none
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    interval: Duration,
    /// Print a JSON object a line, as iperf3's --json-stream does
    #[arg(short = 'J', long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Mode {
    Stream,
    Request,
    Connect,
}

const EXAMPLES: &str = "\
SIGINT ends the test, with the results so far. The exit status is 1 if the test failed.

Examples:
  netstack perf client tcp://                          # two stacks in memory
  netstack perf client tcp:// -t 2 --verify --bidir    # every byte compared
  netstack perf client tcp:// --mode request           # round trips; connect: connections a second
  netstack perf client tls://10.9.0.2 --insecure       # over TLS: both ends are netstack perf

  iperf3 --server                                      # and this end on a TUN:
  netstack perf client tcp://10.9.0.1 --parallel 4 --reverse
  netstack perf client udp://10.9.0.1 --bitrate 100M --json | jq .data.up.receiver.lost_percent";

/// Where the server of a test in memory is.
const IN_MEMORY: &str = "10.0.0.2";

/// Runs a test to its end, or to a signal.
pub(super) async fn test(args: &Args) -> Result<()> {
    let mut options = args.options()?;
    match &args.uri.host {
        Some(host) => {
            let server = host_and_port(host, args.uri.port);
            options.connector = args.connector(host, None)?;
            let stack = args.network.start_ready().await?;
            let net = stack.net().clone();
            cli::finish_by_itself([stack], args.run(&net, &server, &options)).await
        }
        None => {
            let (stacks, server, connector) = args.in_memory().await?;
            options.connector = connector;
            let target = format!("{IN_MEMORY}:{}", args.uri.port);
            let net = stacks[0].net().clone();
            let serving = tokio::spawn(async move {
                let options = perf::server::Options { interval: Duration::ZERO, tests: Some(1) };
                server.serve(&options, std::future::pending(), &mut |_| ()).await
            });
            let tested = cli::finish_by_itself(stacks, args.run(&net, &target, &options)).await;
            serving.abort();
            tested
        }
    }
}

impl Args {
    /// The stacks of a test in memory, the client's first, a server on the other, and how to connect.
    async fn in_memory(&self) -> Result<([Stack; 2], Server, Connector)> {
        let network = &self.network;
        let has_link = network.tun.is_some() || network.tap.is_some() || network.link.is_some();
        ensure!(
            !has_link && network.addresses.is_empty() && network.host_addresses.is_empty(),
            "the host of the server is missing, for example {}://10.9.0.1",
            self.uri.scheme
        );
        let mut pair = Pair::new();
        if let Some(mtu) = network.mtu {
            // Whoever asks for a size wants to see packets of that size.
            pair = pair.mtu(mtu).jumbo(false);
        }
        if let Some(path) = &network.control {
            pair = pair.control(path);
        }
        let (near, far) = pair.spawn().context("starting the stacks")?;
        let port = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), self.uri.port);
        let (acceptor, connector) = match self.uri.scheme {
            Scheme::Tcp | Scheme::Udp => (Acceptor::Tcp, self.connector(IN_MEMORY, None)?),
            Scheme::Http => (Acceptor::Http, self.connector(IN_MEMORY, None)?),
            scheme @ (Scheme::Tls | Scheme::Quic) => {
                let identity = certificate::made(far.net())?;
                let connector = self.connector(IN_MEMORY, identity.0.first())?;
                (acceptor(scheme, identity)?, connector)
            }
        };
        let server = Server::bind(far.net(), port, acceptor).await?;
        Ok(([near, far], server, connector))
    }

    /// How to connect to a host, which may have a known certificate.
    fn connector(&self, host: &str, known: Option<&CertificateDer<'static>>) -> Result<Connector> {
        match self.uri.scheme {
            scheme @ (Scheme::Tcp | Scheme::Udp | Scheme::Http) => match self.trust.given() {
                Some(flag) => bail!("{flag}: {scheme}:// has no certificates"),
                None if scheme == Scheme::Http => {
                    Ok(Connector::Http(host_and_port(host, self.uri.port)))
                }
                None => Ok(Connector::Tcp),
            },
            scheme @ (Scheme::Tls | Scheme::Quic) => {
                let mut config = self.trust.config(known)?;
                // Each connection has a whole handshake, however many came before.
                config.resumption = Resumption::disabled();
                if scheme == Scheme::Quic {
                    return Ok(Connector::Quic(Arc::new(config), host.to_owned()));
                }
                let name = ServerName::try_from(host.to_owned())?;
                Ok(Connector::Tls(Arc::new(config).into(), name))
            }
        }
    }

    async fn run(&self, net: &Net, server: &str, options: &Options) -> Result<()> {
        let mut output = Output::new(self.json);
        let stop = async {
            cli::stopped().await;
        };
        let ran = perf::client::run(net, server, options, stop, &mut |it| output.show(&it)).await;
        match ran {
            Ok(report) => output.end(&report),
            Err(failure) => {
                output.failure(&failure);
                return Err(failure.into());
            }
        }
        // The results stand above, and the exit status is the one of the signal.
        cli::check_stopped()
    }

    fn options(&self) -> Result<Options> {
        let udp = self.uri.scheme == Scheme::Udp;
        let mode = match self.mode {
            Mode::Stream => perf::parameters::Mode::Stream,
            Mode::Request => perf::parameters::Mode::Request,
            Mode::Connect => perf::parameters::Mode::Connect,
        };
        let is_stream = self.mode == Mode::Stream;
        ensure!(
            !udp || self.mode != Mode::Connect,
            "--mode connect: datagrams have no connections"
        );
        ensure!(
            is_stream || self.bytes.is_none(),
            "--bytes: requests and connections are ended by --time"
        );
        let asks = self.request.is_some() || self.response.is_some();
        ensure!(!is_stream || !asks, "--request and --response need --mode request or connect");
        if self.uri.scheme == Scheme::Quic {
            ensure!(self.congestion.is_none(), "--congestion: over quic:// it is quinn's CUBIC");
            ensure!(!self.no_delay, "--no-delay: quic:// holds nothing back");
        }
        if let Some(name) = &self.congestion {
            let is_known = netstack::netsocket::CongestionControl::from_name(name).is_some();
            ensure!(is_known, "--congestion: \"{name}\" is none of cubic, reno and bbr");
        }
        let (least, most) = match udp {
            true => (DATAGRAM_BYTES_MIN, DATAGRAM_BYTES_MAX),
            false => (1, BLOCK_BYTES_MAX),
        };
        for (flag, bytes) in
            [("--length", self.length), ("--request", self.request), ("--response", self.response)]
        {
            if bytes.is_some_and(|bytes| !(least..=most).contains(&bytes)) {
                bail!("{flag}: it has from {least} to {most} bytes over {}", self.uri.scheme);
            }
        }
        // With the extension streams end with their last byte, so all that was sent counts.
        let netstack = Some(Extension {
            version: Extension::VERSION,
            mode,
            verify: self.verify,
            request: self.request.unwrap_or(least),
            response: self.response.unwrap_or(least),
        });
        let duration = match (self.bytes, self.time) {
            (Some(_), _) => None,
            (None, time) => Some(time.unwrap_or(Duration::from_secs(10))),
        };
        let mut parameters = Parameters {
            tcp: !udp,
            udp,
            omit: self.omit,
            // The server's clock is only a bound.
            time: duration.map_or(0, |time| time.as_secs() + u64::from(time.subsec_nanos() > 0)),
            num: self.bytes.unwrap_or(0),
            parallel: self.parallel,
            nodelay: self.no_delay,
            len: self.length.unwrap_or(0),
            bandwidth: self.bitrate.unwrap_or(if udp { 1_000_000 } else { 0 }),
            congestion: self.congestion.clone(),
            udp_counters_64bit: u64::from(udp),
            client_version: Some(concat!("netstack ", env!("CARGO_PKG_VERSION")).into()),
            netstack,
            ..Parameters::default()
        };
        parameters.set_direction(match (self.reverse, self.bidir) {
            (true, _) => Direction::Down,
            (_, true) => Direction::Both,
            _ => Direction::Up,
        });
        let needs_extension = match self.mode {
            Mode::Stream => self.verify.then_some("--verify"),
            Mode::Request => Some("--mode request"),
            Mode::Connect => Some("--mode connect"),
        };
        let connector = Connector::Tcp;
        Ok(Options { connector, parameters, duration, interval: self.interval, needs_extension })
    }
}

/// As in a URI.
fn host_and_port(host: &str, port: u16) -> String {
    match host.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]:{port}"),
        Err(_) => format!("{host}:{port}"),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let time = flags::seconds(text)?;
    let range = Duration::from_millis(1)..=Duration::from_secs(SECONDS_MAX);
    match range.contains(&time) {
        true => Ok(time),
        false => Err(format!("not a time from 0.001 to {SECONDS_MAX} seconds, for example 10")),
    }
}

/// A number of bytes.
fn size(text: &str) -> Result<u64, String> {
    let size = scaled(text, 1024).filter(|size| *size > 0);
    size.ok_or_else(|| "not a number of bytes, for example 1448, 128K or 10M".into())
}

/// A number of bits a second.
fn rate(text: &str) -> Result<u64, String> {
    scaled(text, 1000)
        .ok_or_else(|| "not a number of bits a second, for example 100M or 1.5G".into())
}

/// A number with one of iperf3's suffixes.
fn scaled(text: &str, thousand: u64) -> Option<u64> {
    let (number, power) = match text.char_indices().last()? {
        (end, 'k' | 'K') => (&text[..end], 1),
        (end, 'm' | 'M') => (&text[..end], 2),
        (end, 'g' | 'G') => (&text[..end], 3),
        _ => (text, 0),
    };
    let scale = thousand.pow(power);
    if let Ok(number) = number.parse::<u64>() {
        return number.checked_mul(scale);
    }
    let scaled = number.parse::<f64>().ok()? * scale as f64;
    // Larger ones are no longer whole.
    (0.0..9e15).contains(&scaled).then_some(scaled as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_iperf3s() {
        assert_eq!(
            [size("1448"), size("128K"), size("10m")],
            [Ok(1448), Ok(131_072), Ok(10 << 20)]
        );
        assert_eq!(
            [rate("1.5G"), rate("0"), rate("100k")],
            [Ok(1_500_000_000), Ok(0), Ok(100_000)]
        );
        for wrong in ["", "K", "-1", "1T", "1e300", "99999999999G", "nan"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
        assert!(size("0").is_err());
    }
}
