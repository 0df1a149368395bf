//! The stack's own addresses, and which way leads where.

use crate::error::Error;
use crate::ethernet::ndp;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A route: where to, and over which router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Route {
    /// The destinations that it is for. A prefix of length 0 makes it a default route.
    pub destination: IpNet,
    /// The router; `None` if the destinations are on the link itself.
    pub gateway: Option<IpAddr>,
}

impl Route {
    /// The default route of the gateway's family.
    pub fn default_via(gateway: IpAddr) -> Self {
        let destination = match gateway {
            IpAddr::V4(_) => IpNet::V4(Ipv4Net::default()),
            IpAddr::V6(_) => IpNet::V6(Ipv6Net::default()),
        };
        Self { destination, gateway: Some(gateway) }
    }
}

/// Where a packet goes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextHop {
    /// To this stack itself.
    Own,
    /// Over the link, to this neighbour.
    Link(IpAddr),
    /// Nowhere, for now: there was a way when the connection began.
    Nowhere,
}

/// The addresses and routes of a stack.
///
/// The loopback addresses are always its own. A stack without any other address is *unnumbered*:
/// whatever it sends goes over the link.
#[derive(Debug)]
pub(crate) struct Addressing {
    addresses: Vec<IpNet>,
    /// The same, to be asked for each packet.
    own: HashSet<IpAddr, ahash::RandomState>,
    /// Those of which it is not known yet that nobody else has them (RFC 4862 section 5.4): they
    /// are neither sent from nor answered for.
    tentative: Vec<IpAddr>,
    routes: Vec<Route>,
    /// Whether the link leads anywhere.
    pub(crate) is_link_up: bool,
    /// Whether packets to any address are for this stack.
    pub(crate) any_ip: bool,
}

impl Default for Addressing {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            own: HashSet::default(),
            tentative: Vec::new(),
            routes: Vec::new(),
            is_link_up: true,
            any_ip: false,
        }
    }
}

impl Addressing {
    /// # Errors
    ///
    /// [`Error::AddressNotAvailable`] if the address cannot be a host's.
    pub(crate) fn add_address(&mut self, address: IpNet) -> Result<(), Error> {
        if !is_host(address.addr()) || self.is_subnet_broadcast(&address, address.addr()) {
            return Err(Error::AddressNotAvailable);
        }
        self.addresses.retain(|known| known.addr() != address.addr());
        self.addresses.push(address);
        self.own.insert(address.addr());
        Ok(())
    }

    pub(crate) fn remove_address(&mut self, address: IpAddr) -> bool {
        self.addresses.retain(|known| known.addr() != address);
        self.tentative.retain(|known| *known != address);
        self.own.remove(&address)
    }

    /// # Errors
    ///
    /// [`Error::WrongFamily`] if the gateway is of another family than the destinations;
    /// [`Error::AddressNotAvailable`] if it cannot be a host's.
    pub(crate) fn add_route(&mut self, route: Route) -> Result<(), Error> {
        if let Some(gateway) = route.gateway {
            if gateway.is_ipv4() != route.destination.addr().is_ipv4() {
                return Err(Error::WrongFamily);
            }
            if !is_host(gateway) {
                return Err(Error::AddressNotAvailable);
            }
        }
        let destination = route.destination.trunc();
        self.routes.retain(|known| known.destination != destination);
        self.routes.push(Route { destination, ..route });
        Ok(())
    }

    /// Removes the route to just these destinations; returns whether there was one.
    pub(crate) fn remove_route(&mut self, destination: IpNet) -> bool {
        let before = self.routes.len();
        self.routes.retain(|known| known.destination != destination.trunc());
        self.routes.len() < before
    }

    pub(crate) fn addresses(&self) -> &[IpNet] {
        &self.addresses
    }

    pub(crate) fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Whether packets to `address` are for this stack and nobody else.
    pub(crate) fn is_own(&self, address: IpAddr) -> bool {
        self.own.contains(&address) || address.is_loopback()
    }

    /// Says whether another node may have `address`, which is one of the stack's own.
    pub(crate) fn set_tentative(&mut self, address: IpAddr, is_tentative: bool) {
        self.tentative.retain(|known| *known != address);
        if is_tentative {
            self.tentative.push(address);
        }
    }

    /// The addresses that another node may have.
    pub(crate) fn tentative(&self) -> &[IpAddr] {
        &self.tentative
    }

    pub(crate) fn is_tentative(&self, address: IpAddr) -> bool {
        !self.tentative.is_empty() && self.tentative.contains(&address)
    }

    /// Whether `address` is one that the stack was given.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        self.own.contains(&address)
    }

    /// Whether neighbours that ask for `address` are to be told that it is here.
    pub(crate) fn is_answered_for(&self, address: IpAddr) -> bool {
        self.has(address) && !self.is_tentative(address)
    }

    /// Whether this is the group in which neighbours ask for one of the stack's addresses (RFC
    /// 4291 section 2.7.1).
    pub(crate) fn is_solicited_node(&self, group: IpAddr) -> bool {
        self.addresses.iter().any(|own| match own {
            IpNet::V6(own) => group == ndp::solicited_node(own.addr()),
            IpNet::V4(_) => false,
        })
    }

    /// Whether a socket may be at `address`, and a packet to it is for one.
    pub(crate) fn is_local(&self, address: IpAddr) -> bool {
        self.is_own(address) || (self.any_ip && is_host(address) && !self.is_broadcast(address))
    }

    /// Whether packets to `address` are for everybody on the link.
    pub(crate) fn is_broadcast(&self, address: IpAddr) -> bool {
        address == IpAddr::V4(Ipv4Addr::BROADCAST)
            || self.addresses.iter().any(|own| self.is_subnet_broadcast(own, address))
    }

    fn is_subnet_broadcast(&self, network: &IpNet, address: IpAddr) -> bool {
        // A /31 has no broadcast address (RFC 3021), and a /32 no network.
        matches!(network, IpNet::V4(network)
            if network.prefix_len() < 31 && address == IpAddr::V4(network.broadcast()))
    }

    /// The way to `destination`.
    ///
    /// # Errors
    ///
    /// [`Error::NetworkUnreachable`] if there is none.
    pub(crate) fn next_hop(&self, destination: IpAddr) -> Result<NextHop, Error> {
        if self.is_own(destination) {
            return Ok(NextHop::Own);
        }
        if !self.is_link_up {
            return Err(Error::NetworkUnreachable);
        }
        if self.is_broadcast(destination) {
            // Whatever the network, no single neighbour has it.
            return Ok(NextHop::Link(IpAddr::V4(Ipv4Addr::BROADCAST)));
        }
        if destination.is_multicast()
            || self.addresses.iter().any(|own| own.contains(&destination))
            || is_link_local(destination)
        {
            return Ok(NextHop::Link(destination));
        }
        let route = self.routes.iter().filter(|route| route.destination.contains(&destination));
        match route.max_by_key(|route| route.destination.prefix_len()) {
            Some(route) => Ok(NextHop::Link(route.gateway.unwrap_or(destination))),
            None if self.addresses.is_empty() => Ok(NextHop::Link(destination)),
            None => Err(Error::NetworkUnreachable),
        }
    }

    /// The address to send from to `destination`: of the same network if there is one, then by
    /// scope and the longest common prefix, which is what matters of RFC 6724 for one link. None
    /// that another node may have.
    ///
    /// # Errors
    ///
    /// [`Error::AddressNotAvailable`] if the stack has no address of this family to be reached at.
    pub(crate) fn source_for(&self, destination: IpAddr) -> Result<IpAddr, Error> {
        if self.is_own(destination) {
            return Ok(destination);
        }
        let family = |own: &&IpNet| {
            own.addr().is_ipv4() == destination.is_ipv4() && !self.is_tentative(own.addr())
        };
        self.addresses
            .iter()
            .filter(family)
            .max_by_key(|own| {
                let same_scope = is_link_local(own.addr()) == stays_on_link(destination);
                (own.contains(&destination), same_scope, common_prefix(own.addr(), destination))
            })
            .map(|own| own.addr())
            .ok_or(Error::AddressNotAvailable)
    }
}

/// Whether a single host can have this address.
pub(crate) fn is_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            // 0.0.0.0/8 is "this network" and 240.0.0.0/4 reserved (RFC 6890).
            !matches!(address.octets()[0], 0 | 224..)
        }
        IpAddr::V6(address) => {
            !address.is_unspecified() && !address.is_multicast() && !is_v4_mapped(address)
        }
    }
}

pub(crate) fn is_v4_mapped(address: Ipv6Addr) -> bool {
    address.to_ipv4_mapped().is_some()
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// Whether no router passes on what is sent to this address.
fn stays_on_link(address: IpAddr) -> bool {
    match address {
        IpAddr::V6(group) if group.is_multicast() => group.segments()[0] & 0xf <= 2,
        address => is_link_local(address),
    }
}

fn common_prefix(a: IpAddr, b: IpAddr) -> u32 {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().expect("a network")
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn addressing(addresses: &[&str], gateways: &[&str]) -> Addressing {
        let mut addressing = Addressing::default();
        for address in addresses {
            addressing.add_address(net(address)).expect("a host address");
        }
        for gateway in gateways {
            addressing.add_route(Route::default_via(ip(gateway))).expect("a route");
        }
        addressing
    }

    #[test]
    fn the_longest_prefix_wins() {
        let mut addressing = addressing(&["10.0.0.2/24"], &["10.0.0.1"]);
        let route = Route { destination: net("192.0.2.0/24"), gateway: Some(ip("10.0.0.9")) };
        addressing.add_route(route).expect("a route");

        assert_eq!(addressing.next_hop(ip("10.0.0.7")), Ok(NextHop::Link(ip("10.0.0.7"))));
        assert_eq!(addressing.next_hop(ip("192.0.2.7")), Ok(NextHop::Link(ip("10.0.0.9"))));
        assert_eq!(addressing.next_hop(ip("8.8.8.8")), Ok(NextHop::Link(ip("10.0.0.1"))));
    }

    #[test]
    fn own_addresses_are_reached_inside() {
        let addressing = addressing(&["10.0.0.2/24", "fd00::2/64"], &[]);

        for own in ["10.0.0.2", "fd00::2", "127.0.0.1", "127.1.2.3", "::1"] {
            assert_eq!(addressing.next_hop(ip(own)), Ok(NextHop::Own), "{own}");
        }
    }

    #[test]
    fn without_a_route_there_is_an_error_unless_unnumbered() {
        let numbered = addressing(&["10.0.0.2/24"], &[]);
        let unnumbered = addressing(&[], &[]);

        assert_eq!(numbered.next_hop(ip("8.8.8.8")), Err(Error::NetworkUnreachable));
        assert_eq!(unnumbered.next_hop(ip("8.8.8.8")), Ok(NextHop::Link(ip("8.8.8.8"))));
    }

    #[test]
    fn the_source_is_of_the_same_network_family_and_scope() {
        let addressing =
            addressing(&["10.0.0.2/24", "10.1.0.2/16", "fe80::2/64", "fd00::2/64"], &[]);

        assert_eq!(addressing.source_for(ip("10.1.9.9")), Ok(ip("10.1.0.2")));
        assert_eq!(addressing.source_for(ip("fe80::9")), Ok(ip("fe80::2")));
        assert_eq!(addressing.source_for(ip("fd00::9")), Ok(ip("fd00::2")));
        assert_eq!(addressing.source_for(ip("2001:db8::1")), Ok(ip("fd00::2")));
        assert_eq!(
            Addressing::default().source_for(ip("10.0.0.1")),
            Err(Error::AddressNotAvailable)
        );
    }

    #[test]
    fn what_no_host_can_have_is_refused() {
        for bad in [
            "224.0.0.1/24",
            "0.0.0.0/0",
            "255.255.255.255/32",
            "10.0.0.255/24",
            "::/0",
            "ff02::1/64",
        ] {
            let result = Addressing::default().add_address(net(bad));
            assert_eq!(result, Err(Error::AddressNotAvailable), "{bad}");
        }
    }
}
