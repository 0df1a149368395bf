//! TIME-WAIT: 4-tuples of closed connections that are not reused for a while (RFC 9293 section
//! 3.6.1).

use crate::rate_limit::CHALLENGE_INTERVAL;
use crate::tcp::flow_table::FlowKey;
use crate::tcp::wire::LastWords;
use crate::time::Instant;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// A client that makes many connections to one server runs out of ports in TIME-WAIT. It may reuse
/// one after this time, with a sequence number past the old ones (as Linux does with
/// `tcp_tw_reuse`): by then the peer has repeated its FIN if it missed the last acknowledgement.
const REUSE_AFTER: Duration = Duration::from_secs(1);

/// Connections in TIME-WAIT: the numbers to answer with, and no buffers.
#[derive(Debug)]
pub(crate) struct TimeWait {
    entries: HashMap<FlowKey, Entry, ahash::RandomState>,
    /// In the order in which they end; an entry may have been renewed or removed since.
    order: VecDeque<(Instant, FlowKey)>,
    duration: Duration,
    max: usize,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    words: LastWords,
    ends: Instant,
    /// When the peer may be sent the next challenge.
    challenges_from: Instant,
}

impl TimeWait {
    pub(crate) fn new(duration: Duration, max: usize, hash_keys: ahash::RandomState) -> Self {
        Self { entries: HashMap::with_hasher(hash_keys), order: VecDeque::new(), duration, max }
    }

    /// Adds a closed connection; returns the one that had to make room, if any.
    pub(crate) fn insert(
        &mut self,
        flow: FlowKey,
        words: LastWords,
        now: Instant,
    ) -> Option<FlowKey> {
        let ends = now + self.duration;
        self.entries.insert(flow, Entry { words, ends, challenges_from: now });
        if self.order.len() > 2 * self.max {
            // Early reuse of a 4-tuple must not make this list grow.
            let entries = &self.entries;
            self.order.retain(|(ends, flow)| entries.get(flow).is_some_and(|e| e.ends == *ends));
        }
        self.order.push_back((ends, flow));
        (self.entries.len() > self.max).then(|| self.pop_oldest()).flatten()
    }

    pub(crate) fn get(&self, flow: &FlowKey) -> Option<LastWords> {
        self.entries.get(flow).map(|entry| entry.words)
    }

    /// Whether the peer may be sent a challenge again.
    pub(crate) fn may_challenge(&mut self, flow: &FlowKey, now: Instant) -> bool {
        let Some(entry) = self.entries.get_mut(flow) else {
            return false;
        };
        let may = entry.challenges_from <= now;
        if may {
            entry.challenges_from = now + CHALLENGE_INTERVAL;
        }
        may
    }

    /// Whether this end may begin a new connection between the same ends already.
    pub(crate) fn is_reusable(&self, flow: &FlowKey, now: Instant) -> bool {
        let began = |entry: &Entry| entry.ends - self.duration;
        self.entries.get(flow).is_some_and(|entry| began(entry) + REUSE_AFTER <= now)
    }

    /// Ends an entry early.
    pub(crate) fn remove(&mut self, flow: &FlowKey) {
        self.entries.remove(flow);
    }

    /// Takes an entry whose time is over.
    pub(crate) fn pop_expired(&mut self, now: Instant) -> Option<FlowKey> {
        while let Some((ends, flow)) = self.order.front().copied() {
            if ends > now {
                return None;
            }
            self.order.pop_front();
            if self.entries.get(&flow).is_some_and(|entry| entry.ends == ends) {
                self.entries.remove(&flow);
                return Some(flow);
            }
        }
        None
    }

    /// When the next entry may end.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.order.front().map(|(ends, _)| *ends)
    }

    pub(crate) fn flows(&self) -> impl Iterator<Item = &FlowKey> {
        self.entries.keys()
    }

    /// Those that end after `after`, the first first, and the end of the last of them if there are
    /// more: at least `max`, since all that end at once are read at once.
    pub(crate) fn page(
        &self,
        after: Instant,
        max: usize,
    ) -> (impl Iterator<Item = &FlowKey>, Option<Instant>) {
        let start = self.order.partition_point(|(ends, _)| *ends <= after);
        let last = self.order.get(start.saturating_add(max.max(1) - 1)).map(|(ends, _)| *ends);
        let end = match last {
            Some(last) => self.order.partition_point(|(ends, _)| *ends <= last),
            None => self.order.len(),
        };
        let next = last.filter(|_| end < self.order.len());
        let page = self.order.range(start..end);
        let is_current = |ends: Instant, flow: &FlowKey| {
            self.entries.get(flow).is_some_and(|entry| entry.ends == ends)
        };
        (page.filter(move |(ends, flow)| is_current(*ends, flow)).map(|(_, flow)| flow), next)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    fn pop_oldest(&mut self) -> Option<FlowKey> {
        while let Some((ends, flow)) = self.order.pop_front() {
            if self.entries.get(&flow).is_some_and(|entry| entry.ends == ends) {
                self.entries.remove(&flow);
                return Some(flow);
            }
        }
        None
    }
}
