//! Next hops and source addresses compared with the kernel's, over random tables of addresses,
//! lifetimes and routes: 2,000 of them, or `NETSTACK_ROUTING_TABLES`.
//!
//! The tables avoid the cases where the two differ on purpose:
//!
//! | case | the kernel | the stack | why |
//! |---|---|---|---|
//! | multicast and 255.255.255.255 without an interface | asks the routing table for one | needs no route | it has one link; the kernel is asked with the interface given |
//! | a route to 224.0.0.0/4 with a gateway | sends multicast to the gateway | sends to the group | RFC 1112 section 6.4 |
//! | two routes to the same destinations | keeps both by metric, or refuses | the newer replaces the older | there are no metrics: `ip route replace` |
//! | a route without a gateway to a connected IPv4 network | refuses it | takes it, which changes nothing | it is there already |
//! | no IPv6 address | from ::1 | no source: an error | no host could answer |
//! | no IPv4 address | from 0.0.0.0 | no source: an error | no host could answer |
//! | a gateway that is an own IPv4 address | means "on the link" | refuses it | a route without a gateway means that |
//! | an address that is another network's broadcast | the first that was added | the own address | it is a mistake either way |
//! | an IPv4 network that begins with 0, as 10.0.0.2/0 | has no route there | on the link | a tunnel may be the default route |
//! | no address at all | no gateway, no route | any gateway, and everything is on the link | a stack on a tunnel may be unnumbered |
//! | fe80::/64 without a link-local address | has no route there | on the link | RFC 4861 section 5.1 |
//! | ORCHID, home and temporary addresses | rules 4 and 7 of RFC 6724, and one more | none to choose from | a stack has none |

use crate::namespace::{Outcome, skip};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{
    AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope, CacheInfo,
};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use netstack::device::{InterfaceConfig, Tun};
use netstack::netsocket::Route;
use netstack::netsocket::netcore::Instant;
use netstack::netsocket::netcore::{Config, Netstack};
use netstack::{Builder, IpNet};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How many tables, in both families together.
const TABLES: u64 = 2000;
/// The number of tables instead.
const TABLES_VARIABLE: &str = "NETSTACK_ROUTING_TABLES";
/// How long the kernel may take to make an address its own.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
const DESTINATIONS: usize = 12;
const INTERFACE: &str = "tun0";

/// A table for both.
#[derive(Debug)]
struct Table {
    /// The addresses; IPv6 ones may be deprecated.
    addresses: Vec<(IpNet, bool)>,
    routes: Vec<Route>,
    destinations: Vec<IpAddr>,
}

/// The neighbour and the source, the first `None` for an own address; `None` without a route.
type Found = Option<(Option<IpAddr>, IpAddr)>;

pub(crate) fn random_tables() -> Outcome {
    // An interface without addresses of its own, so that both have only those of the table.
    std::fs::write("/proc/sys/net/ipv6/conf/default/addr_gen_mode", "1")?;
    let _tun = match Tun::open(&InterfaceConfig {
        name: INTERFACE.into(),
        ..InterfaceConfig::default()
    }) {
        Ok(tun) => tun,
        Err(error) => return skip(&error.to_string()),
    };
    let kernel = Kernel::new()?;
    let tables = std::env::var(TABLES_VARIABLE).map_or(Ok(TABLES), |text| text.parse())?;
    let (start, mut compared, mut refused) = (std::time::Instant::now(), 0, 0);
    let mut differences = Vec::new();
    for seed in 0..tables {
        let table = Table::random(seed);
        let mut stack = Netstack::new(Config::default(), Instant::ZERO);
        for (address, is_deprecated) in &table.addresses {
            kernel.change_address(*address, *is_deprecated, true)?;
            stack.add_address(*address)?;
            stack.set_deprecated(address.addr(), *is_deprecated)?;
        }
        for (address, _) in &table.addresses {
            kernel.wait_until_local(address.addr())?;
        }
        let mut added = Vec::new();
        for route in &table.routes {
            let (theirs, ours) = (kernel.change_route(route, true), stack.add_route(*route));
            if theirs.is_ok() != ours.is_ok() {
                differences.push(format!("{seed}: {route:?}: {theirs:?}, {ours:?}: {table:?}"));
            }
            match theirs {
                Ok(()) => added.push(route),
                Err(_) => refused += 1,
            }
        }
        for destination in &table.destinations {
            let ours = stack.route_to(*destination).ok().map(|it| (it.neighbour, it.source));
            let theirs = kernel.route_to(*destination)?;
            compared += 1;
            if ours != theirs {
                differences
                    .push(format!("{seed}: {destination}: kernel {theirs:?}, {ours:?}: {table:?}"));
            }
        }
        for route in added {
            kernel.change_route(route, false)?;
        }
        // A primary address takes its secondary ones with it.
        for (address, _) in table.addresses.iter().rev() {
            kernel.change_address(*address, false, false)?;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let count = differences.len();
    eprintln!(
        "{tables} tables, {compared} destinations, {refused} routes refused by both, {count} differences, {seconds:.1} s"
    );
    assert!(refused > tables / 20 && compared > tables, "{refused} {compared}");
    assert!(differences.is_empty(), "{}", differences[..count.min(10)].join("\n"));
    Ok(())
}

/// Configuration mistakes are refused with an explanation.
pub(crate) fn conflicts() -> Outcome {
    let open = |name: &str, address: &str| {
        let host_addresses = vec![address.parse::<IpNet>().map_err(io::Error::other)?];
        Tun::open(&InterfaceConfig {
            name: name.into(),
            host_addresses,
            ..InterfaceConfig::default()
        })
    };
    let first = match open("tun0", "10.9.0.1/24") {
        Ok(tun) => tun,
        Err(error) => return skip(&error.to_string()),
    };

    let error = open("tun1", "10.9.0.7/24").err().ok_or("two interfaces in one network")?;
    let expected = "10.9.0.7/24: another interface is in this network already, with 10.9.0.1";
    assert!(error.to_string().contains(expected), "{error}");
    let second = open("tun2", "10.9.1.1/24")?;
    // Each link has these.
    drop(open("tun3", "fe80::1/64")?);
    drop(open("tun4", "10.9.0.1/32")?);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _context = runtime.enter();
    let same = Builder::new().address("10.9.0.1/24".parse()?).spawn(first);
    let error = same.err().ok_or("one address on both sides")?;
    assert!(error.to_string().contains("10.9.0.1: the other end of the link"), "{error}");
    let of_another =
        Builder::new().address("10.9.1.1/24".parse()?).spawn(open("tun5", "10.9.2.1/24")?);
    let error = of_another.err().ok_or("an address of another interface")?;
    assert!(error.to_string().contains("10.9.1.1: the other end of the link"), "{error}");
    drop(second);
    Ok(())
}

impl Table {
    fn random(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let is_v4 = seed.is_multiple_of(2);
        let mut table =
            Self { addresses: Vec::new(), routes: Vec::new(), destinations: Vec::new() };
        let count = random.random_range(1..5);
        while table.addresses.len() < count {
            let bits = if is_v4 { 32 } else { 128 };
            let lengths: &[u8] =
                if is_v4 { &[8, 16, 20, 24, 24, 30, 31, 32] } else { &[32, 48, 64, 64, 127, 128] };
            let len = lengths[random.random_range(0..lengths.len())];
            let address = host(&mut random, is_v4);
            let Ok(network) = IpNet::new(address, len) else { continue };
            let is_edge =
                is_v4 && len < 31 && [network.network(), network.broadcast()].contains(&address);
            let is_new = table.addresses.iter().all(|(known, _)| {
                let edges = [known.addr(), known.broadcast()];
                !edges.contains(&address) && network.broadcast() != known.addr()
            });
            if is_new && !is_edge && len <= bits {
                table.addresses.push((network, !is_v4 && random.random_bool(0.3)));
            }
        }
        if !is_v4 {
            let own = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, random.random_range(1..9));
            let network = IpNet::new(own.into(), 64).expect("a length of 64");
            let at = random.random_range(0..=table.addresses.len());
            table.addresses.insert(at, (network, random.random_bool(0.3)));
        }
        for _ in 0..random.random_range(0..5) {
            let lengths: &[u8] =
                if is_v4 { &[0, 8, 16, 24, 28, 32] } else { &[0, 32, 48, 64, 128] };
            let len = lengths[random.random_range(0..lengths.len())];
            let Ok(destination) = IpNet::new(host(&mut random, is_v4), len) else { continue };
            let destination = destination.trunc();
            let gateway = random.random_bool(0.8).then(|| table.beside(&mut random, is_v4));
            let is_connected = table.addresses.iter().any(|(own, _)| own.trunc() == destination);
            let is_twice = table.routes.iter().any(|known| known.destination == destination)
                || (is_v4 && gateway.is_none() && is_connected);
            let is_own =
                |gateway| table.addresses.iter().any(|(own, _)| Some(own.addr()) == gateway);
            if !is_twice && !is_own(gateway) {
                table.routes.push(Route { destination, gateway });
            }
        }
        while table.destinations.len() < DESTINATIONS {
            let destination = match random.random_range(0..10) {
                0 => group(&mut random, is_v4),
                1..5 => host(&mut random, is_v4),
                _ => table.beside(&mut random, is_v4),
            };
            table.destinations.push(destination);
        }
        table
    }

    /// An address near one of the table, or any.
    fn beside(&self, random: &mut StdRng, is_v4: bool) -> IpAddr {
        let routes = self.routes.iter().map(|route| route.destination);
        let all: Vec<_> = self.addresses.iter().map(|(own, _)| *own).chain(routes).collect();
        if all.is_empty() || random.random_bool(0.1) {
            return host(random, is_v4);
        }
        let near = all[random.random_range(0..all.len())];
        let address = match near.addr() {
            IpAddr::V4(near) => {
                IpAddr::V4(Ipv4Addr::from_bits(near.to_bits() ^ random.random_range(0..8)))
            }
            IpAddr::V6(near) => {
                IpAddr::V6(Ipv6Addr::from_bits(near.to_bits() ^ random.random_range(0..8)))
            }
        };
        if is_host(address) { address } else { host(random, is_v4) }
    }
}

/// Many hosts.
fn group(random: &mut StdRng, is_v4: bool) -> IpAddr {
    let groups = match is_v4 {
        true => ["224.0.0.251", "239.1.2.3", "232.7.7.7", "255.255.255.255"],
        false => ["ff02::1", "ff05::7", "ff08::7", "ff0e::7"],
    };
    groups[random.random_range(0..groups.len())].parse().expect("an address")
}

/// A host's address out of few networks, so that prefixes meet.
fn host(random: &mut StdRng, is_v4: bool) -> IpAddr {
    let last = random.random_range(1..255);
    if is_v4 {
        let networks =
            [[10, 0, 0], [10, 0, 1], [10, 77, 0], [169, 254, 169], [172, 16, 3], [192, 0, 2]];
        let [a, b, c] = networks[random.random_range(0..networks.len())];
        return Ipv4Addr::new(a, b, c, last).into();
    }
    let networks: [[u16; 4]; 11] = [
        [0x2001, 0xdb8, 0, 0],
        [0x2001, 0xdb8, 0, 1],
        [0x2001, 0xdb8, 0xf, 0],
        [0x2600, 1, 0, 0],
        [0x2600, 2, 0, 0],
        [0xfd00, 0, 0, 0],
        [0xfd00, 0, 0, 7],
        [0x2002, 0x0a00, 1, 0],
        [0x2001, 0, 7, 0],
        [0xfec0, 0, 0, 1],
        [0xfe80, 0, 0, 0],
    ];
    let [a, b, c, d] = networks[random.random_range(0..networks.len())];
    Ipv6Addr::new(a, b, c, d, 0, 0, 0, last as u16).into()
}

fn is_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !matches!(address.octets()[0], 0 | 127 | 224..),
        IpAddr::V6(address) => {
            !address.is_unspecified() && !address.is_loopback() && !address.is_multicast()
        }
    }
}

/// The kernel's tables of this namespace.
struct Kernel {
    socket: Socket,
    index: u32,
}

impl Kernel {
    fn new() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        let mut kernel = Self { socket, index: 0 };
        let mut link = LinkMessage::default();
        link.attributes.push(LinkAttribute::IfName(INTERFACE.to_owned()));
        let Some(RouteNetlinkMessage::NewLink(found)) =
            kernel.request(RouteNetlinkMessage::GetLink(link), 0)?
        else {
            return Err(io::Error::other("no such interface"));
        };
        kernel.index = found.header.index;
        let mut up = LinkMessage::default();
        up.header.index = kernel.index;
        (up.header.flags, up.header.change_mask) = (LinkFlags::Up, LinkFlags::Up);
        kernel.request(RouteNetlinkMessage::SetLink(up), 0)?;
        Ok(kernel)
    }

    fn change_address(&self, address: IpNet, is_deprecated: bool, is_new: bool) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.index = self.index;
        message.header.prefix_len = address.prefix_len();
        message.header.family = family(address.addr());
        message.header.scope = AddressScope::Universe;
        message.header.flags = AddressHeaderFlags::Nodad;
        message.attributes.push(AddressAttribute::Local(address.addr()));
        message.attributes.push(AddressAttribute::Address(address.addr()));
        if address.addr().is_ipv6() {
            let mut lifetimes = CacheInfo::default();
            lifetimes.ifa_valid = u32::MAX;
            lifetimes.ifa_preferred = if is_deprecated { 0 } else { u32::MAX };
            message.attributes.push(AddressAttribute::CacheInfo(lifetimes));
        }
        let (message, flags) = match is_new {
            true => (RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL),
            false => (RouteNetlinkMessage::DelAddress(message), 0),
        };
        self.request(message, flags).map(drop)
    }

    fn change_route(&self, route: &Route, is_new: bool) -> io::Result<()> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(route.destination.addr());
        message.header.destination_prefix_length = route.destination.prefix_len();
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.kind = RouteType::Unicast;
        message.header.scope = match route.gateway {
            None if route.destination.addr().is_ipv4() => RouteScope::Link,
            _ => RouteScope::Universe,
        };
        let destination = RouteAddress::from(route.destination.addr());
        message.attributes.push(RouteAttribute::Destination(destination));
        message.attributes.push(RouteAttribute::Oif(self.index));
        if let Some(gateway) = route.gateway {
            message.attributes.push(RouteAttribute::Gateway(gateway.into()));
        }
        // In IPv4 a route with a gateway replaces a connected network.
        let how = if route.destination.addr().is_ipv4() { NLM_F_REPLACE } else { NLM_F_EXCL };
        let (message, flags) = match is_new {
            true => (RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | how),
            false => (RouteNetlinkMessage::DelRoute(message), 0),
        };
        self.request(message, flags).map(drop)
    }

    /// The kernel adds the local route of an IPv6 address in the background.
    fn wait_until_local(&self, address: IpAddr) -> io::Result<()> {
        let deadline = std::time::Instant::now() + PATIENCE;
        while !matches!(self.route_to(address)?, Some((None, _))) {
            if std::time::Instant::now() > deadline {
                return Err(io::Error::other(format!("{address} does not become local")));
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    fn route_to(&self, destination: IpAddr) -> io::Result<Found> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(destination);
        message.header.destination_prefix_length = if destination.is_ipv4() { 32 } else { 128 };
        message.attributes.push(RouteAttribute::Destination(destination.into()));
        let is_broadcast = destination == IpAddr::V4(Ipv4Addr::BROADCAST);
        if destination.is_multicast() || is_broadcast {
            message.attributes.push(RouteAttribute::Oif(self.index));
        }
        let answer = match self.request(RouteNetlinkMessage::GetRoute(message), 0) {
            Ok(Some(RouteNetlinkMessage::NewRoute(answer))) => answer,
            Ok(_) => return Err(io::Error::other("no answer")),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let mut neighbour = match answer.header.kind {
            RouteType::Local => None,
            RouteType::Broadcast => Some(IpAddr::V4(Ipv4Addr::BROADCAST)),
            _ => Some(destination),
        };
        let mut source = None;
        for attribute in answer.attributes {
            match attribute {
                RouteAttribute::Gateway(gateway) => neighbour = ip(&gateway),
                RouteAttribute::PrefSource(address) => source = ip(&address),
                _ => {}
            }
        }
        Ok(source.map(|source| (neighbour, source)))
    }

    fn request(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Option<RouteNetlinkMessage>> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut buffer = vec![0; message.buffer_len()];
        message.serialize(&mut buffer);
        self.socket.send(&buffer, 0)?;
        let mut answer = None;
        loop {
            let (bytes, _) = self.socket.recv_from_full()?;
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                    .map_err(io::Error::other)?;
                let len = (message.header.length as usize).next_multiple_of(4).min(rest.len());
                rest = &rest[len..];
                match message.payload {
                    NetlinkPayload::InnerMessage(message) => answer = Some(message),
                    NetlinkPayload::Error(error) if error.code.is_none() => return Ok(answer),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => {}
                }
            }
        }
    }
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}
