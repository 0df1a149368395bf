//! The stack of `netstack proxy` that connections go from, where that is another than the clients'.

use anyhow::Result;
use cli::{Network, flags};
use netstack::IpNet;
use netstack::link::LinkUrl;
use std::net::IpAddr;
use std::path::PathBuf;

/// The second stack's addresses, routes and link.
#[derive(Debug, clap::Args)]
pub(super) struct Flags {
    /// Connect from a second stack, on this link, for example wg:///etc/wireguard/wg0.conf
    ///
    /// Without any address the kernel's side of a TUN or TAP is 10.10.0.1/24 and the stack's 10.10.0.2/24.
    #[arg(
        long = "to-link",
        value_name = "URL",
        requires = "on_stack",
        conflicts_with = "intercept"
    )]
    pub(super) to_link: Option<LinkUrl>,
    /// An address of the second stack, with its prefix (repeatable)
    #[arg(long = "to-address", value_name = "CIDR", requires = "to_link", value_parser = flags::prefixed)]
    to_addresses: Vec<IpNet>,
    /// The second stack's default gateway (repeatable: one for each family)
    #[arg(long = "to-gateway", value_name = "IP", requires = "to_link", value_parser = flags::address)]
    to_gateways: Vec<IpAddr>,
    /// An address of the kernel's end of its link (repeatable)
    #[arg(long = "to-host-address", value_name = "CIDR", requires = "to_link", value_parser = flags::prefixed)]
    to_host_addresses: Vec<IpNet>,
    /// A name server for the names that clients give (repeatable)
    #[arg(long = "to-dns", value_name = "IP", requires = "to_link", value_parser = flags::address)]
    to_name_servers: Vec<IpAddr>,
    /// Listen on a control socket of the second stack, too
    #[arg(long = "to-control", value_name = "PATH", requires = "to_link")]
    to_control: Option<PathBuf>,
}

impl Flags {
    /// The second stack, if there is one, with the MTU and the offload of the first.
    pub(super) fn network(&self, first: &Network) -> Result<Option<Network>> {
        let Some(link) = &self.to_link else { return Ok(None) };
        let mut network = Network {
            tun: None,
            tap: None,
            link: Some(link.clone()),
            dhcp: false,
            slaac: false,
            addresses: self.to_addresses.clone(),
            gateways: self.to_gateways.clone(),
            host_addresses: self.to_host_addresses.clone(),
            mtu: first.mtu,
            no_offload: first.no_offload,
            name_servers: self.to_name_servers.clone(),
            pcap: None,
            control: self.to_control.clone(),
        };
        let has_none = network.addresses.is_empty() && network.host_addresses.is_empty();
        if has_none && link.makes_interface() {
            network.addresses.push("10.10.0.2/24".parse()?);
            network.host_addresses.push("10.10.0.1/24".parse()?);
        }
        Ok(Some(network))
    }
}
