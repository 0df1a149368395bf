//! The stack's own addresses, and which way leads where.

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
    own: HashSet<IpAddr, LocalHasher>,
    /// Those of which it is not known yet that nobody else has them (RFC 4862 section 5.4): they
    /// are neither sent from nor answered for.
    tentative: Vec<IpAddr>,
    /// Those that new connections should not use (RFC 4862 section 5.5.4).
    deprecated: Vec<IpAddr>,
    routes: Vec<Route>,
    /// What addresses and routes come to.
    table: Table,
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

    /// Adds a route in place of one to the same destinations. Its gateway has to be on the link: in
    /// a network of the stack's own, or in the destinations of a route without a gateway. An
    /// unnumbered stack takes any.
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

    /// Adds a route whose gateway is on the link, whatever the table says of it.
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

    /// Says whether new connections should avoid `address`; returns whether the stack has it.
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
        matches!(address, IpAddr::V4(address)
            if address.is_broadcast() || self.table.is_broadcast(address))
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
        if destination.is_multicast() {
            // There is one link to send to a group on.
            return Ok(NextHop::Link(destination));
        }
        match self.table.lookup(destination) {
            Some(route) => Ok(NextHop::Link(route.gateway.unwrap_or(destination))),
            None if self.addresses.is_empty() => Ok(NextHop::Link(destination)),
            None => Err(Error::NetworkUnreachable),
        }
    }

    /// The address to send from to `destination`: in IPv4 that of the route, in IPv6 as
    /// [`source_address`] chooses. None that another node may have.
    ///
    /// # Errors
    ///
    /// [`Error::AddressNotAvailable`] if the stack has no address of this family to be reached at.
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

    /// The same to an address of the stack's own. In IPv6 that is the address itself (RFC 6724
    /// section 5 rule 1), in IPv4 the source of the local route on Linux.
    fn source_for_own(&self, destination: IpAddr) -> IpAddr {
        let is_destination = |own: &&IpNet| own.addr() == destination;
        match (destination, self.addresses.iter().find(is_destination)) {
            (_, Some(IpNet::V4(own))) => self.table.source_of_own(*own).into(),
            (IpAddr::V4(_), _) => Ipv4Addr::LOCALHOST.into(),
            (IpAddr::V6(_), _) => destination,
        }
    }
}

/// Whether an address is the broadcast address of the network that it is given with.
fn is_own_broadcast(address: &IpNet) -> bool {
    // A /31 has no broadcast address (RFC 3021), and a /32 no network.
    matches!(address, IpNet::V4(own) if own.prefix_len() < 31 && own.addr() == own.broadcast())
}

/// Where to send what is for `destination`: the unspecified address stands for this host, as on Linux.
/// Over IPv4 that is the address that the socket is at, if it is at one, and else loopback.
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

/// The address as a socket on `[::]` sees it.
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
        assert_eq!(add(&mut numbered, "::/0", "fe80::1"), Ok(()), "whatever the routes");
        assert_eq!(add(&mut numbered, "198.51.100.0/24", "192.0.2.9"), refused, "behind a router");
        assert_eq!(add(&mut numbered, "198.51.100.0/24", "10.0.0.2"), refused, "the stack itself");
        assert_eq!(add(&mut numbered, "2001:db8::/32", "fd01::1"), refused);
        let on_link = Route { destination: net("192.0.2.0/24"), gateway: None };
        assert_eq!(numbered.add_route(on_link), Ok(()));
        assert_eq!(add(&mut numbered, "198.51.100.0/24", "192.0.2.9"), Ok(()));

        assert_eq!(add(&mut numbered, "2001:db8::/32", "fd00::2"), refused, "the stack itself");
        assert_eq!(add(&mut numbered, "198.51.100.0/24", "10.0.0.255"), refused, "everybody");

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
    fn without_an_address_of_the_family_there_is_no_source() {
        let v4 = addressing(&["10.0.0.2/24"], &[]);

        assert_eq!(v4.source_for(ip("10.0.0.9")), Ok(ip("10.0.0.2")));
        assert_eq!(v4.source_for(ip("fd00::9")), Err(Error::AddressNotAvailable));
    }

    #[test]
    fn tentative_addresses_are_no_source() {
        let mut addressing = addressing(&["fd00::2/64", "fd01::2/64"], &[]);
        addressing.set_tentative(ip("fd00::2"), true);

        assert_eq!(addressing.source_for(ip("fd00::9")), Ok(ip("fd01::2")));
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
