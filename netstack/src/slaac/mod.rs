//! IPv6 addresses, routes and name servers from routers on the link (RFC 4861, 4862 and 8106).
//!
//! [`Builder::slaac`](crate::Builder::slaac) starts a task beside the stack that solicits router
//! advertisements. It makes an address from each autonomous prefix, keeps the on-link routes and a
//! default route through the best router, and removes each when its lifetime expires. Programs wait
//! for an address as with [`dhcp`](crate::dhcp).
//!
//! The stack itself detects duplicate addresses. A duplicate made from a secret is replaced, up to
//! three times; one made from the hardware address is not.
//!
//! A deprecated address stays for its connections; new ones avoid it.
//!
//! Not implemented: advertised hop limits and neighbour timers, more-specific routes (RFC 4191),
//! router unreachability detection, and DHCPv6.

mod advertisement;
mod client;
mod learned;
mod router;
#[cfg(test)]
mod tests;

pub(crate) use client::Client;
pub use router::{Router, RouterConfig};

use crate::hook::Hook;
use ipnet::Ipv6Net;
use siphasher::sip::SipHasher24;
use std::hash::Hasher;
use std::net::Ipv6Addr;

/// How a stack makes IPv6 addresses.
#[derive(Debug, Clone, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Config {
    /// The source of the interface identifier of each address.
    pub identifier: Identifier,
    /// Called on every event, besides the log.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub on_event: Option<Hook<Event>>,
}

/// The source of the interface identifier, the second half of an address.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Identifier {
    /// The hardware address (RFC 4291 appendix A); on a link without any, a random one for each
    /// run.
    #[default]
    HardwareAddress,
    /// A secret and the prefix: always the same in one network, and nothing that could be
    /// recognized in another (RFC 7217).
    StablePrivate {
        /// Secret, and the same in each run.
        secret: [u8; 16],
    },
}

/// An event of the client. Each is also logged at the level *info*.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A router solicitation was sent.
    Solicited,
    /// A router advertisement was received.
    Advertised {
        /// Which, by its link-local address.
        router: Ipv6Addr,
    },
    /// The stack is given this address.
    Added(Ipv6Net),
    /// This address should not be used for anything new any more.
    Deprecated(Ipv6Addr),
    /// The time of this address is over.
    Removed(Ipv6Addr),
    /// Another node has this address, or it was taken from the stack.
    Taken(Ipv6Addr),
    /// This is the default router now.
    Router(Option<Ipv6Addr>),
    /// The name servers have changed to these.
    NameServers(Vec<Ipv6Addr>),
}

impl Config {
    /// Calls `callback` on every event, in the client's task; it must not block.
    #[must_use]
    pub fn on_event(mut self, callback: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.on_event = Some(Hook::new(callback));
        self
    }
}

impl std::fmt::Debug for Identifier {
    /// Hides the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::HardwareAddress => "HardwareAddress",
            Self::StablePrivate { .. } => "StablePrivate",
        })
    }
}

/// How often another address is tried if one is taken (IDGEN_RETRIES of RFC 7217 section 7).
const ATTEMPTS_MAX: u8 = 3;
/// The prefix that an identifier goes with (RFC 4291 section 2.5.1).
const PREFIX_LEN: u8 = 64;

/// Makes addresses.
#[derive(Debug, Clone, Copy)]
struct Identifiers {
    identifier: Identifier,
    hardware_address: [u8; 6],
}

impl Identifiers {
    /// The address in a prefix of 64 bits, after this many duplicates.
    fn address(&self, prefix: Ipv6Net, attempts: u8) -> Option<Ipv6Addr> {
        let low = match self.identifier {
            Identifier::HardwareAddress if attempts > 0 => return None,
            Identifier::HardwareAddress => {
                let [a, b, c, d, e, f] = self.hardware_address;
                u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f])
            }
            Identifier::StablePrivate { .. } if attempts > ATTEMPTS_MAX => return None,
            Identifier::StablePrivate { secret } => {
                let mut hasher = SipHasher24::new_with_key(&secret);
                hasher.write(&prefix.network().octets());
                hasher.write(&[attempts]);
                hasher.finish()
            }
        };
        // RFC 5453 reserves these. The chance to meet one is negligible.
        let is_reserved = low == 0 || low >> 8 == 0x00fd_ffff_ffff_ffff && low & 0x80 != 0;
        let high = prefix.network().to_bits() & !u128::from(u64::MAX);
        (!is_reserved).then(|| Ipv6Addr::from_bits(high | u128::from(low)))
    }
}
