//! A chat: each line is relayed to all other members. Once with async sockets and once with
//! blocking ones, side by side.
//!
//! ```sh
//! cargo run --release -p examples --example chat -- --port 6667 \
//!     --host-address 10.9.0.1/24 --address 10.9.0.2/24
//! nc 10.9.0.2 6667
//! ```

mod asynchronous;
mod blocking;

use anyhow::{Context, Result};
use examples::{Network, flags, println};
use std::future::pending;
use std::process::ExitCode;

/// Serves a chat, line by line, on all addresses of a stack on a TUN
#[derive(clap::Parser)]
struct Args {
    #[command(flatten)]
    network: Network,
    /// The port to listen on
    #[arg(long, value_name = "N", default_value_t = 6667, value_parser = flags::port)]
    port: u16,
    /// Use blocking sockets and a stack on a thread of its own, instead of tasks
    #[arg(long)]
    blocking: bool,
}

/// How many lines are queued for a slow member; it misses further ones.
const LINES_MAX: usize = 64;

fn main() -> ExitCode {
    examples::run(async |args: Args| -> Result<()> {
        let address = format!("[::]:{}", args.port);
        let stack = if args.blocking {
            let (builder, interface) = args.network.prepare()?;
            let stack = interface.spawn_thread(builder)?;
            let net = stack.net().blocking();
            let listener = net.tcp_listen(&address).context(address.clone())?;
            println!("chat in threads on {address}");
            std::thread::spawn(move || blocking::serve(&listener));
            stack
        } else {
            let stack = args.network.start()?;
            let listener = stack.net().tcp_listen(&address).await.context(address.clone())?;
            println!("chat in tasks on {address}");
            tokio::spawn(asynchronous::serve(listener));
            stack
        };
        examples::serve([stack], pending()).await
    })
}
