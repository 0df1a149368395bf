//! `netstack listen`: standard input and output over a connection to a stack.

use crate::certificate;
use crate::standard_streams::{carry, carry_datagrams};
use anyhow::{Context, Result};
use cli::{Network, flags};
use netstack::Net;
use netstack::netsocket::TcpStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// Wait for a connection to a stack, and carry standard input and output, as nc -l does
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    network: Network,
    /// The port to listen on, on all addresses of the stack
    #[arg(value_parser = flags::port)]
    port: u16,
    /// Receive datagrams instead, of the first peer that sends any
    #[arg(short, long, conflicts_with_all = ["keep", "echo", "tls", "cert"])]
    udp: bool,
    /// Wait for the next connection after each
    #[arg(short, long)]
    keep: bool,
    /// Send everything back, in place of standard input and output; connections side by side with --keep
    #[arg(short, long)]
    echo: bool,
    /// Seconds that nothing may come, before the end
    #[arg(short, long, value_name = "SECONDS", value_parser = flags::seconds)]
    wait: Option<Duration>,
    #[command(flatten)]
    tls: certificate::Flags,
}

const EXAMPLES: &str = "\
The exit status is 0 at the end of the connection, or with --keep at a signal; 1 for any error.

Examples:
  netstack listen --host-address 10.9.0.1/24 --address 10.9.0.2/24 7000 > received
  netstack listen --link vde:///tmp/lan --address 10.0.0.2/24 --keep --echo 7
  netstack listen --tls --save-cert /tmp/cert.pem 443";

/// The most connections that are echoed at a time.
const ECHOES_MAX: usize = 1024;
/// How long a handshake of TLS may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Listens, and carries.
pub(crate) fn main(args: &Args) -> ExitCode {
    cli::run_parsed(async {
        let stack = args.network.start_ready().await?;
        let net = stack.net().clone();
        let tls = args.tls.acceptor(&net, None)?;
        match args.keep {
            true => cli::serve([stack], listen(&net, args, tls)).await,
            false => cli::finish([stack], listen(&net, args, tls)).await,
        }
    })
}

async fn listen(net: &Net, args: &Args, tls: Option<TlsAcceptor>) -> Result<()> {
    let address = format!("[::]:{}", args.port);
    if args.udp {
        let socket = net.udp_bind(&address).await.with_context(|| address.clone())?;
        cli::eprintln!("listening on {}", socket.local_addr()?);
        let peer = socket.peek_sender().await?;
        socket.connect(peer).await?;
        return carry_datagrams(socket, args.wait).await;
    }
    let listener = net.tcp_listen(&address).await.with_context(|| address.clone())?;
    // Standard output has what the peer sends.
    cli::eprintln!("listening on {}", listener.local_addr()?);
    let echoes = Arc::new(Semaphore::new(ECHOES_MAX));
    loop {
        let permit = echoes.clone().acquire_owned().await?;
        let (stream, peer) = listener.accept().await?;
        if args.keep && args.echo {
            let tls = tls.clone();
            tokio::spawn(async move {
                if let Err(error) = serve_echo(stream, tls).await {
                    tracing::debug!(%peer, %error, "a client");
                }
                drop(permit);
            });
            continue;
        }
        let served = serve(stream, args, tls.clone()).await;
        match served {
            Err(error) if args.keep => cli::eprintln!("{peer}: {error:#}"),
            served if !args.keep => return served,
            _ => {}
        }
    }
}

async fn serve(stream: TcpStream, args: &Args, tls: Option<TlsAcceptor>) -> Result<()> {
    if args.echo {
        return serve_echo(stream, tls).await;
    }
    match tls {
        Some(tls) => carry(timeout(HANDSHAKE, tls.accept(stream)).await??, args.wait).await,
        None => carry(stream, args.wait).await,
    }
}

async fn serve_echo(stream: TcpStream, tls: Option<TlsAcceptor>) -> Result<()> {
    match tls {
        Some(tls) => echo(timeout(HANDSHAKE, tls.accept(stream)).await??).await,
        None => echo(stream).await,
    }
}

async fn echo(stream: impl AsyncRead + AsyncWrite) -> Result<()> {
    let (mut from, mut to) = tokio::io::split(stream);
    tokio::io::copy(&mut from, &mut to).await?;
    Ok(to.shutdown().await?)
}
