//! Addresses: `RTM_GETADDR`, `RTM_NEWADDR` and `RTM_DELADDR`.

use crate::netlink::failure::Failure;
use crate::netlink::links::{LINK, LOOPBACK, LOOPBACK_NAME};
use crate::netlink::message::Request;
use crate::netlink::rtnetlink::{Answer, Show, family, wants};
use crate::netlink::{Server, Subject};
use ipnet::IpNet;
use netlink_packet_core::{NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeader, AddressHeaderFlags, AddressMessage,
    AddressScope, CacheInfo,
};
use netsocket::netcore::control::Command;
use netsocket::netcore::{Error, Network};
use rustix::io::Errno;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A lifetime without an end (`INFINITY_LIFE_TIME`).
const FOREVER: u32 = u32::MAX;

/// The messages of all addresses.
pub(crate) fn all(interface: &str, network: &Network) -> Vec<AddressMessage> {
    let lo = [(Ipv4Addr::LOCALHOST.into(), 8), (Ipv6Addr::LOCALHOST.into(), 128)];
    let lo = lo.map(|(ip, len)| {
        message(LOOPBACK, LOOPBACK_NAME, ip, len, AddressScope::Host, AddressFlags::Permanent)
    });
    let own = network.addresses.iter().map(|address| of_link(interface, network, *address));
    lo.into_iter().chain(own).collect()
}

/// The message of an address of the link.
pub(crate) fn of_link(interface: &str, network: &Network, address: IpNet) -> AddressMessage {
    let ip = address.addr();
    let mut flags = AddressFlags::Permanent;
    flags.set(AddressFlags::Tentative, network.tentative.contains(&ip));
    flags.set(AddressFlags::Deprecated, network.deprecated.contains(&ip));
    let is_first = |own: &&IpNet| own.trunc() == address.trunc();
    if ip.is_ipv4() && network.addresses.iter().find(is_first) != Some(&address) {
        flags |= AddressFlags::Secondary;
    }
    let scope = match ip {
        IpAddr::V4(ip) if ip.is_link_local() => AddressScope::Link,
        IpAddr::V6(ip) if ip.is_unicast_link_local() => AddressScope::Link,
        _ => AddressScope::Universe,
    };
    message(LINK, interface, ip, address.prefix_len(), scope, flags)
}

fn message(
    index: u32,
    name: &str,
    ip: IpAddr,
    prefix_len: u8,
    scope: AddressScope,
    flags: AddressFlags,
) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header = AddressHeader {
        family: family(ip),
        prefix_len,
        flags: AddressHeaderFlags::from_bits_retain(flags.bits() as u8),
        scope,
        index,
    };
    let mut lifetimes = CacheInfo::default();
    lifetimes.ifa_valid = FOREVER;
    lifetimes.ifa_preferred = if flags.contains(AddressFlags::Deprecated) { 0 } else { FOREVER };
    let attributes = &mut message.attributes;
    attributes.push(AddressAttribute::Address(ip));
    if let IpAddr::V4(ip) = ip {
        attributes.push(AddressAttribute::Local(ip.into()));
        if index == LINK && prefix_len < 31 {
            let host_bits = u32::MAX.checked_shr(prefix_len.into()).unwrap_or(0);
            attributes
                .push(AddressAttribute::Broadcast(Ipv4Addr::from_bits(ip.to_bits() | host_bits)));
        }
        attributes.push(AddressAttribute::Label(name.to_owned()));
    }
    attributes.extend([AddressAttribute::Flags(flags), AddressAttribute::CacheInfo(lifetimes)]);
    message
}

/// Answers `RTM_GETADDR`.
pub(crate) async fn get<S: Subject>(
    server: &Server<S>,
    asked: &AddressMessage,
    show: Show,
) -> Result<Answer, Failure> {
    let network = server.network().await?;
    let mut all = all(server.subject().interface(), &network);
    let new = RouteNetlinkMessage::NewAddress;
    if show == Show::One {
        let ip = address_of(asked).ok_or(Errno::INVAL)?;
        let found = all.into_iter().find(|message| address_of(message) == Some(ip));
        return Ok(Answer::One(new(found.ok_or(Errno::ADDRNOTAVAIL)?)));
    }
    let AddressHeader { family, index, .. } = asked.header;
    all.retain(|message| wants(family, message.header.family));
    all.retain(|message| index == 0 || index == message.header.index);
    Ok(Answer::All(all.into_iter().map(new).collect()))
}

/// The own address of a message, not that of its peer.
pub(crate) fn address_of(message: &AddressMessage) -> Option<IpAddr> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(ip) => Some(*ip),
        _ => None,
    });
    local.or_else(|| peer_of(message))
}

fn peer_of(message: &AddressMessage) -> Option<IpAddr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(ip) => Some(*ip),
        _ => None,
    })
}

/// The address, with its prefix, that is to be added or removed.
fn named(asked: &AddressMessage) -> Result<IpNet, Failure> {
    match asked.header.index {
        LINK => {}
        LOOPBACK => return Err(Failure::unsupported("the loopback interface is fixed")),
        _ => return Err(Failure::from(Errno::NODEV)),
    }
    let ip = address_of(asked).ok_or(Errno::INVAL)?;
    if family(ip) != asked.header.family {
        return Err(Errno::INVAL.into());
    }
    IpNet::new(ip, asked.header.prefix_len)
        .map_err(|_| Failure::new(Errno::INVAL, "Invalid prefix length"))
}

/// Does `RTM_NEWADDR`.
pub(crate) async fn add<S: Subject>(
    server: &Server<S>,
    asked: &AddressMessage,
    request: &Request<'_>,
) -> Result<Answer, Failure> {
    let address = named(asked)?;
    let deprecated = lifetimes(asked)?;
    let network = server.network().await?;
    let known = network.addresses.iter().find(|own| own.addr() == address.addr());
    let is_kept = known == Some(&address);
    if known.is_some() && (request.has(NLM_F_EXCL) || !request.has(NLM_F_REPLACE)) {
        let text = match address {
            IpNet::V4(_) => "Address already assigned",
            IpNet::V6(_) => "address already assigned",
        };
        return Err(Failure::new(Errno::EXIST, text));
    }
    if !is_kept {
        let done = server.change(Command::AddAddress { address }).await;
        done.map_err(|refusal| match refusal.error {
            Some(Error::AddressNotAvailable) => {
                Failure::new(Errno::INVAL, "the address cannot be a host's")
            }
            _ => Failure::from(refusal),
        })?;
    }
    let is_deprecated = network.deprecated.contains(&address.addr());
    if deprecated != is_deprecated {
        let change = Command::SetDeprecated { address: address.addr(), is_deprecated: deprecated };
        server.change(change).await.map_err(Failure::from)?;
    }
    Ok(Answer::Done)
}

/// Checks what a stack does not have; returns whether the address is to be deprecated.
fn lifetimes(asked: &AddressMessage) -> Result<bool, Failure> {
    let mut is_deprecated = false;
    for attribute in &asked.attributes {
        match attribute {
            AddressAttribute::CacheInfo(it) => {
                is_deprecated = it.ifa_preferred == 0 && it.ifa_valid == FOREVER;
                if !is_deprecated && (it.ifa_preferred, it.ifa_valid) != (FOREVER, FOREVER) {
                    return Err(Failure::unsupported(
                        "of lifetimes there are valid_lft forever, and preferred_lft forever and 0",
                    ));
                }
            }
            AddressAttribute::RoutePriority(_) => {
                return Err(Failure::unsupported("a userspace stack has no metrics"));
            }
            AddressAttribute::Flags(flags) if flags.contains(AddressFlags::Noprefixroute) => {
                return Err(Failure::unsupported("an address always has its network on the link"));
            }
            _ => {}
        }
    }
    if peer_of(asked).is_some_and(|peer| Some(peer) != address_of(asked)) {
        return Err(Failure::unsupported("an address has no peer: add a route to it"));
    }
    Ok(is_deprecated)
}

/// Does `RTM_DELADDR`.
pub(crate) async fn remove<S: Subject>(
    server: &Server<S>,
    asked: &AddressMessage,
) -> Result<Answer, Failure> {
    let not_found = |address: &IpNet| {
        let text = match address {
            IpNet::V4(_) => "Address not found",
            IpNet::V6(_) => "address not found",
        };
        Failure::new(Errno::ADDRNOTAVAIL, text)
    };
    let address = named(asked)?;
    let network = server.network().await?;
    let known = network.addresses.iter().find(|own| own.addr() == address.addr());
    // Without an address beside the local one, IPv4 does not look at the prefix.
    let is_wild = matches!(address, IpNet::V4(_)) && peer_of(asked).is_none();
    match known {
        Some(own) if is_wild || own.prefix_len() == address.prefix_len() => {}
        _ => return Err(not_found(&address)),
    }
    let done = server.change(Command::RemoveAddress { address: address.addr() }).await;
    done.map_err(|refusal| match refusal.error {
        Some(Error::AddressNotAvailable) => not_found(&address),
        _ => Failure::from(refusal),
    })?;
    Ok(Answer::Done)
}
