//! Adding and removing routes.

use super::table::MAIN;
use super::{find, ip, unspecified};
use crate::netlink::failure::Failure;
use crate::netlink::links::{LINK, LOOPBACK};
use crate::netlink::message::Request;
use crate::netlink::rtnetlink::Answer;
use crate::netlink::{Refusal, Server, Subject};
use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteType, RouteVia,
};
use netsocket::netcore::control::Command;
use netsocket::netcore::{Error, Network, Route};
use rustix::io::Errno;
use std::net::IpAddr;

/// Does `RTM_NEWROUTE`.
pub(crate) async fn add<S: Subject>(
    server: &Server<S>,
    asked: &RouteMessage,
    request: &Request<'_>,
) -> Result<Answer, Failure> {
    let route = named(asked)?;
    check(asked)?;
    if asked.header.kind != RouteType::Unicast {
        return Err(Failure::unsupported("of the types of routes there is unicast alone"));
    }
    let network = server.network().await?;
    if exists(&network, &route) {
        // Of several routes to the same destinations there would be one.
        if request.has(NLM_F_EXCL) || !request.has(NLM_F_REPLACE) {
            return Err(Errno::EXIST.into());
        }
    } else if !request.has(NLM_F_CREATE) {
        return Err(Errno::NOENT.into());
    }
    let command = match asked.header.flags.contains(RouteFlags::Onlink) {
        true => Command::AddRouteOnLink { route },
        false => Command::AddRoute { route },
    };
    server.change(command).await.map_err(|refusal| refused(&route, refusal))?;
    Ok(Answer::Done)
}

fn exists(network: &Network, route: &Route) -> bool {
    let destination = route.destination;
    // In IPv6 the metrics differ.
    let is_connected = |own: &IpNet| own.addr().is_ipv4() && own.trunc() == destination;
    network.routes.iter().any(|known| known.destination == destination)
        || network.addresses.iter().any(|own| own.prefix_len() < 32 && is_connected(own))
}

fn refused(route: &Route, refusal: Refusal) -> Failure {
    let invalid = "Nexthop has invalid gateway";
    match (refusal.error, route.destination) {
        (Some(Error::GatewayNotOnLink), IpNet::V4(_)) => Failure::new(Errno::NETUNREACH, invalid),
        (Some(Error::GatewayNotOnLink), IpNet::V6(_)) => Errno::HOSTUNREACH.into(),
        (Some(Error::AddressNotAvailable), _) => Failure::new(Errno::INVAL, invalid),
        _ => Failure::from(refusal),
    }
}

/// Does `RTM_DELROUTE`.
pub(crate) async fn remove<S: Subject>(
    server: &Server<S>,
    asked: &RouteMessage,
) -> Result<Answer, Failure> {
    let route = named(asked)?;
    let network = server.network().await?;
    let known = network.routes.iter().find(|known| known.destination == route.destination);
    match known {
        Some(known) if route.gateway.is_none() || route.gateway == known.gateway => {}
        None if network.addresses.iter().any(|own| own.trunc() == route.destination) => {
            return Err(Failure::unsupported("the network of an address goes with the address"));
        }
        _ => return Err(Errno::SRCH.into()),
    }
    let done = server.change(Command::RemoveRoute { destination: route.destination }).await;
    done.map_err(|refusal| match refusal.error {
        Some(Error::NetworkUnreachable) => Errno::SRCH.into(),
        _ => Failure::from(refusal),
    })?;
    Ok(Answer::Done)
}

/// The route that is to be added or removed.
fn named(asked: &RouteMessage) -> Result<Route, Failure> {
    let RouteHeader { address_family, destination_prefix_length: len, table, .. } = asked.header;
    let attributes = &asked.attributes;
    let any = unspecified(address_family).ok_or(Errno::AFNOSUPPORT)?;
    let table = find(attributes, |it| match it {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    })
    .unwrap_or(table.into());
    if table != 0 && table != u32::from(MAIN) {
        return Err(Failure::unsupported("of the tables of routes main alone can be changed"));
    }
    let interface = find(attributes, |it| match it {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    });
    match interface {
        None | Some(LINK) => {}
        Some(LOOPBACK) => return Err(Failure::unsupported("the loopback interface is fixed")),
        Some(_) => return Err(Errno::NODEV.into()),
    }
    let destination = find(attributes, |it| match it {
        RouteAttribute::Destination(address) => Some(ip(address)),
        _ => None,
    });
    let destination = destination.unwrap_or(Some(any)).ok_or(Errno::INVAL)?;
    let destination = IpNet::new(destination, len)
        .map_err(|_| Failure::new(Errno::INVAL, "Invalid prefix length"))?;
    if any.is_ipv4() && destination.trunc() != destination {
        return Err(Failure::new(Errno::INVAL, "Invalid prefix for given prefix length"));
    }
    Ok(Route { destination: destination.trunc(), gateway: gateway(attributes)? })
}

fn gateway(attributes: &[RouteAttribute]) -> Result<Option<IpAddr>, Failure> {
    let gateway = find(attributes, |it| match it {
        RouteAttribute::Gateway(address) => Some(ip(address)),
        RouteAttribute::Via(RouteVia::Inet(ip)) => Some(Some((*ip).into())),
        RouteAttribute::Via(RouteVia::Inet6(ip)) => Some(Some((*ip).into())),
        RouteAttribute::Via(_) => Some(None),
        _ => None,
    });
    match gateway {
        Some(None) => Err(Errno::INVAL.into()),
        // That of IPv4 routes without one, to some programs.
        Some(Some(ip)) if ip.is_unspecified() => Ok(None),
        Some(gateway) => Ok(gateway),
        None => Ok(None),
    }
}

/// Checks for what a stack does not have.
fn check(asked: &RouteMessage) -> Result<(), Failure> {
    if asked.header.tos != 0 || asked.header.source_prefix_length != 0 {
        return Err(Failure::unsupported("routes depend on the destination alone"));
    }
    for attribute in &asked.attributes {
        let text = match attribute {
            RouteAttribute::Priority(0) => continue,
            // That of every IPv6 route.
            RouteAttribute::Priority(1024) if unspecified_is_v6(asked) => continue,
            RouteAttribute::Priority(_) => "a userspace stack has no metrics: leave metric out",
            RouteAttribute::PrefSource(_) => "a route has no source: leave src out",
            RouteAttribute::Metrics(_) => "a route has no MTU and no values for TCP",
            RouteAttribute::MultiPath(_) => "a route has one next hop",
            RouteAttribute::Encap(_) | RouteAttribute::EncapType(_) => "routes do not encapsulate",
            RouteAttribute::NhId(_) => "there are no next hops with numbers",
            RouteAttribute::Source(_) => "routes depend on the destination alone",
            _ => continue,
        };
        return Err(Failure::unsupported(text));
    }
    Ok(())
}

fn unspecified_is_v6(asked: &RouteMessage) -> bool {
    unspecified(asked.header.address_family).is_some_and(|any| any.is_ipv6())
}
