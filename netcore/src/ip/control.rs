//! Changes to addresses, routes and the link.

use crate::config::Config;
use crate::context::Context;
use crate::error::Error;
use crate::ethernet::MacAddr;
use crate::ip::addressing::{Addressing, NextHop};
use crate::ip::layer::{IpEvent, IpLayer};
use crate::ip::routes::Route;
use crate::network::NextHopInfo;
use ipnet::IpNet;
use std::net::IpAddr;

/// Number of failures kept.
const FAILURES_MAX: usize = 16;

/// Effects and errors are documented at the method of the same name of
/// [`Netstack`](crate::Netstack).
impl IpLayer {
    pub(crate) fn add_address(&mut self, cx: &Context, address: IpNet) -> Result<(), Error> {
        let is_new = !self.addressing.has(address.addr());
        if is_new && self.addressing.addresses().len() >= cx.config.ip.addresses_max {
            return Err(Error::LimitReached);
        }
        self.addressing.add_address(address)?;
        if is_new {
            self.on_address_added(cx, address.addr());
        }
        self.report(IpEvent::RoutesChanged);
        Ok(())
    }

    pub(crate) fn set_deprecated(
        &mut self,
        address: IpAddr,
        is_deprecated: bool,
    ) -> Result<(), Error> {
        if !self.addressing.set_deprecated(address, is_deprecated) {
            return Err(Error::AddressNotAvailable);
        }
        self.publish();
        Ok(())
    }

    pub(crate) fn insert_route(
        &mut self,
        config: &Config,
        route: Route,
        insert: fn(&mut Addressing, Route) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let destination = route.destination.trunc();
        let routes = self.addressing.routes();
        if routes.len() >= config.ip.routes_max
            && routes.iter().all(|known| known.destination != destination)
        {
            return Err(Error::LimitReached);
        }
        insert(&mut self.addressing, route)?;
        self.report(IpEvent::RoutesChanged);
        Ok(())
    }

    pub(crate) fn remove_route(&mut self, destination: IpNet) -> Result<(), Error> {
        if !self.addressing.remove_route(destination) {
            return Err(Error::NetworkUnreachable);
        }
        self.report(IpEvent::RoutesChanged);
        Ok(())
    }

    pub(crate) fn set_link_up(&mut self, cx: &Context, is_up: bool) {
        self.addressing.is_link_up = is_up;
        // First, so that no watcher sees an address before it is tentative.
        self.update_link(cx);
        self.report(IpEvent::RoutesChanged);
    }

    pub(crate) fn set_mtu(&mut self, mtu: Option<usize>) -> Result<(), Error> {
        if mtu.is_some_and(|mtu| mtu < self.mtu_min()) {
            return Err(Error::MtuTooSmall);
        }
        self.mtu.configured = mtu;
        self.publish_routes();
        Ok(())
    }

    pub(crate) fn set_advertised_mtu(&mut self, mtu: Option<usize>) {
        self.mtu.advertised = mtu;
        self.publish_routes();
    }

    pub(crate) fn set_any_ip(&mut self, any_ip: bool) {
        self.addressing.any_ip = any_ip;
        self.publish();
    }

    pub(crate) fn set_name_servers(
        &mut self,
        config: &Config,
        servers: Vec<IpAddr>,
        search_domains: Vec<String>,
    ) -> Result<(), Error> {
        if servers.len().max(search_domains.len()) > config.ip.name_servers_max {
            return Err(Error::LimitReached);
        }
        self.name_servers = servers;
        self.search_domains = search_domains;
        self.publish();
        Ok(())
    }

    pub(crate) fn report_failure(&mut self, text: String) {
        if self.failures.len() < FAILURES_MAX {
            self.failures.push(text);
            self.publish();
        }
    }

    pub(crate) fn set_hardware_address(&mut self, address: MacAddr) -> Result<(), Error> {
        if !address.is_unicast() {
            return Err(Error::AddressNotAvailable);
        }
        self.outgoing.hardware_address = address;
        if let Some(old) = self.ethernet.link_local.take() {
            // The address exists, so this cannot fail.
            let _ = self.forget_address(old.into());
        }
        self.reset_ethernet();
        self.publish();
        Ok(())
    }

    pub(crate) fn route_to(&self, destination: IpAddr) -> Result<NextHopInfo, Error> {
        let neighbour = match self.addressing.next_hop(destination)? {
            NextHop::Link(neighbour) => Some(neighbour),
            NextHop::Own | NextHop::Nowhere => None,
        };
        Ok(NextHopInfo { neighbour, source: self.addressing.source_for(destination)? })
    }
}
