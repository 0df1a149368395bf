//! Datagrams on their way to the socket.

use super::counters::WireGuardCounters;
use super::socket::TunnelSocket;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

/// Datagrams in the order of their making, in batches that the kernel cuts (UDP_SEGMENT of Linux):
/// those to one peer with one length.
pub(super) struct Outgoing {
    batches: VecDeque<Batch>,
    /// Buffers of batches that were sent.
    idle: Vec<Box<[u8]>>,
    segments_max: usize,
    counters: WireGuardCounters,
}

struct Batch {
    to: SocketAddr,
    bytes: Box<[u8]>,
    /// How much of the buffer has datagrams, and how much of that is sent.
    len: usize,
    sent: usize,
    /// The length of each datagram but the last.
    segment: usize,
    /// The last is shorter.
    is_closed: bool,
}

/// The largest payload of a UDP datagram over IPv4, and so of a batch.
pub(super) const BATCH_BYTES: usize = 65_507;
/// The most datagrams that the kernel cuts a batch into (`UDP_MAX_SEGMENTS` of Linux before 6.9).
const SEGMENTS_MAX: usize = 64;
/// With this many batches the stack waits until the socket has room.
const BATCHES_FULL: usize = 4;
/// With this many nothing more is taken: answers and keepalives beside what the stack sends.
const BATCHES_MAX: usize = 16;

impl Outgoing {
    pub(super) fn new(counters: WireGuardCounters) -> Self {
        Self { batches: VecDeque::new(), idle: Vec::new(), segments_max: SEGMENTS_MAX, counters }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Whether the stack is to wait.
    pub(super) fn is_full(&self) -> bool {
        self.batches.len() >= BATCHES_FULL
    }

    /// Adds a datagram of at most `len_max` bytes: `write` returns its length, or nothing. Without room
    /// it is not called.
    pub(super) fn push(
        &mut self,
        to: SocketAddr,
        len_max: usize,
        write: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) {
        let fits = |batch: &Batch| batch.takes(to, len_max, self.segments_max);
        if !self.batches.back().is_some_and(fits) && !self.begin(to, len_max) {
            self.counters.count_dropped_outgoing();
            return;
        }
        let Some(batch) = self.batches.back_mut() else { return };
        let start = batch.len;
        let Some(len) = write(&mut batch.bytes[start..]) else {
            if start == 0 {
                self.drop_last();
            }
            return;
        };
        if start == 0 {
            batch.segment = len;
        }
        if len <= batch.segment {
            batch.len += len;
            batch.is_closed = len < batch.segment;
            return;
        }
        // Only a shorter one can be last: this one begins the next batch.
        batch.is_closed = true;
        if !self.begin(to, len) {
            self.counters.count_dropped_outgoing();
            return;
        }
        let (last, before) = (self.batches.len() - 1, self.batches.len() - 2);
        let (older, newer) = self.batches.make_contiguous().split_at_mut(last);
        let datagram = &older[before].bytes[start..start + len];
        newer[0].bytes[..len].copy_from_slice(datagram);
        (newer[0].len, newer[0].segment) = (len, len);
    }

    fn begin(&mut self, to: SocketAddr, len_max: usize) -> bool {
        if self.batches.len() == BATCHES_MAX || len_max > BATCH_BYTES {
            return false;
        }
        let bytes = self.idle.pop();
        let bytes = bytes.unwrap_or_else(|| vec![0; BATCH_BYTES].into_boxed_slice());
        let batch = Batch { to, bytes, len: 0, sent: 0, segment: 0, is_closed: false };
        self.batches.push_back(batch);
        true
    }

    fn drop_last(&mut self) {
        if let Some(batch) = self.batches.pop_back() {
            self.idle.push(batch.bytes);
        }
    }

    /// Sends what the socket has room for.
    pub(super) fn flush(&mut self, socket: &TunnelSocket) {
        while let Some(batch) = self.batches.front_mut() {
            while batch.sent < batch.len {
                let rest = &batch.bytes[batch.sent..batch.len];
                let count = rest.len().div_ceil(batch.segment);
                let piece = if count > self.segments_max {
                    &rest[..batch.segment * self.segments_max]
                } else {
                    rest
                };
                match socket.send(batch.to, piece, batch.segment) {
                    Ok(()) => batch.sent += piece.len(),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                    // A network card or a path with a smaller MTU: one by one they may pass.
                    Err(error) if piece.len() > batch.segment => {
                        tracing::debug!(%error, "datagrams are sent one by one");
                        self.segments_max = 1;
                    }
                    Err(error) => {
                        tracing::debug!(%error, to = %batch.to, "a datagram was not sent");
                        batch.sent += piece.len();
                        self.counters.count_dropped_outgoing();
                    }
                }
            }
            if let Some(batch) = self.batches.pop_front()
                && self.idle.len() < BATCHES_FULL
            {
                self.idle.push(batch.bytes);
            }
        }
    }

    /// The datagrams, in order.
    #[cfg(test)]
    pub(super) fn take(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let all = std::mem::take(&mut self.batches);
        let datagrams = |batch: Batch| {
            let pieces = batch.bytes[..batch.len].chunks(batch.segment.max(1));
            pieces.map(|piece| (batch.to, piece.to_vec())).collect::<Vec<_>>()
        };
        all.into_iter().flat_map(datagrams).collect()
    }
}

impl Batch {
    fn takes(&self, to: SocketAddr, len_max: usize, segments_max: usize) -> bool {
        let is_open = !self.is_closed && self.sent == 0 && self.to == to;
        // Without segmentation the batch still saves buffers.
        let has_room =
            self.segment == 0 || self.len / self.segment < SEGMENTS_MAX.max(segments_max);
        is_open && has_room && self.len + len_max <= self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn datagrams_of_any_lengths_leave_whole_and_in_order(
            datagrams in proptest::collection::vec((0u16..2, 1usize..1500), 0..100)
        ) {
            let mut outgoing = Outgoing::new(WireGuardCounters::default());
            let mut expected = Vec::new();
            let mut left = Vec::new();
            for (number, (port, len)) in datagrams.into_iter().enumerate() {
                let to = SocketAddr::from(([192, 0, 2, 1], 1 + port));
                let datagram = vec![number as u8; len];
                outgoing.push(to, len + 7, |room| {
                    room[..len].copy_from_slice(&datagram);
                    Some(len)
                });
                expected.push((to, datagram));
                if outgoing.is_full() {
                    left.extend(outgoing.take());
                }
            }
            left.extend(outgoing.take());
            prop_assert_eq!(left, expected);
        }
    }

    #[test]
    fn batches_have_a_bound() {
        let counters = WireGuardCounters::default();
        let mut outgoing = Outgoing::new(counters.clone());
        for port in 1..=100 {
            outgoing.push(([192, 0, 2, 1], port).into(), 10, |_| Some(10));
        }
        assert_eq!((outgoing.take().len(), counters.dropped_outgoing()), (16, 84));
    }
}
