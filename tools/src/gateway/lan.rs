//! The network of the guests: who has which address, and what lies beyond.

use anyhow::{Result, ensure};
use netstack::IpNet;
use netstack::dhcp::server::Config;
use netstack::slaac::RouterConfig;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The networks of the guests, with the places that slirp has made known: host 2 is the gateway, 3
/// the name server, 15 the first guest.
#[derive(Debug, Clone)]
pub(super) struct Lan {
    v4: ipnet::Ipv4Net,
    v6: ipnet::Ipv6Net,
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
        Ok(Self { v4: v4.trunc(), v6: v6.trunc(), reaches_loopback })
    }

    fn v4(&self, host: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.v4.network().to_bits() + host)
    }

    fn v6(&self, host: u32) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.v6.network().to_bits() + u128::from(host))
    }

    /// The gateway's addresses, with their networks, and those of the name server.
    pub(super) fn addresses(&self) -> [IpNet; 4] {
        let v4 = |host| IpNet::V4(ipnet::Ipv4Net::new_assert(self.v4(host), self.v4.prefix_len()));
        let v6 = |host| IpNet::V6(ipnet::Ipv6Net::new_assert(self.v6(host), self.v6.prefix_len()));
        [v4(GATEWAY), v4(NAME_SERVER), v6(GATEWAY), v6(NAME_SERVER)]
    }

    /// The gateway's address in the family of another.
    pub(super) fn gateway_like(&self, other: IpAddr) -> IpAddr {
        match other {
            IpAddr::V4(_) => self.v4(GATEWAY).into(),
            IpAddr::V6(_) => self.v6(GATEWAY).into(),
        }
    }

    /// The addresses of the first guest, with their networks.
    pub(super) fn first_guest_addresses(&self) -> [IpNet; 2] {
        let v4 = ipnet::Ipv4Net::new_assert(self.v4(FIRST_GUEST), self.v4.prefix_len());
        let v6 = ipnet::Ipv6Net::new_assert(self.v6(FIRST_GUEST), self.v6.prefix_len());
        [v4.into(), v6.into()]
    }

    /// The guest that ports of this machine lead to, unless another is named.
    pub(super) fn first_guest(&self) -> IpAddr {
        self.v4(FIRST_GUEST).into()
    }

    /// What guests get by DHCP.
    pub(super) fn dhcp(&self, mtu: usize, domain: Option<String>) -> Config {
        let last = self.v4.broadcast().to_bits() - 1;
        let last = last.min(self.v4(FIRST_GUEST).to_bits() + GUESTS_MAX - 1);
        let gateway = ipnet::Ipv4Net::new_assert(self.v4(GATEWAY), self.v4.prefix_len());
        Config {
            pool: self.v4(FIRST_GUEST)..=Ipv4Addr::from_bits(last),
            name_servers: vec![self.v4(NAME_SERVER)],
            domain,
            mtu: u16::try_from(mtu).ok(),
            ..Config::new(gateway)
        }
    }

    /// What guests get by router advertisements.
    pub(super) fn router(&self, mtu: usize) -> RouterConfig {
        RouterConfig {
            mtu: u32::try_from(mtu).ok(),
            name_servers: vec![self.v6(NAME_SERVER)],
            ..RouterConfig::new(self.v6)
        }
    }

    /// Where a guest gets with this address.
    pub(super) fn destination(&self, dialled: SocketAddr) -> Destination {
        let ip = dialled.ip();
        let is = |host| [IpAddr::V4(self.v4(host)), IpAddr::V6(self.v6(host))].contains(&ip);
        if is(NAME_SERVER) {
            return match dialled.port() {
                DNS_PORT => Destination::Names,
                _ => Destination::Closed,
            };
        }
        if is(GATEWAY) {
            let loopback = match ip {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            };
            return match self.reaches_loopback {
                true => Destination::Machine(SocketAddr::new(loopback, dialled.port())),
                false => Destination::Closed,
            };
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
}
