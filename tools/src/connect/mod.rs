//! `netstack connect`: standard input and output over a connection from a stack.

use crate::standard_streams::{carry, carry_datagrams, within};
use crate::trust;
use anyhow::{Context, Result, bail};
use cli::{Network, flags};
use netstack::Net;
use std::io;
use std::process::ExitCode;
use std::time::Duration;
use tokio_rustls::rustls::pki_types::ServerName;

/// Connect from a stack, and carry standard input and output, as nc(1) does
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    network: Network,
    /// An IP address or a name, and a port
    #[arg(value_parser = flags::target)]
    target: String,
    /// Send datagrams instead: each piece of the input is one
    #[arg(short, long, conflicts_with = "tls")]
    udp: bool,
    /// Only look whether the port is open
    #[arg(short, long, conflicts_with = "udp")]
    zero: bool,
    /// Over TLS, with the server's certificate checked
    #[arg(long)]
    tls: bool,
    #[command(flatten)]
    trust: trust::Flags,
    /// Seconds that connecting may take, and that nothing may come, before the end
    #[arg(short, long, value_name = "SECONDS", value_parser = flags::seconds)]
    wait: Option<Duration>,
}

const EXAMPLES: &str = "\
The exit status is 0 at the end of the connection, 1 for any error.

Examples:
  echo hello | netstack connect 10.9.0.1:7
  netstack connect --link wg:///etc/wireguard/wg0.conf -z -w 3 intranet.test:22
  ssh -o ProxyCommand='netstack connect --link vde:///tmp/lan --dhcp %h:%p' host.test";

/// Connects, and carries.
pub(crate) fn main(args: &Args) -> ExitCode {
    cli::run_parsed(async {
        let tls = match args.trust.given() {
            // What is sent would be in clear text.
            Some(flag) if !args.tls => bail!("{flag} needs --tls"),
            _ => args.tls.then(|| args.trust.connector()).transpose()?,
        };
        let stack = args.network.start_ready().await?;
        let net = stack.net().clone();
        cli::finish([stack], connect(&net, args, tls)).await
    })
}

async fn connect(net: &Net, args: &Args, tls: Option<tokio_rustls::TlsConnector>) -> Result<()> {
    let target = || args.target.clone();
    if args.udp {
        let socket = net.udp_bind("[::]:0").await?;
        socket.connect(&args.target).await.with_context(target)?;
        return carry_datagrams(socket, args.wait).await;
    }
    let late = || io::Error::from(io::ErrorKind::TimedOut);
    let connected = within(args.wait, net.tcp_connect(&args.target)).await;
    let stream = connected.unwrap_or_else(|| Err(late())).with_context(target)?;
    if args.zero {
        return Ok(());
    }
    let Some(tls) = tls else { return carry(stream, args.wait).await };
    let host = args.target.rsplit_once(':').map_or("", |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned())?;
    let begun = within(args.wait, tls.connect(name, stream)).await;
    let stream =
        begun.unwrap_or_else(|| Err(late())).with_context(|| format!("TLS with {host}"))?;
    carry(stream, args.wait).await
}
