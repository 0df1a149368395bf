//! `netstack http-server`: files of a folder over HTTP.

mod listing;
mod serving;
mod site;
mod upload;

use crate::certificate;
use anyhow::{Context, Result, ensure};
use cli::{Network, flags};
use site::Site;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Serve the files of a folder over HTTP, on all addresses of a stack
///
/// Ranges, conditional requests and listings of folders are served. With --upload, PUT stores a file and
/// answers with its length and its SHA-256; a body that differs from its Repr-Digest or Content-Digest is
/// refused.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// The folder
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    #[command(flatten)]
    network: Network,
    /// The port to listen on [default: 80, or 443 with TLS]
    #[arg(long, value_name = "N", value_parser = flags::port)]
    port: Option<u16>,
    /// The most clients at a time; others wait
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = flags::number::<usize>(1..=1_000_000, 1024))]
    clients: usize,
    /// Store what is PUT, in this folder and those below it
    #[arg(long)]
    upload: bool,
    /// The most bytes of a file that is PUT
    #[arg(long, value_name = "N", default_value_t = 1 << 30, value_parser = flags::number::<u64>(1..=u64::MAX, 1_u64 << 30))]
    upload_max: u64,
    #[command(flatten)]
    tls: certificate::Flags,
}

const EXAMPLES: &str = "\
It runs until SIGINT or SIGTERM. The exit status is 1 if it cannot start.

Examples:
  netstack http-server /srv --host-address 10.9.0.1/24 --address 10.9.0.2/24
  wget --recursive --no-parent http://10.9.0.2/
  curl --range 0-99 http://10.9.0.2/large

  netstack http-server /tmp/in --upload --link vde:///tmp/lan --address 10.0.0.2/24
  curl --upload-file report.pdf http://10.0.0.2/report.pdf

  netstack http-server /srv --tls --save-cert /tmp/cert.pem
  curl --cacert /tmp/cert.pem https://10.9.0.2/";

/// Serves until a signal.
pub(crate) fn main(args: &Args) -> ExitCode {
    cli::run_parsed(serve(args))
}

async fn serve(args: &Args) -> Result<()> {
    let root = args.folder.canonicalize().with_context(|| args.folder.display().to_string())?;
    ensure!(root.is_dir(), "{} is no folder: name one, for example \".\"", args.folder.display());
    let upload_max = args.upload.then_some(args.upload_max);
    let site = Arc::new(Site { root, upload_max });
    let stack = args.network.start_ready().await?;
    // Its certificate is for the addresses that it has by now.
    let tls = args.tls.acceptor(stack.net(), Some("http/1.1"))?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let port = args.port.unwrap_or(if tls.is_some() { 443 } else { 80 });
    let address = format!("[::]:{port}");
    let listener = stack.net().tcp_listen(&address).await.context(address)?;
    cli::println!("serving {} on {scheme} {}", site.root.display(), listener.local_addr()?);
    cli::serve([stack], serving::serve(listener, tls, site, args.clients)).await
}
