//! The timestamps of a connection (RFC 7323 sections 3 to 5).

use super::sequence::is_after;
use crate::time::Instant;

/// The timestamps option of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// TSval: the sender's clock.
    pub(crate) value: u32,
    /// TSecr: the TSval that it has received and answers.
    pub(crate) echo: u32,
}

/// The timestamps of one connection: its clock, and the last value of the peer's.
///
/// The clock has milliseconds, as Linux's, and an offset by the 4-tuple: it tells nobody how long
/// the machine has been up (RFC 7323 section 7.1), and goes on where an earlier connection between
/// the same ends had it (RFC 6191).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timestamps {
    state: State,
    offset: u32,
    /// The time of the running turn.
    now: Instant,
    /// TS.Recent.
    recent: u32,
    /// When it was received.
    recent_at: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Off,
    /// In this end's SYN.
    Offered,
    /// In both ends' SYNs.
    Agreed,
}

/// The option as it stands in segments behind the SYN, aligned by two no-operations (RFC 7323
/// appendix A), in bytes.
pub(crate) const STAMP_BYTES: usize = 12;
/// After so long without a segment TS.Recent may be of an earlier turn of the peer's clock (RFC 7323
/// section 5.5).
const RECENT_MICROS_MAX: u64 = 24 * 24 * 3600 * 1_000_000;

impl Timestamps {
    /// The timestamps of a connection that offers or accepts them if it has an offset.
    pub(crate) fn new(offset: Option<u32>) -> Self {
        Self {
            state: if offset.is_some() { State::Offered } else { State::Off },
            offset: offset.unwrap_or_default(),
            now: Instant::ZERO,
            recent: 0,
            recent_at: Instant::ZERO,
        }
    }

    /// Whether SYNs have them.
    pub(crate) fn is_offered(&self) -> bool {
        self.state != State::Off
    }

    /// Whether all segments have them.
    pub(crate) fn is_agreed(&self) -> bool {
        self.state == State::Agreed
    }

    /// Bytes that they take in the header of each segment behind the SYN.
    #[inline]
    pub(crate) fn option_bytes(&self) -> usize {
        if self.is_agreed() { STAMP_BYTES } else { 0 }
    }

    /// Segments leave and arrive at this time from now on.
    #[inline]
    pub(crate) fn set_time(&mut self, now: Instant) {
        self.now = now;
    }

    /// Takes what the peer's SYN has.
    pub(crate) fn on_syn(&mut self, stamp: Option<Stamp>) {
        match stamp {
            Some(stamp) if self.is_offered() => {
                self.state = State::Agreed;
                self.keep(stamp.value);
            }
            // Both ends have to have them in their SYN, or neither has.
            _ => self.state = State::Off,
        }
    }

    /// Takes the value of an acceptable segment that begins at or before the last acknowledgement
    /// sent (RFC 7323 section 4.3).
    #[inline]
    pub(crate) fn on_segment(&mut self, value: u32) {
        if self.recent().is_none_or(|recent| !is_after(recent, value)) {
            self.keep(value);
        }
    }

    fn keep(&mut self, value: u32) {
        (self.recent, self.recent_at) = (value, self.now);
    }

    /// TS.Recent, if segments are to be compared with it (RFC 7323 section 5.3).
    #[inline]
    pub(crate) fn recent(&self) -> Option<u32> {
        let is_young = self.now.micros_since(self.recent_at) < RECENT_MICROS_MAX;
        (self.is_agreed() && is_young).then_some(self.recent)
    }

    /// What the next segment has.
    #[inline]
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp { value: clock(self.now, self.offset), echo: self.recent }
    }

    /// What is left of them in TIME-WAIT, if they were agreed on.
    pub(crate) fn last(&self) -> Option<LastStamps> {
        self.is_agreed().then_some(LastStamps { offset: self.offset, recent: self.recent })
    }

    /// How many milliseconds ago this end has sent what a segment answers.
    #[inline]
    pub(crate) fn age(&self, stamp: Option<Stamp>) -> Option<u32> {
        let echo = stamp.filter(|_| self.is_agreed())?.echo;
        // A peer may echo what was never sent.
        Some(self.stamp().value.wrapping_sub(echo)).filter(|age| *age < u32::MAX / 2)
    }
}

/// What TIME-WAIT needs of the timestamps of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LastStamps {
    offset: u32,
    recent: u32,
}

impl LastStamps {
    /// What an answer has.
    pub(crate) fn stamp(&self, now: Instant) -> Stamp {
        Stamp { value: clock(now, self.offset), echo: self.recent }
    }

    /// Whether a segment is older than the connection's last one (PAWS).
    pub(crate) fn is_newer_than(&self, stamp: Option<Stamp>) -> bool {
        stamp.is_some_and(|stamp| is_after(self.recent, stamp.value))
    }

    /// Whether a segment is newer than the connection's last one.
    pub(crate) fn is_older_than(&self, stamp: Option<Stamp>) -> bool {
        stamp.is_some_and(|stamp| is_after(stamp.value, self.recent))
    }
}

/// Milliseconds, from an offset on.
#[inline]
fn clock(now: Instant, offset: u32) -> u32 {
    (now.total_millis() as u32).wrapping_add(offset)
}

impl Stamp {
    /// The option, aligned.
    #[inline]
    pub(crate) fn option(self) -> [u8; STAMP_BYTES] {
        let mut option = [1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0];
        option[4..8].copy_from_slice(&self.value.to_be_bytes());
        option[8..].copy_from_slice(&self.echo.to_be_bytes());
        option
    }

    /// The value of the option.
    #[inline]
    pub(crate) fn read(value: &[u8; 8]) -> Self {
        let [a, b, c, d, e, f, g, h] = *value;
        Self { value: u32::from_be_bytes([a, b, c, d]), echo: u32::from_be_bytes([e, f, g, h]) }
    }
}
