//! The kernel's side of an interface over rtnetlink: its addresses, its MTU and its state.

use super::interface::Layer;
use super::refusal;
use ipnet::IpNet;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use std::io;
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

/// The length of the queue, in packets, that the kernel's driver gives a TUN.
const TUN_QUEUE_LEN: u32 = 500;
/// The same for Ethernet devices, a TAP among them.
const ETHERNET_QUEUE_LEN: u32 = 1_000;

/// Sets the MTU of an interface. The MTU that it has needs no privilege: root may have made the
/// interface for a user.
///
/// # Errors
///
/// The kernel's, with their cure.
pub(super) fn set_mtu(name: &str, mtu: u32) -> io::Result<()> {
    let now = link(name)?;
    if now.attributes.contains(&LinkAttribute::Mtu(mtu)) {
        return Ok(());
    }
    let mut link = LinkMessage::default();
    link.header.index = now.header.index;
    link.attributes.push(LinkAttribute::Mtu(mtu));
    let done = request(RouteNetlinkMessage::SetLink(link), 0);
    done.map(drop).map_err(|error| refusal::of_mtu(&error, name, mtu))
}

/// The MTU of an interface, in bytes.
pub(super) fn mtu(link: &LinkMessage) -> Option<usize> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => usize::try_from(*mtu).ok(),
        _ => None,
    })
}

/// Whether an interface carries Ethernet frames.
pub(super) fn is_ethernet(link: &LinkMessage) -> bool {
    link.header.link_layer_type == LinkLayerType::Ether
}

/// Makes the kernel's queue in front of a TUN as long as that of a TAP or an Ethernet device: with
/// the driver's length it loses the packets of more than 500 connections that send at once. A length
/// that somebody has set stays. Without the privilege the queue stays as it is.
///
/// # Errors
///
/// The kernel's.
pub(super) fn lengthen_queue(name: &str) -> io::Result<()> {
    let now = link(name)?;
    if !now.attributes.contains(&LinkAttribute::TxQueueLen(TUN_QUEUE_LEN)) {
        return Ok(());
    }
    let mut link = LinkMessage::default();
    link.header.index = now.header.index;
    link.attributes.push(LinkAttribute::TxQueueLen(ETHERNET_QUEUE_LEN));
    match request(RouteNetlinkMessage::SetLink(link), 0) {
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => Err(error),
        _ => Ok(()),
    }
}

/// Adds addresses to an interface, brings it up and waits until it takes packets.
///
/// # Errors
///
/// The kernel's, with their cure.
pub(super) fn bring_up(name: &str, addresses: &[IpNet]) -> io::Result<()> {
    let index = link(name)?.header.index;
    refuse_network_twice(index, addresses)?;
    for address in addresses {
        add_address(index, *address).map_err(|error| refusal::of_address(&error, name, address))?;
    }
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    request(RouteNetlinkMessage::SetLink(link), 0)?;
    addresses.iter().try_for_each(|address| wait_until_local(address.addr()))
}

/// Refuses a network of another interface, to which the kernel would send over that one. A single
/// address is no network, and fe80::/64 is one on every link.
fn refuse_network_twice(index: u32, addresses: &[IpNet]) -> io::Result<()> {
    let known = addresses_of_kernel()?;
    let is_of_one_link = |own: &&IpNet| {
        own.prefix_len() < own.max_prefix_len()
            && !matches!(own.addr(), IpAddr::V6(own) if own.is_unicast_link_local())
    };
    for own in addresses.iter().filter(is_of_one_link) {
        let other = known.iter().find(|(of, it)| *of != index && it.trunc() == own.trunc());
        if let Some((_, other)) = other {
            let message = format!(
                "{own}: another interface is in this network already, with {}: choose another \
                 network",
                other.addr()
            );
            return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
        }
    }
    Ok(())
}

/// The addresses of all interfaces, each with the index of its interface.
fn addresses_of_kernel() -> io::Result<Vec<(u32, IpNet)>> {
    let all = exchange(RouteNetlinkMessage::GetAddress(AddressMessage::default()), NLM_F_DUMP)?;
    let mut found = Vec::new();
    for message in all {
        let RouteNetlinkMessage::NewAddress(known) = message else { continue };
        // On a point-to-point link `IFA_ADDRESS` is the peer's.
        let local = known.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        });
        let address = local.or_else(|| {
            known.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Address(address) => Some(*address),
                _ => None,
            })
        });
        let network = address.and_then(|it| IpNet::new(it, known.header.prefix_len).ok());
        found.extend(network.map(|network| (known.header.index, network)));
    }
    Ok(found)
}

/// The addresses that are the kernel's own for packets on the interface: on a TUN all that it has,
/// on a TAP, which may be bridged to other hosts, those of the interface.
///
/// # Errors
///
/// The kernel's.
pub(super) fn own_addresses(name: &str, layer: Layer) -> io::Result<Vec<IpAddr>> {
    let index = link(name)?.header.index;
    let mut known = addresses_of_kernel()?;
    known.retain(|(of, _)| layer == Layer::Ip || *of == index);
    Ok(known.into_iter().map(|(_, network)| network.addr()).collect())
}

/// Waits until the kernel takes packets to an address: an IPv6 address becomes local in the
/// background, after the request and after the link is up.
fn wait_until_local(address: IpAddr) -> io::Result<()> {
    // With many new links the kernel looks at them once a second.
    let deadline = Instant::now() + Duration::from_secs(5);
    while !is_local(address)? {
        if Instant::now() > deadline {
            let message = format!("{address}: the link is not up after 5 s");
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Whether the kernel's route to `address` is a local one.
fn is_local(address: IpAddr) -> io::Result<bool> {
    let mut route = RouteMessage::default();
    (route.header.address_family, route.header.destination_prefix_length) = match address {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    route.attributes.push(RouteAttribute::Destination(address.into()));
    match request(RouteNetlinkMessage::GetRoute(route), 0) {
        Ok(Some(RouteNetlinkMessage::NewRoute(route))) => Ok(route.header.kind == RouteType::Local),
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NetworkUnreachable => Ok(false),
        Err(error) => Err(error),
    }
}

fn add_address(index: u32, address: IpNet) -> io::Result<()> {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = address.prefix_len();
    message.header.family = match address.addr() {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    // No other host is on this link, so that duplicate address detection would only delay.
    message.header.flags = AddressHeaderFlags::Nodad;
    message.attributes.push(AddressAttribute::Local(address.addr()));
    message.attributes.push(AddressAttribute::Address(address.addr()));
    if let IpNet::V4(network) = address
        && network.prefix_len() < 31
    {
        message.attributes.push(AddressAttribute::Broadcast(network.broadcast()));
    }
    let flags = NLM_F_CREATE | NLM_F_EXCL;
    request(RouteNetlinkMessage::NewAddress(message), flags).map(drop)
}

/// The properties of an interface.
pub(super) fn link(name: &str) -> io::Result<LinkMessage> {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::IfName(name.to_owned()));
    match request(RouteNetlinkMessage::GetLink(link), 0)? {
        Some(RouteNetlinkMessage::NewLink(link)) => Ok(link),
        _ => Err(io::Error::other("the kernel answered without an interface")),
    }
}

/// Sends one request to the kernel and returns the answer, if there is one beside the
/// acknowledgement.
fn request(message: RouteNetlinkMessage, flags: u16) -> io::Result<Option<RouteNetlinkMessage>> {
    Ok(exchange(message, flags)?.pop())
}

/// Sends one request to the kernel and returns the answers before the acknowledgement or the end of
/// the list.
fn exchange(message: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
    message.finalize();
    let mut buffer = vec![0; message.buffer_len()];
    message.serialize(&mut buffer);
    socket.send(&buffer, 0)?;

    let mut answers = Vec::new();
    loop {
        let (bytes, _) = socket.recv_from_full()?;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(io::Error::other)?;
            let len = (message.header.length as usize).next_multiple_of(4).min(rest.len());
            rest = &rest[len..];
            match message.payload {
                NetlinkPayload::InnerMessage(message) => answers.push(message),
                NetlinkPayload::Done(_) => return Ok(answers),
                // An error of 0 is the acknowledgement.
                NetlinkPayload::Error(error) => {
                    return match error.code {
                        None => Ok(answers),
                        Some(_) => Err(error.to_io()),
                    };
                }
                _ => {}
            }
        }
    }
}
