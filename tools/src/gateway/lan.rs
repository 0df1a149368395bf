//! The network of the guests: who has which address, and what lies beyond.

use anyhow::{Context, Result, ensure};
use netstack::dhcp::server::Config;
use netstack::slaac::RouterConfig;
use netstack::{IpNet, Route, wireguard};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The networks of the guests. Without a tunnel they have the places that slirp has made known: host 2
/// is the gateway, 3 the name server, 15 the first guest.
#[derive(Debug, Clone)]
pub(super) struct Lan {
    v4: ipnet::Ipv4Net,
    v6: ipnet::Ipv6Net,
    /// The gateway's addresses.
    gateway: (Ipv4Addr, Ipv6Addr),
    name_server: (Ipv4Addr, Ipv6Addr),
    /// Those of the stack, with their networks.
    addresses: Vec<IpNet>,
    /// To what peers of a tunnel have beyond these networks.
    routes: Vec<Route>,
    first_guest: Option<Ipv4Addr>,
    /// Whether the gateway's addresses stand for this machine's loopback addresses.
    reaches_loopback: bool,
}

/// Where something goes that a guest has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Destination {
    /// Out of a socket of this machine.
    Machine(SocketAddr),
    /// To the name service of the gateway.
    Names,
    /// Nobody listens there.
    Closed,
    /// No way leads there.
    Unreachable,
}

const GATEWAY: u32 = 2;
const NAME_SERVER: u32 = 3;
const FIRST_GUEST: u32 = 15;
const DNS_PORT: u16 = 53;
/// The shortest network with room for the first guest and some more.
const PREFIX_MAX: u8 = 27;

impl Lan {
    /// # Errors
    ///
    /// If a network is too small.
    pub(super) fn new(
        v4: ipnet::Ipv4Net,
        v6: ipnet::Ipv6Net,
        reaches_loopback: bool,
    ) -> Result<Self> {
        ensure!(
            v4.prefix_len() <= PREFIX_MAX,
            "--network {v4} is too small: a prefix of {PREFIX_MAX} or less, as in 10.0.2.0/24"
        );
        ensure!(
            v6.prefix_len() == 64,
            "--network6 {v6}: guests make addresses in networks with a prefix of 64 only, as in fd00::/64"
        );
        let (v4, v6) = (v4.trunc(), v6.trunc());
        let gateway = (v4_host(v4, GATEWAY), v6_host(v6, GATEWAY));
        let name_server = (v4_host(v4, NAME_SERVER), v6_host(v6, NAME_SERVER));
        let with_net = |own: Ipv4Addr| IpNet::V4(ipnet::Ipv4Net::new_assert(own, v4.prefix_len()));
        let with_net6 = |own: Ipv6Addr| IpNet::V6(ipnet::Ipv6Net::new_assert(own, v6.prefix_len()));
        let addresses = vec![
            with_net(gateway.0),
            with_net(name_server.0),
            with_net6(gateway.1),
            with_net6(name_server.1),
        ];
        Ok(Self {
            v4,
            v6,
            gateway,
            name_server,
            addresses,
            routes: Vec::new(),
            first_guest: Some(v4_host(v4, FIRST_GUEST)),
            reaches_loopback,
        })
    }

    /// The network of a tunnel's peers: the gateway is at the addresses of its file, and so is the name
    /// server.
    #[must_use]
    pub(super) fn with_tunnel(mut self, tunnel: &wireguard::Config) -> Self {
        self.addresses.clone_from(&tunnel.addresses);
        self.routes = tunnel.routes();
        self.first_guest = None;
        // Of each family the first counts; without any, there is no way to this one.
        for own in self.addresses.iter().rev() {
            match own {
                IpNet::V4(own) => (self.v4, self.gateway.0) = (own.trunc(), own.addr()),
                IpNet::V6(own) => (self.v6, self.gateway.1) = (own.trunc(), own.addr()),
            }
        }
        self.name_server = self.gateway;
        self
    }

    /// The addresses of the stack, with their networks: the gateway's, and those of the name server.
    pub(super) fn addresses(&self) -> &[IpNet] {
        &self.addresses
    }

    /// The routes of the stack besides those.
    pub(super) fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The gateway's address in the family of another.
    pub(super) fn gateway_like(&self, other: IpAddr) -> IpAddr {
        match other {
            IpAddr::V4(_) => self.gateway.0.into(),
            IpAddr::V6(_) => self.gateway.1.into(),
        }
    }

    /// The addresses of the first guest, with their networks.
    pub(super) fn first_guest_addresses(&self) -> [IpNet; 2] {
        let (v4, v6) = (v4_host(self.v4, FIRST_GUEST), v6_host(self.v6, FIRST_GUEST));
        let v4 = ipnet::Ipv4Net::new_assert(v4, self.v4.prefix_len());
        let v6 = ipnet::Ipv6Net::new_assert(v6, self.v6.prefix_len());
        [v4.into(), v6.into()]
    }

    /// The guest that ports of this machine lead to, unless another is named.
    ///
    /// # Errors
    ///
    /// In a tunnel, whose guests have no order.
    pub(super) fn first_guest(&self) -> Result<IpAddr> {
        let guest = self.first_guest.map(IpAddr::V4);
        guest.context("name the guest, as in 8080:10.8.0.2:80: a tunnel has no first one")
    }

    /// What guests get by DHCP.
    pub(super) fn dhcp(&self, mtu: usize, domain: Option<String>) -> Config {
        let last = self.v4.broadcast().to_bits() - 1;
        let first = v4_host(self.v4, FIRST_GUEST);
        let last = last.min(first.to_bits() + GUESTS_MAX - 1);
        let gateway = ipnet::Ipv4Net::new_assert(self.gateway.0, self.v4.prefix_len());
        Config {
            pool: first..=Ipv4Addr::from_bits(last),
            name_servers: vec![self.name_server.0],
            domain,
            mtu: u16::try_from(mtu).ok(),
            ..Config::new(gateway)
        }
    }

    /// What guests get by router advertisements.
    pub(super) fn router(&self, mtu: usize) -> RouterConfig {
        RouterConfig {
            mtu: u32::try_from(mtu).ok(),
            name_servers: vec![self.name_server.1],
            ..RouterConfig::new(self.v6)
        }
    }

    /// Where a guest gets with this address.
    pub(super) fn destination(&self, dialled: SocketAddr) -> Destination {
        let ip = dialled.ip();
        let is = |(v4, v6): (Ipv4Addr, Ipv6Addr)| [IpAddr::V4(v4), IpAddr::V6(v6)].contains(&ip);
        if is(self.name_server) && dialled.port() == DNS_PORT {
            return Destination::Names;
        }
        if is(self.gateway) {
            let loopback = match ip {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            };
            return match self.reaches_loopback {
                true => Destination::Machine(SocketAddr::new(loopback, dialled.port())),
                false => Destination::Closed,
            };
        }
        if is(self.name_server) {
            return Destination::Closed;
        }
        match self.is_beyond(ip) {
            true => Destination::Machine(dialled),
            false => Destination::Unreachable,
        }
    }

    /// Whether a router forwards packets to this address. Link-local ones stay on their link (RFC
    /// 3927 section 2.6.2, RFC 4291 section 2.5.6), and 0.0.0.0 is this machine.
    fn is_beyond(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => {
                let first = ip.octets()[0];
                first != 0
                    && !ip.is_loopback()
                    && !ip.is_link_local()
                    && !ip.is_multicast()
                    && !ip.is_broadcast()
                    && !self.v4.contains(&ip)
            }
            IpAddr::V6(ip) => {
                // Addresses with an IPv4 address inside are the kernel's, not the wire's (RFC 4291
                // section 2.5.5).
                let is_embedded = ip.segments()[..5] == [0; 5];
                !is_embedded
                    && !ip.is_unicast_link_local()
                    && !ip.is_multicast()
                    && !self.v6.contains(&ip)
            }
        }
    }

    /// What a packet that came to this machine's socket says to the guest about its sender.
    pub(super) fn sender(&self, from: SocketAddr) -> SocketAddr {
        let ip = from.ip().to_canonical();
        let ip = if ip.is_loopback() { self.gateway_like(ip) } else { ip };
        SocketAddr::new(ip, from.port())
    }
}

fn v4_host(network: ipnet::Ipv4Net, host: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(network.network().to_bits() + host)
}

fn v6_host(network: ipnet::Ipv6Net, host: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(network.network().to_bits() + u128::from(host))
}

/// Addresses that are leased.
const GUESTS_MAX: u32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn lan(reaches_loopback: bool) -> Lan {
        let v6 = "fd00::/64".parse().expect("a network");
        Lan::new("10.0.2.0/24".parse().expect("a network"), v6, reaches_loopback).expect("right")
    }

    #[test]
    fn guests_reach_what_a_router_forwards_and_nothing_else() {
        for (dialled, expected) in [
            ("192.0.2.1:80", Destination::Machine("192.0.2.1:80".parse().expect("right"))),
            ("[2001:db8::1]:80", Destination::Machine("[2001:db8::1]:80".parse().expect("right"))),
            ("10.0.2.3:53", Destination::Names),
            ("[fd00::3]:53", Destination::Names),
            ("10.0.2.3:80", Destination::Closed),
            ("10.0.2.2:80", Destination::Closed),
            ("[fd00::2]:80", Destination::Closed),
            ("10.0.2.77:80", Destination::Unreachable),
            ("[fd00::77]:80", Destination::Unreachable),
            ("127.0.0.1:80", Destination::Unreachable),
            ("0.0.0.0:80", Destination::Unreachable),
            ("0.1.2.3:80", Destination::Unreachable),
            ("169.254.169.254:80", Destination::Unreachable),
            ("224.0.0.251:5353", Destination::Unreachable),
            ("255.255.255.255:68", Destination::Unreachable),
            ("[::1]:80", Destination::Unreachable),
            ("[::]:80", Destination::Unreachable),
            ("[::ffff:127.0.0.1]:80", Destination::Unreachable),
            ("[::127.0.0.1]:80", Destination::Unreachable),
            ("[fe80::1]:80", Destination::Unreachable),
            ("[ff02::1]:80", Destination::Unreachable),
        ] {
            let found = lan(false).destination(dialled.parse().expect("an address"));
            assert_eq!(found, expected, "{dialled}");
        }
    }

    #[test]
    fn loopback_is_behind_the_gateway_where_that_is_wanted() {
        for (dialled, on_machine) in [("10.0.2.2:80", "127.0.0.1:80"), ("[fd00::2]:80", "[::1]:80")]
        {
            let on_machine: SocketAddr = on_machine.parse().expect("an address");
            let dialled: SocketAddr = dialled.parse().expect("an address");
            assert_eq!(lan(true).destination(dialled), Destination::Machine(on_machine));
            assert_eq!(lan(true).sender(on_machine), dialled);
        }
        let direct = "127.0.0.1:80".parse().expect("an address");
        assert_eq!(lan(true).destination(direct), Destination::Unreachable);
    }

    #[test]
    fn in_a_tunnel_the_gateway_has_the_addresses_of_the_file() {
        let key = wireguard::Key::from_bytes([1; 32]).to_base64();
        let file = format!(
            "[Interface]\nPrivateKey = {key}\nAddress = 10.8.0.1/24, fd08::1/64, 10.9.0.1/24\n\
             [Peer]\nPublicKey = {key}\nAllowedIPs = 10.8.0.2/32, 10.77.0.0/16\n"
        );
        let tunnel: wireguard::Config = file.parse().expect("a file");
        let lan = lan(true).with_tunnel(&tunnel);

        assert_eq!((lan.addresses(), lan.routes()), (&tunnel.addresses[..], &tunnel.routes()[..]));
        for (dialled, expected) in [
            ("10.8.0.1:53", Destination::Names),
            ("[fd08::1]:53", Destination::Names),
            ("10.8.0.1:80", Destination::Machine("127.0.0.1:80".parse().expect("right"))),
            ("10.8.0.2:80", Destination::Unreachable),
            ("10.0.2.3:53", Destination::Machine("10.0.2.3:53".parse().expect("right"))),
        ] {
            assert_eq!(
                lan.destination(dialled.parse().expect("an address")),
                expected,
                "{dialled}"
            );
        }
        let error = lan.first_guest().expect_err("which one?");
        assert!(error.to_string().contains("name the guest"), "{error}");
    }
}
