//! Which hardware address each neighbour has (RFC 826, RFC 4861 section 7.3).
//!
//! One table for both families, since what is known of a neighbour and when it is asked again is
//! the same for both. It does not send: it says whom to ask.

use super::MacAddr;
use crate::link::Offload;
use crate::time::Instant;
use bytes::Bytes;
use lru::LruCache;
use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

/// The neighbours that packets were sent to, or that have asked for this stack.
#[derive(Debug)]
pub(crate) struct Neighbours {
    /// In the order in which they were sent something.
    entries: LruCache<IpAddr, Neighbour, ahash::RandomState>,
    /// Those that are being asked, and when the next question or the end of peer_timeouts is due.
    due: BTreeSet<(Instant, IpAddr)>,
    max: usize,
    queue_bytes_max: usize,
}

#[derive(Debug)]
struct Neighbour {
    state: State,
    /// Where it stands among those that are due.
    due: Option<Instant>,
    /// What is to be sent once its hardware address is known, in this order.
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its hardware address was never known. Asked for so many times.
    Incomplete { asked: u8 },
    /// It has answered lately.
    Reachable { at: MacAddr, until: Instant },
    /// Nobody knows whether it is still there.
    Stale { at: MacAddr },
    /// It was sent something since, and asked so many times whether it is still there.
    Probe { at: MacAddr, asked: u8 },
}

/// A packet that waits for a hardware address.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) packet: Bytes,
    pub(crate) offload: Offload,
}

/// What has come of time passing.
#[derive(Debug)]
pub(crate) enum Due {
    /// This neighbour is to be asked where it is.
    Ask {
        address: IpAddr,
        /// Where it was; `None` if everybody must be asked.
        at: Option<MacAddr>,
        /// The beginning of the packet that it is for.
        for_packet: Option<Bytes>,
    },
    /// It has never answered, and these will not be sent.
    GivenUp(VecDeque<Waiting>),
    /// It has not answered any more, and is forgotten.
    Forgotten,
}

/// What a neighbour that was asked has answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    /// Its hardware address, if it said so.
    pub(crate) at: Option<MacAddr>,
    /// Whether it answers a question, and so hears this stack.
    pub(crate) is_solicited: bool,
    /// Whether it is newer than what is known.
    pub(crate) is_override: bool,
    /// For how long it then counts as reachable.
    pub(crate) reachable_for: Duration,
}

/// How long a neighbour counts as reachable, on average (REACHABLE_TIME of RFC 4861 section 10).
pub(crate) const REACHABLE_MILLIS: u32 = 30_000;
/// How long it has to answer (RETRANS_TIMER).
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is asked (MAX_MULTICAST_SOLICIT and MAX_UNICAST_SOLICIT).
const QUESTIONS_MAX: u8 = 3;
/// What a packet counts in a queue besides its bytes.
const WAITING_OVERHEAD: usize = 128;

impl Neighbours {
    /// Keeps at most `max`, with packets of so many bytes waiting for each.
    pub(crate) fn new(max: usize, queue_bytes_max: usize, hasher: ahash::RandomState) -> Self {
        Self {
            entries: LruCache::unbounded_with_hasher(hasher),
            due: BTreeSet::new(),
            max: max.max(1),
            queue_bytes_max,
        }
    }

    /// Where to send a packet for `address`, if that is known. Has a neighbour asked that has not
    /// been heard for long.
    pub(crate) fn resolve(&mut self, address: IpAddr, now: Instant) -> Option<MacAddr> {
        let neighbour = self.entries.get_mut(&address)?;
        match neighbour.state {
            State::Reachable { at, until } if until > now => Some(at),
            State::Probe { at, .. } => Some(at),
            State::Reachable { at, .. } | State::Stale { at } => {
                neighbour.state = State::Probe { at, asked: 0 };
                set_due(&mut self.due, address, neighbour, Some(now));
                Some(at)
            }
            State::Incomplete { .. } => None,
        }
    }

    /// Keeps a packet until the hardware address of `address` is known, and has it asked for;
    /// returns how many packets had to make room for it.
    pub(crate) fn wait(&mut self, address: IpAddr, packet: Waiting, now: Instant) -> usize {
        let mut lost = 0;
        if self.entries.peek(&address).is_none() {
            lost += self.insert(address, State::Incomplete { asked: 0 });
        }
        let Some(neighbour) = self.entries.get_mut(&address) else { return lost };
        if neighbour.due.is_none() {
            set_due(&mut self.due, address, neighbour, Some(now));
        }
        let bytes = |waiting: &Waiting| waiting.packet.len() + WAITING_OVERHEAD;
        neighbour.waiting_bytes += bytes(&packet);
        neighbour.waiting.push_back(packet);
        // The newest stays, however large.
        while neighbour.waiting_bytes > self.queue_bytes_max && neighbour.waiting.len() > 1 {
            let oldest = neighbour.waiting.pop_front();
            neighbour.waiting_bytes -= oldest.as_ref().map_or(0, bytes);
            lost += 1;
        }
        lost
    }

    /// Notes that a neighbour says where it is, without having been asked; returns what waited for
    /// that, and how many packets others had to give up for it. Only with `may_add` is it kept if
    /// it was not known.
    pub(crate) fn hear(
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
            // Nothing was sent to it yet: a flood of those takes the place of no other.
            self.entries.demote(&address);
            return (VecDeque::new(), lost);
        };
        if neighbour.at() == Some(at) {
            return (VecDeque::new(), 0);
        }
        neighbour.state = State::Stale { at };
        (release(&mut self.due, address, neighbour), 0)
    }

    /// Notes that a neighbour has answered (RFC 4861 section 7.2.5); returns what waited for that.
    /// One that is not known is not kept: nobody asked.
    pub(crate) fn answered(
        &mut self,
        address: IpAddr,
        answer: Answer,
        now: Instant,
    ) -> VecDeque<Waiting> {
        let Some(neighbour) = self.entries.peek_mut(&address) else {
            return VecDeque::new();
        };
        let known = neighbour.at();
        let is_new = answer.at.is_some_and(|at| Some(at) != known);
        let Some(at) = answer.at.or(known) else {
            // Still nobody knows where it is.
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

    /// Whether a question to this neighbour is open.
    pub(crate) fn is_asked(&self, address: IpAddr) -> bool {
        self.entries.peek(&address).is_some_and(|neighbour| neighbour.due.is_some())
    }

    /// Whether packets wait until it is known where this neighbour is.
    pub(crate) fn holds_packets_for(&self, address: IpAddr) -> bool {
        self.entries.peek(&address).is_some_and(|neighbour| !neighbour.waiting.is_empty())
    }

    /// Whether packets wait until it is known where they go.
    pub(crate) fn has_waiting(&self) -> bool {
        self.due.iter().any(|(_, address)| self.holds_packets_for(*address))
    }

    /// When the next question is due, or the end of peer_timeouts.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes what is due.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Due> {
        let (at, address) = *self.due.first().filter(|(at, _)| *at <= now)?;
        let Some(neighbour) = self.entries.peek_mut(&address) else {
            debug_assert!(false, "what is due is known");
            self.due.remove(&(at, address));
            return Some(Due::Forgotten);
        };
        let (asked, at) = match &mut neighbour.state {
            State::Incomplete { asked } => (asked, None),
            State::Probe { at, asked } => (asked, Some(*at)),
            State::Reachable { .. } | State::Stale { .. } => {
                debug_assert!(false, "nobody asks those");
                set_due(&mut self.due, address, neighbour, None);
                return Some(Due::Forgotten);
            }
        };
        if *asked < QUESTIONS_MAX {
            *asked += 1;
            set_due(&mut self.due, address, neighbour, Some(now + PATIENCE));
            let for_packet = neighbour.waiting.front().map(|waiting| waiting.packet.clone());
            return Some(Due::Ask { address, at, for_packet });
        }
        set_due(&mut self.due, address, neighbour, None);
        let waiting = self.entries.pop(&address).map(|neighbour| neighbour.waiting);
        Some(match waiting {
            Some(waiting) if !waiting.is_empty() => Due::GivenUp(waiting),
            _ => Due::Forgotten,
        })
    }

    /// Forgets all of them; returns what has waited.
    pub(crate) fn clear(&mut self) -> usize {
        let waiting = self.entries.iter().map(|(_, neighbour)| neighbour.waiting.len()).sum();
        self.entries.clear();
        self.due.clear();
        waiting
    }

    /// All of them, the one that was sent something last at first, and what is known of each.
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

    /// Adds a neighbour; returns how many packets were lost with the one that made room.
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

/// Ends the questions to a neighbour, and takes what waited for the answer.
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

    fn answer(at: Option<MacAddr>, is_solicited: bool, is_override: bool) -> Answer {
        Answer { at, is_solicited, is_override, reachable_for: Duration::from_secs(30) }
    }

    fn state(table: &Neighbours, address: IpAddr, now: Instant) -> Option<&'static str> {
        table.iter(now).find(|entry| entry.0 == address).map(|entry| entry.2)
    }

    #[test]
    fn who_is_not_known_is_asked_for_three_times_and_then_given_up() {
        let mut table = neighbours(10, 10_000);
        assert_eq!(table.resolve(ip(1), at(0)), None);
        assert_eq!(table.wait(ip(1), packet(1), at(0)), 0);
        assert_eq!(table.wait(ip(1), packet(2), at(500)), 0);

        for second in 0..3 {
            assert!(matches!(
                table.pop(at(second * 1000)),
                Some(Due::Ask { at: None, for_packet: Some(_), .. })
            ));
            assert!(table.pop(at(second * 1000 + 999)).is_none());
        }
        let Some(Due::GivenUp(waiting)) = table.pop(at(3000)) else { panic!("given up") };

        assert_eq!(waiting.len(), 2);
        assert_eq!((table.entries.len(), table.next()), (0, None));
    }

    #[test]
    fn an_answer_releases_what_waits() {
        let mut table = neighbours(10, 10_000);
        table.wait(ip(1), packet(1), at(0));
        table.wait(ip(1), packet(2), at(0));

        let waiting = table.answered(ip(1), answer(Some(A), true, true), at(10));

        assert_eq!(waiting.iter().map(|w| w.packet.len()).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(table.resolve(ip(1), at(10)), Some(A));
        assert_eq!((table.next(), state(&table, ip(1), at(10))), (None, Some("REACHABLE")));
    }

    #[test]
    fn a_stale_neighbour_is_used_and_asked_and_forgotten_if_silent() {
        let mut table = neighbours(10, 10_000);
        table.wait(ip(1), packet(1), at(0));
        table.answered(ip(1), answer(Some(A), true, true), at(0));
        assert_eq!(table.resolve(ip(1), at(29_999)), Some(A));
        assert_eq!(table.next(), None);

        assert_eq!(table.resolve(ip(1), at(30_000)), Some(A));

        for second in 30..33 {
            assert!(matches!(table.pop(at(second * 1000)), Some(Due::Ask { at: Some(A), .. })));
            assert_eq!(table.resolve(ip(1), at(second * 1000)), Some(A), "used meanwhile");
        }
        assert!(matches!(table.pop(at(33_000)), Some(Due::Forgotten)));
        assert_eq!(table.resolve(ip(1), at(33_000)), None);
    }

    #[test]
    fn what_nobody_asked_for_adds_nothing() {
        let mut table = neighbours(10, 10_000);

        table.answered(ip(1), answer(Some(A), true, true), at(0));
        table.hear(ip(2), A, false);

        assert_eq!(table.entries.len(), 0);
    }

    /// The rules of RFC 4861 section 7.2.5 and appendix C.
    #[test]
    fn an_advertisement_changes_what_it_may() {
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
            table.hear(ip(1), A, true);
            if is_reachable {
                table.answered(ip(1), answer(Some(A), true, true), at(0));
            }
            table.answered(ip(1), answer(link, is_solicited, is_override), at(0));

            let found = table.iter(at(0)).next().map(|(_, at, state)| (at, state));
            let case = (is_reachable, link, is_solicited, is_override);
            assert_eq!(found, Some((Some(expected.0), expected.1)), "{case:?}");
        }
    }

    #[test]
    fn the_newest_packets_stay() {
        let mut table = neighbours(10, 3 * (100 + WAITING_OVERHEAD));
        let lost: Vec<_> = (0..5).map(|n| table.wait(ip(1), packet(96 + n), at(0))).collect();
        assert_eq!(lost, [0, 0, 0, 1, 1]);

        assert_eq!(table.wait(ip(1), packet(60_000), at(0)), 3, "one packet always fits");
        let waiting = table.answered(ip(1), answer(Some(A), true, true), at(0));
        assert_eq!(waiting.len(), 1);
    }

    #[test]
    fn who_was_not_sent_to_for_longest_makes_room() {
        let mut table = neighbours(3, 10_000);
        for last in 1..=3 {
            table.hear(ip(last), A, true);
            table.resolve(ip(last), at(0));
        }
        table.resolve(ip(1), at(1));

        assert_eq!(table.wait(ip(4), packet(1), at(1)), 0);

        assert_eq!(table.resolve(ip(2), at(1)), None);
        assert_eq!(table.resolve(ip(1), at(1)), Some(A));
        assert_eq!(table.entries.len(), 3);
        assert_eq!(table.due.len(), 3, "what is gone is not due");
    }

    #[test]
    fn who_only_asked_makes_room_first() {
        let mut table = neighbours(3, 10_000);
        for last in 1..=2 {
            table.hear(ip(last), A, true);
            table.resolve(ip(last), at(0));
        }

        for last in 3..=200 {
            table.hear(ip(last), B, true);
        }

        assert_eq!(table.entries.len(), 3);
        assert_eq!((table.resolve(ip(1), at(0)), table.resolve(ip(2), at(0))), (Some(A), Some(A)));
    }

    #[test]
    fn a_neighbour_that_moved_is_asked_at_its_new_place() {
        let mut table = neighbours(10, 10_000);
        table.hear(ip(1), A, true);
        table.answered(ip(1), answer(Some(A), true, true), at(0));

        table.hear(ip(1), B, false);

        assert_eq!(table.resolve(ip(1), at(1)), Some(B));
        assert!(matches!(table.pop(at(1)), Some(Due::Ask { at: Some(B), .. })));
    }
}
