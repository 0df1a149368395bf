//! Counters of a switch and its ports.

use std::sync::atomic::{AtomicU64, Ordering};

/// Frames, and their bytes with the Ethernet header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// How many frames.
    pub frames: u64,
    /// How many bytes they have together.
    pub bytes: u64,
}

/// Counters of a port, or of all ports of a switch.
///
/// While no frame is in flight, `received.frames - flooded + flood_copies` equals `sent.frames`
/// plus all dropped frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortStatistics {
    /// Frames received from the port.
    pub received: Traffic,
    /// Frames put into the port's queue. A packet that is cut behind the port counts once.
    pub sent: Traffic,
    /// Frames among those received that went to every other port.
    pub flooded: u64,
    /// To how many ports those went in all.
    pub flood_copies: u64,
    dropped: [u64; REASONS],
}

/// Why a frame was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SwitchDropReason {
    /// It came in and was shorter than an Ethernet header.
    Short,
    /// It came in and its source was no single interface.
    Source,
    /// Received, and addressed to the switch itself or its neighbours: such frames are not
    /// forwarded (IEEE 802.1D section 7.12.6).
    Reserved,
    /// It came in and its virtual LAN is not one of the port's.
    Vlan,
    /// Received and to be flooded, beyond
    /// [`flooded_frames_per_second`](super::SwitchConfig::flooded_frames_per_second).
    FloodRate,
    /// It came in from where its destination is.
    SamePort,
    /// Received and to be flooded, and there is no other port.
    NoPort,
    /// It was for the port and too large for it, and cannot be cut; or it came in and was larger
    /// than anything that can be sent.
    TooLarge,
    /// Forwarded to the port, whose queue was full.
    QueueFull,
    /// The port had been removed.
    Removed,
}

const REASONS: usize = 10;

impl SwitchDropReason {
    /// All of them.
    pub const ALL: [Self; REASONS] = [
        Self::Short,
        Self::Source,
        Self::Reserved,
        Self::Vlan,
        Self::FloodRate,
        Self::SamePort,
        Self::NoPort,
        Self::TooLarge,
        Self::QueueFull,
        Self::Removed,
    ];
}

impl PortStatistics {
    /// How many frames were dropped for this reason.
    pub fn dropped(&self, reason: SwitchDropReason) -> u64 {
        self.dropped[reason as usize]
    }

    /// How many frames were dropped for any reason.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    pub(super) fn drop(&mut self, reason: SwitchDropReason, frames: usize) {
        self.dropped[reason as usize] += frames as u64;
    }
}

impl Traffic {
    pub(super) fn add(&mut self, bytes: usize) {
        self.frames += 1;
        self.bytes += bytes as u64;
    }
}

/// Counted by many at once.
#[derive(Debug, Default)]
pub(super) struct Counters([AtomicU64; FIELDS]);

const FIELDS: usize = 6 + REASONS;

impl Counters {
    pub(super) fn add(&self, more: &PortStatistics) {
        for (counter, more) in self.0.iter().zip(more.fields()) {
            if more > 0 {
                counter.fetch_add(more, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn snapshot(&self) -> PortStatistics {
        let count = |index: usize| self.0[index].load(Ordering::Relaxed);
        PortStatistics {
            received: Traffic { frames: count(0), bytes: count(1) },
            sent: Traffic { frames: count(2), bytes: count(3) },
            flooded: count(4),
            flood_copies: count(5),
            dropped: std::array::from_fn(|index| count(6 + index)),
        }
    }
}

impl PortStatistics {
    fn fields(&self) -> impl Iterator<Item = u64> {
        let Self { received, sent, flooded, flood_copies, dropped } = *self;
        let traffic = [received.frames, received.bytes, sent.frames, sent.bytes];
        traffic.into_iter().chain([flooded, flood_copies]).chain(dropped)
    }
}
