//! Pings from a stack: three echo requests, and how long each answer took.
//!
//! ```sh
//! cargo run --release -p examples --example ping -- 10.9.0.1
//! ```
//!
//! `netstack ping` is ping(8) on a stack, with its flags, output and exit status.

use anyhow::{Context, Result};
use examples::{Network, flags, println};
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::timeout;

/// Sends three ICMP echo requests from a stack on a TUN
#[derive(clap::Parser)]
struct Args {
    #[command(flatten)]
    network: Network,
    /// The target
    #[arg(value_parser = flags::address)]
    target: IpAddr,
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    examples::run(async |Args { network, target }| -> Result<()> {
        let stack = network.start_ready().await?;
        let net = stack.net().clone();
        let pinging = async {
            let socket = net.ping(target).await?;
            for sequence in 1..=3 {
                let answer = timeout(PATIENCE, socket.ping(sequence, b"hello")).await;
                let (reply, time) = answer.context("no answer")??;
                println!("{}: answer {sequence} after {time:?}", reply.from);
            }
            Ok(())
        };
        examples::finish([stack], pinging).await
    })
}
