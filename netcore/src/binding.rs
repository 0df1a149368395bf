//! Socket bindings: one address or all of a family, and a port.

use crate::random::Random;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// The range of ports that the stack chooses (RFC 6335 section 6).
pub(crate) const EPHEMERAL: RangeInclusive<u16> = 49152..=65535;

/// The address families of a socket on `[::]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Families {
    /// IPv6, and IPv4 with IPv4-mapped addresses (`::ffff:a.b.c.d`), as on Linux.
    #[default]
    Both,
    /// IPv6 only (`IPV6_V6ONLY`): another socket may hold the same port for IPv4.
    V6Only,
}

/// The addresses that a socket is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BoundTo {
    One(IpAddr),
    AllV4,
    AllV6,
    All,
}

impl BoundTo {
    pub(crate) fn new(address: IpAddr, families: Families) -> Self {
        match address {
            IpAddr::V4(address) if address.is_unspecified() => Self::AllV4,
            IpAddr::V6(address) if address.is_unspecified() => match families {
                Families::Both => Self::All,
                Families::V6Only => Self::AllV6,
            },
            // `::ffff:0.0.0.0` is the IPv4 wildcard, written as IPv6.
            address => match address.to_canonical() {
                IpAddr::V4(address) if address.is_unspecified() => Self::AllV4,
                address => Self::One(address),
            },
        }
    }

    pub(crate) fn covers(self, address: IpAddr) -> bool {
        match self {
            Self::One(own) => own == address,
            Self::AllV4 => address.is_ipv4(),
            Self::AllV6 => address.is_ipv6(),
            Self::All => true,
        }
    }

    /// How few addresses these are: a socket for fewer of them receives before others.
    pub(crate) fn precision(self) -> u8 {
        match self {
            Self::One(_) => 2,
            Self::AllV4 | Self::AllV6 => 1,
            Self::All => 0,
        }
    }

    pub(crate) fn conflicts(self, other: Self) -> bool {
        match (self, other) {
            (Self::One(a), b) => b.covers(a),
            (a, Self::One(b)) => a.covers(b),
            (Self::AllV4, Self::AllV6) | (Self::AllV6, Self::AllV4) => false,
            _ => true,
        }
    }
}

/// Picks a free ephemeral port: a random one, or else the next free one in cyclic order (RFC 6056
/// section 3.3.1).
pub(crate) fn pick_port(random: &mut Random, mut is_free: impl FnMut(u16) -> bool) -> Option<u16> {
    let (first, last) = (*EPHEMERAL.start(), *EPHEMERAL.end());
    // Trying a few random ones first keeps ports apart from each other while many are free.
    for _ in 0..8 {
        let port = random.port(EPHEMERAL);
        if is_free(port) {
            return Some(port);
        }
    }
    let start = random.port(EPHEMERAL);
    (start..=last).chain(first..start).find(|port| is_free(*port))
}
