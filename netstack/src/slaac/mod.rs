//! IPv6 addresses, routes and name servers from routers on the link (RFC 4861, 4862 and 8106).
//!
//! [`Builder::slaac`](crate::Builder::slaac) puts a task beside a stack that asks for router
//! advertisements and listens to them. It makes an address of each prefix that is meant for it,
//! keeps the routes to the prefixes on the link and to the best router, and removes each when its
//! time is over. What is published can be waited for, as with [`dhcp`](crate::dhcp).
//!
//! The stack itself finds out whether another node has an address that was made; one that was made
//! of a secret is then replaced up to three times, one that was made of the hardware address is not.
//!
//! A deprecated address stays for the connections on it, and new ones avoid it.
//!
//! What the task does not do: advertised hop limits, and times for neighbours, are left
//! alone; routes to anything but everything (RFC 4191) are not read, and whether a router answers is
//! not looked at; there is no DHCPv6.

mod advertisement;
mod client;
mod learned;
#[cfg(test)]
mod tests;

pub(crate) use client::Client;

use crate::hook::Hook;
use ipnet::Ipv6Net;
use siphasher::sip::SipHasher24;
use std::hash::Hasher;
use std::net::Ipv6Addr;

/// How a stack makes IPv6 addresses.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// What the second half of each address is made of.
    pub identifier: Identifier,
    /// Who is told what happens, besides the log.
    pub on_event: Option<Hook<Event>>,
}

/// What the second half of an address is made of.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub enum Identifier {
    /// The hardware address (RFC 4291 appendix A); on a link without any, one that is made up anew
    /// for each run.
    #[default]
    HardwareAddress,
    /// A secret and the prefix: always the same in one network, and nothing that could be
    /// recognized in another (RFC 7217).
    StablePrivate {
        /// Known to nobody else, and the same in each run.
        secret: [u8; 16],
    },
}

/// What happens. Each is also logged at the level *info*.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Routers were asked to say something.
    Solicited,
    /// A router has said something.
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
    /// These are asked for names now.
    NameServers(Vec<Ipv6Addr>),
}

impl Config {
    /// Calls `told` on every event, in the task itself: it must not block.
    #[must_use]
    pub fn on_event(mut self, told: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.on_event = Some(Hook::new(told));
        self
    }
}

impl std::fmt::Debug for Identifier {
    /// Does not tell the secret.
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
    /// The address in a network of 64 bits, after so many that were taken.
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
        // Those of RFC 5453 mean something else; as good as never.
        let is_reserved = low == 0 || low >> 8 == 0x00fd_ffff_ffff_ffff && low & 0x80 != 0;
        let high = prefix.network().to_bits() & !u128::from(u64::MAX);
        (!is_reserved).then(|| Ipv6Addr::from_bits(high | u128::from(low)))
    }
}
