//! One direction of a link.

use super::counters::LinkCounters;
use super::link::LinkConfig;
use super::policer::Policer;
use super::queue::Queue;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;
use tokio::time::Instant;

/// One direction of a link: its queue, its random numbers and its counters.
#[derive(Debug)]
pub(super) struct Lane {
    link: LinkConfig,
    /// Bytes of a packet that its link's MTU does not count.
    header_bytes: usize,
    random: StdRng,
    pub(super) counters: LinkCounters,
    policer: Option<Policer>,
    queue: Queue,
    /// Whether the model of burst losses is in its bad state.
    is_bad: bool,
    /// When the last packet that was not held up arrives; none behind it does so earlier.
    last_arrival: Option<Instant>,
}

/// A packet that is on its way, and when it arrives. Those that arrive at the same time are ordered
/// as they were sent.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Flight {
    pub(super) at: Instant,
    number: u64,
    pub(super) packet: Bytes,
}

/// The extra delay of a reordered packet, in microseconds.
const HOLD_UP_MICROS: std::ops::RangeInclusive<u64> = 1_000..=10_000;

impl Lane {
    pub(super) fn new(link: LinkConfig, seed: u64, now: Instant) -> Self {
        Self {
            policer: link.policer.map(|rate| Policer::new(rate, now)),
            link,
            header_bytes: 0,
            random: StdRng::seed_from_u64(seed),
            counters: LinkCounters::default(),
            queue: Queue::new(now),
            is_bad: false,
            last_arrival: None,
        }
    }

    /// With so many bytes in front of each IP packet.
    pub(super) fn with_header(self, header_bytes: usize) -> Self {
        Self { header_bytes, ..self }
    }

    pub(super) fn link(&self) -> &LinkConfig {
        &self.link
    }

    /// Changes the link for what waits and for what comes. [`advance`](Self::advance) is due before
    /// and after it.
    pub(super) fn set_link(&mut self, link: LinkConfig, now: Instant) {
        self.queue.change(&self.link, &link, now);
        if self.link.policer != link.policer {
            self.policer = link.policer.map(|rate| Policer::new(rate, now));
        }
        self.link = link;
    }

    /// Takes a packet. Numbers must increase. What leaves at once is given to `fly`.
    pub(super) fn carry(
        &mut self,
        now: Instant,
        number: u64,
        packet: Bytes,
        mut fly: impl FnMut(Flight),
    ) {
        self.advance(now, &mut fly);
        self.counters.sent += 1;
        if self.link.is_down {
            self.counters.lost_down += 1;
            return;
        }
        if packet.len() > self.link.mtu + self.header_bytes {
            self.counters.lost_mtu += 1;
            return;
        }
        if self.policer.as_mut().is_some_and(|policer| !policer.admits(packet.len(), now)) {
            self.counters.lost_policer += 1;
            return;
        }
        // A copy: a packet in flight must not keep a buffer that it shared with others.
        let packet = Bytes::copy_from_slice(&packet);
        if self.link.has_queue() {
            self.queue.push(&self.link, now, (number, packet), &mut self.counters);
            self.advance(now, fly);
        } else {
            self.leave(now, number, packet, fly);
        }
    }

    /// Gives what has left the queue by now to `fly`.
    pub(super) fn advance(&mut self, now: Instant, mut fly: impl FnMut(Flight)) {
        while let Some((at, queued)) = self.queue.pop(&self.link, now, &mut self.counters) {
            self.leave(at, queued.number, queued.packet, &mut fly);
        }
    }

    /// When [`advance`](Self::advance) is due: before anything in the queue can arrive.
    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.next(&self.link).map(|departure| departure + self.link.delay)
    }

    /// How many packets are in the queue.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Does to a packet what happens to it after the queue.
    fn leave(
        &mut self,
        departure: Instant,
        number: u64,
        packet: Bytes,
        mut fly: impl FnMut(Flight),
    ) {
        if let Some(model) = &self.link.burst_loss
            && model.loses(&mut self.is_bad, &mut self.random)
        {
            self.counters.lost_burst += 1;
            return;
        }
        if self.random.random_bool(self.link.loss) {
            self.counters.lost += 1;
            return;
        }
        let copy = self.random.random_bool(self.link.duplicate).then(|| packet.clone());
        self.counters.duplicated += u64::from(copy.is_some());
        for (packet, number) in [Some(packet), copy].into_iter().flatten().zip(2 * number..) {
            let at = self.arrival(departure);
            fly(Flight { at, number, packet: self.damage(packet) });
        }
    }

    fn arrival(&mut self, departure: Instant) -> Instant {
        let link = &self.link;
        let arrival =
            departure + link.delay + self.random.random_range(Duration::ZERO..=link.jitter);
        if self.random.random_bool(link.reorder) {
            self.counters.reordered += 1;
            return arrival + Duration::from_micros(self.random.random_range(HOLD_UP_MICROS));
        }
        let arrival = self.last_arrival.map_or(arrival, |last| last.max(arrival));
        self.last_arrival = Some(arrival);
        arrival
    }

    fn damage(&mut self, packet: Bytes) -> Bytes {
        if packet.is_empty() || !self.random.random_bool(self.link.corrupt) {
            return packet;
        }
        self.counters.corrupted += 1;
        let mut damaged = packet.to_vec();
        let bit = self.random.random_range(0..damaged.len() * 8);
        damaged[bit / 8] ^= 1 << (bit % 8);
        damaged.into()
    }
}

#[cfg(test)]
mod tests;
