//! Looks up names and addresses from the stack, like host.
//!
//! ```sh
//! cargo run --release -p examples --example resolve -- --dns 10.9.0.1 www.example.com
//! ```

use anyhow::Result;
use examples::{Network, println};
use netstack::Net;
use std::net::IpAddr;
use std::process::ExitCode;

/// Queries a name server from a stack on a TUN
#[derive(clap::Parser)]
struct Args {
    #[command(flatten)]
    network: Network,
    /// A name, an address, or a service such as _imaps._tcp.example.com
    name: String,
}

fn main() -> ExitCode {
    examples::run(async |args: Args| -> Result<()> {
        let stack = args.network.start_ready().await?;
        let net = stack.net().clone();
        examples::finish([stack], resolve(&net, &args.name)).await
    })
}

async fn resolve(net: &Net, name: &str) -> Result<()> {
    let resolver = net.resolver();
    if let Ok(ip) = name.parse::<IpAddr>() {
        for found in resolver.reverse(ip).await? {
            println!("{ip} is {found}");
        }
    } else if name.starts_with('_') {
        for service in resolver.service(name).await? {
            let (priority, weight) = (service.priority, service.weight);
            println!("{name} is at {}:{} ({priority} {weight})", service.target, service.port);
        }
    } else {
        for ip in resolver.lookup_ip(name).await? {
            println!("{name} has {ip}");
        }
    }
    Ok(())
}
