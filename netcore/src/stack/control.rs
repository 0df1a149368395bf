//! The stack's place in the network: addresses, routes, the link, and whom to ask for names.

use super::Netstack;
use crate::error::Error;
use crate::ethernet::MacAddr;
use crate::ip::addressing::Addressing;
use crate::ip::routes::Route;
use crate::network::{Network, NetworkWatch, NextHopInfo};
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;

impl Netstack {
    /// Gives the stack an address, which disturbs nothing that is there. Its prefix is the network
    /// on the link; for an address that the stack has already, the prefix is changed.
    ///
    /// On an Ethernet link the neighbours are told of it. An IPv6 address is not used before it is
    /// known that none of them has it (RFC 4862 section 5.4), which takes a second for each of
    /// [`EthernetConfig::dad_transmits`](crate::EthernetConfig::dad_transmits); if one has, it is removed again.
    ///
    /// # Errors
    ///
    /// [`Error::AddressNotAvailable`] if no host can have this address; [`Error::LimitReached`] if
    /// there are [`IpConfig::addresses_max`](crate::IpConfig::addresses_max) already.
    pub fn add_address(&mut self, address: IpNet) -> Result<(), Error> {
        let done = self.ip.add_address(&self.cx, address);
        self.settle();
        done
    }

    /// Takes an address from the stack, and ends the connections on it with
    /// [`Error::AddressRemoved`]: their peers are sent a reset. Listeners and UDP sockets that are
    /// bound to it stay, and have nothing to do until it comes back.
    ///
    /// Costs time in proportion to the number of sockets.
    ///
    /// # Errors
    ///
    /// [`Error::AddressNotAvailable`] if the stack does not have it.
    pub fn remove_address(&mut self, address: IpAddr) -> Result<(), Error> {
        let done = self.ip.forget_address(address);
        self.settle();
        done
    }

    /// Says whether new connections and unbound sockets avoid an address as long as there is another
    /// one (RFC 4862 section 5.5.4, RFC 6724 section 5 rule 3). What uses it already goes on.
    ///
    /// # Errors
    ///
    /// [`Error::AddressNotAvailable`] if the stack does not have it.
    pub fn set_deprecated(&mut self, address: IpAddr, is_deprecated: bool) -> Result<(), Error> {
        self.ip.set_deprecated(address, is_deprecated)
    }

    /// Adds a route, in place of one to the same destinations. Packets take the route with the
    /// longest prefix, of which each address implies one to its own network.
    ///
    /// The gateway has to be on the link: in the network of one of the stack's addresses, in the
    /// destinations of a route without a gateway, or an IPv6 link-local address. A stack that has no
    /// address of this family yet takes any gateway.
    ///
    /// # Errors
    ///
    /// [`Error::WrongFamily`] if the gateway is of another family than the destinations;
    /// [`Error::AddressNotAvailable`] if no host can have its address; [`Error::GatewayNotOnLink`]
    /// if it is not on the link; [`Error::LimitReached`] if there are
    /// [`IpConfig::routes_max`](crate::IpConfig::routes_max) already.
    pub fn add_route(&mut self, route: Route) -> Result<(), Error> {
        self.insert_route(route, Addressing::add_route)
    }

    /// As [`add_route`](Self::add_route), without a look at where the gateway is: what Linux calls
    /// `onlink`.
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
        self.settle();
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

    /// Removes the route to just these destinations. Connections that have no other way stay, and
    /// wait for one as for a peer that is silent.
    ///
    /// # Errors
    ///
    /// [`Error::NetworkUnreachable`] if there is no such route.
    pub fn remove_route(&mut self, destination: IpNet) -> Result<(), Error> {
        let done = self.ip.remove_route(destination);
        self.settle();
        done
    }

    /// Uses the link, or leaves it alone: while it is down, nothing is sent or received over it,
    /// new connections fail with [`Error::NetworkUnreachable`], and those that are there wait as
    /// for a peer that is silent. Up at first.
    pub fn set_link_up(&mut self, is_up: bool) {
        self.ip.set_link_up(&self.cx, is_up);
        self.settle();
    }

    /// Sends IP packets of at most `mtu` bytes, or as large as the device can with `None`. An IPv6
    /// address that comes later raises less than 1,280 bytes to that for as long as it stays.
    /// Connections that are there go on with segments that fit, and with the size that they began
    /// with once it fits again; what they announce as the largest that they take stays the same. What was
    /// under way and has become too large is sent again when its timer is due, not before.
    ///
    /// # Errors
    ///
    /// [`Error::MtuTooSmall`] if it is less than every host must take: 1,280 bytes if the stack has
    /// an IPv6 address (RFC 8200 section 5), 576 otherwise (RFC 791).
    pub fn set_mtu(&mut self, mtu: Option<usize>) -> Result<(), Error> {
        self.ip.set_mtu(mtu)
    }

    /// Sends IP packets of at most as many bytes as servers and routers say that the link carries
    /// (RFC 2132 section 5.1, RFC 4861 section 4.6.4), or as large as otherwise with `None`.
    ///
    /// Nothing is refused: less than 1,280 bytes count as 1,280 as long as the stack has an IPv6
    /// address (RFC 8200 section 5), less than 576 as 576 (RFC 791). What was
    /// [set](Self::set_mtu) holds beside it.
    pub fn set_advertised_mtu(&mut self, mtu: Option<usize>) {
        self.ip.set_advertised_mtu(mtu);
    }

    /// Takes packets to any address for the stack's own, as those need who intercept what others
    /// send: listeners on all addresses accept connections to any destination, which is the local
    /// address of the connection, and sockets may be bound to and send from any address. Off at
    /// first.
    ///
    /// No neighbour is told that the addresses are here: packets have to be routed to the stack.
    pub fn set_any_ip(&mut self, any_ip: bool) {
        self.ip.set_any_ip(any_ip);
    }

    /// Says who is to be asked for names, and in which domains a name without dots is looked for.
    /// The stack only publishes it.
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

    /// Publishes that something has ended that has provided for the stack, or was to: a DHCP client,
    /// for one. The stack keeps the first 16 of these texts, and does nothing about them.
    pub fn report_failure(&mut self, text: String) {
        self.ip.report_failure(text);
    }

    /// The stack's addresses, without the loopback ones.
    pub fn addresses(&self) -> &[IpNet] {
        self.ip.addressing.addresses()
    }

    /// The stack's routes, without those that its addresses imply.
    pub fn routes(&self) -> &[Route] {
        self.ip.addressing.routes()
    }

    /// Where a packet to `destination` would go now, and where it would come from: what
    /// `ip route get` says of the kernel.
    ///
    /// # Errors
    ///
    /// [`Error::NetworkUnreachable`] if no route leads there; [`Error::AddressNotAvailable`] if the
    /// stack has no address of this family.
    pub fn route_to(&self, destination: IpAddr) -> Result<NextHopInfo, Error> {
        self.ip.route_to(destination)
    }

    /// The stack's place in the network.
    pub fn network(&self) -> Arc<Network> {
        self.ip.network()
    }

    /// The same, now and whenever it changes from now on.
    pub fn watch_network(&self) -> NetworkWatch {
        self.channel.network()
    }

    /// The stack's hardware address, which only an Ethernet link has a use for.
    pub fn hardware_address(&self) -> MacAddr {
        self.ip.outgoing.hardware_address
    }

    /// Gives the stack another hardware address. On an Ethernet link its neighbours are told, and
    /// its IPv6 link-local address is made anew.
    ///
    /// # Errors
    ///
    /// [`Error::AddressNotAvailable`] if it is a group's.
    pub fn set_hardware_address(&mut self, address: MacAddr) -> Result<(), Error> {
        let done = self.ip.set_hardware_address(address);
        self.settle();
        done
    }
}
