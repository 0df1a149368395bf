//! `netstack routes`, `neighbours` and `links`: the network of a running stack, as ip(8) shows the
//! kernel's.

use crate::client::{self, Target};
use anyhow::Result;
use netstack::control::{Answer, Client, Command};
use netstack::netsocket::netcore::{LinkState, NeighbourInfo, Network};
use serde::Serialize;
use std::fmt::Write;
use std::process::ExitCode;

/// Flags of what shows a part of the network.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// JSON
    #[arg(short, long)]
    json: bool,
}

/// The end of the help of each.
pub(crate) const ROUTES_EXAMPLES: &str = "\
Networks of addresses are routes of their own. Changes: netstack set route, netstack set no-route.

Examples:
  netstack routes
  netstack routes --json | jq '.[].gateway'";
pub(crate) const NEIGHBOURS_EXAMPLES: &str = "\
On an Ethernet link only, the most recently used first; states are those of RFC 4861 section 7.3.2.

Examples:
  netstack neighbours";
pub(crate) const LINKS_EXAMPLES: &str = "\
The MTU is in bytes. Changes: netstack set up, down, mtu, address, no-address.

Examples:
  netstack links";

/// Shows the routes: those of addresses, and those that were added.
pub(crate) fn routes(args: &Args) -> ExitCode {
    show(args, |client, is_json| {
        let network = network(client)?;
        match is_json {
            true => json(&network.routes),
            false => Ok(routes_text(&network)),
        }
    })
}

/// Shows the neighbours on an Ethernet link.
pub(crate) fn neighbours(args: &Args) -> ExitCode {
    show(args, |client, is_json| {
        let mut all = Vec::new();
        for answer in client::all(client, &Command::Neighbours {})? {
            match answer {
                Answer::Neighbour(neighbour) => all.push(neighbour),
                other => return Err(client::unexpected(&other)),
            }
        }
        match is_json {
            true => json(&all),
            false => Ok(neighbours_text(&all)),
        }
    })
}

/// Shows the link with its addresses.
pub(crate) fn links(args: &Args) -> ExitCode {
    show(args, |client, is_json| {
        let network = network(client)?;
        match is_json {
            true => json(&network),
            false => Ok(links_text(&network)),
        }
    })
}

fn show(args: &Args, text: impl FnOnce(&mut Client, bool) -> Result<String>) -> ExitCode {
    client::run(|| {
        let mut client = args.target.connect()?;
        let text = text(&mut client, args.json)?;
        client::report_skipped(&client);
        Ok(text)
    })
}

fn json(value: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

fn network(client: &mut Client) -> Result<Network> {
    match client::one(client, &Command::Network {})? {
        Answer::Network(network) => Ok(network),
        other => Err(client::unexpected(&other)),
    }
}

fn routes_text(network: &Network) -> String {
    let mut text = String::new();
    for route in &network.routes {
        let destination = match route.destination.prefix_len() {
            0 if route.destination.addr().is_ipv4() => "default".into(),
            0 => "default6".into(),
            _ => route.destination.to_string(),
        };
        let _ = match route.gateway {
            Some(gateway) => writeln!(text, "{destination} via {gateway}"),
            None => writeln!(text, "{destination} on the link"),
        };
    }
    for address in &network.addresses {
        let _ = writeln!(text, "{} on the link, of address {}", address.trunc(), address.addr());
    }
    text
}

fn neighbours_text(neighbours: &[NeighbourInfo]) -> String {
    let mut text = String::new();
    for NeighbourInfo { address, hardware_address, state, .. } in neighbours {
        let at = hardware_address.map_or_else(String::new, |at| format!(" at {at}"));
        let _ = writeln!(text, "{address}{at} {state}");
    }
    text
}

fn links_text(network: &Network) -> String {
    let LinkState { is_up, has_carrier, mtu, hardware_address, .. } = network.link;
    let state = match (is_up, has_carrier) {
        (true, true) => "up",
        (true, false) => "up, without a carrier",
        (false, _) => "down",
    };
    let mut text = format!("link {state}, mtu {mtu}");
    if let Some(address) = hardware_address {
        let _ = write!(text, ", ether {address}");
    }
    text += if network.any_ip { ", accepts packets to any address\n" } else { "\n" };
    for address in &network.addresses {
        let is_in = |list: &[std::net::IpAddr]| list.contains(&address.addr());
        let tentative = if is_in(&network.tentative) { " tentative" } else { "" };
        let deprecated = if is_in(&network.deprecated) { " deprecated" } else { "" };
        let family = if address.addr().is_ipv4() { "inet" } else { "inet6" };
        let _ = writeln!(text, "    {family} {address}{tentative}{deprecated}");
    }
    for server in &network.name_servers {
        let _ = writeln!(text, "    name server {server}");
    }
    if !network.search_domains.is_empty() {
        let _ = writeln!(text, "    search {}", network.search_domains.join(" "));
    }
    for failure in &network.failures {
        let _ = writeln!(text, "    failure: {failure}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn links_and_routes_show_the_whole_network() {
        let network: Network = serde_json::from_value(json!({
            "addresses": ["10.9.0.2/24", "fd00::2/64"], "tentative": ["fd00::2"],
            "deprecated": [], "any_ip": false, "name_servers": ["10.9.0.1"],
            "search_domains": ["example"], "failures": ["the DHCP client has ended"],
            "routes": [{"destination": "0.0.0.0/0", "gateway": "10.9.0.1"}],
            "link": {"is_up": true, "has_carrier": false, "mtu": 1500,
                     "hardware_address": "02:00:00:00:00:01"},
        }))
        .expect("a network");

        assert_eq!(
            links_text(&network),
            "link up, without a carrier, mtu 1500, ether 02:00:00:00:00:01\n    \
             inet 10.9.0.2/24\n    inet6 fd00::2/64 tentative\n    name server 10.9.0.1\n    \
             search example\n    failure: the DHCP client has ended\n"
        );
        assert_eq!(
            routes_text(&network),
            "default via 10.9.0.1\n10.9.0.0/24 on the link, of address 10.9.0.2\n\
             fd00::/64 on the link, of address fd00::2\n"
        );
    }
}
