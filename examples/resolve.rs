//! Looks up the addresses of a name over the stack's own sockets.
//!
//! ```sh
//! cargo run --release -p examples --example resolve -- --dns 10.9.0.1 www.example.com
//! ```
//!
//! `netstack resolve` is host(1) on a stack: names, addresses and services, also as JSON.

use anyhow::Result;
use examples::{Network, println};
use std::process::ExitCode;

/// Asks a name server from a stack on a TUN
#[derive(clap::Parser)]
struct Args {
    #[command(flatten)]
    network: Network,
    /// The name
    name: String,
}

fn main() -> ExitCode {
    examples::run(async |Args { network, name }| -> Result<()> {
        let stack = network.start_ready().await?;
        let net = stack.net().clone();
        let asking = async {
            for ip in net.resolver().lookup_ip(&name).await? {
                println!("{name} has {ip}");
            }
            Ok(())
        };
        examples::finish([stack], asking).await
    })
}
