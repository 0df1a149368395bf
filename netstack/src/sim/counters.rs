//! Counters of a link.

use std::time::Duration;

/// Counters of one direction of a link, in packets.
///
/// Once nothing is under way, `sent + duplicated` is the sum of `arrived` and all that was lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
pub struct LinkCounters {
    /// Given to the link.
    pub sent: u64,
    /// Handed over at its end, copies included.
    pub arrived: u64,
    /// Lost at random, or by a filter.
    pub lost: u64,
    /// Lost by the model of [`LinkConfig::burst_loss`](super::LinkConfig::burst_loss).
    pub lost_burst: u64,
    /// Lost because the link was down.
    pub lost_down: u64,
    /// Lost because the queue was full.
    pub lost_queue: u64,
    /// Lost by the queue's CoDel.
    pub lost_codel: u64,
    /// ACKs lost because a later one of their connection was queued.
    pub lost_ack_filter: u64,
    /// Lost by the policer.
    pub lost_policer: u64,
    /// Lost because they were larger than the MTU.
    pub lost_mtu: u64,
    /// Sent on twice.
    pub duplicated: u64,
    /// Held up, so that others could overtake.
    pub reordered: u64,
    /// Sent on with one bit turned over.
    pub corrupted: u64,
    /// How long all packets that left the queue have waited in it, until their transmission began.
    #[cfg_attr(feature = "serde", serde(with = "netcore::serial::micros"))]
    pub waited: Duration,
}
