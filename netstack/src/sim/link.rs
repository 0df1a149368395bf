//! Configuration and counters of a link.

use std::time::Duration;

/// Impairments of a link, for each of its two directions.
///
/// The default has none: no delay, no loss, unlimited bandwidth, packets of up to 1,500 bytes.
/// Probabilities are from 0 to 1 and apply to each packet independently.
///
/// ```
/// use netstack::sim::LinkConfig;
/// use std::time::Duration;
///
/// let satellite =
/// LinkConfig::new().delay(Duration::from_millis(300)).bandwidth(2_000_000).loss(0.01);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LinkConfig {
    pub(super) delay: Duration,
    pub(super) jitter: Duration,
    pub(super) bits_per_second: Option<u64>,
    pub(super) queue_packets: usize,
    pub(super) mtu: usize,
    pub(super) loss: f64,
    pub(super) duplicate: f64,
    pub(super) reorder: f64,
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
            queue_packets: 1000,
            mtu: 1500,
            loss: 0.0,
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

    /// How fast packets leave, in bits a second; the others wait in a queue.
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
    /// beyond it are lost.
    #[must_use]
    pub fn queue(mut self, packets: usize) -> Self {
        self.queue_packets = packets;
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

impl Default for LinkConfig {
    fn default() -> Self {
        Self::new()
    }
}

fn checked(probability: f64) -> f64 {
    assert!((0.0..=1.0).contains(&probability), "{probability} is not a probability");
    probability
}

/// Counters of one direction of a link, in packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Given to the link.
    pub sent: u64,
    /// Handed over at its end, copies included.
    pub arrived: u64,
    /// Lost at random, or by a filter.
    pub lost: u64,
    /// Lost because the link was down.
    pub lost_down: u64,
    /// Lost because the queue was full.
    pub lost_queue: u64,
    /// Lost because they were larger than the MTU.
    pub lost_mtu: u64,
    /// Sent on twice.
    pub duplicated: u64,
    /// Held up, so that others could overtake.
    pub reordered: u64,
    /// Sent on with one bit turned over.
    pub corrupted: u64,
}
