//! State learned from router advertisements, with its lifetimes.

use super::advertisement::{Advertisement, Preference, Prefix};
use super::{Event, Identifiers, PREFIX_LEN};
use crate::provided::Provided;
use ipnet::{IpNet, Ipv6Net};
use netcore::Route;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;
use tokio::time::Instant;

/// Table limits. New entries beyond them are ignored, so a flood cannot evict known routers.
const ROUTERS_MAX: usize = 8;
const NETWORKS_MAX: usize = 16;
const ADDRESSES_MAX: usize = 16;
const NAMES_MAX: usize = 8;
/// An advertisement cannot shorten an address's lifetime below this (RFC 4862 section 5.5.3(e)).
const LIFE_MIN: Duration = Duration::from_secs(2 * 3600);

/// When an entry expires; `None` for never.
type End = Option<Instant>;

/// All that was learned.
#[derive(Debug)]
pub(super) struct Learned {
    identifiers: Identifiers,
    routers: Vec<Lasting<(Ipv6Addr, Preference)>>,
    /// On-link prefixes.
    networks: Vec<Lasting<Ipv6Net>>,
    own: Vec<Own>,
    name_servers: Vec<Lasting<Ipv6Addr>>,
    search_domains: Vec<Lasting<String>>,
    mtu: Option<usize>,
    /// Last published.
    published_router: Option<Ipv6Addr>,
    published_servers: Vec<Ipv6Addr>,
}

/// An entry with its expiry.
#[derive(Debug)]
struct Lasting<T> {
    what: T,
    end: End,
}

/// An address that was made of a prefix.
#[derive(Debug)]
struct Own {
    network: Ipv6Net,
    /// None any more, if all that could be made are taken.
    address: Option<Ipv6Addr>,
    attempts: u8,
    end: End,
    preferred: End,
    is_deprecated: bool,
}

fn end(now: Instant, seconds: u32) -> End {
    (seconds < u32::MAX).then(|| now + Duration::from_secs(seconds.into()))
}

fn is_over(end: End, now: Instant) -> bool {
    end.is_some_and(|end| end <= now)
}

impl Learned {
    pub(super) fn new(identifiers: Identifiers) -> Self {
        Self {
            identifiers,
            routers: Vec::new(),
            networks: Vec::new(),
            own: Vec::new(),
            name_servers: Vec::new(),
            search_domains: Vec::new(),
            mtu: None,
            published_router: None,
            published_servers: Vec::new(),
        }
    }

    /// Takes an advertisement.
    pub(super) fn update(
        &mut self,
        advertisement: Advertisement,
        now: Instant,
        events: &mut Vec<Event>,
    ) {
        events.push(Event::Advertised { router: advertisement.router });
        let router = (advertisement.router, advertisement.preference);
        let is_router = |known: &(Ipv6Addr, Preference)| known.0 == advertisement.router;
        keep(&mut self.routers, router, advertisement.lifetime.into(), now, ROUTERS_MAX, is_router);
        for prefix in advertisement.prefixes {
            if prefix.is_on_link {
                let (network, valid) = (prefix.network, prefix.valid);
                let is_network = |known: &Ipv6Net| *known == network;
                keep(&mut self.networks, network, valid, now, NETWORKS_MAX, is_network);
            }
            if prefix.is_for_addresses && prefix.network.prefix_len() == PREFIX_LEN {
                self.update_prefix(&prefix, now, events);
            }
        }
        for (server, lifetime) in advertisement.name_servers {
            keep(&mut self.name_servers, server, lifetime, now, NAMES_MAX, |it| *it == server);
        }
        for (domain, lifetime) in advertisement.search_domains {
            let same = domain.clone();
            keep(&mut self.search_domains, domain, lifetime, now, NAMES_MAX, |it| *it == same);
        }
        if let Some(mtu) = advertisement.mtu {
            self.mtu = usize::try_from(mtu).ok();
        }
        self.pass(now, events);
    }

    /// RFC 4862 section 5.5.3.
    fn update_prefix(&mut self, prefix: &Prefix, now: Instant, events: &mut Vec<Event>) {
        let (valid, preferred) = (end(now, prefix.valid), end(now, prefix.preferred));
        if let Some(own) = self.own.iter_mut().find(|own| own.network == prefix.network) {
            let left = own.end.map(|end| end - now);
            let said = valid.map(|end| end - now);
            // (e): a longer lifetime is accepted, a shorter one only down to two hours.
            let is_longer = match (said, left) {
                (None, _) => true,
                (Some(_), None) => said > Some(LIFE_MIN),
                (Some(said), Some(left)) => said > LIFE_MIN || said > left,
            };
            if is_longer {
                own.end = valid;
            } else if left.is_none_or(|left| left > LIFE_MIN) {
                own.end = Some(now + LIFE_MIN);
            }
            own.preferred = preferred;
            own.is_deprecated &= is_over(preferred, now);
            return;
        }
        if prefix.valid == 0 || self.own.len() >= ADDRESSES_MAX {
            return;
        }
        let own = Own {
            network: prefix.network,
            address: self.identifiers.address(prefix.network, 0),
            attempts: 0,
            end: valid,
            preferred,
            is_deprecated: false,
        };
        if let Some(address) = own.address {
            events.push(Event::Added(self.network(address)));
        }
        self.own.push(own);
    }

    /// Removes expired entries, and reports changes.
    pub(super) fn pass(&mut self, now: Instant, events: &mut Vec<Event>) {
        self.routers.retain(|router| !is_over(router.end, now));
        self.networks.retain(|network| !is_over(network.end, now));
        self.name_servers.retain(|server| !is_over(server.end, now));
        self.search_domains.retain(|domain| !is_over(domain.end, now));
        for own in &mut self.own {
            let Some(address) = own.address else { continue };
            if is_over(own.end, now) {
                events.push(Event::Removed(address));
            } else if is_over(own.preferred, now) && !own.is_deprecated {
                own.is_deprecated = true;
                events.push(Event::Deprecated(address));
            }
        }
        self.own.retain(|own| !is_over(own.end, now));
        if self.router() != self.published_router {
            self.published_router = self.router();
            events.push(Event::Router(self.published_router));
        }
        let servers: Vec<_> = self.name_servers.iter().map(|server| server.what).collect();
        if servers != self.published_servers {
            self.published_servers.clone_from(&servers);
            events.push(Event::NameServers(servers));
        }
    }

    /// When something is over next.
    pub(super) fn due(&self) -> Option<Instant> {
        let routers = self.routers.iter().map(|it| it.end);
        let networks = self.networks.iter().map(|it| it.end);
        let servers = self.name_servers.iter().map(|it| it.end);
        let domains = self.search_domains.iter().map(|it| it.end);
        let own = self.own.iter().flat_map(|own| {
            let preferred = own.preferred.filter(|_| !own.is_deprecated && own.address.is_some());
            [own.end, preferred]
        });
        routers.chain(networks).chain(servers).chain(domains).chain(own).flatten().min()
    }

    /// The router with the highest preference; of equal ones the first learned.
    pub(super) fn router(&self) -> Option<Ipv6Addr> {
        let best = self.routers.iter().map(|router| router.what.1).max()?;
        self.routers.iter().map(|router| router.what).find(|it| it.1 == best).map(|it| it.0)
    }

    /// Notes that the stack has lost one of these addresses, and makes another one if it was a
    /// duplicate.
    pub(super) fn lost(&mut self, address: Ipv6Addr, is_taken: bool, events: &mut Vec<Event>) {
        let Some(own) = self.own.iter_mut().find(|own| own.address == Some(address)) else {
            return;
        };
        own.attempts = own.attempts.saturating_add(1);
        own.address = None;
        events.push(Event::Taken(address));
        if is_taken && let Some(next) = self.identifiers.address(own.network, own.attempts) {
            own.address = Some(next);
            events.push(Event::Added(self.network(next)));
        }
    }

    /// The addresses that were made.
    pub(super) fn addresses(&self) -> impl Iterator<Item = Ipv6Addr> {
        self.own.iter().filter_map(|own| own.address)
    }

    /// An address with its on-link prefix.
    fn network(&self, address: Ipv6Addr) -> Ipv6Net {
        let is_on_link = self.networks.iter().any(|network| network.what.contains(&address));
        Ipv6Net::new_assert(address, if is_on_link { PREFIX_LEN } else { 128 })
    }

    /// The configuration for the stack.
    pub(super) fn provided(&self) -> Provided {
        let own: Vec<Ipv6Net> = self.addresses().map(|address| self.network(address)).collect();
        let networks = self.networks.iter().map(|network| network.what);
        // An address implies the route to its own network.
        let networks = networks.filter(|network| own.iter().all(|own| own.trunc() != *network));
        let on_link = |network| Route { destination: IpNet::V6(network), gateway: None };
        let default = self.router().map(|router| Route::default_via(router.into()));
        Provided {
            addresses: own.iter().copied().map(IpNet::V6).collect(),
            deprecated: self
                .own
                .iter()
                .filter(|own| own.is_deprecated)
                .filter_map(|own| own.address.map(IpAddr::V6))
                .collect(),
            routes: networks.map(on_link).chain(default).collect(),
            mtu: self.mtu,
            name_servers: self.name_servers.iter().map(|it| IpAddr::V6(it.what)).collect(),
            search_domains: self.search_domains.iter().map(|it| it.what.clone()).collect(),
        }
    }
}

/// Adds or refreshes an entry with a lifetime in seconds; zero removes it.
fn keep<T>(
    all: &mut Vec<Lasting<T>>,
    what: T,
    seconds: u32,
    now: Instant,
    max: usize,
    is_same: impl Fn(&T) -> bool,
) {
    let known = all.iter().position(|known| is_same(&known.what));
    match (known, seconds) {
        (Some(index), 0) => drop(all.remove(index)),
        (Some(index), _) => all[index] = Lasting { what, end: end(now, seconds) },
        (None, 1..) if all.len() < max => all.push(Lasting { what, end: end(now, seconds) }),
        (None, _) => {}
    }
}
