//! Routes: `RTM_GETROUTE`, `RTM_NEWROUTE` and `RTM_DELROUTE`.

mod change;
mod table;

pub(crate) use change::{add, remove};
pub(crate) use table::all;

use crate::netlink::failure::Failure;
use crate::netlink::links::{LINK, LOOPBACK};
use crate::netlink::rtnetlink::{Answer, Show, family, wants};
use crate::netlink::{Refusal, Server, Subject};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
    RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netsocket::netcore::control::{Command, Response};
use netsocket::netcore::{Error, NextHopInfo};
use rustix::io::Errno;
use std::net::IpAddr;
use table::{LOCAL, MAIN};

/// Answers `RTM_GETROUTE`.
pub(crate) async fn get<S: Subject>(
    server: &Server<S>,
    asked: &RouteMessage,
    show: Show,
) -> Result<Answer, Failure> {
    let network = server.network().await?;
    let new = RouteNetlinkMessage::NewRoute;
    if show == Show::All {
        let all = all(&network).into_iter().filter(|route| is_asked_for(asked, route));
        return Ok(Answer::All(all.map(new).collect()));
    }
    let destination = find(&asked.attributes, |it| match it {
        RouteAttribute::Destination(address) => Some(address),
        _ => None,
    });
    let destination = destination.and_then(ip).ok_or(Errno::INVAL)?;
    let longest = || {
        let found = all(&network).into_iter().filter(|route| is_to(route, destination));
        found.max_by_key(|route| route.header.destination_prefix_length)
    };
    if asked.header.flags.contains(RouteFlags::FibMatch) {
        return Ok(Answer::One(new(longest().ok_or(Errno::NETUNREACH)?)));
    }
    let command = Command::RouteTo { destination };
    let next_hop = match server.ask(command).await.map_err(unreachable)? {
        Some(Response::NextHop(next_hop)) => next_hop,
        _ => return Err(Failure::from(Refusal::unexpected())),
    };
    let mut way = to(destination, next_hop);
    // Of IPv6 the kernel tells the route, too (`rt6_fill_node` in net/ipv6/route.c).
    if destination.is_ipv6()
        && let Some(route) = longest()
    {
        way.header.protocol = route.header.protocol;
        way.header.flags.remove(RouteFlags::Cloned);
        let is_told = |it: &RouteAttribute| {
            matches!(it, RouteAttribute::Priority(_) | RouteAttribute::Preference(_))
        };
        way.attributes.extend(route.attributes.into_iter().filter(is_told));
    }
    Ok(Answer::One(new(way)))
}

fn unreachable(refusal: Refusal) -> Failure {
    match refusal.error {
        Some(Error::NetworkUnreachable | Error::AddressNotAvailable) => Errno::NETUNREACH.into(),
        _ => Failure::from(refusal),
    }
}

/// The way to one destination, as `ip route get` shows it.
fn to(destination: IpAddr, next_hop: NextHopInfo) -> RouteMessage {
    let (kind, table, index) = match next_hop.neighbour {
        None => (RouteType::Local, LOCAL, LOOPBACK),
        Some(_) if destination.is_multicast() => (RouteType::Multicast, MAIN, LINK),
        Some(_) => (RouteType::Unicast, MAIN, LINK),
    };
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: family(destination),
        destination_prefix_length: if destination.is_ipv4() { 32 } else { 128 },
        table,
        protocol: RouteProtocol::Unspec,
        scope: RouteScope::Universe,
        kind,
        flags: RouteFlags::Cloned,
        ..RouteHeader::default()
    };
    message.attributes = vec![
        RouteAttribute::Table(table.into()),
        RouteAttribute::Destination(destination.into()),
        RouteAttribute::Oif(index),
        RouteAttribute::PrefSource(next_hop.source.into()),
    ];
    if let Some(gateway) = next_hop.neighbour.filter(|gateway| *gateway != destination) {
        message.attributes.push(RouteAttribute::Gateway(gateway.into()));
    }
    message
}

/// Whether a request to show all wants this one; what it does not say, it does not look at.
fn is_asked_for(asked: &RouteMessage, route: &RouteMessage) -> bool {
    // There is no cache of routes.
    if asked.header.flags.contains(RouteFlags::Cloned) {
        return false;
    }
    let is_said = |table: u32| table == 0 || table == u32::from(route.header.table);
    wants(asked.header.address_family, route.header.address_family)
        && is_said(asked.header.table.into())
        && asked.attributes.iter().all(|attribute| match attribute {
            RouteAttribute::Table(table) => is_said(*table),
            RouteAttribute::Oif(_) => route.attributes.contains(attribute),
            _ => true,
        })
}

/// Whether a route is to this destination, among others.
fn is_to(route: &RouteMessage, destination: IpAddr) -> bool {
    let len = route.header.destination_prefix_length;
    let network = find(&route.attributes, |it| match it {
        RouteAttribute::Destination(address) => ip(address),
        _ => None,
    });
    let same = route.header.address_family == family(destination);
    let contains =
        |network| ipnet::IpNet::new(network, len).is_ok_and(|it| it.contains(&destination));
    same && network.map_or(len == 0, contains)
}

fn find<'a, T>(
    attributes: &'a [RouteAttribute],
    which: impl FnMut(&'a RouteAttribute) -> Option<T>,
) -> Option<T> {
    attributes.iter().find_map(which)
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

/// The unspecified address of a family of IP.
fn unspecified(family: AddressFamily) -> Option<IpAddr> {
    match family {
        AddressFamily::Inet => Some(std::net::Ipv4Addr::UNSPECIFIED.into()),
        AddressFamily::Inet6 => Some(std::net::Ipv6Addr::UNSPECIFIED.into()),
        _ => None,
    }
}
