//! Changing a running stack, for plain threads.

use ipnet::IpNet;
use netcore::{Network, Route};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

/// Changes a running stack's addresses, routes and link. See [`Control`](crate::Control).
#[derive(Debug, Clone)]
pub struct Control(crate::Control);

impl Control {
    pub(crate) fn new(control: crate::Control) -> Self {
        Self(control)
    }

    /// The stack's current addresses, routes, link and name servers.
    pub fn network(&self) -> Arc<Network> {
        self.0.network()
    }

    /// As [`crate::Control::synchronize`].
    ///
    /// # Errors
    ///
    /// As [`crate::Control::synchronize`].
    pub fn synchronize(&self) -> io::Result<()> {
        pollster::block_on(self.0.synchronize())
    }

    /// As [`crate::Control::add_address`].
    ///
    /// # Errors
    ///
    /// As [`crate::Control::add_address`].
    pub fn add_address(&self, address: IpNet) -> io::Result<()> {
        pollster::block_on(self.0.add_address(address))
    }

    /// As [`crate::Control::remove_address`].
    ///
    /// # Errors
    ///
    /// As [`crate::Control::remove_address`].
    pub fn remove_address(&self, address: IpAddr) -> io::Result<()> {
        pollster::block_on(self.0.remove_address(address))
    }

    /// As [`crate::Control::add_route`].
    ///
    /// # Errors
    ///
    /// As [`crate::Control::add_route`].
    pub fn add_route(&self, route: Route) -> io::Result<()> {
        pollster::block_on(self.0.add_route(route))
    }

    /// As [`crate::Control::add_route_on_link`].
    ///
    /// # Errors
    ///
    /// As [`crate::Control::add_route_on_link`].
    pub fn add_route_on_link(&self, route: Route) -> io::Result<()> {
        pollster::block_on(self.0.add_route_on_link(route))
    }

    /// As [`crate::Control::set_deprecated`].
    ///
    /// # Errors
    ///
    /// As [`crate::Control::set_deprecated`].
    pub fn set_deprecated(&self, address: IpAddr, is_deprecated: bool) -> io::Result<()> {
        pollster::block_on(self.0.set_deprecated(address, is_deprecated))
    }

    /// As [`crate::Control::remove_route`].
    ///
    /// # Errors
    ///
    /// As [`crate::Control::remove_route`].
    pub fn remove_route(&self, destination: IpNet) -> io::Result<()> {
        pollster::block_on(self.0.remove_route(destination))
    }

    /// As [`crate::Control::set_link_up`].
    ///
    /// # Errors
    ///
    /// As [`crate::Control::set_link_up`].
    pub fn set_link_up(&self, is_up: bool) -> io::Result<()> {
        pollster::block_on(self.0.set_link_up(is_up))
    }

    /// As [`crate::Control::set_mtu`].
    ///
    /// # Errors
    ///
    /// As [`crate::Control::set_mtu`].
    pub fn set_mtu(&self, mtu: Option<usize>) -> io::Result<()> {
        pollster::block_on(self.0.set_mtu(mtu))
    }

    /// As [`crate::Control::set_advertised_mtu`].
    ///
    /// # Errors
    ///
    /// As [`crate::Control::set_advertised_mtu`].
    pub fn set_advertised_mtu(&self, mtu: Option<usize>) -> io::Result<()> {
        pollster::block_on(self.0.set_advertised_mtu(mtu))
    }

    /// As [`crate::Control::set_any_ip`].
    ///
    /// # Errors
    ///
    /// As [`crate::Control::set_any_ip`].
    pub fn set_any_ip(&self, any_ip: bool) -> io::Result<()> {
        pollster::block_on(self.0.set_any_ip(any_ip))
    }

    /// As [`crate::Control::set_name_servers`].
    ///
    /// # Errors
    ///
    /// As [`crate::Control::set_name_servers`].
    pub fn set_name_servers(
        &self,
        servers: Vec<IpAddr>,
        search_domains: Vec<String>,
    ) -> io::Result<()> {
        pollster::block_on(self.0.set_name_servers(servers, search_domains))
    }
}
