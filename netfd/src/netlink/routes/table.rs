//! The tables `main` and `local`, as Linux would have them of this network.

use crate::netlink::links::{LINK, LOOPBACK};
use crate::netlink::rtnetlink::family;
use ipnet::{IpNet, Ipv4Net};
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RoutePreference, RouteProtocol,
    RouteScope, RouteType,
};
use netsocket::netcore::{Network, Route};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(crate) const MAIN: u8 = RouteHeader::RT_TABLE_MAIN;
pub(crate) const LOCAL: u8 = 255;

/// The metrics of IPv6 routes on Linux: those of addresses, and those that are added.
const OF_ADDRESS: u32 = 256;
const ADDED: u32 = 1024;

/// One route.
struct Row {
    destination: IpNet,
    kind: RouteType,
    table: u8,
    scope: RouteScope,
    protocol: RouteProtocol,
    interface: u32,
    gateway: Option<IpAddr>,
    source: Option<IpAddr>,
    metric: u32,
}

/// All routes. Those of a link without a carrier say so.
pub(crate) fn all(network: &Network) -> Vec<RouteMessage> {
    let mut rows = main(network);
    rows.extend(local(network));
    let is_down = !(network.link.is_up && network.link.has_carrier);
    rows.iter().map(|row| row.message(is_down)).collect()
}

fn main(network: &Network) -> Vec<Row> {
    let mut rows: Vec<_> = network.routes.iter().map(Row::added).collect();
    let mut seen = Vec::new();
    for address in &network.addresses {
        let destination = address.trunc();
        // A route replaces the network in IPv4; an address alone is no network there.
        let is_replaced = || network.routes.iter().any(|it| it.destination == destination);
        let is_shown = match address {
            IpNet::V4(_) => address.prefix_len() < 32 && !is_replaced(),
            IpNet::V6(_) => true,
        };
        if is_shown && !seen.contains(&destination) {
            seen.push(destination);
            rows.push(Row::connected(*address));
        }
    }
    rows
}

fn local(network: &Network) -> Vec<Row> {
    let loopback = Ipv4Net::new_assert(Ipv4Addr::LOCALHOST, 8);
    let mut rows = vec![
        Row::own(loopback.trunc().into(), LOOPBACK, Ipv4Addr::LOCALHOST.into()),
        Row::own(host(Ipv4Addr::LOCALHOST.into()), LOOPBACK, Ipv4Addr::LOCALHOST.into()),
        Row::broadcast(loopback, LOOPBACK),
        Row::own(host(Ipv6Addr::LOCALHOST.into()), LOOPBACK, Ipv6Addr::LOCALHOST.into()),
    ];
    for address in &network.addresses {
        let ip = address.addr();
        if network.tentative.contains(&ip) {
            continue;
        }
        rows.push(Row::own(host(ip), LINK, ip));
        if let IpNet::V4(address) = address
            && address.prefix_len() < 31
        {
            let row = Row::broadcast(*address, LINK);
            if rows.iter().all(|known| known.destination != row.destination) {
                rows.push(row);
            }
        }
    }
    if network.addresses.iter().any(|address| address.addr().is_ipv6()) {
        let all = IpNet::new_assert(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0).into(), 8);
        rows.push(Row {
            kind: RouteType::Multicast,
            metric: OF_ADDRESS,
            ..Row::own(all, LINK, Ipv6Addr::UNSPECIFIED.into())
        });
    }
    rows
}

fn host(ip: IpAddr) -> IpNet {
    ip.into()
}

impl Row {
    fn added(route: &Route) -> Self {
        let is_v4 = route.destination.addr().is_ipv4();
        let on_link = is_v4 && route.gateway.is_none();
        Self {
            destination: route.destination,
            kind: RouteType::Unicast,
            table: MAIN,
            scope: if on_link { RouteScope::Link } else { RouteScope::Universe },
            protocol: RouteProtocol::Boot,
            interface: LINK,
            gateway: route.gateway,
            source: None,
            metric: if is_v4 { 0 } else { ADDED },
        }
    }

    fn connected(address: IpNet) -> Self {
        let is_v4 = address.addr().is_ipv4();
        Self {
            destination: address.trunc(),
            kind: RouteType::Unicast,
            table: MAIN,
            scope: if is_v4 { RouteScope::Link } else { RouteScope::Universe },
            protocol: RouteProtocol::Kernel,
            interface: LINK,
            gateway: None,
            source: is_v4.then_some(address.addr()),
            metric: if is_v4 { 0 } else { OF_ADDRESS },
        }
    }

    fn own(destination: IpNet, interface: u32, source: IpAddr) -> Self {
        let is_v4 = destination.addr().is_ipv4();
        Self {
            destination,
            kind: RouteType::Local,
            table: LOCAL,
            scope: if is_v4 { RouteScope::Host } else { RouteScope::Universe },
            protocol: RouteProtocol::Kernel,
            interface,
            gateway: None,
            source: is_v4.then_some(source),
            metric: 0,
        }
    }

    fn broadcast(address: Ipv4Net, interface: u32) -> Self {
        let destination = host(address.broadcast().into());
        Self {
            kind: RouteType::Broadcast,
            scope: RouteScope::Link,
            ..Self::own(destination, interface, address.addr().into())
        }
    }

    fn message(&self, is_down: bool) -> RouteMessage {
        let Self { destination, kind, table, scope, protocol, .. } = *self;
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: family(destination.addr()),
            destination_prefix_length: destination.prefix_len(),
            table,
            protocol,
            scope,
            kind,
            ..RouteHeader::default()
        };
        message.header.flags.set(RouteFlags::Linkdown, is_down && self.interface == LINK);
        let attributes = &mut message.attributes;
        attributes.push(RouteAttribute::Table(table.into()));
        if destination.prefix_len() > 0 {
            attributes.push(RouteAttribute::Destination(destination.addr().into()));
        }
        let is_v6 = destination.addr().is_ipv6();
        if is_v6 {
            attributes.push(RouteAttribute::Priority(self.metric));
        }
        attributes.extend(self.source.map(|source| RouteAttribute::PrefSource(source.into())));
        attributes.extend(self.gateway.map(|gateway| RouteAttribute::Gateway(gateway.into())));
        attributes.push(RouteAttribute::Oif(self.interface));
        if is_v6 {
            attributes.push(RouteAttribute::Preference(RoutePreference::Medium));
        }
        message
    }
}
