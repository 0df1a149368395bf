//! Standard input and output over a TCP connection, like nc.
//!
//! ```sh
//! echo hello | cargo run --release -p examples --example connect -- 10.9.0.1:7
//! ```

use anyhow::{Context, Result};
use examples::{Network, flags};
use netstack::Net;
use std::process::ExitCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Connects from a stack on a TUN, and carries standard input and output
#[derive(clap::Parser)]
struct Args {
    #[command(flatten)]
    network: Network,
    /// Where to connect to: an IP address or a name, and a port
    #[arg(value_parser = flags::target)]
    target: String,
}

/// How much is carried at once, in bytes.
const BLOCK: usize = 64 * 1024;

fn main() -> ExitCode {
    examples::run(async |args: Args| -> Result<()> {
        let stack = args.network.start_ready().await?;
        let net = stack.net().clone();
        examples::finish([stack], carry(&net, &args.target)).await
    })
}

async fn carry(net: &Net, target: &str) -> Result<()> {
    let stream = net.tcp_connect(target).await.with_context(|| target.to_owned())?;
    let (mut from, mut to) = stream.into_split();
    let input = tokio::spawn(async move {
        let mut input = tokio::io::stdin();
        tokio::io::copy(&mut input, &mut to).await?;
        // The end of the input is the end of the stream; the answer may still come.
        to.shutdown().await
    });
    let mut block = vec![0; BLOCK];
    loop {
        match from.read(&mut block).await.context("receiving")? {
            0 => break,
            n => examples::output::write(&block[..n]).await?,
        }
    }
    if input.is_finished() {
        input.await?.context("sending")?;
    }
    Ok(())
}
