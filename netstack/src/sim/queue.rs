//! The queue in front of a link, and the packet that leaves it.

use super::codel::{Dropper, Head};
use super::counters::LinkCounters;
use super::link::LinkConfig;
use super::pure_ack::PureAck;
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// When a queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub(super) enum Limit {
    Packets(usize),
    Bytes(usize),
    /// The longest that a packet may wait.
    Delay(#[cfg_attr(feature = "serde", serde(with = "netcore::serial::micros"))] Duration),
}

/// A packet and its number, which orders those that arrive at the same time.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) number: u64,
    pub(super) packet: Bytes,
    since: Instant,
    ack: Option<PureAck>,
}

/// Packets that wait, and the one that is being transmitted.
///
/// It has no timer of its own: it makes up for the time that has passed whenever it is asked, in
/// the order of what happened.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Backlog,
    /// The packet in transmission, and when it will have left.
    sending: Option<(Instant, Queued)>,
    /// When the last one left; no transmission begins before.
    free_at: Instant,
    /// Bursts leave at this time and whole intervals after it.
    epoch: Instant,
    dropper: Dropper,
}

#[derive(Debug, Default)]
struct Backlog {
    packets: VecDeque<Queued>,
    bytes: usize,
}

/// How long a packet takes at a rate.
pub(super) fn transmission_time(bytes: usize, bits_per_second: u64) -> Duration {
    let nanos = bytes as u128 * 8 * 1_000_000_000 / u128::from(bits_per_second);
    Duration::from_nanos(nanos as u64)
}

impl Queue {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            waiting: Backlog::default(),
            sending: None,
            free_at: now,
            epoch: now,
            dropper: Dropper::default(),
        }
    }

    /// Adds a packet. Those that have left by now must have been taken out.
    pub(super) fn push(
        &mut self,
        link: &LinkConfig,
        now: Instant,
        (number, packet): (u64, Bytes),
        counters: &mut LinkCounters,
    ) {
        let ack = if link.has_ack_filter { PureAck::parse(&packet) } else { None };
        if let Some(ack) = &ack {
            counters.lost_ack_filter += self.waiting.remove_covered(ack);
        }
        if !self.has_room(link, now, packet.len()) {
            counters.lost_queue += 1;
            return;
        }
        self.waiting.bytes += packet.len();
        self.waiting.packets.push_back(Queued { number, packet, since: now, ack });
    }

    /// Takes out the next packet that has left by now, and when it did.
    pub(super) fn pop(
        &mut self,
        link: &LinkConfig,
        now: Instant,
        counters: &mut LinkCounters,
    ) -> Option<(Instant, Queued)> {
        while self.sending.is_none() {
            let start = self.start(link).filter(|start| *start <= now)?;
            self.begin(link, start, counters);
        }
        let (left, packet) = self.sending.take_if(|(departure, _)| *departure <= now)?;
        self.free_at = left;
        Some((left, packet))
    }

    /// When the next packet leaves, or a time before that.
    pub(super) fn next(&self, link: &LinkConfig) -> Option<Instant> {
        let departure = self.sending.as_ref().map(|(departure, _)| *departure);
        departure.or_else(|| self.start(link))
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.packets.len() + usize::from(self.sending.is_some())
    }

    /// Goes on with another link. Those that have left by now must have been taken out.
    pub(super) fn change(&mut self, old: &LinkConfig, new: &LinkConfig, now: Instant) {
        if old.codel != new.codel {
            self.dropper = Dropper::default();
        }
        self.free_at = self.free_at.max(now);
        if old.bits_per_second != new.bits_per_second
            && let Some((departure, _)) = &mut self.sending
        {
            let bits = |link: &LinkConfig| link.bits_per_second.map(u128::from);
            let left = (*departure - now).as_nanos() * bits(old).unwrap_or(0);
            let left = bits(new).map_or(0, |bits| left / bits);
            *departure = now + Duration::from_nanos(left as u64);
        }
    }

    /// When the transmission of the first packet that waits begins.
    fn start(&self, link: &LinkConfig) -> Option<Instant> {
        let head = self.waiting.packets.front()?;
        Some(self.free_at.max(burst(link, self.epoch, head.since)))
    }

    /// Begins to transmit the next packet, if CoDel leaves one.
    fn begin(&mut self, link: &LinkConfig, now: Instant, counters: &mut LinkCounters) {
        let (waiting, epoch) = (&mut self.waiting, self.epoch);
        let mut pop = || {
            // What follows a dropped packet may belong to a later burst.
            waiting.packets.front().filter(|head| burst(link, epoch, head.since) <= now)?;
            let head = waiting.packets.pop_front()?;
            waiting.bytes -= head.packet.len();
            let sojourn = now - head.since;
            Some(Head { packet: head, sojourn, backlog_bytes: waiting.bytes })
        };
        let packet = match &link.codel {
            None => pop().map(|head| head.packet),
            Some(codel) => {
                let (packet, dropped) = self.dropper.dequeue(codel, link.mtu, now, pop);
                counters.lost_codel += dropped;
                packet
            }
        };
        let Some(packet) = packet else { return };
        counters.waited += now - packet.since;
        let bytes = packet.packet.len();
        let time = link.bits_per_second.map(|rate| transmission_time(bytes, rate));
        self.sending = Some((now + time.unwrap_or_default(), packet));
    }

    fn has_room(&self, link: &LinkConfig, now: Instant, bytes: usize) -> bool {
        if self.sending.is_none() && self.waiting.packets.is_empty() {
            return true;
        }
        match link.queue {
            Limit::Packets(limit) => self.waiting.packets.len() < limit,
            Limit::Bytes(limit) => self.waiting.bytes + bytes <= limit,
            Limit::Delay(limit) => {
                let free_at = self.sending.as_ref().map_or(self.free_at, |(at, _)| *at);
                let start = free_at.max(burst(link, self.epoch, now));
                let rate = link.bits_per_second;
                let before = rate.map(|rate| transmission_time(self.waiting.bytes, rate));
                (start - now) + before.unwrap_or_default() <= limit
            }
        }
    }
}

impl Backlog {
    /// Drops what a new ACK covers; returns how many that were.
    fn remove_covered(&mut self, ack: &PureAck) -> u64 {
        let before = self.packets.len();
        self.packets.retain(|packet| {
            let is_covered = packet.ack.is_some_and(|earlier| earlier.is_covered_by(ack));
            if is_covered {
                self.bytes -= packet.packet.len();
            }
            !is_covered
        });
        (before - self.packets.len()) as u64
    }
}

/// When the burst leaves for which a packet of this time waits.
fn burst(link: &LinkConfig, epoch: Instant, since: Instant) -> Instant {
    let Some(interval) = link.aggregate else { return since };
    let interval = interval.as_nanos();
    let bursts = (since - epoch).as_nanos().div_ceil(interval);
    epoch + Duration::from_nanos((bursts * interval) as u64)
}
