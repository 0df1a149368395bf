//! Where hardware addresses were seen.

use lru::LruCache;
use netcore::MacAddr;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;
use tokio::time::Instant;

/// The peer behind each hardware address, for a limited time. A full table forgets the address that
/// has not been seen for longest.
#[derive(Debug)]
pub(super) struct Table {
    entries: LruCache<MacAddr, Entry>,
    age_max: Duration,
}

#[derive(Debug)]
struct Entry {
    peer: SocketAddr,
    seen_at: Instant,
}

impl Table {
    /// For up to `addresses_max` addresses, at least one.
    pub(super) fn new(addresses_max: usize, age_max: Duration) -> Self {
        let addresses_max = NonZeroUsize::new(addresses_max).unwrap_or(NonZeroUsize::MIN);
        // Unbounded, so that no memory is taken for entries that never come.
        let mut entries = LruCache::unbounded();
        entries.resize(addresses_max);
        Self { entries, age_max }
    }

    /// Notes that an address is behind a peer.
    pub(super) fn learn(&mut self, address: MacAddr, peer: SocketAddr, now: Instant) {
        self.entries.put(address, Entry { peer, seen_at: now });
    }

    /// The peer behind an address, as far as known.
    pub(super) fn find(&self, address: MacAddr, now: Instant) -> Option<SocketAddr> {
        let entry = self.entries.peek(&address)?;
        (now.saturating_duration_since(entry.seen_at) < self.age_max).then_some(entry.peer)
    }

    /// Forgets the addresses behind a peer.
    pub(super) fn forget(&mut self, peer: SocketAddr) {
        let behind = self.entries.iter().filter(|(_, entry)| entry.peer == peer);
        let behind: Vec<_> = behind.map(|(address, _)| *address).collect();
        for address in behind {
            self.entries.pop(&address);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE_MAX: Duration = Duration::from_secs(128);

    fn mac(number: u8) -> MacAddr {
        MacAddr([2, 0, 0, 0, 0, number])
    }

    fn peer(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn an_address_is_forgotten_when_it_is_old() {
        let (mut table, start) = (Table::new(8, AGE_MAX), Instant::now());
        table.learn(mac(1), peer(1), start);

        assert_eq!(table.find(mac(1), start + AGE_MAX - Duration::from_nanos(1)), Some(peer(1)));
        assert_eq!(table.find(mac(1), start + AGE_MAX), None);
        table.learn(mac(1), peer(2), start + AGE_MAX);
        assert_eq!(table.find(mac(1), start + AGE_MAX), Some(peer(2)));
    }

    #[test]
    fn a_full_table_forgets_the_address_unseen_for_longest() {
        let (mut table, now) = (Table::new(3, AGE_MAX), Instant::now());
        for number in [1, 2, 3, 1, 4] {
            table.learn(mac(number), peer(number.into()), now);
            table.find(mac(2), now);
        }

        let known = [1, 2, 3, 4].map(|number| table.find(mac(number), now).is_some());
        assert_eq!((known, table.len()), ([true, false, true, true], 3));
    }

    #[test]
    fn the_addresses_behind_a_peer_that_leaves_are_forgotten() {
        let (mut table, now) = (Table::new(8, AGE_MAX), Instant::now());
        for (number, port) in [(1, 1), (2, 2), (3, 1)] {
            table.learn(mac(number), peer(port), now);
        }

        table.forget(peer(1));

        let known = [1, 2, 3].map(|number| table.find(mac(number), now));
        assert_eq!(known, [None, Some(peer(2)), None]);
    }
}
