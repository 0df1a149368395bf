//! Changes a running stack, and sees each change of its network.
//!
//! ```sh
//! cargo run --release -p examples --example ifconfig -- --tap tap0 --dhcp 10.0.0.60/24
//! ```
//!
//! `netstack set`, `links` and `routes` change and show the network of any program with `--control`.

use anyhow::Result;
use examples::{Network, flags, println};
use netstack::IpNet;
use netstack::netsocket::netcore::Network as State;
use std::process::ExitCode;

/// Adds an address to a running stack, and shows each change, also those by DHCP and SLAAC
#[derive(clap::Parser)]
struct Args {
    #[command(flatten)]
    network: Network,
    /// The address, with its prefix
    #[arg(value_parser = flags::prefixed)]
    added: IpNet,
}

fn main() -> ExitCode {
    examples::run(async |Args { network, added }| -> Result<()> {
        let stack = network.start()?;
        let (control, mut watch) = (stack.net().control(), stack.net().watch_network());
        show(&watch.current());
        let changing = async {
            control.add_address(added).await?;
            loop {
                show(&*watch.changed().await?);
            }
        };
        examples::serve([stack], changing).await
    })
}

/// Prints the state in one piece.
fn show(state: &State) {
    let link = if state.link.is_up { "up" } else { "down" };
    let mut text = format!("link {link}, mtu {}", state.link.mtu);
    for address in &state.addresses {
        let is_tentative = state.tentative.contains(&address.addr());
        text += &format!("\n  {address}{}", if is_tentative { ", tentative" } else { "" });
    }
    for route in &state.routes {
        let gateway = route.gateway.map_or_else(String::new, |gateway| format!(" via {gateway}"));
        text += &format!("\n  to {}{gateway}", route.destination);
    }
    println!("{text}");
}
