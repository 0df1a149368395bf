//! Where addresses were seen.

use super::hub::Port;
use super::vlan::Domain;
use super::{PortId, SwitchConfig};
use netcore::MacAddr;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The filtering database (IEEE 802.1D section 7.9), one for each virtual LAN.
#[derive(Debug)]
pub(super) struct Table {
    entries: HashMap<(Domain, MacAddr), Entry>,
    /// How many of them each port has.
    counts: HashMap<PortId, usize>,
    entries_max: usize,
    port_entries_max: usize,
    age_max: Duration,
    swept_at: Instant,
}

#[derive(Debug)]
struct Entry {
    port: Arc<Port>,
    seen_at: Instant,
}

/// The minimum interval between sweeps of a full table.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

impl Table {
    pub(super) fn new(config: &SwitchConfig, now: Instant) -> Self {
        Self {
            entries: HashMap::new(),
            counts: HashMap::new(),
            entries_max: config.addresses_max,
            port_entries_max: config.port_addresses_max,
            age_max: config.address_age,
            swept_at: now,
        }
    }

    /// Notes that an address is behind a port, if there is room for it.
    pub(super) fn learn(
        &mut self,
        domain: Domain,
        address: MacAddr,
        port: &Arc<Port>,
        now: Instant,
    ) {
        let key = (domain, address);
        if let Some(entry) = self.entries.get_mut(&key)
            && entry.port.id == port.id
        {
            entry.seen_at = now;
            return;
        }
        let mut has_room = self.has_room_for(&key, port.id);
        if !has_room && self.sweep(now) {
            has_room = self.has_room_for(&key, port.id);
        }
        if !has_room {
            return;
        }
        *self.counts.entry(port.id).or_default() += 1;
        let entry = Entry { port: port.clone(), seen_at: now };
        if let Some(old) = self.entries.insert(key, entry) {
            self.uncount(old.port.id);
        }
    }

    /// The port behind which an address is, as far as is known.
    pub(super) fn find(
        &self,
        domain: Domain,
        address: MacAddr,
        now: Instant,
    ) -> Option<&Arc<Port>> {
        let entry = self.entries.get(&(domain, address))?;
        (now - entry.seen_at < self.age_max).then_some(&entry.port)
    }

    /// Forgets the addresses behind a port.
    pub(super) fn forget(&mut self, port: PortId) {
        if self.counts.remove(&port).is_some() {
            self.entries.retain(|_, entry| entry.port.id != port);
        }
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.counts.clear();
    }

    /// Each address, where it is, and how long ago it was seen.
    pub(super) fn list(
        &self,
        now: Instant,
    ) -> impl Iterator<Item = (Domain, MacAddr, PortId, Duration)> {
        let all = self.entries.iter();
        let all = all.map(move |((domain, address), entry)| {
            (*domain, *address, entry.port.id, now - entry.seen_at)
        });
        all.filter(|(.., age)| *age < self.age_max)
    }

    /// Whether one more fits: in all, unless it only moves, and behind this port.
    fn has_room_for(&self, key: &(Domain, MacAddr), port: PortId) -> bool {
        let of_port = self.counts.get(&port).copied().unwrap_or(0);
        of_port < self.port_entries_max
            && (self.entries.len() < self.entries_max || self.entries.contains_key(key))
    }

    /// Removes old entries, unless that was just done.
    fn sweep(&mut self, now: Instant) -> bool {
        if now - self.swept_at < SWEEP_INTERVAL {
            return false;
        }
        self.swept_at = now;
        self.counts.clear();
        self.entries.retain(|_, entry| {
            let is_young = now - entry.seen_at < self.age_max;
            if is_young {
                *self.counts.entry(entry.port.id).or_default() += 1;
            }
            is_young
        });
        true
    }

    fn uncount(&mut self, port: PortId) {
        if let Some(count) = self.counts.get_mut(&port) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&port);
            }
        }
    }
}
