//! The addresses of a server, and who has them.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::time::Duration;

/// A client, as it identifies itself.
pub(super) type Client = Box<[u8]>;

/// The leases of a pool. Work for a message grows with the logarithm of their number.
///
/// Times are since some moment in the past. A lease that has ended is kept for its client (RFC 2131
/// section 4.3.1) until the address is needed.
#[derive(Debug)]
pub(super) struct Leases {
    pool: RangeInclusive<u32>,
    /// Those in the pool that are the network's own.
    reserved: Vec<Ipv4Addr>,
    leases_max: usize,
    /// The first address that nobody had yet, unless a client has asked for it.
    fresh: u32,
    leases: HashMap<Ipv4Addr, Lease>,
    clients: HashMap<Client, Ipv4Addr>,
    /// The same leases in the order of their ends: those that were offered, and the others.
    offered: BTreeSet<(Duration, Ipv4Addr)>,
    given: BTreeSet<(Duration, Ipv4Addr)>,
}

#[derive(Debug)]
pub(super) struct Lease {
    /// None if somebody else was found to use the address.
    pub(super) client: Option<Client>,
    pub(super) hardware_address: [u8; 6],
    pub(super) until: Duration,
    pub(super) is_offer: bool,
}

impl Leases {
    pub(super) fn new(
        pool: &RangeInclusive<Ipv4Addr>,
        reserved: Vec<Ipv4Addr>,
        leases_max: usize,
    ) -> Self {
        let pool = pool.start().to_bits()..=pool.end().to_bits();
        Self {
            fresh: *pool.start(),
            pool,
            reserved,
            leases_max,
            leases: HashMap::new(),
            clients: HashMap::new(),
            offered: BTreeSet::new(),
            given: BTreeSet::new(),
        }
    }

    /// Those that have not ended, and offers.
    pub(super) fn current(&self, now: Duration) -> impl Iterator<Item = (Ipv4Addr, &Lease)> {
        let all = self.leases.iter().map(|(address, lease)| (*address, lease));
        all.filter(move |(_, lease)| lease.until > now)
    }

    /// The address of a client, whether or not its lease has ended.
    pub(super) fn of(&self, client: &[u8]) -> Option<Ipv4Addr> {
        self.clients.get(client).copied()
    }

    /// Whether the pool has the address, and nobody else has it.
    pub(super) fn is_free_for(&self, address: Ipv4Addr, client: &[u8], now: Duration) -> bool {
        let is_in_pool =
            self.pool.contains(&address.to_bits()) && !self.reserved.contains(&address);
        is_in_pool
            && self
                .leases
                .get(&address)
                .is_none_or(|lease| lease.client.as_deref() == Some(client) || lease.until <= now)
    }

    /// Whether there may be another lease beside all that are known.
    pub(super) fn has_room(&self) -> bool {
        self.leases.len() < self.leases_max
    }

    /// An address for a client: the one that it has, the one that it wants, one that nobody had, or
    /// the one whose lease ended first; an offer that was not taken up is given to the next.
    pub(super) fn choose(
        &mut self,
        client: &[u8],
        wanted: Option<Ipv4Addr>,
        now: Duration,
    ) -> Option<Ipv4Addr> {
        if let Some(own) = self.of(client) {
            return Some(own);
        }
        let has_room = self.has_room();
        let is_usable = |address: &Ipv4Addr| {
            self.is_free_for(*address, client, now)
                && (has_room || self.leases.contains_key(address))
        };
        if let Some(wanted) = wanted.filter(is_usable) {
            return Some(wanted);
        }
        while has_room && self.pool.contains(&self.fresh) {
            let address = Ipv4Addr::from_bits(self.fresh);
            let is_fresh = !self.leases.contains_key(&address) && !self.reserved.contains(&address);
            if is_fresh {
                return Some(address);
            }
            // The pool ends below 255.255.255.255, which is no host's.
            self.fresh += 1;
        }
        let first = |set: &BTreeSet<(Duration, Ipv4Addr)>| set.first().copied();
        let has_ended = |(until, _): &(Duration, Ipv4Addr)| *until <= now;
        let ended = first(&self.offered).filter(has_ended);
        let ended = ended.or_else(|| first(&self.given).filter(has_ended));
        ended.or_else(|| first(&self.offered)).map(|(_, address)| address)
    }

    /// Gives the address to a client until then; whoever had it has it no longer.
    pub(super) fn give(&mut self, address: Ipv4Addr, lease: Lease) {
        self.remove(address);
        if let Some(client) = &lease.client
            && let Some(other) = self.clients.insert(client.clone(), address)
        {
            self.remove_lease(other);
        }
        let ends = if lease.is_offer { &mut self.offered } else { &mut self.given };
        ends.insert((lease.until, address));
        self.leases.insert(address, lease);
    }

    /// The lease of an address.
    pub(super) fn at(&self, address: Ipv4Addr) -> Option<&Lease> {
        self.leases.get(&address)
    }

    /// Forgets an address.
    pub(super) fn remove(&mut self, address: Ipv4Addr) {
        if let Some(client) = self.remove_lease(address).and_then(|lease| lease.client) {
            self.clients.remove(&client);
        }
    }

    fn remove_lease(&mut self, address: Ipv4Addr) -> Option<Lease> {
        let lease = self.leases.remove(&address)?;
        let ends = if lease.is_offer { &mut self.offered } else { &mut self.given };
        ends.remove(&(lease.until, address));
        Some(lease)
    }
}
