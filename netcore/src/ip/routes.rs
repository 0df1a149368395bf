//! The routing table: longest prefix match over connected networks and other routes alike.

use crate::error::Error;
use crate::ip::special_address::is_host;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

/// A route: destinations and their gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Route {
    /// The destinations. A prefix of length 0 makes it a default route.
    pub destination: IpNet,
    /// The gateway; `None` if the destinations are on the link itself.
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

/// The routes of a stack in the order of a lookup, rebuilt when an address or a route changes: a
/// lookup is one binary search for each prefix length in use.
///
/// There are no metrics, since there is one link. Where a connected network and a route with a
/// gateway have the same destinations, the metrics of Linux decide: in IPv4 both have 0, and the
/// route replaces the network; in IPv6 the network has 256 and a route 1024, and the network wins.
#[derive(Debug, Default)]
pub(crate) struct Table {
    v4: Fib,
    v6: Fib,
    /// The directed broadcast addresses of the connected networks, each with the source for it.
    broadcasts: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// The IPv4 addresses that are the first of their network.
    primaries: Vec<Ipv4Net>,
}

/// The routes of one family, longest prefixes first.
#[derive(Debug, Default)]
struct Fib {
    entries: Vec<Entry>,
    /// The range of entries of each prefix length.
    lengths: Vec<(u8, Range<usize>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The prefix, left-aligned, and its length in bits.
    bits: u128,
    len: u8,
    pub(crate) gateway: Option<IpAddr>,
    /// The preferred source, which in IPv4 belongs to the route.
    pub(crate) source: Option<Ipv4Addr>,
}

/// The link-local prefix: always on the link (RFC 4861 section 5.1), with or without a link-local
/// address of the stack. 64 bits as on Linux, which leaves 64 for the interface identifier (RFC
/// 4291 section 2.5.6).
const LINK_LOCAL: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 64);

impl Table {
    pub(crate) fn new(addresses: &[IpNet], routes: &[Route]) -> Self {
        let primaries = primaries(addresses);
        let given = routes.iter().filter_map(|route| entry_v4(route, &primaries));
        let mut v4: Vec<Entry> = given.collect();
        for own in &primaries {
            let connected = Entry { source: Some(own.addr()), ..entry(IpNet::V4(*own), None) };
            match v4.iter_mut().find(|known| known.is_to(&connected)) {
                Some(route) if route.gateway.is_some() => {}
                // On the link anyway, and the network's own address is the better source.
                Some(route) => *route = connected,
                None => v4.push(connected),
            }
        }
        let own_v6 = addresses.iter().copied().filter(|own| own.addr().is_ipv6());
        let connected = own_v6.chain([IpNet::V6(LINK_LOCAL)]).map(|network| entry(network, None));
        let mut v6: Vec<Entry> = connected.collect();
        for route in routes.iter().filter(|route| route.destination.addr().is_ipv6()) {
            let route = entry(route.destination, route.gateway);
            if !v6.iter().any(|known| known.is_to(&route)) {
                v6.push(route);
            }
        }
        // A /31 has no broadcast address (RFC 3021), and a /32 no network.
        let networks = primaries.iter().filter(|own| own.prefix_len() < 31);
        let broadcasts = networks.map(|own| (own.broadcast(), own.addr())).collect();
        Self { v4: Fib::new(v4), v6: Fib::new(v6), broadcasts, primaries }
    }

    /// The route for `destination`.
    pub(crate) fn lookup(&self, destination: IpAddr) -> Option<&Entry> {
        self.fib(destination).lookup(left_aligned(destination))
    }

    /// Whether the route to `gateway` has no gateway itself: there is no recursion. Linux skips
    /// routes with gateways in IPv4, and in IPv6 the longest prefix decides. An IPv6 link-local
    /// gateway is always on the link.
    pub(crate) fn is_on_link(&self, gateway: IpAddr) -> bool {
        let mut covering = self.fib(gateway).covering(left_aligned(gateway));
        match gateway {
            IpAddr::V4(_) => covering.any(|entry| entry.gateway.is_none()),
            IpAddr::V6(gateway) => {
                gateway.is_unicast_link_local()
                    || covering.next().is_some_and(|entry| entry.gateway.is_none())
            }
        }
    }

    /// Whether `address` is the broadcast address of one of the networks.
    pub(crate) fn is_broadcast(&self, address: Ipv4Addr) -> bool {
        self.broadcasts.iter().any(|(broadcast, _)| *broadcast == address)
    }

    /// The source of an IPv4 packet, which is the route's: of a connected network the address on
    /// it, of a gateway the address on the gateway's network, otherwise the first one
    /// (`inet_select_addr` of Linux).
    ///
    /// Multicast, and destinations without a route, use the first one.
    pub(crate) fn source_v4(&self, destination: Ipv4Addr) -> Option<Ipv4Addr> {
        let first = self.primaries.first().map(Ipv4Net::addr);
        if let Some((_, source)) = self.broadcasts.iter().find(|(it, _)| *it == destination) {
            return Some(*source);
        }
        if destination.is_broadcast() || destination.is_multicast() {
            return first;
        }
        self.lookup(destination.into()).map_or(first, |entry| entry.source)
    }

    /// The source of a packet to an own address: the primary one of its network, which is the
    /// source of the local route on Linux.
    pub(crate) fn source_of_own(&self, own: Ipv4Net) -> Ipv4Addr {
        let primary = self.primaries.iter().find(|primary| primary.trunc() == own.trunc());
        primary.map_or(own.addr(), Ipv4Net::addr)
    }

    fn fib(&self, address: IpAddr) -> &Fib {
        if address.is_ipv4() { &self.v4 } else { &self.v6 }
    }
}

impl Fib {
    fn new(mut entries: Vec<Entry>) -> Self {
        entries.sort_by_key(|entry| (Reverse(entry.len), entry.bits));
        entries.dedup_by_key(|entry| (entry.len, entry.bits));
        let mut lengths: Vec<(u8, Range<usize>)> = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            match lengths.last_mut() {
                Some((len, range)) if *len == entry.len => range.end = index + 1,
                _ => lengths.push((entry.len, index..index + 1)),
            }
        }
        Self { entries, lengths }
    }

    fn lookup(&self, destination: u128) -> Option<&Entry> {
        self.covering(destination).next()
    }

    /// The routes for a destination, the longest prefix first.
    fn covering(&self, destination: u128) -> impl Iterator<Item = &Entry> {
        self.lengths.iter().filter_map(move |(len, range)| {
            let entries = &self.entries[range.clone()];
            let bits = destination & mask(*len);
            entries.binary_search_by_key(&bits, |entry| entry.bits).ok().map(|at| &entries[at])
        })
    }
}

impl Entry {
    fn is_to(&self, other: &Self) -> bool {
        (self.bits, self.len) == (other.bits, other.len)
    }
}

fn entry(network: IpNet, gateway: Option<IpAddr>) -> Entry {
    let len = network.prefix_len();
    Entry { bits: left_aligned(network.addr()) & mask(len), len, gateway, source: None }
}

fn entry_v4(route: &Route, primaries: &[Ipv4Net]) -> Option<Entry> {
    let IpNet::V4(destination) = route.destination else { return None };
    let beside = match route.gateway {
        Some(IpAddr::V4(gateway)) => primaries.iter().find(|own| own.contains(&gateway)),
        _ => None,
    };
    let source = beside.or(primaries.first()).map(Ipv4Net::addr);
    Some(Entry { source, ..entry(destination.into(), route.gateway) })
}

/// The IPv4 addresses that are the first of their network. The others are *secondary*: a source
/// only of sockets bound to them.
fn primaries(addresses: &[IpNet]) -> Vec<Ipv4Net> {
    let mut primaries: Vec<Ipv4Net> = Vec::new();
    for address in addresses {
        if let IpNet::V4(own) = address
            && primaries.iter().all(|first| first.trunc() != own.trunc())
        {
            primaries.push(*own);
        }
    }
    primaries
}

fn left_aligned(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn mask(len: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(addresses: &[&str], routes: &[(&str, &str)]) -> Table {
        let addresses: Vec<IpNet> =
            addresses.iter().map(|text| text.parse().expect("a network")).collect();
        let routes = routes.iter().map(|(destination, gateway)| Route {
            destination: destination.parse().expect("a network"),
            gateway: gateway.parse().ok(),
        });
        Table::new(&addresses, &routes.collect::<Vec<_>>())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// The gateway, empty for the link, or `None` without a route.
    fn via(table: &Table, destination: &str) -> Option<String> {
        let entry = table.lookup(ip(destination))?;
        Some(entry.gateway.map_or(String::new(), |gateway| gateway.to_string()))
    }

    fn source(table: &Table, destination: &str) -> String {
        let source = table.source_v4(destination.parse().expect("an address"));
        source.map_or(String::new(), |source| source.to_string())
    }

    #[test]
    fn longest_prefix_wins_over_connected_networks_too() {
        let table = table(
            &["10.0.0.2/16", "fd00::2/64"],
            &[
                ("10.0.7.0/24", "10.0.0.9"),
                ("0.0.0.0/0", "10.0.0.1"),
                ("169.254.169.254/32", "10.0.0.9"),
                ("192.0.2.6/31", ""),
                ("fe80::7/128", "fd00::9"),
                ("fd00::8/127", "fd00::1"),
                ("::/0", "fd00::1"),
            ],
        );

        for (to, gateway) in [
            ("10.0.1.1", ""),
            ("10.0.7.1", "10.0.0.9"),
            ("169.254.169.254", "10.0.0.9"),
            ("169.254.169.253", "10.0.0.1"),
            ("192.0.2.7", ""),
            ("192.0.2.8", "10.0.0.1"),
            ("fe80::7", "fd00::9"),
            ("fe80::8", ""),
            ("fe81::8", "fd00::1"),
            ("fd00::9", "fd00::1"),
            ("fd00::a", ""),
            ("2001:db8::1", "fd00::1"),
        ] {
            assert_eq!(via(&table, to).as_deref(), Some(gateway), "{to}");
        }
    }

    #[test]
    fn lookup_without_matching_prefix_finds_no_route() {
        let table = table(&["10.0.0.2/24", "fd00::2/64"], &[]);

        assert_eq!(via(&table, "169.254.1.1"), None);
        assert_eq!(via(&table, "2001:db8::1"), None);
    }

    #[test]
    fn route_to_a_connected_network_wins_by_the_metric_of_linux() {
        let table = table(
            &["10.0.0.2/24", "10.1.0.2/24", "fd00::2/64"],
            &[("10.0.0.0/24", "10.0.0.9"), ("10.1.0.0/24", ""), ("fd00::/64", "fd00::9")],
        );

        assert_eq!(via(&table, "10.0.0.7").as_deref(), Some("10.0.0.9"));
        assert_eq!(via(&table, "fd00::7").as_deref(), Some(""));
        assert_eq!(source(&table, "10.1.0.7"), "10.1.0.2");
    }

    #[test]
    fn ipv4_source_belongs_to_the_route() {
        let own = ["10.0.0.2/24", "10.0.0.3/24", "10.1.0.2/16", "10.1.2.3/24"];
        let routes = [
            ("192.0.2.0/24", "10.1.2.9"),
            ("198.51.100.0/24", "10.0.0.9"),
            ("203.0.113.0/24", "172.16.0.1"),
            ("172.16.0.0/24", ""),
        ];
        let table = table(&own, &routes);

        for (to, from) in [
            ("10.0.0.9", "10.0.0.2"),
            ("10.1.0.9", "10.1.0.2"),
            ("10.1.2.9", "10.1.2.3"),
            // The first network that the gateway is in, not the longest.
            ("192.0.2.1", "10.1.0.2"),
            ("198.51.100.1", "10.0.0.2"),
            ("203.0.113.1", "10.0.0.2"),
            ("172.16.0.9", "10.0.0.2"),
            ("10.1.2.255", "10.1.2.3"),
            ("224.0.0.1", "10.0.0.2"),
            ("255.255.255.255", "10.0.0.2"),
            ("8.8.8.8", "10.0.0.2"),
        ] {
            assert_eq!(source(&table, to), from, "{to}");
        }
        let own_source = |text: &str| table.source_of_own(text.parse().expect("a network"));
        assert_eq!(own_source("10.0.0.3/24"), Ipv4Addr::new(10, 0, 0, 2), "secondary");
        assert_eq!(own_source("10.1.2.3/24"), Ipv4Addr::new(10, 1, 2, 3));
    }
}
