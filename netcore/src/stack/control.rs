//! Network configuration: addresses, routes, the link, name servers.

use super::Netstack;
use crate::error::Error;
use crate::ethernet::MacAddr;
use crate::ip::addressing::Addressing;
use crate::ip::routes::Route;
use crate::link::LinkCapabilities;
use crate::network::{Network, NetworkWatch, NextHopInfo};
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;

impl Netstack {
    /// Adds an address; existing sockets are unaffected. Its prefix is the network on the link; for
    /// an address that the stack has already, the prefix is replaced.
    ///
    /// On an Ethernet link the address is announced. An IPv6 address is tentative until duplicate
    /// address detection is done (RFC 4862 section 5.4), which takes a second for each of
    /// [`EthernetConfig::dad_transmits`](crate::EthernetConfig::dad_transmits); a duplicate is
    /// removed again.
    ///
    /// # Errors
    ///
    /// [`Error::AddressNotAvailable`] if it is not a host address; [`Error::LimitReached`] if there
    /// are [`IpConfig::addresses_max`](crate::IpConfig::addresses_max) already.
    pub fn add_address(&mut self, address: IpNet) -> Result<(), Error> {
        let done = self.ip.add_address(&self.cx, address);
        self.handle_ip_events();
        done
    }

    /// Removes an address, and ends the connections on it with [`Error::AddressRemoved`]; their
    /// peers are sent a reset. Listeners and UDP sockets bound to it stay, and receive nothing
    /// until the address is added again.
    ///
    /// Costs time in proportion to the number of sockets.
    ///
    /// # Errors
    ///
    /// [`Error::AddressNotAvailable`] if the stack does not have it.
    pub fn remove_address(&mut self, address: IpAddr) -> Result<(), Error> {
        let done = self.ip.forget_address(address);
        self.handle_ip_events();
        done
    }

    /// Sets whether new connections and unbound sockets avoid an address while there is another one
    /// (RFC 4862 section 5.5.4, RFC 6724 section 5 rule 3). Existing connections keep it.
    ///
    /// # Errors
    ///
    /// [`Error::AddressNotAvailable`] if the stack does not have it.
    pub fn set_deprecated(&mut self, address: IpAddr, is_deprecated: bool) -> Result<(), Error> {
        self.ip.set_deprecated(address, is_deprecated)
    }

    /// Adds a route, replacing one to the same destinations. Packets take the route with the
    /// longest prefix; each address implies a route to its network.
    ///
    /// The gateway must be on the link: in the network of one of the stack's addresses, in the
    /// destinations of a route without a gateway, or an IPv6 link-local address. A stack without an
    /// address accepts any gateway.
    ///
    /// # Errors
    ///
    /// [`Error::WrongFamily`] if the gateway is of another family than the destinations;
    /// [`Error::AddressNotAvailable`] if it is not a host address; [`Error::GatewayNotOnLink`] if
    /// it is not on the link; [`Error::LimitReached`] if there are
    /// [`IpConfig::routes_max`](crate::IpConfig::routes_max) already.
    pub fn add_route(&mut self, route: Route) -> Result<(), Error> {
        self.insert_route(route, Addressing::add_route)
    }

    /// As [`add_route`](Self::add_route), without the check that the gateway is on the link (Linux:
    /// `onlink`).
    ///
    /// # Errors
    ///
    /// As [`add_route`](Self::add_route), but for [`Error::GatewayNotOnLink`].
    pub fn add_route_on_link(&mut self, route: Route) -> Result<(), Error> {
        self.insert_route(route, Addressing::add_route_on_link)
    }

    fn insert_route(
        &mut self,
        route: Route,
        insert: fn(&mut Addressing, Route) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let done = self.ip.insert_route(&self.cx.config, route, insert);
        self.handle_ip_events();
        done
    }

    /// Makes `gateway` the default route of its family.
    ///
    /// # Errors
    ///
    /// As [`add_route`](Self::add_route).
    pub fn add_gateway(&mut self, gateway: IpAddr) -> Result<(), Error> {
        self.add_route(Route::default_via(gateway))
    }

    /// Removes the route to just these destinations. Connections without another route stay, and
    /// time out as with a silent peer unless a route is added.
    ///
    /// # Errors
    ///
    /// [`Error::NetworkUnreachable`] if there is no such route.
    pub fn remove_route(&mut self, destination: IpNet) -> Result<(), Error> {
        let done = self.ip.remove_route(destination);
        self.handle_ip_events();
        done
    }

    /// Sets the link up or down. While it is down, nothing is sent or received over it, new
    /// connections fail with [`Error::NetworkUnreachable`], and existing ones wait as for a silent
    /// peer. Initially up.
    pub fn set_link_up(&mut self, is_up: bool) {
        self.ip.set_link_up(&self.cx, is_up);
        self.handle_ip_events();
    }

    /// Sets the MTU, in bytes; `None` uses the device's. An IPv6 address added later raises a
    /// smaller MTU to 1,280 bytes while it is configured. Existing connections continue with
    /// segments that fit, and with their original size once it fits again; their announced MSS
    /// stays the same. A segment in flight that has become too large is resent when its timer
    /// expires, not before.
    ///
    /// # Errors
    ///
    /// [`Error::MtuTooSmall`] if it is below the minimum: 1,280 bytes if the stack has an IPv6
    /// address (RFC 8200 section 5), 576 otherwise (RFC 791).
    pub fn set_mtu(&mut self, mtu: Option<usize>) -> Result<(), Error> {
        self.ip.set_mtu(mtu)
    }

    /// Sets the MTU that a DHCP server or a router advertises (RFC 2132 section 5.1, RFC 4861
    /// section 4.6.4), in bytes; `None` removes it.
    ///
    /// Never fails: values below 1,280 bytes count as 1,280 while the stack has an IPv6 address
    /// (RFC 8200 section 5), values below 576 as 576 (RFC 791). The MTU [set](Self::set_mtu)
    /// applies as well.
    pub fn set_advertised_mtu(&mut self, mtu: Option<usize>) {
        self.ip.set_advertised_mtu(mtu);
    }

    /// Sets whether the stack accepts packets to any address, as transparent proxies need: wildcard
    /// listeners accept connections to any destination, which is the connection's local address,
    /// and sockets may be bound to and send from any address. Initially off.
    ///
    /// Does not answer ARP or Neighbour Discovery for these addresses: packets must be routed to
    /// the stack.
    pub fn set_any_ip(&mut self, any_ip: bool) {
        self.ip.set_any_ip(any_ip);
    }

    /// Sets the name servers, and the search domains for names without dots. The stack only
    /// publishes them.
    ///
    /// # Errors
    ///
    /// [`Error::LimitReached`] if there are more than
    /// [`IpConfig::name_servers_max`](crate::IpConfig::name_servers_max) of either.
    pub fn set_name_servers(
        &mut self,
        servers: Vec<IpAddr>,
        search_domains: Vec<String>,
    ) -> Result<(), Error> {
        self.ip.set_name_servers(&self.cx.config, servers, search_domains)
    }

    /// Publishes the failure of a configuration source, such as a DHCP client. The stack only keeps
    /// the first 16 texts.
    pub fn report_failure(&mut self, text: String) {
        self.ip.report_failure(text);
    }

    /// The configured addresses, loopback excluded.
    pub fn addresses(&self) -> &[IpNet] {
        self.ip.addressing.addresses()
    }

    /// The added routes, those implied by addresses excluded.
    pub fn routes(&self) -> &[Route] {
        self.ip.addressing.routes()
    }

    /// The next hop and the source address of a packet to `destination`, as `ip route get` on
    /// Linux.
    ///
    /// # Errors
    ///
    /// [`Error::NetworkUnreachable`] without a route; [`Error::AddressNotAvailable`] if the stack
    /// has no address of this family.
    pub fn route_to(&self, destination: IpAddr) -> Result<NextHopInfo, Error> {
        self.ip.route_to(destination)
    }

    /// The current network configuration.
    pub fn network(&self) -> Arc<Network> {
        self.ip.network()
    }

    /// A watch of the network configuration.
    pub fn watch_network(&self) -> NetworkWatch {
        self.channel.network()
    }

    /// Tells the stack the capabilities of its link ahead of the first poll, which tells them anew.
    /// From then on the network configuration has the link's hardware address, its link-local
    /// address and its MTU, and addresses on Ethernet are tentative.
    pub fn set_link_capabilities(&mut self, capabilities: LinkCapabilities) {
        self.ip.set_link_capabilities(capabilities);
        self.ip.update_link(&self.cx);
        self.handle_ip_events();
    }

    /// Tells the stack whether its link has a carrier ahead of the first poll, which tells it anew.
    pub fn set_carrier(&mut self, has_carrier: bool) {
        self.ip.set_carrier(&self.cx, has_carrier);
    }

    /// The stack's hardware address, used on Ethernet links only.
    pub fn hardware_address(&self) -> MacAddr {
        self.ip.outgoing.hardware_address
    }

    /// Sets the hardware address. On an Ethernet link the addresses are announced again, and the
    /// IPv6 link-local address is derived anew.
    ///
    /// # Errors
    ///
    /// [`Error::AddressNotAvailable`] if it is not a unicast address.
    pub fn set_hardware_address(&mut self, address: MacAddr) -> Result<(), Error> {
        let done = self.ip.set_hardware_address(address);
        self.handle_ip_events();
        done
    }
}
