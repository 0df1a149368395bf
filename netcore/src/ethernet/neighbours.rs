//! The neighbour cache (RFC 826, RFC 4861 section 7.3).
//!
//! One cache for both families: states and timers are the same for both. It does not send;
//! [`Neighbours::pop`] returns the solicitations that are due.

use super::MacAddr;
use crate::link::Offload;
use crate::time::Instant;
use bytes::Bytes;
use lru::LruCache;
use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

/// Neighbours that packets were sent to, or that have solicited this stack.
#[derive(Debug)]
pub(crate) struct Neighbours {
    /// In the order of their last use for sending.
    entries: LruCache<IpAddr, Neighbour, ahash::RandomState>,
    /// The neighbours under resolution or probe, by the time of the next retransmission.
    due: BTreeSet<(Instant, IpAddr)>,
    max: usize,
    queue_bytes_max: usize,
}

#[derive(Debug)]
struct Neighbour {
    state: State,
    /// Its key in [`Neighbours::due`].
    due: Option<Instant>,
    /// Packets to send once the hardware address is known, in this order.
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Address resolution is in progress, with the number of solicitations sent.
    Incomplete { solicitations: u8 },
    /// Confirmed reachable until `until`.
    Reachable { at: MacAddr, until: Instant },
    /// Reachability is unconfirmed.
    Stale { at: MacAddr },
    /// Sent to while stale; with the number of unicast solicitations sent.
    Probe { at: MacAddr, solicitations: u8 },
}

/// A packet that waits for a hardware address.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) packet: Bytes,
    pub(crate) offload: Offload,
}

/// A timer that has expired.
#[derive(Debug)]
pub(crate) enum Due {
    /// A solicitation is due.
    Solicit {
        address: IpAddr,
        /// Its cached address, for a unicast; `None` for a broadcast or multicast.
        at: Option<MacAddr>,
        /// The first packet that waits for it.
        for_packet: Option<Bytes>,
    },
    /// Address resolution failed; these packets are not sent.
    Unresolved(VecDeque<Waiting>),
    /// The neighbour became unreachable; its entry is removed.
    Removed,
}

/// A reply to a solicitation, or an advertisement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Confirmation {
    /// The hardware address, if the message has one.
    pub(crate) at: Option<MacAddr>,
    /// The solicited flag, which confirms reachability.
    pub(crate) is_solicited: bool,
    /// The override flag.
    pub(crate) is_override: bool,
    /// ReachableTime.
    pub(crate) reachable_for: Duration,
}

/// The mean ReachableTime (REACHABLE_TIME of RFC 4861 section 10).
pub(crate) const REACHABLE_MILLIS: u32 = 30_000;
/// Time between solicitations (RFC 4861 section 10).
const RETRANS_TIMER: Duration = Duration::from_secs(1);
/// Solicitations without a reply (MAX_MULTICAST_SOLICIT and MAX_UNICAST_SOLICIT).
const SOLICITATIONS_MAX: u8 = 3;
/// Overhead counted for each waiting packet, in bytes.
const WAITING_OVERHEAD: usize = 128;

impl Neighbours {
    /// Creates a cache of at most `max` entries, each with at most `queue_bytes_max` waiting.
    pub(crate) fn new(max: usize, queue_bytes_max: usize, hasher: ahash::RandomState) -> Self {
        Self {
            entries: LruCache::unbounded_with_hasher(hasher),
            due: BTreeSet::new(),
            max: max.max(1),
            queue_bytes_max,
        }
    }

    /// The hardware address for `address`, if known. Starts a probe of a stale neighbour.
    pub(crate) fn resolve(&mut self, address: IpAddr, now: Instant) -> Option<MacAddr> {
        let neighbour = self.entries.get_mut(&address)?;
        match neighbour.state {
            State::Reachable { at, until } if until > now => Some(at),
            State::Probe { at, .. } => Some(at),
            State::Reachable { at, .. } | State::Stale { at } => {
                neighbour.state = State::Probe { at, solicitations: 0 };
                set_due(&mut self.due, address, neighbour, Some(now));
                Some(at)
            }
            State::Incomplete { .. } => None,
        }
    }

    /// Queues a packet until `address` is resolved, and starts the resolution; returns the number
    /// of evicted packets.
    pub(crate) fn wait(&mut self, address: IpAddr, packet: Waiting, now: Instant) -> usize {
        let mut lost = 0;
        if self.entries.peek(&address).is_none() {
            lost += self.insert(address, State::Incomplete { solicitations: 0 });
        }
        let Some(neighbour) = self.entries.get_mut(&address) else { return lost };
        if neighbour.due.is_none() {
            set_due(&mut self.due, address, neighbour, Some(now));
        }
        let bytes = |waiting: &Waiting| waiting.packet.len() + WAITING_OVERHEAD;
        neighbour.waiting_bytes += bytes(&packet);
        neighbour.waiting.push_back(packet);
        // The newest stays, whatever its size.
        while neighbour.waiting_bytes > self.queue_bytes_max && neighbour.waiting.len() > 1 {
            let oldest = neighbour.waiting.pop_front();
            neighbour.waiting_bytes -= oldest.as_ref().map_or(0, bytes);
            lost += 1;
        }
        lost
    }

    /// Updates a neighbour from an unsolicited message; returns the packets that waited for it and
    /// the number of packets lost by eviction. Adds an unknown neighbour only with `may_add`.
    pub(crate) fn on_unsolicited(
        &mut self,
        address: IpAddr,
        at: MacAddr,
        may_add: bool,
    ) -> (VecDeque<Waiting>, usize) {
        let Some(neighbour) = self.entries.peek_mut(&address) else {
            if !may_add {
                return (VecDeque::new(), 0);
            }
            let lost = self.insert(address, State::Stale { at });
            // Nothing was sent to it yet: a flood of solicitations must not evict neighbours in
            // use.
            self.entries.demote(&address);
            return (VecDeque::new(), lost);
        };
        if neighbour.at() == Some(at) {
            return (VecDeque::new(), 0);
        }
        neighbour.state = State::Stale { at };
        (release(&mut self.due, address, neighbour), 0)
    }

    /// Updates a neighbour from an advertisement (RFC 4861 section 7.2.5); returns the packets that
    /// waited for it. Ignores unknown neighbours, which were not solicited.
    pub(crate) fn on_advertisement(
        &mut self,
        address: IpAddr,
        answer: Confirmation,
        now: Instant,
    ) -> VecDeque<Waiting> {
        let Some(neighbour) = self.entries.peek_mut(&address) else {
            return VecDeque::new();
        };
        let known = neighbour.at();
        let is_new = answer.at.is_some_and(|at| Some(at) != known);
        let Some(at) = answer.at.or(known) else {
            // Still unresolved.
            return VecDeque::new();
        };
        if let Some(known) = known
            && is_new
            && !answer.is_override
        {
            if let State::Reachable { .. } = neighbour.state {
                neighbour.state = State::Stale { at: known };
            }
            return VecDeque::new();
        }
        if answer.is_solicited {
            neighbour.state = State::Reachable { at, until: now + answer.reachable_for };
        } else if is_new {
            neighbour.state = State::Stale { at };
        } else {
            return VecDeque::new();
        }
        release(&mut self.due, address, neighbour)
    }

    /// Whether a solicitation of this neighbour is outstanding.
    pub(crate) fn is_pending(&self, address: IpAddr) -> bool {
        self.entries.peek(&address).is_some_and(|neighbour| neighbour.due.is_some())
    }

    /// Whether packets wait for this neighbour's resolution.
    pub(crate) fn holds_packets_for(&self, address: IpAddr) -> bool {
        self.entries.peek(&address).is_some_and(|neighbour| !neighbour.waiting.is_empty())
    }

    /// Whether packets wait for any resolution.
    pub(crate) fn has_waiting(&self) -> bool {
        self.due.iter().any(|(_, address)| self.holds_packets_for(*address))
    }

    /// When the next timer expires.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes the next expired timer.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Due> {
        let (at, address) = *self.due.first().filter(|(at, _)| *at <= now)?;
        let Some(neighbour) = self.entries.peek_mut(&address) else {
            debug_assert!(false, "a due neighbour has an entry");
            self.due.remove(&(at, address));
            return Some(Due::Removed);
        };
        let (solicitations, at) = match &mut neighbour.state {
            State::Incomplete { solicitations } => (solicitations, None),
            State::Probe { at, solicitations } => (solicitations, Some(*at)),
            State::Reachable { .. } | State::Stale { .. } => {
                debug_assert!(false, "only incomplete neighbours and probes are due");
                set_due(&mut self.due, address, neighbour, None);
                return Some(Due::Removed);
            }
        };
        if *solicitations < SOLICITATIONS_MAX {
            *solicitations += 1;
            set_due(&mut self.due, address, neighbour, Some(now + RETRANS_TIMER));
            let for_packet = neighbour.waiting.front().map(|waiting| waiting.packet.clone());
            return Some(Due::Solicit { address, at, for_packet });
        }
        set_due(&mut self.due, address, neighbour, None);
        let waiting = self.entries.pop(&address).map(|neighbour| neighbour.waiting);
        Some(match waiting {
            Some(waiting) if !waiting.is_empty() => Due::Unresolved(waiting),
            _ => Due::Removed,
        })
    }

    /// Removes all entries; returns the number of packets that waited.
    pub(crate) fn clear(&mut self) -> usize {
        let waiting = self.entries.iter().map(|(_, neighbour)| neighbour.waiting.len()).sum();
        self.entries.clear();
        self.due.clear();
        waiting
    }

    /// All entries with hardware address and state, the most recently used first.
    pub(crate) fn iter(
        &self,
        now: Instant,
    ) -> impl Iterator<Item = (IpAddr, Option<MacAddr>, &'static str)> {
        self.entries.iter().map(move |(address, neighbour)| {
            let state = match neighbour.state {
                State::Incomplete { .. } => "INCOMPLETE",
                State::Reachable { until, .. } if until > now => "REACHABLE",
                State::Reachable { .. } | State::Stale { .. } => "STALE",
                State::Probe { .. } => "PROBE",
            };
            (*address, neighbour.at(), state)
        })
    }

    /// Adds a neighbour; returns the number of packets lost with evicted ones.
    fn insert(&mut self, address: IpAddr, state: State) -> usize {
        let mut lost = 0;
        while self.entries.len() >= self.max {
            let Some((oldest, neighbour)) = self.entries.pop_lru() else { break };
            if let Some(due) = neighbour.due {
                self.due.remove(&(due, oldest));
            }
            lost += neighbour.waiting.len();
        }
        let neighbour = Neighbour { state, due: None, waiting: VecDeque::new(), waiting_bytes: 0 };
        self.entries.put(address, neighbour);
        lost
    }
}

impl Neighbour {
    fn at(&self) -> Option<MacAddr> {
        match self.state {
            State::Incomplete { .. } => None,
            State::Reachable { at, .. } | State::Stale { at } | State::Probe { at, .. } => Some(at),
        }
    }
}

/// Stops a neighbour's timer, and takes the packets that wait for it.
fn release(
    due: &mut BTreeSet<(Instant, IpAddr)>,
    address: IpAddr,
    neighbour: &mut Neighbour,
) -> VecDeque<Waiting> {
    set_due(due, address, neighbour, None);
    neighbour.waiting_bytes = 0;
    std::mem::take(&mut neighbour.waiting)
}

fn set_due(
    due: &mut BTreeSet<(Instant, IpAddr)>,
    address: IpAddr,
    neighbour: &mut Neighbour,
    at: Option<Instant>,
) {
    if let Some(before) = neighbour.due {
        due.remove(&(before, address));
    }
    if let Some(at) = at {
        due.insert((at, address));
    }
    neighbour.due = at;
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
    const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn at(millis: i64) -> Instant {
        Instant::from_millis(millis)
    }

    fn neighbours(max: usize, queue_bytes_max: usize) -> Neighbours {
        Neighbours::new(max, queue_bytes_max, ahash::RandomState::with_seeds(1, 2, 3, 4))
    }

    fn packet(len: usize) -> Waiting {
        Waiting { packet: vec![7; len].into(), offload: Offload::default() }
    }

    fn answer(at: Option<MacAddr>, is_solicited: bool, is_override: bool) -> Confirmation {
        Confirmation { at, is_solicited, is_override, reachable_for: Duration::from_secs(30) }
    }

    fn state(table: &Neighbours, address: IpAddr, now: Instant) -> Option<&'static str> {
        table.iter(now).find(|entry| entry.0 == address).map(|entry| entry.2)
    }

    #[test]
    fn resolution_fails_after_three_solicitations() {
        let mut table = neighbours(10, 10_000);
        assert_eq!(table.resolve(ip(1), at(0)), None);
        assert_eq!(table.wait(ip(1), packet(1), at(0)), 0);
        assert_eq!(table.wait(ip(1), packet(2), at(500)), 0);

        for second in 0..3 {
            assert!(matches!(
                table.pop(at(second * 1000)),
                Some(Due::Solicit { at: None, for_packet: Some(_), .. })
            ));
            assert!(table.pop(at(second * 1000 + 999)).is_none());
        }
        let Some(Due::Unresolved(waiting)) = table.pop(at(3000)) else { panic!("given up") };

        assert_eq!(waiting.len(), 2);
        assert_eq!((table.entries.len(), table.next()), (0, None));
    }

    #[test]
    fn advertisement_releases_waiting_packets() {
        let mut table = neighbours(10, 10_000);
        table.wait(ip(1), packet(1), at(0));
        table.wait(ip(1), packet(2), at(0));

        let waiting = table.on_advertisement(ip(1), answer(Some(A), true, true), at(10));

        assert_eq!(waiting.iter().map(|w| w.packet.len()).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(table.resolve(ip(1), at(10)), Some(A));
        assert_eq!((table.next(), state(&table, ip(1), at(10))), (None, Some("REACHABLE")));
    }

    #[test]
    fn stale_neighbour_is_used_and_probed_then_removed_if_silent() {
        let mut table = neighbours(10, 10_000);
        table.wait(ip(1), packet(1), at(0));
        table.on_advertisement(ip(1), answer(Some(A), true, true), at(0));
        assert_eq!(table.resolve(ip(1), at(29_999)), Some(A));
        assert_eq!(table.next(), None);

        assert_eq!(table.resolve(ip(1), at(30_000)), Some(A));

        for second in 30..33 {
            assert!(matches!(table.pop(at(second * 1000)), Some(Due::Solicit { at: Some(A), .. })));
            assert_eq!(table.resolve(ip(1), at(second * 1000)), Some(A), "used meanwhile");
        }
        assert!(matches!(table.pop(at(33_000)), Some(Due::Removed)));
        assert_eq!(table.resolve(ip(1), at(33_000)), None);
    }

    #[test]
    fn unsolicited_messages_add_no_entry() {
        let mut table = neighbours(10, 10_000);

        table.on_advertisement(ip(1), answer(Some(A), true, true), at(0));
        table.on_unsolicited(ip(2), A, false);

        assert_eq!(table.entries.len(), 0);
    }

    /// The rules of RFC 4861 section 7.2.5 and appendix C.
    #[test]
    fn advertisement_changes_state_as_in_rfc_4861() {
        let cases = [
            // (known state is reachable, answer's address, solicited, override) → (at, state)
            ((true, Some(B), false, false), (A, "STALE")),
            ((true, Some(B), true, false), (A, "STALE")),
            ((false, Some(B), true, false), (A, "STALE")),
            ((true, Some(A), true, false), (A, "REACHABLE")),
            ((false, Some(A), true, false), (A, "REACHABLE")),
            ((false, None, true, false), (A, "REACHABLE")),
            ((true, Some(B), true, true), (B, "REACHABLE")),
            ((true, Some(B), false, true), (B, "STALE")),
            ((true, Some(A), false, true), (A, "REACHABLE")),
            ((false, Some(A), false, true), (A, "STALE")),
            ((false, None, false, true), (A, "STALE")),
        ];
        for ((is_reachable, link, is_solicited, is_override), expected) in cases {
            let mut table = neighbours(10, 10_000);
            table.on_unsolicited(ip(1), A, true);
            if is_reachable {
                table.on_advertisement(ip(1), answer(Some(A), true, true), at(0));
            }
            table.on_advertisement(ip(1), answer(link, is_solicited, is_override), at(0));

            let found = table.iter(at(0)).next().map(|(_, at, state)| (at, state));
            let case = (is_reachable, link, is_solicited, is_override);
            assert_eq!(found, Some((Some(expected.0), expected.1)), "{case:?}");
        }
    }

    #[test]
    fn full_queue_evicts_the_oldest_packets() {
        let mut table = neighbours(10, 3 * (100 + WAITING_OVERHEAD));
        let lost: Vec<_> = (0..5).map(|n| table.wait(ip(1), packet(96 + n), at(0))).collect();
        assert_eq!(lost, [0, 0, 0, 1, 1]);

        assert_eq!(table.wait(ip(1), packet(60_000), at(0)), 3, "one packet always fits");
        let waiting = table.on_advertisement(ip(1), answer(Some(A), true, true), at(0));
        assert_eq!(waiting.len(), 1);
    }

    #[test]
    fn least_recently_used_neighbour_is_evicted() {
        let mut table = neighbours(3, 10_000);
        for last in 1..=3 {
            table.on_unsolicited(ip(last), A, true);
            table.resolve(ip(last), at(0));
        }
        table.resolve(ip(1), at(1));

        assert_eq!(table.wait(ip(4), packet(1), at(1)), 0);

        assert_eq!(table.resolve(ip(2), at(1)), None);
        assert_eq!(table.resolve(ip(1), at(1)), Some(A));
        assert_eq!(table.entries.len(), 3);
        assert_eq!(table.due.len(), 3, "an evicted entry is not due");
    }

    #[test]
    fn neighbours_that_only_asked_are_evicted_first() {
        let mut table = neighbours(3, 10_000);
        for last in 1..=2 {
            table.on_unsolicited(ip(last), A, true);
            table.resolve(ip(last), at(0));
        }

        for last in 3..=200 {
            table.on_unsolicited(ip(last), B, true);
        }

        assert_eq!(table.entries.len(), 3);
        assert_eq!((table.resolve(ip(1), at(0)), table.resolve(ip(2), at(0))), (Some(A), Some(A)));
    }

    #[test]
    fn moved_neighbour_is_probed_at_its_new_address() {
        let mut table = neighbours(10, 10_000);
        table.on_unsolicited(ip(1), A, true);
        table.on_advertisement(ip(1), answer(Some(A), true, true), at(0));

        table.on_unsolicited(ip(1), B, false);

        assert_eq!(table.resolve(ip(1), at(1)), Some(B));
        assert!(matches!(table.pop(at(1)), Some(Due::Solicit { at: Some(B), .. })));
    }
}
