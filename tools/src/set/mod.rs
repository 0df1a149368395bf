//! `netstack set`: changes of a running stack's network.

use crate::client::{self, Target};
use anyhow::Context;
use clap::Subcommand;
use cli::flags;
use netstack::IpNet;
use netstack::control::{Change, Command};
use std::net::IpAddr;
use std::process::ExitCode;

/// Change the addresses, routes, link and name servers of a running stack
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    setting: Setting,
}

const EXAMPLES: &str = "\
Examples:
  netstack set address 10.9.0.3/24
  netstack set route default 10.9.0.1
  netstack set route 192.0.2.0/24 10.9.0.1 --on-link
  netstack set mtu 1400
  netstack set name-servers 10.9.0.1 --search example";

#[derive(Debug, Subcommand)]
enum Setting {
    /// Add an address, or change its prefix
    #[command(after_long_help = "Examples:\n  netstack set address 10.9.0.3/24")]
    Address {
        #[arg(value_name = "CIDR", value_parser = flags::prefixed)]
        address: IpNet,
    },
    /// Remove an address, and end the connections on it
    #[command(after_long_help = "Examples:\n  netstack set no-address 10.9.0.3")]
    NoAddress {
        #[arg(value_name = "IP", value_parser = flags::address)]
        address: IpAddr,
    },
    /// Have new connections avoid an address
    #[command(after_long_help = "Examples:\n  netstack set deprecated 10.9.0.3")]
    Deprecated {
        #[arg(value_name = "IP", value_parser = flags::address)]
        address: IpAddr,
        /// Or avoid it no more
        #[arg(long)]
        off: bool,
    },
    /// Add a route, or replace that to the same destinations
    #[command(after_long_help = "Examples:\n  netstack set route default 10.9.0.1")]
    Route {
        /// default for all of the gateway's family
        #[arg(value_name = "CIDR|default")]
        destination: String,
        /// Without one the destinations are on the link
        #[arg(value_name = "GATEWAY", value_parser = flags::address)]
        gateway: Option<IpAddr>,
        /// Do not check that the gateway is on the link
        #[arg(long, requires = "gateway")]
        on_link: bool,
    },
    /// Remove the route to exactly these destinations
    #[command(after_long_help = "Examples:\n  netstack set no-route default")]
    NoRoute {
        /// default for that of IPv4
        #[arg(value_name = "CIDR|default")]
        destination: String,
    },
    /// Set the link up
    #[command(after_long_help = "Examples:\n  netstack set up")]
    Up,
    /// Set the link down: nothing is sent or received until it is up again
    #[command(after_long_help = "Examples:\n  netstack set down")]
    Down,
    /// Set the largest IP packet, in bytes, or device for the device's
    #[command(after_long_help = "Examples:\n  netstack set mtu 1400")]
    Mtu {
        #[arg(value_name = "BYTES|device")]
        mtu: String,
    },
    /// Accept packets to any address, for transparent proxies
    #[command(after_long_help = "Examples:\n  netstack set any-ip")]
    AnyIp {
        /// Or to the stack's own only
        #[arg(long)]
        off: bool,
    },
    /// Set the name servers, in order of preference
    #[command(after_long_help = "Examples:\n  netstack set name-servers 10.9.0.1 --search example")]
    NameServers {
        #[arg(value_name = "IP", value_parser = flags::address)]
        servers: Vec<IpAddr>,
        /// A search domain of names without dots (repeatable)
        #[arg(long = "search", value_name = "DOMAIN")]
        search_domains: Vec<String>,
    },
}

pub(crate) fn main(args: &Args) -> ExitCode {
    client::run(|| {
        let change = change(&args.setting)?;
        let mut client = args.target.connect()?;
        client.ask_one(&Command::Set { change }).context("the stack")?;
        Ok(String::new())
    })
}

fn change(setting: &Setting) -> anyhow::Result<Change> {
    Ok(match setting {
        Setting::Address { address } => Change::AddAddress(*address),
        Setting::NoAddress { address } => Change::RemoveAddress(*address),
        Setting::Deprecated { address, off } => {
            Change::Deprecate { address: *address, is_deprecated: !off }
        }
        Setting::Route { destination, gateway, on_link } => Change::AddRoute {
            destination: destinations(destination, *gateway)?,
            gateway: *gateway,
            on_link: *on_link,
        },
        Setting::NoRoute { destination } => Change::RemoveRoute(destinations(destination, None)?),
        Setting::Up => Change::LinkUp(true),
        Setting::Down => Change::LinkUp(false),
        Setting::Mtu { mtu } if mtu == "device" => Change::Mtu(None),
        Setting::Mtu { mtu } => Change::Mtu(Some(mtu.parse().ok().with_context(|| {
            format!("\"{mtu}\" is no number of bytes, for example 1400, or \"device\"")
        })?)),
        Setting::AnyIp { off } => Change::AnyIp(!off),
        Setting::NameServers { servers, search_domains } => {
            Change::NameServers { servers: servers.clone(), search_domains: search_domains.clone() }
        }
    })
}

/// Destinations, or all of a gateway's family.
fn destinations(text: &str, gateway: Option<IpAddr>) -> anyhow::Result<IpNet> {
    let all = match gateway {
        Some(IpAddr::V6(_)) => "::/0",
        _ => "0.0.0.0/0",
    };
    let text = if text == "default" { all } else { text };
    flags::prefixed(text).map_err(anyhow::Error::msg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_is_of_the_family_of_its_gateway() {
        for (gateway, expected) in
            [(Some("10.9.0.1"), "0.0.0.0/0"), (Some("fd00::1"), "::/0"), (None, "0.0.0.0/0")]
        {
            let gateway = gateway.map(|text| text.parse().expect("an address"));
            let found = destinations("default", gateway).expect("all of its family");
            assert_eq!(found.to_string(), expected);
        }
        assert!(destinations("192.0.2.0", None).is_err());
    }

    #[test]
    fn an_mtu_is_a_number_or_that_of_the_device() {
        let mtu = |text: &str| change(&Setting::Mtu { mtu: text.into() });
        assert_eq!(mtu("1400").ok(), Some(Change::Mtu(Some(1400))));
        assert_eq!(mtu("device").ok(), Some(Change::Mtu(None)));
        assert!(mtu("many").is_err());
    }
}
