//! The scoreboard: what is in flight, what has arrived, and what is lost (RFC 6675, RFC 8985).

mod rate;

use self::rate::Sample;
use super::counts::Counts;
use super::rack::Rack;
use crate::tcp::RetransmitRule;
use crate::time::Instant;
use std::collections::VecDeque;

/// The segments between SND.UNA and SND.NXT, in order and without gaps. Positions count the
/// stream's bytes from 0; the FIN takes one.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    segments: VecDeque<Segment>,
    /// Bytes that are in the network, as far as is known: neither acknowledged nor lost.
    pipe: u64,
    /// Bytes that are lost and were not sent again.
    lost: u64,
    /// Segments that are selectively acknowledged.
    sacked: usize,
    /// No segment before this position is lost.
    lost_from: u64,
    /// Bytes that have arrived, in all.
    delivered: u64,
    delivered_at: Instant,
    /// When the first segment of the running rate sample left.
    first_sent_at: Instant,
    /// The bytes that were delivered when the application had nothing more to send; until they are,
    /// rate samples say nothing of the path.
    app_limited_until: u64,
    rack: Rack,
    /// A peer may acknowledge single bytes: with so many segments it splits no more of them.
    split_max: usize,
    /// Whether the congestion controller wants to know the delivery rate.
    measures_rate: bool,
    /// The blocks that the last acknowledgement had: it mostly repeats them.
    blocks: [(u64, u64); 3],
    /// The millisecond in which what the running acknowledgement answers has left (RFC 7323), or a
    /// time that is later than all.
    answered: i64,
    sample: Sample,
    counts: Counts,
}

/// One segment, or one packet of several that the link cuts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) start: u64,
    pub(crate) end: u64,
    sent_at: Instant,
    first_sent_at: Instant,
    /// As they were when it left.
    delivered: u64,
    delivered_at: Instant,
    is_app_limited: bool,
    is_retransmitted: bool,
    is_sacked: bool,
    /// By which rule it is lost, if it is and was not sent again.
    lost: Option<RetransmitRule>,
}

/// What an acknowledgement has brought.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    /// Bytes that have arrived, by it.
    pub(crate) bytes: u64,
    /// Since the oldest and the newest of the segments left that were sent once.
    pub(crate) rtt: Option<(u64, u64)>,
    /// Bytes that had been sent again, and whose first transmission has arrived.
    pub(crate) spurious: u64,
    /// The bytes that were delivered when the newest of them left.
    pub(crate) delivered_before: Option<u64>,
    /// Bytes a second, and whether the application limited them.
    pub(crate) rate: Option<(u64, bool)>,
}

/// A segment that has been sent again is acknowledged for its first transmission if that comes in
/// less than this many tenths of the shortest round trip.
const SPURIOUS_TENTHS: u64 = 9;
/// So many segments behind a gap make it a loss (RFC 8985 section 6.2, DupThresh of RFC 5681).
const DUP_THRESHOLD: usize = 3;

impl Flight {
    pub(crate) fn new(measures_rate: bool, split_max: usize) -> Self {
        Self { measures_rate, split_max, answered: i64::MAX, ..Self::default() }
    }

    pub(crate) fn set_measures_rate(&mut self, measures: bool) {
        self.measures_rate = measures;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    pub(crate) fn pipe(&self) -> u64 {
        self.pipe
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// When late segments are taken for lost, if there are any.
    pub(crate) fn reordering_due(&self) -> Option<Instant> {
        self.rack.due
    }

    /// Whether something has arrived behind a gap.
    pub(crate) fn has_sacked(&self) -> bool {
        self.sacked > 0
    }

    /// Bytes that were sent again and have not arrived.
    pub(crate) fn retransmitted(&self) -> u64 {
        let again =
            self.segments.iter().filter(|segment| segment.is_retransmitted && !segment.is_sacked);
        again.map(|segment| segment.end - segment.start).sum()
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(crate) fn counts_mut(&mut self) -> &mut Counts {
        &mut self.counts
    }

    /// The application has nothing more to send now.
    pub(crate) fn set_app_limited(&mut self) {
        self.app_limited_until = (self.delivered + self.pipe).max(1);
    }

    /// Notes a segment that has left for the first time.
    pub(crate) fn on_sent(&mut self, start: u64, end: u64, now: Instant) {
        if self.segments.is_empty() {
            (self.first_sent_at, self.delivered_at) = (now, now);
        }
        self.segments.push_back(Segment {
            start,
            end,
            sent_at: now,
            first_sent_at: self.first_sent_at,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            is_app_limited: self.app_limited_until > self.delivered,
            is_retransmitted: false,
            is_sacked: false,
            lost: None,
        });
        self.pipe += end - start;
    }

    /// Notes that the bytes from `start` to `end` of a segment were sent again.
    pub(crate) fn on_sent_again(&mut self, start: u64, end: u64, now: Instant) {
        let mut index = self.segments.partition_point(|segment| segment.end <= start);
        if self.segments.get(index).is_some_and(|segment| segment.start < start) {
            self.split(index, start);
            index += 1;
        }
        if self.segments.get(index).is_some_and(|segment| segment.end > end) {
            self.split(index, end);
        }
        let (first_sent_at, delivered, delivered_at) =
            (self.first_sent_at, self.delivered, self.delivered_at);
        let is_app_limited = self.app_limited_until > delivered;
        let Some(segment) = self.segments.get_mut(index) else { return };
        if segment.lost.take().is_some() {
            self.lost -= segment.end - segment.start;
            self.pipe += segment.end - segment.start;
        }
        *segment = Segment {
            sent_at: now,
            first_sent_at,
            delivered,
            delivered_at,
            is_app_limited,
            is_retransmitted: true,
            ..*segment
        };
        if self.lost_from == start {
            self.lost_from = segment.end;
        }
    }

    /// The first lost segment, and by which rule it is.
    pub(crate) fn first_lost(&mut self) -> Option<(u64, u64, RetransmitRule)> {
        if self.lost == 0 {
            return None;
        }
        let from = self.index_of(self.lost_from);
        let mut behind = self.segments.range(from..);
        let found = behind.find_map(|segment| Some((segment.start, segment.end, segment.lost?)));
        debug_assert!(found.is_some(), "what is lost lies behind `lost_from`");
        self.lost_from = found.map_or(0, |(start, ..)| start);
        found
    }

    /// The last segment that has not arrived, for a probe.
    pub(crate) fn last_outstanding(&self) -> Option<(u64, u64)> {
        let found = self.segments.iter().rev().find(|segment| !segment.is_sacked);
        found.map(|segment| (segment.start, segment.end))
    }

    /// Notes in which millisecond what the next acknowledgement answers has left, if that is known.
    pub(crate) fn set_answered(&mut self, millis: Option<i64>) {
        self.answered = millis.unwrap_or(i64::MAX);
    }

    /// Takes an acknowledgement of everything before `ack`, and of `blocks`. Blocks that lie
    /// outside of what is in flight are passed over.
    pub(crate) fn on_ack(
        &mut self,
        ack: u64,
        blocks: &[(u64, u64)],
        now: Instant,
        min_rtt: Option<u64>,
    ) -> Delivery {
        let mut delivery = Delivery::default();
        let mut newest: Option<Segment> = None;
        while let Some(&front) = self.segments.front()
            && front.start < ack
        {
            if front.end > ack {
                if !front.is_sacked {
                    self.split(0, ack);
                    continue;
                }
                self.segments[0].start = ack;
                break;
            }
            self.segments.pop_front();
            if front.is_sacked {
                self.sacked -= 1;
            } else {
                self.deliver(front, now, min_rtt, &mut delivery, &mut newest);
            }
        }
        // Blocks are of segments behind the one that it answers.
        self.answered = i64::MAX;
        for &block in blocks {
            self.on_block(block, now, min_rtt, &mut delivery, &mut newest);
        }
        for (known, block) in self.blocks.iter_mut().zip(blocks.iter().chain(&[(0, 0); 3])) {
            *known = *block;
        }
        if let Some(newest) = newest {
            self.first_sent_at = newest.sent_at;
            delivery.delivered_before = Some(newest.delivered);
            self.sample = Sample {
                sent_at: newest.sent_at,
                first_sent_at: newest.first_sent_at,
                delivered: newest.delivered,
                delivered_at: newest.delivered_at,
                is_app_limited: newest.is_app_limited,
                acked_at: now,
            };
            if self.measures_rate {
                delivery.rate = self.rate(min_rtt);
            }
        }
        delivery
    }

    fn on_block(
        &mut self,
        (left, right): (u64, u64),
        now: Instant,
        min_rtt: Option<u64>,
        delivery: &mut Delivery,
        newest: &mut Option<Segment>,
    ) {
        // What a block of the last acknowledgement had is known.
        let known = self.blocks.iter().find(|known| left <= known.0 && known.1 <= right);
        let parts = match known {
            Some(&(from, to)) if from < to => [(left, from), (to, right)],
            _ => [(left, right), (0, 0)],
        };
        for (left, right) in parts {
            if left >= right {
                continue;
            }
            let mut index = self.segments.partition_point(|segment| segment.end <= left);
            while let Some(&segment) = self.segments.get(index)
                && segment.start < right
            {
                if segment.is_sacked {
                    index += 1;
                    continue;
                }
                let is_cut = segment.start < left || segment.end > right;
                if is_cut && self.segments.len() >= self.split_max {
                    index += 1;
                    continue;
                }
                if segment.start < left {
                    self.split(index, left);
                    index += 1;
                    continue;
                }
                if segment.end > right {
                    self.split(index, right);
                }
                let segment = self.segments[index];
                self.deliver(segment, now, min_rtt, delivery, newest);
                let segment = &mut self.segments[index];
                (segment.is_sacked, segment.lost) = (true, None);
                self.sacked += 1;
                index += 1;
            }
        }
    }

    /// Counts a segment that has arrived.
    fn deliver(
        &mut self,
        segment: Segment,
        now: Instant,
        min_rtt: Option<u64>,
        delivery: &mut Delivery,
        newest: &mut Option<Segment>,
    ) {
        let bytes = segment.end - segment.start;
        if segment.lost.is_some() {
            self.lost -= bytes;
            if !segment.is_retransmitted {
                self.rack.has_seen_reordering = true;
                self.counts.reordered += 1;
            }
        } else {
            self.pipe -= bytes;
        }
        self.delivered += bytes;
        self.delivered_at = now;
        delivery.bytes += bytes;
        if newest.is_none_or(|newest| segment.sent_at >= newest.sent_at) {
            *newest = Some(segment);
        }
        let since = now.micros_since(segment.sent_at);
        if segment.is_retransmitted {
            if min_rtt.is_some_and(|min| since < min * SPURIOUS_TENTHS / 10) {
                delivery.spurious += bytes;
                self.counts.spurious += 1;
                return;
            }
            if self.answered < segment.sent_at.total_millis() {
                // It may be of the first transmission (RFC 8985 section 6.2, step 2).
                self.counts.spurious += 1;
                return;
            }
        } else {
            let (oldest, newest) = delivery.rtt.unwrap_or((since, since));
            delivery.rtt = Some((oldest.max(since), newest.min(since)));
            if segment.end < self.rack.highest {
                let usual = min_rtt.map_or(self.rack.rtt, |min| min.min(self.rack.rtt));
                self.rack.reordering = self.rack.reordering.max(since.saturating_sub(usual));
                self.rack.has_seen_reordering = true;
                self.counts.reordered += u32::from(segment.lost.is_none());
            }
        }
        self.rack.on_delivered((segment.sent_at, segment.end), since);
    }

    /// Marks what RACK takes for lost (RFC 8985 section 6.2), by `rule` unless DupThresh alone makes
    /// it a loss; returns the bytes.
    pub(crate) fn detect_losses(
        &mut self,
        now: Instant,
        srtt: u64,
        min_rtt: u64,
        is_in_recovery: bool,
        rule: RetransmitRule,
    ) -> u64 {
        self.rack.due = None;
        let Some(rack_sent_at) = self.rack.sent_at else { return 0 };
        let is_past_threshold = self.sacked >= DUP_THRESHOLD;
        let window = self.rack.window(srtt, min_rtt, is_in_recovery || is_past_threshold);
        let mut lost = 0;
        for index in 0..self.segments.len() {
            let segment = &mut self.segments[index];
            let is_older = (segment.sent_at, segment.end) < (rack_sent_at, self.rack.end);
            if !is_older && segment.start >= self.rack.highest {
                break;
            }
            if segment.is_sacked || segment.lost.is_some() || !is_older {
                continue;
            }
            let due = segment.sent_at.plus_micros(self.rack.rtt + window);
            if due <= now {
                let is_by_threshold = window == 0 && is_past_threshold && !is_in_recovery;
                let rule = if is_by_threshold { RetransmitRule::DupThresh } else { rule };
                lost += self.mark_lost(index, rule);
            } else {
                self.rack.due = Some(self.rack.due.map_or(due, |first| first.min(due)));
            }
        }
        lost
    }

    /// Marks the first segment lost that has not arrived (RFC 6582, for peers without selective
    /// acknowledgements); returns its bytes.
    pub(crate) fn mark_first_lost(&mut self, rule: RetransmitRule) -> u64 {
        let is_out = |first: &Segment| !first.is_sacked && first.lost.is_none();
        if self.segments.front().is_some_and(is_out) { self.mark_lost(0, rule) } else { 0 }
    }

    /// Marks everything lost that has not arrived. If that is not the first segment, the peer has
    /// dropped what it had acknowledged selectively (RFC 2018 section 8): then it is everything.
    pub(crate) fn mark_all_lost(&mut self, rule: RetransmitRule) {
        if self.segments.front().is_some_and(|first| first.is_sacked) {
            for segment in self.segments.iter_mut().filter(|segment| segment.is_sacked) {
                segment.is_sacked = false;
                self.pipe += segment.end - segment.start;
            }
            self.sacked = 0;
            self.blocks = [(0, 0); 3];
        }
        for index in 0..self.segments.len() {
            let segment = &self.segments[index];
            if !segment.is_sacked && segment.lost.is_none() {
                self.mark_lost(index, rule);
            }
        }
    }

    /// Takes nothing for lost any more.
    pub(crate) fn unmark_lost(&mut self) {
        if self.lost > 0 {
            let lost = self.segments.iter_mut().filter(|segment| segment.lost.is_some());
            lost.for_each(|segment| segment.lost = None);
            self.pipe += self.lost;
            (self.lost, self.lost_from) = (0, 0);
        }
    }

    fn mark_lost(&mut self, index: usize, rule: RetransmitRule) -> u64 {
        let segment = &mut self.segments[index];
        segment.lost = Some(rule);
        let bytes = segment.end - segment.start;
        self.pipe -= bytes;
        self.lost += bytes;
        self.counts.lost_bytes += bytes;
        self.lost_from = match self.lost == bytes {
            true => segment.start,
            false => self.lost_from.min(segment.start),
        };
        bytes
    }

    /// A retransmission was not needed: waits longer for late segments from now on.
    pub(crate) fn on_spurious(&mut self) {
        self.rack.widen();
    }

    /// The index of the segment that begins at `start`, or of the first behind it.
    fn index_of(&self, start: u64) -> usize {
        self.segments.partition_point(|segment| segment.start < start)
    }

    fn split(&mut self, index: usize, at: u64) {
        let segment = &mut self.segments[index];
        let rest = Segment { start: at, ..*segment };
        segment.end = at;
        self.sacked += usize::from(segment.is_sacked);
        self.segments.insert(index + 1, rest);
    }
}

#[cfg(test)]
mod tests;
