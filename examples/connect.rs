//! Standard input and output over a TCP connection, like nc.
//!
//! ```sh
//! echo hello | cargo run --release -p examples --example connect -- 10.9.0.1:7
//! ```

use anyhow::{Context, Result};
use examples::Network;
use std::process::ExitCode;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// Connects from a stack on a TUN, and carries standard input and output
#[derive(clap::Parser)]
struct Args {
    #[command(flatten)]
    network: Network,
    /// Where to connect to: an IP address or a name, and a port
    target: String,
}

/// How long the end of the connection may take to reach the peer.
const FAREWELL: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    examples::run(async |args: Args| -> Result<()> {
        let stack = args.network.start()?;
        let stream = stack.net().tcp_connect(&args.target).await.context(args.target)?;
        let (mut from, mut to) = stream.into_split();
        let input = tokio::spawn(async move {
            let mut input = tokio::io::stdin();
            tokio::io::copy(&mut input, &mut to).await?;
            // The end of the input is the end of the stream; the answer may still come.
            to.shutdown().await
        });
        let mut output = tokio::io::stdout();
        tokio::io::copy(&mut from, &mut output).await.context("receiving")?;
        output.flush().await?;
        if input.is_finished() {
            input.await?.context("sending")?;
        }
        drop(from);
        stack.shutdown(FAREWELL).await.context("the TUN")
    })
}
