//! The routing table: the networks of the stack's own addresses and the routes that were added.

use crate::addressing::is_host;
use crate::error::Error;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::IpAddr;

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

    /// # Errors
    ///
    /// [`Error::WrongFamily`] if the gateway is of another family than the destinations;
    /// [`Error::AddressNotAvailable`] if it cannot be a host's.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.gateway {
            Some(gateway) if gateway.is_ipv4() != self.destination.addr().is_ipv4() => {
                Err(Error::WrongFamily)
            }
            Some(gateway) if !is_host(gateway) => Err(Error::AddressNotAvailable),
            _ => Ok(()),
        }
    }
}

/// The entry of the table with the longest prefix that contains a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Match {
    /// The network of an address of the stack's own: of several addresses, the first.
    Connected(IpNet),
    /// The IPv6 link-local network, which is on every link (RFC 4291 section 2.5.6).
    LinkLocal,
    /// A route that was added.
    Route(Route),
}

impl Match {
    /// The router, if the destination is behind one.
    pub(crate) fn gateway(self) -> Option<IpAddr> {
        match self {
            Self::Route(route) => route.gateway,
            Self::Connected(_) | Self::LinkLocal => None,
        }
    }

    fn prefix_len(self) -> u8 {
        match self {
            Self::Connected(network) => network.prefix_len(),
            Self::LinkLocal => LINK_LOCAL_PREFIX_LEN,
            Self::Route(route) => route.destination.prefix_len(),
        }
    }
}

const LINK_LOCAL_PREFIX_LEN: u8 = 64;

/// The routes that were added, at most one to the same destinations.
#[derive(Debug, Default)]
pub(crate) struct Routes(Vec<Route>);

impl Routes {
    /// Adds a route, in place of one to the same destinations.
    ///
    /// # Errors
    ///
    /// Those of [`Route::check`].
    pub(crate) fn add(&mut self, route: Route) -> Result<(), Error> {
        route.check()?;
        self.remove(route.destination);
        self.0.push(Route { destination: route.destination.trunc(), ..route });
        Ok(())
    }

    /// Removes the route to just these destinations; returns whether there was one.
    pub(crate) fn remove(&mut self, destination: IpNet) -> bool {
        let before = self.0.len();
        self.0.retain(|known| known.destination != destination.trunc());
        self.0.len() < before
    }

    pub(crate) fn as_slice(&self) -> &[Route] {
        &self.0
    }

    /// The longest prefix that contains `destination`, of these routes and of the networks that
    /// `addresses` are in. Of equal ones the network of an address wins, as on Linux, where its
    /// metric is lower.
    pub(crate) fn find(&self, addresses: &[IpNet], destination: IpAddr) -> Option<Match> {
        self.matches(addresses, destination).reduce(|best, entry| {
            // The first of equal ones stays.
            if entry.prefix_len() > best.prefix_len() { entry } else { best }
        })
    }

    /// Whether a gateway is on the link, by the rules of Linux: for IPv4 some entry leads there
    /// without another gateway, for IPv6 the one with the longest prefix. IPv6 link-local addresses
    /// are always there.
    pub(crate) fn is_on_link(&self, addresses: &[IpNet], gateway: IpAddr) -> bool {
        match gateway {
            IpAddr::V4(_) => {
                self.matches(addresses, gateway).any(|entry| entry.gateway().is_none())
            }
            IpAddr::V6(address) => {
                address.is_unicast_link_local()
                    || self.find(addresses, gateway).is_some_and(|found| found.gateway().is_none())
            }
        }
    }

    /// Every entry that contains `destination`.
    fn matches(&self, addresses: &[IpNet], destination: IpAddr) -> impl Iterator<Item = Match> {
        let connected = addresses.iter().copied().map(Match::Connected);
        let link_local = is_link_local_network(destination).then_some(Match::LinkLocal);
        let routes = self.0.iter().copied().map(Match::Route);
        connected.chain(link_local).chain(routes).filter(move |entry| match entry {
            Match::Connected(network) => network.contains(&destination),
            Match::LinkLocal => true,
            Match::Route(route) => route.destination.contains(&destination),
        })
    }
}

/// fe80::/64. The rest of fe80::/10 has no meaning yet, and is routed as anything else.
fn is_link_local_network(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.segments()[..4] == [0xfe80, 0, 0, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(addresses: &[&str], routes: &[(&str, &str)], destination: &str) -> Option<Match> {
        let addresses: Vec<IpNet> =
            addresses.iter().map(|text| text.parse().expect("a network")).collect();
        let mut table = Routes::default();
        for (destination, gateway) in routes {
            let destination = destination.parse().expect("a network");
            table.add(Route { destination, gateway: gateway.parse().ok() }).expect("a route");
        }
        table.find(&addresses, destination.parse().expect("an address"))
    }

    #[test]
    fn longest_prefix_wins_over_connected_networks_too() {
        let addresses = &["10.0.0.2/16", "fd00::2/64"];
        let routes = &[
            ("10.0.7.0/24", "10.0.0.9"),
            ("0.0.0.0/0", "10.0.0.1"),
            ("169.254.169.254/32", "10.0.0.9"),
            ("fe80::7/128", "fd00::9"),
            ("::/0", "fd00::1"),
        ];
        let gateway = |to| find(addresses, routes, to).expect("a match").gateway();

        for (to, via) in [
            ("10.0.1.1", ""),
            ("10.0.7.1", "10.0.0.9"),
            ("169.254.169.254", "10.0.0.9"),
            ("169.254.169.253", "10.0.0.1"),
            ("fe80::7", "fd00::9"),
            ("fe80::8", ""),
            ("fe81::8", "fd00::1"),
            ("fd00::8", ""),
            ("2001:db8::1", "fd00::1"),
        ] {
            assert_eq!(gateway(to), via.parse().ok(), "{to}");
        }
    }

    #[test]
    fn connected_network_wins_over_a_route_of_the_same_length() {
        let found = find(&["10.0.0.2/24"], &[("10.0.0.0/24", "10.0.0.9")], "10.0.0.7");

        assert!(matches!(found, Some(Match::Connected(_))), "{found:?}");
    }

    #[test]
    fn no_entry_contains_what_no_prefix_covers() {
        assert_eq!(find(&["10.0.0.2/24"], &[], "169.254.1.1"), None);
        assert_eq!(find(&["fd00::2/64"], &[], "2001:db8::1"), None);
    }
}
