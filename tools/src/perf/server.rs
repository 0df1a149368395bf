//! `netstack perf server`.

use crate::certificate;
use crate::perf::output::Output;
use crate::perf::uri::Uri;
use anyhow::{Context, Result, bail};
use cli::{Network, flags};
use perf::server::{Options, Server};
use perf::{Acceptor, Scheme};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Serve tests on a stack, one at a time, until SIGINT or SIGTERM
///
/// The client says what a test is. TCP and UDP are served at the same port, whichever of them the URI names.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// What the tests run over, and where to listen: tcp://ADDRESS:PORT, tls://, quic:// or http://, without an
    /// address and a port at 5201 of all addresses of the stack
    #[arg(default_value = "tcp://", hide_default_value = true)]
    uri: Uri,
    #[command(flatten)]
    network: Network,
    #[command(flatten)]
    certificate: certificate::Files,
    /// End after one test
    #[arg(short = '1', long)]
    one_off: bool,
    /// Seconds between two lines of a test; 0 for none
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    interval: Duration,
    /// Print a JSON object a line, as iperf3's --json-stream does
    #[arg(short = 'J', long)]
    json: bool,
}

const EXAMPLES: &str = "\
The exit status is 1 if the server cannot start.

Examples:
  netstack perf server --host-address 10.9.0.1/24 --address 10.9.0.2/24
  iperf3 --client 10.9.0.2 --parallel 4 --reverse

  netstack perf server tcp://:5202 --link vde:///tmp/lan --address 10.0.0.2/24 --json
  netstack perf server tls:// --save-cert /tmp/cert.pem    # client: --cacert /tmp/cert.pem

  netstack perf server http:// --host-address 10.9.0.1/24 --address 10.9.0.2/24
  curl -o /dev/null 'http://10.9.0.2:5201/?bytes=1000000000'";

/// Between two lines.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let interval = flags::seconds(text)?;
    let range = Duration::from_millis(100)..=Duration::from_secs(60);
    match interval.is_zero() || range.contains(&interval) {
        true => Ok(interval),
        false => Err("not 0, or from 0.1 to 60 seconds, for example 1".into()),
    }
}

/// Accepts tests over TLS or QUIC with this certificate.
pub(super) fn acceptor(scheme: Scheme, identity: certificate::Identity) -> Result<Acceptor> {
    let config = Arc::new(certificate::config(identity, None)?);
    Ok(match scheme {
        Scheme::Quic => Acceptor::Quic(config),
        _ => Acceptor::Tls(config.into()),
    })
}

/// Serves until a signal.
pub(super) async fn serve(args: &Args) -> Result<()> {
    let address = match args.uri.host.as_deref().map(str::parse::<IpAddr>) {
        Some(address) => address.context("a server listens on an address, not on a name")?,
        None => Ipv6Addr::UNSPECIFIED.into(),
    };
    let address = SocketAddr::new(address, args.uri.port);
    let scheme = args.uri.scheme;
    let has_tls = matches!(scheme, Scheme::Tls | Scheme::Quic);
    if let Some(flag) = args.certificate.given().filter(|_| !has_tls) {
        bail!("{flag}: {scheme}:// has no certificates");
    }
    let stack = args.network.start_ready().await?;
    let acceptor = match scheme {
        Scheme::Tcp | Scheme::Udp => Acceptor::Tcp,
        Scheme::Http => Acceptor::Http,
        Scheme::Tls | Scheme::Quic => acceptor(scheme, args.certificate.identity(stack.net())?)?,
    };
    let server = Server::bind(stack.net(), address, acceptor).await;
    let server = server.with_context(|| address.to_string())?;
    let mut output = Output::new(args.json);
    output.listening(scheme, server.local_addr()?);
    let options = Options { interval: args.interval, tests: args.one_off.then_some(1) };
    let stop = async {
        cli::stopped().await;
    };
    let serving =
        async { Ok(server.serve(&options, stop, &mut |event| output.show(&event)).await?) };
    cli::finish_by_itself([stack], serving).await
}
