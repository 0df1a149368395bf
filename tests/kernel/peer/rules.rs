//! What the stack must not do, by a capture of one of its connections.
//!
//! The capture was taken at the stack's device, so its order is exact: whatever stands before a sent
//! segment, the stack had received.

use super::segment::{ACK, FIN, RST, SYN, Segment};
use super::stamps::Stamps;
use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// One end of the connection. Numbers count from the SYN of the end that sends the bytes.
#[derive(Debug, Default)]
struct End {
    initial: u32,
    scale: Option<u8>,
    mss: Option<u16>,
    /// What this end has acknowledged of the other one's.
    acknowledged: u64,
    /// The same behind gaps: the end of each range by its start.
    sacked: BTreeMap<u64, u64>,
    /// The right edge of the window that this end has offered.
    edge: u64,
    /// The end of what this end has sent.
    sent: u64,
}

impl End {
    /// A number of this end's. A transfer here is far below 2 GiB.
    fn relative(&self, number: u32) -> u64 {
        // A keep-alive lies before the first byte.
        (number.wrapping_sub(self.initial) as i32).max(0) as u64
    }
}

/// Follows a connection and collects what breaks a rule.
#[derive(Debug, Default)]
pub(super) struct Rules {
    ours: End,
    theirs: End,
    pub(super) peer_has_sack: bool,
    pub(super) stamps: Stamps,
    /// What the stack has received: the end of each range by its start.
    received: BTreeMap<u64, u64>,
    /// The newest segment that left a gap before it.
    newest: Option<(u64, u64)>,
    pub(super) violations: Vec<String>,
    /// The highest acknowledgment number that was received, in whatever segment.
    received_number: u64,
    /// The frames with retransmissions of bytes that only unacceptable segments have acknowledged.
    pub(super) excused: HashSet<u64>,
    pub(super) seen: Seen,
}

/// How much there was to judge.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) sent: usize,
    pub(super) sent_again: usize,
    /// SACK blocks that were sent.
    pub(super) blocks: usize,
    /// Acknowledgements that close the window: the peer's, and the stack's.
    closed: [usize; 2],
    reneged: usize,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, sent_again, blocks, closed: [theirs, ours], reneged } = self;
        write!(f, "{sent} segments sent, {sent_again} again, {blocks} SACK blocks, ")?;
        write!(f, "{theirs} zero windows of the peer, {ours} sent, {reneged} times reneged")
    }
}

impl Rules {
    /// The next segment of the capture, in the frame with this number.
    pub(super) fn see(&mut self, is_sent: bool, frame: u64, segment: &Segment) {
        if segment.has(RST) {
            return;
        }
        if segment.has(SYN) {
            let end = if is_sent { &mut self.ours } else { &mut self.theirs };
            (end.initial, end.scale, end.mss) = (segment.sequence, segment.scale, segment.mss);
            if !is_sent {
                self.peer_has_sack = segment.has_sack_permitted;
            }
        }
        if is_sent { self.sent(frame, segment) } else { self.received(segment) }
    }

    /// By how many bits the window of a segment is shifted (RFC 7323 section 2.2): not at all in a
    /// SYN, nor unless both have sent the option.
    fn shift(&self, is_sent: bool, segment: &Segment) -> u8 {
        let (Some(ours), Some(theirs)) = (self.ours.scale, self.theirs.scale) else { return 0 };
        match segment.has(SYN) {
            true => 0,
            false => (if is_sent { ours } else { theirs }).min(14),
        }
    }

    fn received(&mut self, segment: &Segment) {
        let start = self.theirs.relative(segment.sequence);
        let end = start + segment.len();
        let expected = self.contiguous();
        // RFC 9293 section 3.10.7.4: what lies before the window is answered and dropped, as the
        // kernel's probes of a closed window are.
        let is_stale = self.stamps.is_stale(segment);
        let is_acceptable = (start >= expected || end > expected) && !is_stale;
        // An acknowledgement that another has overtaken is dropped, as the kernel does.
        let is_overtaken = end == start
            && segment.has(ACK)
            && self.ours.relative(segment.acknowledgment) < self.theirs.acknowledged;
        let is_recorded = segment.has(SYN) || start <= self.ours.acknowledged;
        if is_acceptable && is_recorded && !is_overtaken {
            self.stamps.received(segment);
        }
        if end > start && !is_stale {
            if segment.payload > 0 && start > expected {
                self.newest = Some((start, end));
            }
            insert(&mut self.received, start, end);
        }
        if segment.has(ACK) {
            let number = self.ours.relative(segment.acknowledgment);
            // The kernel may shrink its window; what it once offered may be in flight already.
            let edge = number + (u64::from(segment.window) << self.shift(false, segment));
            self.theirs.edge = self.theirs.edge.max(edge);
            self.received_number = self.received_number.max(number);
            self.seen.closed[0] += usize::from(segment.window == 0);
            if is_acceptable {
                self.is_acknowledged(segment, number);
            }
        }
    }

    /// Takes an acknowledgement of the peer.
    fn is_acknowledged(&mut self, segment: &Segment, number: u64) {
        let blocks: Vec<_> = segment
            .blocks
            .iter()
            .map(|(left, right)| (self.ours.relative(*left), self.ours.relative(*right)))
            .collect();
        let theirs = &mut self.theirs;
        theirs.acknowledged = theirs.acknowledged.max(number);
        for (left, right) in blocks.into_iter().filter(|(left, right)| left < right) {
            insert(&mut theirs.sacked, left, right);
        }
        // RFC 2018 section 8: what was acknowledged behind a gap may be discarded again. It was if
        // the gap before it is closed, and it does not count.
        let stands = theirs.acknowledged;
        if theirs.sacked.iter().any(|(left, right)| *left <= stands && stands < *right) {
            theirs.sacked.clear();
            self.seen.reneged += 1;
        }
    }

    fn sent(&mut self, frame: u64, segment: &Segment) {
        let start = self.ours.relative(segment.sequence);
        let end = start + segment.len();
        if end > start {
            if (self.theirs.acknowledged..self.received_number).contains(&start) {
                self.excused.insert(frame);
            }
            self.sent_numbers(segment, start, end);
        }
        let has_heard = segment.has(ACK);
        if let Some(rule) = self.stamps.sent(segment, has_heard) {
            self.require(false, rule, segment);
        }
        if has_heard {
            self.acknowledges(segment);
        }
    }

    /// A segment that carries bytes, a SYN or a FIN.
    fn sent_numbers(&mut self, segment: &Segment, start: u64, end: u64) {
        self.seen.sent += 1;
        self.seen.sent_again += usize::from(start < self.ours.sent);
        let theirs = &self.theirs;
        let has_arrived = theirs.sacked.iter().any(|(left, right)| start < *right && *left < end);
        let is_beyond = match segment.payload {
            // RFC 9293 section 3.8.6.1: a probe of a closed window has one byte behind it.
            1 => end > theirs.edge + 1 + u64::from(segment.has(FIN)),
            // RFC 9293 section 3.4: a FIN takes a number, and no room.
            payload => payload > 0 && start + payload as u64 > theirs.edge,
        };
        let mss = usize::from(theirs.mss.unwrap_or(536));
        for (is_broken, rule) in [
            (start < theirs.acknowledged, ACKNOWLEDGED),
            (has_arrived, SACKED),
            (is_beyond, BEYOND),
            (start > self.ours.sent, GAP),
            (segment.payload > mss, LARGE),
        ] {
            self.require(!is_broken, rule, segment);
        }
        self.ours.sent = self.ours.sent.max(end);
    }

    /// An acknowledgement of the stack.
    fn acknowledges(&mut self, segment: &Segment) {
        let shift = self.shift(true, segment);
        let number = self.theirs.relative(segment.acknowledgment);
        self.require(number >= self.ours.acknowledged, BACK, segment);
        self.require(number <= self.contiguous(), NOT_RECEIVED, segment);
        self.ours.acknowledged = self.ours.acknowledged.max(number);
        let edge = number + (u64::from(segment.window) << shift);
        // RFC 9293 section 3.8.6.2.1. Rounding may move the edge by less than a unit of the scale, and
        // a SYN has no room for a large window (RFC 7323 sections 2.4 and 2.2).
        let is_kept = segment.has(SYN) || edge + (1 << shift) > self.ours.edge;
        self.require(is_kept, SHRINKS, segment);
        self.ours.edge = self.ours.edge.max(edge);
        self.seen.closed[1] += usize::from(segment.window == 0);
        if !segment.blocks.is_empty() {
            self.acknowledges_behind_gaps(segment, number);
        }
    }

    fn acknowledges_behind_gaps(&mut self, segment: &Segment, number: u64) {
        self.seen.blocks += segment.blocks.len();
        let relative = |number| self.theirs.relative(number);
        let blocks: Vec<_> = segment
            .blocks
            .iter()
            .map(|(left, right)| (relative(*left), relative(*right)))
            .collect();
        let holds = |outer: (u64, u64), inner: (u64, u64)| outer.0 <= inner.0 && inner.1 <= outer.1;
        let all_received = blocks.iter().all(|block| {
            let before = self.received.range(..=block.0).next_back();
            block.0 < block.1 && before.is_some_and(|(start, end)| holds((*start, *end), *block))
        });
        // RFC 2883 section 4: the first may name a duplicate, of what was acknowledged or of what
        // another names, which is the second then.
        let duplicates = match &blocks[..] {
            [first, ..] if first.1 <= number => 1,
            [first, others @ ..] if others.iter().any(|other| holds(*other, *first)) => 1,
            _ => 0,
        };
        // RFC 2018 section 4: behind that stands the block with the newest segment.
        let newest = self.newest.filter(|newest| newest.0 > number);
        let has_newest = match (blocks.get(duplicates), newest) {
            (Some(first), Some(newest)) => holds(*first, newest),
            _ => true,
        };
        self.require(self.peer_has_sack, NOT_PERMITTED, segment);
        self.require(all_received, UNTRUE, segment);
        self.require(has_newest, NOT_NEWEST, segment);
    }

    /// The end of what the stack has received without a gap.
    fn contiguous(&self) -> u64 {
        self.received.get(&0).copied().unwrap_or(0)
    }

    fn require(&mut self, is_kept: bool, rule: &str, segment: &Segment) {
        if !is_kept {
            self.violations.push(format!("{rule}: {segment:?}"));
        }
    }
}

/// The names of the violations.
pub(super) const ACKNOWLEDGED: &str = "a retransmission of acknowledged bytes";
pub(super) const SACKED: &str = "a retransmission of selectively acknowledged bytes";
pub(super) const BEYOND: &str = "data beyond the offered window";
pub(super) const GAP: &str = "a gap in what was sent";
pub(super) const LARGE: &str = "a segment larger than the peer takes";
pub(super) const BACK: &str = "an acknowledgment number that goes back";
pub(super) const NOT_RECEIVED: &str = "an acknowledgment of what was not received";
pub(super) const SHRINKS: &str = "a window that shrinks";
pub(super) const NOT_PERMITTED: &str = "a SACK block for a peer without SACK";
pub(super) const UNTRUE: &str = "a SACK block of what was not received";
pub(super) const NOT_NEWEST: &str = "a first SACK block without the newest segment";

/// Adds a range, and merges those that it touches.
fn insert(ranges: &mut BTreeMap<u64, u64>, mut start: u64, mut end: u64) {
    while let Some((&from, &to)) = ranges.range(..=end).next_back() {
        if to < start {
            break;
        }
        ranges.remove(&from);
        (start, end) = (start.min(from), end.max(to));
    }
    ranges.insert(start, end);
}
