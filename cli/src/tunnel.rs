//! What the file of a WireGuard link has for the stack.

use crate::network::Network;
use anyhow::{Context, Result, ensure};
use netstack::Builder;
use netstack::link::LinkDevice;
use netstack::wireguard::{Config, WireGuardDevice};

impl Network {
    /// Reads the file of the link, if it is of WireGuard, and takes from it what no flag gives.
    pub(crate) fn read_tunnel(&mut self) -> Result<Option<Config>> {
        let Some(url) = &self.link else { return Ok(None) };
        let Some(mut config) = url.wireguard()? else { return Ok(None) };
        ensure!(self.host_addresses.is_empty(), "--host-address: {url} has no interface");
        ensure!(!self.dhcp, "--dhcp: {url} is no Ethernet link, as tap://tap0 is");
        if let Some(mtu) = self.mtu {
            let mtu = u16::try_from(mtu).ok().filter(|mtu| *mtu <= Config::MTU_MAX);
            let max = Config::MTU_MAX;
            config.mtu = Some(mtu.with_context(|| format!("--mtu: a tunnel has {max} at most"))?);
        }
        if self.addresses.is_empty() {
            self.addresses.clone_from(&config.addresses);
        }
        ensure!(
            self.slaac || !self.addresses.is_empty(),
            "{url}: the file has no Address: give one with --address, for example 10.8.0.2/24"
        );
        if self.name_servers.is_empty() {
            self.name_servers.clone_from(&config.name_servers);
        }
        if !config.ignored.is_empty() {
            let ignored = config.ignored.join(", ");
            crate::eprintln!("{}: {url}: not for a stack, ignored: {ignored}", crate::program());
        }
        Ok(Some(config))
    }

    /// Opens the device of the tunnel.
    pub(crate) fn open_tunnel(&self, config: &Config) -> Result<LinkDevice> {
        let device = WireGuardDevice::open(config);
        let url = || self.link.as_ref().map_or_else(String::new, ToString::to_string);
        Ok(LinkDevice::WireGuard(Box::new(device.with_context(url)?)))
    }
}

/// Adds what no flag has: routes and search domains.
pub(crate) fn with_the_rest(builder: Builder, config: &Config) -> Builder {
    let builder = config.search_domains.iter().fold(builder, Builder::search_domain);
    config.routes().into_iter().fold(builder, Builder::route)
}
