//! `netstack resolve`: names and addresses, asked of a stack's name servers.

use anyhow::Result;
use cli::{Network, Stop};
use netstack::Net;
use serde_json::json;
use std::net::IpAddr;
use std::process::ExitCode;

/// Look up a name or an address from a stack, as host(1) does
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    network: Network,
    /// A name, an address, or a service such as _imaps._tcp.example.com
    name: String,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
The exit status is 0 if there is an answer, 1 otherwise.

Examples:
  netstack resolve --link wg:///etc/wireguard/wg0.conf intranet.test
  netstack resolve --link vde:///tmp/lan --dhcp --json 10.0.0.1";

/// Looks it up.
pub(crate) fn main(args: &Args) -> ExitCode {
    cli::run_parsed(async {
        let stack = args.network.start_ready().await?;
        let net = stack.net().clone();
        let looked_up = cli::finish([stack], resolve(&net, args)).await;
        match looked_up {
            Err(error) if !error.is::<&Stop>() => Err(error.context(args.name.clone())),
            looked_up => looked_up,
        }
    })
}

async fn resolve(net: &Net, args: &Args) -> Result<()> {
    let (resolver, name) = (net.resolver(), &args.name);
    let show = |text: String, json: serde_json::Value| match args.json {
        true => cli::println!("{json}"),
        false => cli::println!("{text}"),
    };
    if let Ok(ip) = name.parse::<IpAddr>() {
        for found in resolver.reverse(ip).await? {
            let found = found.to_string();
            show(format!("{ip} is {found}"), json!({"address": ip, "name": found}));
        }
    } else if name.starts_with('_') {
        for service in resolver.service(name).await? {
            let (target, port) = (service.target.to_string(), service.port);
            let (priority, weight) = (service.priority, service.weight);
            show(
                format!("{name} is at {target}:{port} ({priority} {weight})"),
                json!({"service": name, "target": target, "port": port, "priority": priority,
                    "weight": weight}),
            );
        }
    } else {
        for ip in resolver.lookup_ip(name).await? {
            show(format!("{name} has {ip}"), json!({"name": name, "address": ip}));
        }
    }
    Ok(())
}
