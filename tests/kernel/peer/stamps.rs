//! The timestamps of a connection (RFC 7323), as the stack must have them.

use super::segment::{SYN, Segment};

/// What both ends have offered, and what the stack has received and sent.
#[derive(Debug, Default)]
pub(super) struct Stamps {
    /// The stack's SYN has them, and the peer's.
    offered: [bool; 2],
    /// TS.Recent.
    recent: u32,
    /// TSval of the last segment that was sent.
    clock: Option<u32>,
}

pub(super) const UNSTAMPED: &str = "a segment without timestamps, or with unwanted ones";
pub(super) const ECHO: &str = "an echo of another timestamp than the last";
pub(super) const CLOCK: &str = "a clock that goes back";

impl Stamps {
    fn are_agreed(&self) -> bool {
        self.offered == [true; 2]
    }

    /// Whether the peer's SYN has them.
    pub(super) fn are_offered_by_peer(&self) -> bool {
        self.offered[1]
    }

    /// Whether a received segment is older than what came before (section 5.3). One tick less may be a
    /// clock that was read in another order.
    pub(super) fn is_stale(&self, segment: &Segment) -> bool {
        self.are_agreed()
            && segment.stamp.is_some_and(|(value, _)| (self.recent.wrapping_sub(value) as i32) > 1)
    }

    /// Takes an acceptable segment that begins where the last acknowledgement that was sent says, or
    /// before (section 4.3).
    pub(super) fn received(&mut self, segment: &Segment) {
        if segment.has(SYN) {
            self.offered[1] = segment.stamp.is_some();
        }
        if let Some((value, _)) = segment.stamp
            && (segment.has(SYN) || value.wrapping_sub(self.recent) as i32 >= 0)
        {
            self.recent = value;
        }
    }

    /// Takes a segment of the stack; returns the rule that it breaks.
    pub(super) fn sent(&mut self, segment: &Segment, has_heard: bool) -> Option<&'static str> {
        if segment.has(SYN) {
            self.offered[0] = segment.stamp.is_some();
        }
        let is_wanted = if segment.has(SYN) { self.offered[0] } else { self.are_agreed() };
        if segment.stamp.is_some() != is_wanted {
            return Some(UNSTAMPED);
        }
        let (value, echo) = segment.stamp?;
        let before = self.clock.replace(value);
        if before.is_some_and(|before| (value.wrapping_sub(before) as i32) < 0) {
            return Some(CLOCK);
        }
        (echo != if has_heard { self.recent } else { 0 }).then_some(ECHO)
    }
}
