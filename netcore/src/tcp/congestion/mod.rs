//! Congestion control: how much a connection may have in flight, and how fast it sends.

mod algorithm;
mod bbr;
mod cubic;
mod hystart;
mod reno;

pub use algorithm::{Algorithm, CongestionControl};
pub use bbr::Bbr;
pub use cubic::Cubic;
pub use reno::Reno;

use crate::time::Instant;
use std::fmt;
use std::time::Duration;

/// Decides how much a connection may have in flight.
///
/// The stack finds out what has arrived and what is lost (RFC 6675, RFC 8985) and calls these
/// methods in the order in which it learns. While it repairs a loss it sends by proportional rate
/// reduction (RFC 6937) toward [`window`](Self::window), unless the controller
/// [paces](Self::pacing_rate).
pub trait CongestionController: fmt::Debug + Send {
    /// The congestion window, in bytes.
    fn window(&self) -> u64;

    /// How many bytes a second may leave; `None` sends whatever the window allows at once.
    fn pacing_rate(&self) -> Option<u64> {
        None
    }

    /// Whether [`Acked::delivery_rate`] is to be measured.
    fn measures_rate(&self) -> bool {
        false
    }

    /// The slow-start threshold (RFC 5681), in bytes, if there is one: shown in
    /// [`TcpInfo`](crate::tcp::TcpInfo).
    fn slow_start_threshold(&self) -> Option<u64> {
        None
    }

    /// Its state in a word: shown in [`TcpInfo`](crate::tcp::TcpInfo).
    fn state(&self) -> &'static str {
        ""
    }

    /// Bytes have arrived.
    fn on_acked(&mut self, acked: &Acked);

    /// A segment was found to be lost, the first in a round trip.
    fn on_lost(&mut self, lost: &Lost);

    /// The retransmission timeout has passed: nothing is known to arrive any more.
    fn on_timeout(&mut self, lost: &Lost);

    /// What the last call of [`on_lost`](Self::on_lost) or [`on_timeout`](Self::on_timeout) was
    /// about has arrived after all: takes the reduction back.
    fn on_spurious(&mut self) {}

    /// Nothing was sent for so many retransmission timeouts (RFC 9293, RFC 5681 section 4.1).
    fn on_idle(&mut self, timeouts: u32) {
        let _ = timeouts;
    }

    /// Segments have another size from now on, in bytes of payload.
    fn set_mss(&mut self, mss: u32);
}

/// What an acknowledgement says.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Acked {
    /// When it came.
    pub now: Instant,
    /// Bytes that have arrived, by it: cumulatively and selectively acknowledged.
    pub bytes: u64,
    /// Bytes that were found to be lost by it, and since the acknowledgement before it.
    pub lost: u64,
    /// Bytes that were in flight before it.
    pub in_flight_before: u64,
    /// Bytes that are in flight now.
    pub in_flight: u64,
    /// The round trip of what it acknowledges, if that was sent once.
    pub rtt: Option<Duration>,
    /// The shortest round trip, and the smoothed one (RFC 6298).
    pub min_rtt: Duration,
    /// The smoothed round trip (RFC 6298).
    pub smoothed_rtt: Duration,
    /// Counts round trips: one more whenever what was sent after the last change is acknowledged.
    pub round: u64,
    /// Whether what is in flight was limited by the window, and not by the application or the peer.
    pub is_window_limited: bool,
    /// Bytes a second at which data has arrived.
    pub delivery_rate: Option<u64>,
    /// Whether that was limited by the application.
    pub is_app_limited: bool,
    /// Whether a loss is being repaired.
    pub is_in_recovery: bool,
}

/// What is lost.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Lost {
    /// When that was found.
    pub now: Instant,
    /// Bytes that were in flight before.
    pub in_flight: u64,
    /// Bytes that were found lost now.
    pub bytes: u64,
}

/// The states of controllers that begin slowly (RFC 5681).
const SLOW_START: &str = "slow_start";
const CONGESTION_AVOIDANCE: &str = "congestion_avoidance";

/// The window that a connection begins with (RFC 6928), in bytes.
pub(super) fn initial_window(mss: u32) -> u64 {
    u64::from(mss) * 10
}

/// The smallest window after a loss (RFC 5681 section 3.1), in bytes.
pub(super) fn least_window(mss: u32) -> u64 {
    u64::from(mss) * 2
}
