//! The stack's own addresses, and the next hop of packets.

use crate::command::raw::Version;
use crate::error::Error;
use crate::ethernet::ndp;
use crate::ip::routes::{Route, Table};
use crate::ip::source_address;
use crate::ip::special_address::is_host;
use crate::random::LocalHasher;
use ipnet::IpNet;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The next hop of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextHop {
    /// This stack itself.
    Own,
    /// This neighbour on the link.
    Link(IpAddr),
    /// None at present: the route that a connection began with is gone.
    Nowhere,
}

/// The addresses and routes of a stack.
///
/// The loopback addresses are always its own. A stack without any other address is *unnumbered*: it
/// sends every packet over the link.
#[derive(Debug)]
pub(crate) struct Addressing {
    addresses: Vec<IpNet>,
    /// The same addresses, for the lookup of each packet.
    own: HashSet<IpAddr, LocalHasher>,
    /// Tentative addresses (RFC 4862 section 5.4): neither a source of packets nor answered for.
    tentative: Vec<IpAddr>,
    /// Deprecated addresses, which new connections should not use (RFC 4862 section 5.5.4).
    deprecated: Vec<IpAddr>,
    routes: Vec<Route>,
    /// The routing table made from `addresses` and `routes`.
    table: Table,
    /// Whether the link is up.
    pub(crate) is_link_up: bool,
    /// Whether the stack accepts packets to any address (Linux: a local route to 0.0.0.0/0).
    pub(crate) any_ip: bool,
}

impl Default for Addressing {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            own: HashSet::default(),
            tentative: Vec::new(),
            deprecated: Vec::new(),
            routes: Vec::new(),
            table: Table::default(),
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
        if !is_host(address.addr()) || is_own_broadcast(&address) {
            return Err(Error::AddressNotAvailable);
        }
        match self.addresses.iter_mut().find(|known| known.addr() == address.addr()) {
            Some(known) => *known = address,
            None => self.addresses.push(address),
        }
        self.own.insert(address.addr());
        self.table = Table::new(&self.addresses, &self.routes);
        Ok(())
    }

    pub(crate) fn remove_address(&mut self, address: IpAddr) -> bool {
        self.addresses.retain(|known| known.addr() != address);
        self.tentative.retain(|known| *known != address);
        self.deprecated.retain(|known| *known != address);
        self.table = Table::new(&self.addresses, &self.routes);
        self.own.remove(&address)
    }

    /// Adds a route, replacing one to the same destinations. Its gateway must be on the link: in a
    /// connected network, or in the destinations of a route without a gateway. An unnumbered stack
    /// accepts any gateway.
    ///
    /// # Errors
    ///
    /// [`Error::GatewayNotOnLink`] if it is not; those of [`Route::check`].
    pub(crate) fn add_route(&mut self, route: Route) -> Result<(), Error> {
        route.check()?;
        if route.gateway.is_some_and(|gateway| !self.is_on_link(gateway)) {
            return Err(Error::GatewayNotOnLink);
        }
        self.add_route_on_link(route)
    }

    /// Adds a route whose gateway counts as on the link, without a lookup.
    ///
    /// # Errors
    ///
    /// Those of [`Route::check`].
    pub(crate) fn add_route_on_link(&mut self, route: Route) -> Result<(), Error> {
        route.check()?;
        let destination = route.destination.trunc();
        self.routes.retain(|known| known.destination != destination);
        self.routes.push(Route { destination, ..route });
        self.table = Table::new(&self.addresses, &self.routes);
        Ok(())
    }

    fn is_on_link(&self, gateway: IpAddr) -> bool {
        !self.is_own(gateway)
            && !self.is_broadcast(gateway)
            && (self.addresses.is_empty() || self.table.is_on_link(gateway))
    }

    /// Removes the route to just these destinations; returns whether there was one.
    pub(crate) fn remove_route(&mut self, destination: IpNet) -> bool {
        let before = self.routes.len();
        self.routes.retain(|known| known.destination != destination.trunc());
        self.table = Table::new(&self.addresses, &self.routes);
        self.routes.len() < before
    }

    /// Sets whether new connections should avoid `address`; returns whether the stack has it.
    pub(crate) fn set_deprecated(&mut self, address: IpAddr, is_deprecated: bool) -> bool {
        self.deprecated.retain(|known| *known != address);
        if is_deprecated && self.has(address) {
            self.deprecated.push(address);
        }
        self.has(address)
    }

    pub(crate) fn deprecated(&self) -> &[IpAddr] {
        &self.deprecated
    }

    pub(crate) fn addresses(&self) -> &[IpNet] {
        &self.addresses
    }

    pub(crate) fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Whether `address` is one of the stack's own or a loopback address.
    pub(crate) fn is_own(&self, address: IpAddr) -> bool {
        self.own.contains(&address) || address.is_loopback()
    }

    /// Sets whether `address`, one of the stack's own, is tentative.
    pub(crate) fn set_tentative(&mut self, address: IpAddr, is_tentative: bool) {
        self.tentative.retain(|known| *known != address);
        if is_tentative {
            self.tentative.push(address);
        }
    }

    /// The tentative addresses.
    pub(crate) fn tentative(&self) -> &[IpAddr] {
        &self.tentative
    }

    pub(crate) fn is_tentative(&self, address: IpAddr) -> bool {
        !self.tentative.is_empty() && self.tentative.contains(&address)
    }

    /// Whether `address` is configured.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        self.own.contains(&address)
    }

    /// Whether the stack answers ARP requests and solicitations for `address`.
    pub(crate) fn is_answered_for(&self, address: IpAddr) -> bool {
        self.has(address) && !self.is_tentative(address)
    }

    /// Whether `group` is the solicited-node group of an own address (RFC 4291 section 2.7.1).
    pub(crate) fn is_solicited_node(&self, group: IpAddr) -> bool {
        self.addresses.iter().any(|own| match own {
            IpNet::V6(own) => group == ndp::solicited_node(own.addr()),
            IpNet::V4(_) => false,
        })
    }

    /// Whether a socket may be bound to `address`, and a packet to it be delivered.
    pub(crate) fn is_local(&self, address: IpAddr) -> bool {
        self.is_own(address) || (self.any_ip && is_host(address) && !self.is_broadcast(address))
    }

    /// Whether there is an IPv4 address.
    pub(crate) fn has_ipv4(&self) -> bool {
        self.addresses.iter().any(|own| own.addr().is_ipv4())
    }

    /// Whether `address` is a broadcast address.
    pub(crate) fn is_broadcast(&self, address: IpAddr) -> bool {
        matches!(address, IpAddr::V4(address)
            if address.is_broadcast() || self.table.is_broadcast(address))
    }

    /// The next hop to `destination`.
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
            // A directed broadcast too goes to all nodes of the link.
            return Ok(NextHop::Link(IpAddr::V4(Ipv4Addr::BROADCAST)));
        }
        if destination.is_multicast() {
            // Multicast needs no route: there is one link.
            return Ok(NextHop::Link(destination));
        }
        match self.table.lookup(destination) {
            Some(route) => Ok(NextHop::Link(route.gateway.unwrap_or(destination))),
            None if self.addresses.is_empty() => Ok(NextHop::Link(destination)),
            None => Err(Error::NetworkUnreachable),
        }
    }

    /// The source address for `destination`: in IPv4 that of the route, in IPv6 by
    /// [`source_address`]. Never a tentative one.
    ///
    /// # Errors
    ///
    /// [`Error::AddressNotAvailable`] if the stack has no usable address of this family.
    pub(crate) fn source_for(&self, destination: IpAddr) -> Result<IpAddr, Error> {
        if self.is_own(destination) {
            return Ok(self.source_for_own(destination));
        }
        let source = match destination {
            IpAddr::V4(destination) => self.table.source_v4(destination).map(IpAddr::V4),
            IpAddr::V6(destination) => {
                let usable = self.addresses.iter().filter_map(|own| match own {
                    IpNet::V6(own) if !self.is_tentative(own.addr().into()) => Some(*own),
                    _ => None,
                });
                let is_deprecated = |own: Ipv6Addr| self.deprecated.contains(&own.into());
                source_address::ipv6(usable, is_deprecated, destination).map(IpAddr::V6)
            }
        };
        source.ok_or(Error::AddressNotAvailable)
    }

    /// The source address for an own address: in IPv6 the address itself (RFC 6724 section 5 rule
    /// 1), in IPv4 the source of the local route on Linux.
    fn source_for_own(&self, destination: IpAddr) -> IpAddr {
        let is_destination = |own: &&IpNet| own.addr() == destination;
        match (destination, self.addresses.iter().find(is_destination)) {
            (_, Some(IpNet::V4(own))) => self.table.source_of_own(*own).into(),
            (IpAddr::V4(_), _) => Ipv4Addr::LOCALHOST.into(),
            (IpAddr::V6(_), _) => destination,
        }
    }
}

/// Whether an address is the broadcast address of its network.
fn is_own_broadcast(address: &IpNet) -> bool {
    // A /31 has no broadcast address (RFC 3021), and a /32 no network.
    matches!(address, IpNet::V4(own) if own.prefix_len() < 31 && own.addr() == own.broadcast())
}

/// The destination with the unspecified address replaced by one of this host, as on Linux: over
/// IPv4 the socket's own address if it has one, otherwise loopback.
pub(crate) fn this_host(destination: IpAddr, own: Option<IpAddr>) -> IpAddr {
    let own = own.map(|own| own.to_canonical());
    match (destination, own) {
        (destination, _) if !destination.to_canonical().is_unspecified() => destination,
        (IpAddr::V6(Ipv6Addr::UNSPECIFIED), Some(IpAddr::V4(_))) => Ipv4Addr::LOCALHOST.into(),
        (IpAddr::V6(Ipv6Addr::UNSPECIFIED), _) => Ipv6Addr::LOCALHOST.into(),
        (_, Some(IpAddr::V4(own))) => own.into(),
        _ => Ipv4Addr::LOCALHOST.into(),
    }
}

pub(crate) fn version_of(address: IpAddr) -> Version {
    if address.is_ipv4() { Version::V4 } else { Version::V6 }
}

pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The IPv4-mapped form of an IPv4 address.
pub(crate) fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
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
    fn gateway_must_be_on_the_link() {
        let add = |addressing: &mut Addressing, to: &str, via: &str| {
            addressing.add_route(Route { destination: net(to), gateway: Some(ip(via)) })
        };
        let mut numbered = addressing(&["10.0.0.2/24", "fd00::2/64"], &["10.0.0.1"]);
        let refused = Err(Error::GatewayNotOnLink);

        assert_eq!(add(&mut numbered, "192.0.2.0/24", "10.0.0.9"), Ok(()));
        assert_eq!(add(&mut numbered, "fe80::1/128", "fd00::1"), Ok(()));
        assert_eq!(add(&mut numbered, "::/0", "fe80::1"), Ok(()), "link-local");
        assert_eq!(add(&mut numbered, "198.51.100.0/24", "192.0.2.9"), refused, "behind a router");
        assert_eq!(add(&mut numbered, "198.51.100.0/24", "10.0.0.2"), refused, "the stack itself");
        assert_eq!(add(&mut numbered, "2001:db8::/32", "fd01::1"), refused);
        let on_link = Route { destination: net("192.0.2.0/24"), gateway: None };
        assert_eq!(numbered.add_route(on_link), Ok(()));
        assert_eq!(add(&mut numbered, "198.51.100.0/24", "192.0.2.9"), Ok(()));

        assert_eq!(add(&mut numbered, "2001:db8::/32", "fd00::2"), refused, "the stack itself");
        assert_eq!(add(&mut numbered, "198.51.100.0/24", "10.0.0.255"), refused, "broadcast");

        let mut unnumbered = Addressing::default();
        assert_eq!(add(&mut unnumbered, "0.0.0.0/0", "10.0.0.1"), Ok(()));
        assert_eq!(add(&mut unnumbered, "10.0.0.0/8", "127.0.0.1"), refused, "the stack itself");
        let mut only_v6 = addressing(&["fd00::2/64"], &[]);
        assert_eq!(add(&mut only_v6, "0.0.0.0/0", "10.0.0.1"), refused);
    }

    #[test]
    fn ipv4_packets_to_self_have_the_primary_source_address() {
        let addressing = addressing(&["10.0.0.2/24", "10.0.0.3/24", "fd00::2/64"], &[]);

        for (to, from) in [
            ("10.0.0.2", "10.0.0.2"),
            ("10.0.0.3", "10.0.0.2"),
            ("127.5.5.5", "127.0.0.1"),
            ("fd00::2", "fd00::2"),
            ("::1", "::1"),
        ] {
            assert_eq!(addressing.source_for(ip(to)), Ok(ip(from)), "{to}");
        }
    }

    #[test]
    fn own_addresses_are_their_own_next_hop() {
        let addressing = addressing(&["10.0.0.2/24", "fd00::2/64"], &[]);

        for own in ["10.0.0.2", "fd00::2", "127.0.0.1", "127.1.2.3", "::1"] {
            assert_eq!(addressing.next_hop(ip(own)), Ok(NextHop::Own), "{own}");
        }
    }

    #[test]
    fn destination_without_route_fails_unless_unnumbered() {
        let numbered = addressing(&["10.0.0.2/24"], &[]);
        let unnumbered = addressing(&[], &[]);

        assert_eq!(numbered.next_hop(ip("8.8.8.8")), Err(Error::NetworkUnreachable));
        assert_eq!(unnumbered.next_hop(ip("8.8.8.8")), Ok(NextHop::Link(ip("8.8.8.8"))));
    }

    #[test]
    fn no_source_without_an_address_of_the_family() {
        let v4 = addressing(&["10.0.0.2/24"], &[]);

        assert_eq!(v4.source_for(ip("10.0.0.9")), Ok(ip("10.0.0.2")));
        assert_eq!(v4.source_for(ip("fd00::9")), Err(Error::AddressNotAvailable));
    }

    #[test]
    fn tentative_addresses_are_never_a_source() {
        let mut addressing = addressing(&["fd00::2/64", "fd01::2/64"], &[]);
        addressing.set_tentative(ip("fd00::2"), true);

        assert_eq!(addressing.source_for(ip("fd00::9")), Ok(ip("fd01::2")));
    }

    #[test]
    fn addresses_that_are_not_a_hosts_are_rejected() {
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
