//! When what has arrived is acknowledged (RFC 9293 section 3.8.6.3, RFC 5681 section 4.2).

use crate::time::Instant;
use std::time::Duration;

/// The acknowledgement that this end owes its peer.
#[derive(Debug)]
pub(crate) struct Acks {
    /// One is to be sent that no segment has carried so far.
    is_owed: bool,
    /// When what waits is acknowledged at the latest.
    due: Option<Instant>,
    /// Bytes that wait to be acknowledged.
    waiting: usize,
    /// The largest payload that the peer has sent.
    segment_bytes: u32,
    /// Segments still to be acknowledged at once, since the peer's window is small at first.
    quick: u8,
}

/// How long a lone segment may wait for its acknowledgement (Linux: `TCP_DELACK_MIN`).
const DELAY: Duration = Duration::from_millis(40);
/// How many segments of a new connection are acknowledged at once (Linux: `TCP_MAX_QUICKACKS`).
const QUICK: u8 = 16;
/// As many as come.
const QUICK_ALL: u8 = u8::MAX;

impl Default for Acks {
    fn default() -> Self {
        Self { is_owed: false, due: None, waiting: 0, segment_bytes: 0, quick: QUICK }
    }
}

impl Acks {
    /// Has the peer acknowledged with the next segment, or on its own.
    pub(crate) fn owe(&mut self) {
        self.is_owed = true;
    }

    /// Whether an acknowledgement is to be sent that no segment has carried.
    pub(crate) fn is_owed(&self) -> bool {
        self.is_owed
    }

    /// The largest payload that the peer has sent, in bytes.
    pub(crate) fn segment_bytes(&self) -> u32 {
        self.segment_bytes
    }

    /// When the next one is due, if one waits.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Takes the next bytes in order. A lone segment may wait; more bytes than fit into one are
    /// acknowledged at once.
    pub(crate) fn on_data(&mut self, bytes: usize, mss: usize, now: Instant) {
        self.segment_bytes = self.segment_bytes.max(bytes.min(mss) as u32);
        self.waiting += bytes;
        let is_quick = self.quick > 0;
        if (1..QUICK_ALL).contains(&self.quick) {
            self.quick -= 1;
        }
        if is_quick || self.waiting > self.segment_bytes as usize {
            self.is_owed = true;
        } else {
            self.due.get_or_insert(now + DELAY);
        }
    }

    /// Looks at the time.
    pub(crate) fn on_timer(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            self.is_owed = true;
        }
    }

    /// A segment has left, and acknowledges all that has arrived.
    pub(crate) fn on_sent(&mut self) {
        (self.is_owed, self.due, self.waiting) = (false, None, 0);
    }

    /// Whether each segment is acknowledged at once (TCP_QUICKACK).
    pub(crate) fn set_quick(&mut self, all: bool) {
        self.quick = match (all, self.quick) {
            (true, _) => QUICK_ALL,
            (false, QUICK_ALL) => 0,
            (false, left) => left,
        };
    }
}
