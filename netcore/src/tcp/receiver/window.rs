//! How large the receive window is: by how fast the application reads.

use crate::time::Instant;

/// The receive buffer of a connection, which grows with what the application reads in a round trip
/// (as Linux's `tcp_rcv_space_adjust`).
#[derive(Debug)]
pub(crate) struct RecvBuffer {
    /// Bytes that may be unread.
    limit: usize,
    max: usize,
    /// When the round trip began that is measured, and the bytes that had been read by then.
    from: Option<(Instant, u64)>,
    /// The most bytes that were read in a round trip.
    read: usize,
}

/// What a reader that has taken all of its first window gets at once, in bytes.
const BULK: usize = 1 << 20;
/// A path with a shorter round trip, in microseconds, is full with that at any rate. The times of a
/// busy machine say nothing of it: connections that grow by them take each other's share.
const SHORT_PATH: u64 = 2000;
/// Over a path with a shorter round trip, in microseconds, so many bytes are enough, and what waits in a
/// larger window is no longer in the processor's cache when it is read.
const LOCAL_PATH: u64 = 500;
const LOCAL_BULK: usize = 512 << 10;

impl RecvBuffer {
    /// One of `bytes` at first.
    pub(crate) fn new(bytes: usize, max: usize) -> Self {
        Self { limit: bytes, max: max.max(bytes), from: None, read: bytes / 2 }
    }

    /// Bytes that may be unread.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Notes that the application has read so many bytes since the beginning, over a path with this
    /// round trip in microseconds, if it is known.
    pub(crate) fn on_read(&mut self, total: u64, rtt: Option<u64>, mss: usize, now: Instant) {
        if self.limit >= self.max {
            return;
        }
        if total >= self.limit as u64 {
            let is_local = rtt.is_some_and(|rtt| rtt < LOCAL_PATH);
            let bulk = if is_local { LOCAL_BULK } else { BULK };
            self.limit = self.limit.max(bulk.min(self.max));
        }
        let Some(rtt) = rtt.filter(|rtt| *rtt >= SHORT_PATH) else { return };
        let (since, before) = *self.from.get_or_insert((now, total));
        let elapsed = now.micros_since(since);
        if elapsed < rtt {
            return;
        }
        self.from = Some((now, total));
        let read = u128::from(total.saturating_sub(before)) * u128::from(rtt) / u128::from(elapsed);
        let read = usize::try_from(read).unwrap_or(usize::MAX);
        if read <= self.read {
            return;
        }
        // What comes in the next round trip while this one's is read, and as much again as it has
        // grown, since the sender may be in slow start.
        let window = read.saturating_mul(2).saturating_add(16 * mss);
        let growth = (read - self.read) as f64 / self.read.max(1) as f64;
        let window = window.saturating_add((window as f64 * growth * 2.0) as usize);
        self.read = read;
        self.limit = self.limit.max(window.min(self.max));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1000;

    #[test]
    fn a_reader_that_keeps_up_gets_a_larger_window() {
        let mut buffer = RecvBuffer::new(100_000, 1_000_000);
        let (mut total, mut now) = (0, Instant::ZERO);
        for _ in 0..30 {
            buffer.on_read(total, Some(50 * MS), 1460, now);
            // All of the window in each round trip.
            total += buffer.limit() as u64;
            now = now.plus_micros(50 * MS);
        }
        assert_eq!(buffer.limit(), 1_000_000);
    }

    #[test]
    fn a_slow_reader_or_sender_does_not() {
        let mut buffer = RecvBuffer::new(BULK, 4 * BULK);
        let (mut total, mut now) = (0, Instant::ZERO);
        for _ in 0..100 {
            buffer.on_read(total, Some(50 * MS), 1460, now);
            total += 200_000;
            now = now.plus_micros(50 * MS);
        }
        assert_eq!(buffer.limit(), BULK);
    }

    #[test]
    fn on_a_short_path_all_readers_get_the_same() {
        let mut buffer = RecvBuffer::new(100_000, 32 << 20);
        buffer.on_read(99_999, None, 1460, Instant::ZERO);
        assert_eq!(buffer.limit(), 100_000);
        for total in 1..100 {
            let now = Instant::from_millis(total);
            buffer.on_read(total as u64 * 10_000_000, Some(100), 1460, now);
        }
        assert_eq!(buffer.limit(), LOCAL_BULK);
        for total in 100..200 {
            let now = Instant::from_millis(total);
            buffer.on_read(total as u64 * 10_000_000, Some(MS), 1460, now);
        }
        assert_eq!(buffer.limit(), BULK);
    }
}
