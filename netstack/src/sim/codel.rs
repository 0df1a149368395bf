//! CoDel, an active queue management (RFC 8289).

use std::time::Duration;
use tokio::time::Instant;

/// The parameters of CoDel, an active queue management (RFC 8289).
///
/// Once packets have waited for longer than `target` during a whole `interval`, packets are dropped
/// when they leave the queue, the `n`th of a row `interval / sqrt(n)` after the one before, until
/// one has waited for less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Codel {
    /// The acceptable minimum of waiting, by default 5 ms (RFC 8289 section 4.4).
    #[cfg_attr(feature = "serde", serde(with = "netcore::serial::micros"))]
    pub target: Duration,
    /// Over how long the minimum is taken, by default 100 ms: about the longest round trip of the
    /// connections (RFC 8289 section 4.3).
    #[cfg_attr(feature = "serde", serde(with = "netcore::serial::micros"))]
    pub interval: Duration,
}

impl Default for Codel {
    fn default() -> Self {
        Self { target: Duration::from_millis(5), interval: Duration::from_millis(100) }
    }
}

/// What CoDel remembers of a queue, in the names of RFC 8289 section 5.
#[derive(Debug, Default)]
pub(super) struct Dropper {
    /// When drops may begin if waiting stays above the target.
    first_above: Option<Instant>,
    /// When the next packet is dropped.
    drop_next: Option<Instant>,
    /// Drops since drops began.
    count: u32,
    /// `count` when drops began last.
    last_count: u32,
    is_dropping: bool,
}

/// A packet at the head of a queue.
pub(super) struct Head<T> {
    pub(super) packet: T,
    /// How long it has waited.
    pub(super) sojourn: Duration,
    /// What is left in the queue without it.
    pub(super) backlog_bytes: usize,
}

/// Drops that began again within so many intervals go on at the last rate.
const REMEMBERED_INTERVALS: u32 = 16;

impl Dropper {
    /// Takes the next packet that is not dropped from a queue; returns it and the number of those
    /// that were.
    pub(super) fn dequeue<T>(
        &mut self,
        codel: &Codel,
        mtu: usize,
        now: Instant,
        mut pop: impl FnMut() -> Option<Head<T>>,
    ) -> (Option<T>, u64) {
        let mut dropped = 0;
        let (mut head, mut may_drop) = self.judge(codel, mtu, now, pop());
        self.is_dropping &= may_drop;
        if self.is_dropping {
            while self.is_dropping && self.drop_next.is_some_and(|at| at <= now) {
                dropped += 1;
                self.count += 1;
                (head, may_drop) = self.judge(codel, mtu, now, pop());
                self.is_dropping = may_drop;
                if may_drop {
                    let last = self.drop_next.unwrap_or(now);
                    self.drop_next = Some(last + pause(codel, self.count));
                }
            }
        } else if may_drop {
            dropped += 1;
            (head, _) = self.judge(codel, mtu, now, pop());
            self.begin(codel, now);
        }
        (head, dropped)
    }

    /// Whether a packet may be dropped: `dodequeue` of RFC 8289 section 5.5.
    fn judge<T>(
        &mut self,
        codel: &Codel,
        mtu: usize,
        now: Instant,
        head: Option<Head<T>>,
    ) -> (Option<T>, bool) {
        let Some(head) = head else {
            self.first_above = None;
            return (None, false);
        };
        // A queue of one packet cannot be shorter.
        if head.sojourn < codel.target || head.backlog_bytes <= mtu {
            self.first_above = None;
            return (Some(head.packet), false);
        }
        let first_above = *self.first_above.get_or_insert(now + codel.interval);
        (Some(head.packet), first_above <= now)
    }

    /// Begins to drop, at the last rate if that was not long ago.
    fn begin(&mut self, codel: &Codel, now: Instant) {
        let delta = self.count - self.last_count;
        let remembered = codel.interval * REMEMBERED_INTERVALS;
        let is_recent = self.drop_next.is_some_and(|at| now < at + remembered);
        self.is_dropping = true;
        self.count = if delta > 1 && is_recent { delta } else { 1 };
        self.last_count = self.count;
        self.drop_next = Some(now + pause(codel, self.count));
    }
}

/// The control law: `interval / sqrt(count)`.
fn pause(codel: &Codel, count: u32) -> Duration {
    codel.interval.div_f64(f64::from(count).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);
    const MTU: usize = 1500;

    /// A queue that gives a packet each millisecond.
    struct Line {
        dropper: Dropper,
        start: Instant,
        millis: u32,
    }

    impl Line {
        fn new() -> Self {
            Self { dropper: Dropper::default(), start: Instant::now(), millis: 0 }
        }

        /// Takes packets for so many milliseconds that have waited for `sojourn`; returns when one was
        /// dropped.
        fn run(&mut self, millis: u32, sojourn: Duration, backlog_bytes: usize) -> Vec<u32> {
            let mut drops = Vec::new();
            for _ in 0..millis {
                let now = self.start + MILLISECOND * self.millis;
                let pop = || Some(Head { packet: (), sojourn, backlog_bytes });
                let (packet, dropped) = self.dropper.dequeue(&Codel::default(), MTU, now, pop);
                assert!(packet.is_some());
                drops.extend(vec![self.millis; dropped as usize]);
                self.millis += 1;
            }
            drops
        }
    }

    /// When the control law drops, after a first drop: rounded up to the next packet.
    fn law(first: u32, count: u32, drops: usize) -> Vec<u32> {
        let mut at = f64::from(first);
        let mut times = vec![first];
        for count in (count..).take(drops - 1) {
            at += 100.0 / f64::from(count).sqrt();
            times.push((at - 1e-6).ceil() as u32);
        }
        times
    }

    #[test]
    fn overload_is_dropped_by_the_control_law() {
        let drops = Line::new().run(3_000, MILLISECOND * 50, 100 * MTU);

        // The pauses between so many sum up to less than 2.9 s, and with one more they would not.
        assert_eq!(drops, law(100, 1, 232));
    }

    #[test]
    fn overload_that_returns_soon_is_dropped_at_the_last_rate() {
        let mut line = Line::new();
        let count = line.run(1_000, MILLISECOND * 50, 100 * MTU).len() as u32;
        assert_eq!(line.run(500, MILLISECOND, 100 * MTU), Vec::<u32>::new());

        let drops = line.run(1_000, MILLISECOND * 50, 100 * MTU);

        assert_eq!(drops, law(1_600, count - 1, drops.len()));
    }

    #[test]
    fn overload_that_returns_late_is_dropped_from_the_beginning() {
        let mut line = Line::new();
        line.run(1_000, MILLISECOND * 50, 100 * MTU);
        line.run(1_700, MILLISECOND, 100 * MTU);

        let drops = line.run(1_000, MILLISECOND * 50, 100 * MTU);

        assert_eq!(drops, law(2_800, 1, drops.len()));
    }

    #[test]
    fn burst_of_less_than_an_interval_is_not_dropped() {
        let mut line = Line::new();
        for _ in 0..10 {
            assert_eq!(line.run(100, MILLISECOND * 90, 100 * MTU), Vec::<u32>::new());
            assert_eq!(line.run(1, MILLISECOND * 4, 100 * MTU), Vec::<u32>::new());
        }
    }

    #[test]
    fn queue_of_one_packet_is_not_dropped() {
        assert_eq!(Line::new().run(1_000, MILLISECOND * 500, MTU), Vec::<u32>::new());
    }

    #[test]
    fn empty_queue_ends_the_drops() {
        let mut line = Line::new();
        line.run(300, MILLISECOND * 50, 100 * MTU);
        let now = line.start + MILLISECOND * 300;

        let (packet, dropped) =
            line.dropper.dequeue(&Codel::default(), MTU, now, || None::<Head<()>>);

        assert_eq!((packet, dropped), (None, 0));
        assert_eq!(line.run(99, MILLISECOND * 50, 100 * MTU), Vec::<u32>::new());
    }
}
