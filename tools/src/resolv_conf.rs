//! The name servers of this machine.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};

/// The servers that the programs of this host ask, in their order: without any it is this host
/// (resolv.conf(5)).
pub(crate) fn servers_of_host() -> Vec<IpAddr> {
    let config = fs::read("/etc/resolv.conf").unwrap_or_default();
    let config = resolv_conf::Config::parse(config).unwrap_or_default();
    let mut servers: Vec<IpAddr> = config.nameservers.iter().map(IpAddr::from).collect();
    if servers.is_empty() {
        servers.push(Ipv4Addr::LOCALHOST.into());
    }
    servers
}
