//! Configuration of a link.

use super::burst_loss::BurstLoss;
use super::codel::Codel;
use super::policer::Rate;
use super::queue::Limit;
use std::time::Duration;

/// Impairments of a link, for each of its two directions or for [one](super::Host::set_link_of).
///
/// The default has none: no delay, no loss, unlimited bandwidth, packets of up to 1,500 bytes.
/// Probabilities are from 0 to 1 and apply to each packet independently.
///
/// A packet meets the [policer](Self::police), the queue, the [bandwidth](Self::bandwidth), the
/// losses, the delay, in this order.
///
/// ```
/// use netstack::sim::LinkConfig;
/// use std::time::Duration;
///
/// let satellite =
/// LinkConfig::new().delay(Duration::from_millis(300)).bandwidth(2_000_000).loss(0.01);
///
/// // A router that buffers a quarter of a second.
/// let bloated = LinkConfig::new().bandwidth(10_000_000).queue_delay(Duration::from_millis(250));
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct LinkConfig {
    #[cfg_attr(feature = "serde", serde(with = "netcore::serial::micros"))]
    pub(super) delay: Duration,
    #[cfg_attr(feature = "serde", serde(with = "netcore::serial::micros"))]
    pub(super) jitter: Duration,
    #[cfg_attr(feature = "serde", serde(deserialize_with = "super::serialized::rate_option"))]
    pub(super) bits_per_second: Option<u64>,
    pub(super) queue: Limit,
    pub(super) codel: Option<Codel>,
    pub(super) has_ack_filter: bool,
    #[cfg_attr(
        feature = "serde",
        serde(
            serialize_with = "netcore::serial::micros::option::serialize",
            deserialize_with = "super::serialized::interval"
        )
    )]
    pub(super) aggregate: Option<Duration>,
    pub(super) policer: Option<Rate>,
    pub(super) mtu: usize,
    #[cfg_attr(feature = "serde", serde(deserialize_with = "super::serialized::probability"))]
    pub(super) loss: f64,
    pub(super) burst_loss: Option<BurstLoss>,
    #[cfg_attr(feature = "serde", serde(deserialize_with = "super::serialized::probability"))]
    pub(super) duplicate: f64,
    #[cfg_attr(feature = "serde", serde(deserialize_with = "super::serialized::probability"))]
    pub(super) reorder: f64,
    #[cfg_attr(feature = "serde", serde(deserialize_with = "super::serialized::probability"))]
    pub(super) corrupt: f64,
    pub(super) is_down: bool,
}

impl LinkConfig {
    /// A link that does no harm.
    pub fn new() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            bits_per_second: None,
            queue: Limit::Packets(1000),
            codel: None,
            has_ack_filter: false,
            aggregate: None,
            policer: None,
            mtu: 1500,
            loss: 0.0,
            burst_loss: None,
            duplicate: 0.0,
            reorder: 0.0,
            corrupt: 0.0,
            is_down: false,
        }
    }

    /// The one-way delay.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// The maximum extra delay, uniformly distributed. Packets stay in order.
    #[must_use]
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// How fast packets leave, in bits a second; the others wait in a queue. A change applies to the
    /// packets that wait too, and to the rest of the one in transmission.
    ///
    /// # Panics
    ///
    /// If it is zero.
    #[must_use]
    pub fn bandwidth(mut self, bits_per_second: u64) -> Self {
        assert!(bits_per_second > 0, "the bandwidth must not be zero: take the link down instead");
        self.bits_per_second = Some(bits_per_second);
        self
    }

    /// The capacity of the queue in front of the bandwidth, in packets, by default 1,000; packets
    /// beyond it are lost. The packet in transmission does not count.
    #[must_use]
    pub fn queue(mut self, packets: usize) -> Self {
        self.queue = Limit::Packets(packets);
        self
    }

    /// The capacity of the queue in bytes, instead of one in packets: a `bfifo` of Linux.
    #[must_use]
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.queue = Limit::Bytes(bytes);
        self
    }

    /// The capacity of the queue as a time, instead of one in packets: packets that would wait for
    /// longer at the current bandwidth are lost, as with the `latency` of Linux's `tbf`.
    #[must_use]
    pub fn queue_delay(mut self, longest: Duration) -> Self {
        self.queue = Limit::Delay(longest);
        self
    }

    /// Drops packets when they leave the queue, to keep it short (RFC 8289). The capacity still
    /// applies. Packets are not marked instead (ECN).
    #[must_use]
    pub fn codel(mut self, codel: Codel) -> Self {
        self.codel = Some(codel);
        self
    }

    /// Drops a TCP segment that only acknowledges from the queue when a later one of the same
    /// connection is queued, as the `ack-filter` of Linux's `cake`; duplicates and those with
    /// selective acknowledgments stay.
    #[must_use]
    pub fn ack_filter(mut self) -> Self {
        self.has_ack_filter = true;
        self
    }

    /// Lets packets leave in bursts only, one each `interval`: what was queued in the meantime leaves
    /// back to back, at the bandwidth if there is one. So radio and cable modems transmit, and it
    /// compresses a flow of ACKs.
    ///
    /// # Panics
    ///
    /// If it is zero.
    #[must_use]
    pub fn aggregate(mut self, interval: Duration) -> Self {
        assert!(!interval.is_zero(), "bursts must not leave all the time");
        self.aggregate = Some(interval);
        self
    }

    /// Loses packets beyond a rate in bits a second, instead of queueing them, but for a burst in
    /// bytes: a token bucket that is full at first, as `tc police`. Packets larger than the burst are
    /// always lost.
    ///
    /// # Panics
    ///
    /// If the rate is zero.
    #[must_use]
    pub fn police(mut self, bits_per_second: u64, burst_bytes: usize) -> Self {
        assert!(bits_per_second > 0, "the rate must not be zero: take the link down instead");
        self.policer = Some(Rate { bits_per_second, burst_bytes });
        self
    }

    /// The largest IP packet, in bytes; larger ones are lost. A host takes the MTU of its first
    /// link, and does not follow changes.
    #[must_use]
    pub fn mtu(mut self, bytes: usize) -> Self {
        self.mtu = bytes;
        self
    }

    /// The probability that a packet is lost.
    #[must_use]
    pub fn loss(mut self, probability: f64) -> Self {
        self.loss = checked(probability);
        self
    }

    /// Loses packets in bursts, besides those of [`loss`](Self::loss).
    ///
    /// # Panics
    ///
    /// If one of the probabilities is not from 0 to 1.
    #[must_use]
    pub fn burst_loss(mut self, model: BurstLoss) -> Self {
        self.burst_loss = Some(model.checked());
        self
    }

    /// The probability that a packet arrives twice.
    #[must_use]
    pub fn duplicate(mut self, probability: f64) -> Self {
        self.duplicate = checked(probability);
        self
    }

    /// The probability that a packet is held up for 1 to 10 ms, and those behind it are not.
    #[must_use]
    pub fn reorder(mut self, probability: f64) -> Self {
        self.reorder = checked(probability);
        self
    }

    /// The probability that one bit of a packet is turned over.
    #[must_use]
    pub fn corrupt(mut self, probability: f64) -> Self {
        self.corrupt = checked(probability);
        self
    }

    /// Makes the link lose everything.
    #[must_use]
    pub fn down(mut self) -> Self {
        self.is_down = true;
        self
    }

    /// Takes the link up again after [`down`](Self::down).
    #[must_use]
    pub fn up(mut self) -> Self {
        self.is_down = false;
        self
    }
}

impl LinkConfig {
    /// Whether packets have to wait.
    pub(super) fn has_queue(&self) -> bool {
        self.bits_per_second.is_some() || self.aggregate.is_some()
    }
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self::new()
    }
}

pub(super) fn checked(probability: f64) -> f64 {
    assert!((0.0..=1.0).contains(&probability), "{probability} is not a probability");
    probability
}
