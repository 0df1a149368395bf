//! What has changed between two states of a network, as notifications.

use crate::netlink::addresses;
use crate::netlink::groups::Group;
use crate::netlink::message::{make_end, notification};
use crate::netlink::{links, neighbours, routes};
use netlink_packet_route::route::RouteFlags;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netsocket::netcore::{NeighbourInfo, Network};
use std::collections::HashSet;

/// A notification, and who is told.
pub(crate) type Told = (Group, Vec<u8>);

/// From one state to the next: what ends comes first, routes before their addresses; what begins
/// after it, in the other order.
pub(crate) fn between(interface: &str, before: &Network, after: &Network) -> Vec<Told> {
    let [old_routes, new_routes] = [before, after].map(route_rows);
    let [old_addresses, new_addresses] = [before, after].map(|it| address_rows(interface, it));
    let mut told = ended(&old_routes, &new_routes);
    told.extend(ended(&old_addresses, &new_addresses));
    if before.link != after.link {
        told.push((Group::Link, notification(&links::row(interface, after))));
    }
    told.extend(begun(&old_addresses, &new_addresses));
    told.extend(begun(&old_routes, &new_routes));
    told
}

/// The same of neighbours.
pub(crate) fn of_neighbours(before: &[NeighbourInfo], after: &[NeighbourInfo]) -> Vec<Told> {
    let row = |neighbour: &NeighbourInfo| {
        let message = RouteNetlinkMessage::NewNeighbour(neighbours::message(neighbour));
        Row {
            group: Group::Neighbour,
            message: notification(&message),
            id: neighbour.address.to_string(),
        }
    };
    let [before, after] = [before, after].map(|all| all.iter().map(row).collect::<Vec<_>>());
    let mut told = ended(&before, &after);
    told.extend(begun(&before, &after));
    told
}

/// Something that is there.
struct Row {
    group: Group,
    /// That of its beginning.
    message: Vec<u8>,
    /// What stays when it changes.
    id: String,
}

fn address_rows(interface: &str, network: &Network) -> Vec<Row> {
    let row = |address: &ipnet::IpNet| {
        let message = addresses::of_link(interface, network, *address);
        let group = by_family(message.header.family, Group::Ipv4Address, Group::Ipv6Address);
        let message = notification(&RouteNetlinkMessage::NewAddress(message));
        Row { group, message, id: address.to_string() }
    };
    network.addresses.iter().map(row).collect()
}

fn route_rows(network: &Network) -> Vec<Row> {
    let row = |mut message: netlink_packet_route::route::RouteMessage| {
        let group = by_family(message.header.address_family, Group::Ipv4Route, Group::Ipv6Route);
        // That the link is down is told of the link.
        message.header.flags.remove(RouteFlags::Linkdown);
        // Nothing of a route changes: it is replaced.
        let id = format!("{message:?}");
        Row { group, message: notification(&RouteNetlinkMessage::NewRoute(message)), id }
    };
    routes::all(network).into_iter().map(row).collect()
}

fn by_family(family: AddressFamily, v4: Group, v6: Group) -> Group {
    if family == AddressFamily::Inet { v4 } else { v6 }
}

fn ended(before: &[Row], after: &[Row]) -> Vec<Told> {
    let left: HashSet<_> = after.iter().map(|row| &row.id).collect();
    let gone = before.iter().filter(|row| !left.contains(&row.id));
    gone.map(|row| {
        let mut message = row.message.clone();
        make_end(&mut message);
        (row.group, message)
    })
    .collect()
}

fn begun(before: &[Row], after: &[Row]) -> Vec<Told> {
    let known: HashSet<_> = before.iter().map(|row| &row.message).collect();
    let new = after.iter().filter(|row| !known.contains(&row.message));
    new.map(|row| (row.group, row.message.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_core::{NetlinkMessage, NetlinkPayload};

    fn network(text: &str) -> Network {
        let mut all = netstack_network();
        for part in text.split_whitespace() {
            match part.split_once("->") {
                Some((destination, gateway)) => {
                    let destination = destination.parse().expect("a network");
                    let gateway = Some(gateway.parse().expect("an address"));
                    all.routes.push(netsocket::netcore::Route { destination, gateway });
                }
                None => all.addresses.push(part.parse().expect("an address")),
            }
        }
        all
    }

    /// The network of a stack without addresses.
    fn netstack_network() -> Network {
        let config = netsocket::netcore::Config::default();
        let stack = netsocket::netcore::Netstack::new(config, netsocket::netcore::Instant::ZERO);
        (*stack.network()).clone()
    }

    /// The types of what is told, with the groups.
    fn kinds(told: &[Told]) -> Vec<(Group, u16)> {
        let kind = |(group, message): &Told| {
            let parsed = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message);
            let NetlinkPayload::InnerMessage(inner) = parsed.expect("a message").payload else {
                panic!("no message of rtnetlink");
            };
            (*group, netlink_packet_core::NetlinkSerializable::message_type(&inner))
        };
        told.iter().map(kind).collect()
    }

    #[test]
    fn a_new_address_is_told_before_its_routes() {
        let told = between("net0", &network(""), &network("10.9.0.2/24"));

        let route = (Group::Ipv4Route, 24);
        assert_eq!(kinds(&told), [(Group::Ipv4Address, 20), route, route, route]);
    }

    #[test]
    fn a_removed_address_is_told_after_its_routes() {
        let told = between("net0", &network("10.9.0.2/24 fd00::2/64"), &network("fd00::2/64"));

        let route = (Group::Ipv4Route, 25);
        assert_eq!(kinds(&told), [route, route, route, (Group::Ipv4Address, 21)]);
    }

    #[test]
    fn an_address_that_changes_is_told_as_it_is_now() {
        let before = network("10.9.0.2/24");
        let mut after = before.clone();
        after.deprecated = vec!["10.9.0.2".parse().expect("an address")];

        assert_eq!(kinds(&between("net0", &before, &after)), [(Group::Ipv4Address, 20)]);
    }

    #[test]
    fn a_route_and_the_link_are_told() {
        let before = network("10.9.0.2/24");
        let mut after = network("10.9.0.2/24 0.0.0.0/0->10.9.0.1");
        after.link.mtu -= 100;

        let told = between("net0", &before, &after);

        assert_eq!(kinds(&told), [(Group::Link, 16), (Group::Ipv4Route, 24)]);
    }
}
