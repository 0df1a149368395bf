//! The stack's place in the network: addresses, routes, the link, and whom to ask for names.

use super::Netstack;
use crate::addressing::{Addressing, NextHop};
use crate::error::Error;
use crate::network::{LinkState, Network, NetworkWatch, NextHopInfo};
use crate::routes::Route;
use crate::sockets::Socket;
use crate::sockets::connection::Stage;
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;

/// Every IPv6 link must carry packets of this size (RFC 8200 section 5).
const MTU_MIN_V6: usize = 1280;
/// Every IPv4 host must take packets of this size (RFC 791); less leaves no room for TCP.
const MTU_MIN_V4: usize = 576;

/// What is kept of failures.
const FAILURES_MAX: usize = 16;

impl Netstack {
    /// Gives the stack an address, which disturbs nothing that is there. Its prefix is the network
    /// on the link; for an address that the stack has already, the prefix is changed.
    ///
    /// On an Ethernet link the neighbours are told of it. An IPv6 address is not used before it is
    /// known that none of them has it (RFC 4862 section 5.4), which takes a second for each of
    /// [`Config::dad_transmits`](crate::Config::dad_transmits); if one has, it is removed again.
    ///
    /// # Errors
    ///
    /// [`Error::AddressNotAvailable`] if no host can have this address; [`Error::LimitReached`] if
    /// there are [`Config::addresses_max`](crate::Config::addresses_max) already.
    pub fn add_address(&mut self, address: IpNet) -> Result<(), Error> {
        let is_new = !self.addressing.has(address.addr());
        if is_new && self.addressing.addresses().len() >= self.config.addresses_max {
            return Err(Error::LimitReached);
        }
        self.addressing.add_address(address)?;
        if is_new {
            self.address_arrived(address.addr());
        }
        self.ways_changed();
        Ok(())
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
        if !self.addressing.remove_address(address) {
            return Err(Error::AddressNotAvailable);
        }
        self.address_left(address);
        for id in self.sockets.ids() {
            if self.sockets.held_mut(id).is_some_and(|held| held.flow.local().ip() == address) {
                self.remove_held(id, Error::AddressRemoved);
            }
            let Some(connection) = self.sockets.connection_mut(id) else { continue };
            if connection.wire.flow().local().ip() != address {
                continue;
            }
            match connection.stage {
                Stage::Open(_) => {
                    connection.abort(Error::AddressRemoved);
                    self.mark(id);
                }
                _ => self.remove_connection(id, Error::AddressRemoved),
            }
        }
        self.ways_changed();
        Ok(())
    }

    /// Says whether new connections and unbound sockets avoid an address as long as there is another
    /// one (RFC 4862 section 5.5.4, RFC 6724 section 5 rule 3). What uses it already goes on.
    ///
    /// # Errors
    ///
    /// [`Error::AddressNotAvailable`] if the stack does not have it.
    pub fn set_deprecated(&mut self, address: IpAddr, is_deprecated: bool) -> Result<(), Error> {
        if !self.addressing.set_deprecated(address, is_deprecated) {
            return Err(Error::AddressNotAvailable);
        }
        self.publish();
        Ok(())
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
    /// [`Config::routes_max`](crate::Config::routes_max) already.
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
        let destination = route.destination.trunc();
        let routes = self.addressing.routes();
        if routes.len() >= self.config.routes_max
            && routes.iter().all(|known| known.destination != destination)
        {
            return Err(Error::LimitReached);
        }
        insert(&mut self.addressing, route)?;
        self.ways_changed();
        Ok(())
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
        if !self.addressing.remove_route(destination) {
            return Err(Error::NetworkUnreachable);
        }
        self.ways_changed();
        Ok(())
    }

    /// Uses the link, or leaves it alone: while it is down, nothing is sent or received over it,
    /// new connections fail with [`Error::NetworkUnreachable`], and those that are there wait as
    /// for a peer that is silent. Up at first.
    pub fn set_link_up(&mut self, is_up: bool) {
        self.addressing.is_link_up = is_up;
        // First, so that nobody sees an address without seeing that it has yet to be probed.
        self.look_at_ethernet();
        self.ways_changed();
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
        if mtu.is_some_and(|mtu| mtu < self.mtu_min()) {
            return Err(Error::MtuTooSmall);
        }
        self.mtu = mtu;
        self.outgoing.capabilities.mtu = self.mtu_of(self.link_mtu);
        self.publish();
        Ok(())
    }

    /// Sends IP packets of at most as many bytes as servers and routers say that the link carries
    /// (RFC 2132 section 5.1, RFC 4861 section 4.6.4), or as large as otherwise with `None`.
    ///
    /// Nothing is refused: less than 1,280 bytes count as 1,280 as long as the stack has an IPv6
    /// address (RFC 8200 section 5), less than 576 as 576 (RFC 791). What was
    /// [set](Self::set_mtu) holds beside it.
    pub fn set_advertised_mtu(&mut self, mtu: Option<usize>) {
        self.advertised_mtu = mtu;
        self.outgoing.capabilities.mtu = self.mtu_of(self.link_mtu);
        self.publish();
    }

    /// Takes packets to any address for the stack's own, as those need who intercept what others
    /// send: listeners on all addresses accept connections to any destination, which is the local
    /// address of the connection, and sockets may be bound to and send from any address. Off at
    /// first.
    ///
    /// No neighbour is told that the addresses are here: packets have to be routed to the stack.
    pub fn set_any_ip(&mut self, any_ip: bool) {
        self.addressing.any_ip = any_ip;
        self.publish();
    }

    /// Says who is to be asked for names, and in which domains a name without dots is looked for.
    /// The stack only publishes it.
    ///
    /// # Errors
    ///
    /// [`Error::LimitReached`] if there are more than
    /// [`Config::name_servers_max`](crate::Config::name_servers_max) of either.
    pub fn set_name_servers(
        &mut self,
        servers: Vec<IpAddr>,
        search_domains: Vec<String>,
    ) -> Result<(), Error> {
        if servers.len().max(search_domains.len()) > self.config.name_servers_max {
            return Err(Error::LimitReached);
        }
        self.name_servers = servers;
        self.search_domains = search_domains;
        self.publish();
        Ok(())
    }

    /// Publishes that something has ended that has provided for the stack, or was to: a DHCP client,
    /// for one. The stack keeps the first 16 of these texts, and does nothing about them.
    pub fn report_failure(&mut self, text: String) {
        if self.failures.len() < FAILURES_MAX {
            self.failures.push(text);
            self.publish();
        }
    }

    /// The stack's addresses, without the loopback ones.
    pub fn addresses(&self) -> &[IpNet] {
        self.addressing.addresses()
    }

    /// The stack's routes, without those that its addresses imply.
    pub fn routes(&self) -> &[Route] {
        self.addressing.routes()
    }

    /// Where a packet to `destination` would go now, and where it would come from: what
    /// `ip route get` says of the kernel.
    ///
    /// # Errors
    ///
    /// [`Error::NetworkUnreachable`] if no route leads there; [`Error::AddressNotAvailable`] if the
    /// stack has no address of this family.
    pub fn route_to(&self, destination: IpAddr) -> Result<NextHopInfo, Error> {
        let neighbour = match self.addressing.next_hop(destination)? {
            NextHop::Link(neighbour) => Some(neighbour),
            NextHop::Own | NextHop::Nowhere => None,
        };
        Ok(NextHopInfo { neighbour, source: self.addressing.source_for(destination)? })
    }

    /// The stack's place in the network.
    pub fn network(&self) -> Arc<Network> {
        self.publisher.current()
    }

    /// The same, now and whenever it changes from now on.
    pub fn watch_network(&self) -> NetworkWatch {
        self.channel.network()
    }

    /// Notes what the link can do, as of this turn.
    pub(super) fn link_is(&mut self, mut capabilities: crate::LinkCapabilities) {
        let is_new = self.link_mtu != capabilities.mtu;
        self.link_mtu = capabilities.mtu;
        capabilities.mtu = self.mtu_of(capabilities.mtu);
        self.outgoing.capabilities = capabilities;
        if is_new {
            self.publish();
        }
    }

    fn mtu_of(&self, link_mtu: usize) -> usize {
        match self.mtu.into_iter().chain(self.advertised_mtu).min() {
            Some(mtu) => mtu.max(self.mtu_min()).min(link_mtu),
            None => link_mtu,
        }
    }

    /// The least that the stack's families need of a link.
    fn mtu_min(&self) -> usize {
        let has_v6 = self.addressing.addresses().iter().any(|own| own.addr().is_ipv6());
        if has_v6 { MTU_MIN_V6 } else { MTU_MIN_V4 }
    }

    /// Looks again which way every connection goes, and tells everybody that something is new.
    pub(super) fn ways_changed(&mut self) {
        let mut woken = Vec::new();
        for (id, socket) in self.sockets.iter_mut() {
            let Socket::Connection(connection) = socket else { continue };
            if connection.failure.is_some() {
                // Its last word goes the way that all of it went.
                continue;
            }
            let remote = connection.wire.flow().remote().ip();
            let way = self.addressing.next_hop(remote).unwrap_or(NextHop::Nowhere);
            if std::mem::replace(&mut connection.way, way) != way {
                woken.push(id);
            }
        }
        for id in woken {
            self.mark(id);
        }
        // The first IPv6 address raises it, and the last one lets it go down.
        self.outgoing.capabilities.mtu = self.mtu_of(self.link_mtu);
        self.publish();
    }

    pub(super) fn publish(&self) {
        self.publisher.publish(Network {
            addresses: self.addressing.addresses().to_vec(),
            tentative: self.addressing.tentative().to_vec(),
            deprecated: self.addressing.deprecated().to_vec(),
            routes: self.addressing.routes().to_vec(),
            link: LinkState {
                is_up: self.addressing.is_link_up,
                has_carrier: self.place.has_carrier,
                mtu: self.outgoing.capabilities.mtu,
                hardware_address: self
                    .outgoing
                    .is_on_ethernet()
                    .then_some(self.outgoing.hardware_address),
            },
            any_ip: self.addressing.any_ip,
            name_servers: self.name_servers.clone(),
            search_domains: self.search_domains.clone(),
            failures: self.failures.clone(),
        });
    }
}
