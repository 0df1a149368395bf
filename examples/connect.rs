//! Standard input and output over a TCP connection.
//!
//! ```sh
//! echo hello | cargo run --release -p examples --example connect -- 10.9.0.1:7
//! ```
//!
//! `netstack connect` is nc(1) on a stack, with datagrams, TLS and time limits.

use anyhow::{Context, Result};
use examples::{Network, flags};
use std::process::ExitCode;
use tokio::io::{copy_bidirectional, join, stdin, stdout};

/// Connects from a stack on a TUN, and carries standard input and output until both have ended
#[derive(clap::Parser)]
struct Args {
    #[command(flatten)]
    network: Network,
    /// Where to connect to: an IP address or a name, and a port
    #[arg(value_parser = flags::target)]
    target: String,
}

fn main() -> ExitCode {
    examples::run(async |Args { network, target }| -> Result<()> {
        let stack = network.start_ready().await?;
        let net = stack.net().clone();
        let carrying = async {
            let mut stream = net.tcp_connect(&target).await.context(target)?;
            copy_bidirectional(&mut join(stdin(), stdout()), &mut stream).await?;
            Ok(())
        };
        examples::finish([stack], carrying).await
    })
}
