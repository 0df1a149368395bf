//! One direction of a link.

use super::link::{LinkConfig, LinkCounters};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// One direction of a link: its queue, its random numbers and its counters.
#[derive(Debug)]
pub(super) struct Lane {
    random: StdRng,
    pub(super) counters: LinkCounters,
    /// When each packet in the queue will have left, oldest first.
    departures: VecDeque<Instant>,
    /// When the last packet that was not held up arrives; none behind it does so earlier.
    last_arrival: Option<Instant>,
}

/// The extra delay of a reordered packet, in microseconds.
const HOLD_UP_MICROS: std::ops::RangeInclusive<u64> = 1_000..=10_000;

impl Lane {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            counters: LinkCounters::default(),
            departures: VecDeque::new(),
            last_arrival: None,
        }
    }

    /// Takes a packet; returns what arrives of it, and when.
    pub(super) fn carry(
        &mut self,
        link: &LinkConfig,
        now: Instant,
        packet: Bytes,
    ) -> Vec<(Instant, Bytes)> {
        self.counters.sent += 1;
        if link.is_down {
            self.counters.lost_down += 1;
            return Vec::new();
        }
        if packet.len() > link.mtu {
            self.counters.lost_mtu += 1;
            return Vec::new();
        }
        let Some(departure) = self.departure(link, now, packet.len()) else {
            self.counters.lost_queue += 1;
            return Vec::new();
        };
        if self.random.random_bool(link.loss) {
            self.counters.lost += 1;
            return Vec::new();
        }
        // A copy: a packet in flight must not keep a buffer that it shared with others.
        let mut packets = vec![Bytes::copy_from_slice(&packet)];
        if self.random.random_bool(link.duplicate) {
            self.counters.duplicated += 1;
            packets.push(packets[0].clone());
        }
        let arrive = |packet| (self.arrival(link, departure), self.damage(link, packet));
        packets.into_iter().map(arrive).collect()
    }

    /// When a packet has left, or `None` if the queue has no room for it.
    fn departure(&mut self, link: &LinkConfig, now: Instant, bytes: usize) -> Option<Instant> {
        let Some(bits_per_second) = link.bits_per_second else { return Some(now) };
        while self.departures.front().is_some_and(|departure| *departure <= now) {
            self.departures.pop_front();
        }
        // The first of them is being transmitted, and no longer queued.
        if self.departures.len() > link.queue_packets {
            return None;
        }
        let begin = self.departures.back().copied().unwrap_or(now);
        let nanos = bytes as u64 * 8 * 1_000_000_000 / bits_per_second;
        let departure = begin + Duration::from_nanos(nanos);
        self.departures.push_back(departure);
        Some(departure)
    }

    fn arrival(&mut self, link: &LinkConfig, departure: Instant) -> Instant {
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

    fn damage(&mut self, link: &LinkConfig, packet: Bytes) -> Bytes {
        if packet.is_empty() || !self.random.random_bool(link.corrupt) {
            return packet;
        }
        self.counters.corrupted += 1;
        let mut damaged = packet.to_vec();
        let bit = self.random.random_range(0..damaged.len() * 8);
        damaged[bit / 8] ^= 1 << (bit % 8);
        damaged.into()
    }
}
