//! Receiving: what has arrived, in order and behind gaps, and what is said about it.
//!
//! smoltcp is the state machine of a connection; it is shown neither data nor its acknowledgements.

mod reassembly;
mod window;

use self::reassembly::{Piece, Reassembly};
pub(crate) use self::window::RecvBuffer;
use crate::queue::{ByteQueue, Received};
use bytes::Bytes;
use std::collections::VecDeque;

/// The receiving half of a connection. Positions count the bytes of the stream from 0.
#[derive(Debug)]
pub(crate) struct Receiver {
    /// Bytes that have arrived in order: the position of the next one.
    next: u64,
    /// What has arrived behind gaps.
    reassembly: Option<Box<Reassembly>>,
    /// Where the peer's FIN is, once it was seen.
    fin: Option<u64>,
    /// What has arrived twice, to be announced (RFC 2883).
    duplicate: Option<(u64, u64)>,
    /// Bytes in order for which there is no queue.
    unqueued: Option<Box<ByteQueue>>,
    pub(crate) buffer: RecvBuffer,
}

/// What came of a segment's payload.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// It is the next. What has waited behind it follows.
    Next(VecDeque<Piece>),
    /// It lies behind a gap, or was there before.
    Late,
}

/// A SACK option with so many blocks fits beside nothing else that this end sends.
const BLOCKS_MAX: usize = 3;
const SACK: u8 = 5;
const NO_OPERATION: u8 = 1;

/// Options for the header of an acknowledgement.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SackOption {
    bytes: [u8; 4 + 8 * BLOCKS_MAX],
    len: usize,
}

impl SackOption {
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, left: u32, right: u32) {
        if self.len == 0 {
            self.bytes[..4].copy_from_slice(&[NO_OPERATION, NO_OPERATION, SACK, 2]);
            self.len = 4;
        }
        if let Some(block) = self.bytes.get_mut(self.len..self.len + 8) {
            block[..4].copy_from_slice(&left.to_be_bytes());
            block[4..].copy_from_slice(&right.to_be_bytes());
            self.len += 8;
            self.bytes[3] += 8;
        }
    }
}

impl Receiver {
    pub(crate) fn new(buffer: RecvBuffer) -> Self {
        Self { next: 0, reassembly: None, fin: None, duplicate: None, unqueued: None, buffer }
    }

    /// Bytes that have arrived in order.
    pub(crate) fn received(&self) -> u64 {
        self.next
    }

    /// Whether something has arrived behind a gap.
    pub(crate) fn has_gap(&self) -> bool {
        self.reassembly.is_some()
    }

    /// Bytes that have arrived behind gaps.
    pub(crate) fn out_of_order(&self) -> u64 {
        self.reassembly.as_ref().map_or(0, |reassembly| reassembly.bytes())
    }

    /// Bytes in order for which there is no queue.
    pub(crate) fn unqueued_bytes(&self) -> usize {
        self.unqueued.as_ref().map_or(0, |unqueued| unqueued.len())
    }

    /// Whether an acknowledgement has more to say than the next byte.
    pub(crate) fn has_sack(&self) -> bool {
        self.has_gap() || self.duplicate.is_some()
    }

    /// Memory that is held for what has arrived behind gaps, in bytes.
    pub(crate) fn held(&self) -> usize {
        self.reassembly.as_ref().map_or(0, |reassembly| reassembly.held())
    }

    /// Takes `len` bytes that begin `offset` behind the next one; `keep` returns them, and the size
    /// of the buffer that they keep alive.
    pub(crate) fn take(
        &mut self,
        offset: u64,
        len: usize,
        keep: impl FnOnce() -> (Bytes, usize),
    ) -> Arrival {
        if offset == 0 {
            self.next += len as u64;
            return Arrival::Next(self.take_waiting());
        }
        let (bytes, held) = keep();
        let start = self.next + offset;
        // Twice the window, since pieces cost more than their bytes.
        let held_max = self.buffer.limit().saturating_mul(2);
        let reassembly = self.reassembly.get_or_insert_default();
        self.duplicate = reassembly.insert(start, bytes, held, held_max);
        if reassembly.is_empty() {
            self.reassembly = None;
        }
        Arrival::Late
    }

    /// What has waited for the byte before the next one.
    fn take_waiting(&mut self) -> VecDeque<Piece> {
        let mut waiting = VecDeque::new();
        let Some(reassembly) = &mut self.reassembly else { return waiting };
        while let Some((mut pieces, end)) = reassembly.take(self.next) {
            self.next = end;
            waiting.append(&mut pieces);
        }
        if reassembly.is_empty() {
            self.reassembly = None;
        }
        waiting
    }

    /// Notes that the peer's FIN lies `offset` behind the next byte.
    pub(crate) fn set_fin(&mut self, offset: u64) {
        self.fin.get_or_insert(self.next + offset);
    }

    /// Whether all bytes before the FIN have arrived.
    pub(crate) fn is_at_fin(&self) -> bool {
        self.fin == Some(self.next)
    }

    /// Whether the FIN was seen, and lies behind a gap.
    pub(crate) fn lacks_fin(&self) -> bool {
        self.fin.is_some_and(|fin| fin > self.next)
    }

    /// Notes bytes that were acknowledged before, from so many bytes before the next one on.
    pub(crate) fn set_duplicate(&mut self, before: u64, len: u64) {
        if let Some(start) = self.next.checked_sub(before).filter(|_| len > 0) {
            self.duplicate = Some((start, (start + len).min(self.next)));
        }
    }

    /// The blocks to announce: first what has arrived twice, then what lies behind gaps, the newest
    /// first (RFC 2018 section 4, RFC 2883). `expected` is the next sequence number.
    ///
    /// A FIN that follows on a block belongs to it, as in Linux: the peer takes its last segment for
    /// lost otherwise.
    pub(crate) fn take_sack(&mut self, expected: u32) -> SackOption {
        let mut option = SackOption::default();
        if self.duplicate.is_none() && self.reassembly.is_none() {
            return option;
        }
        let next = self.next;
        let sequence = |position: u64| expected.wrapping_add(position.wrapping_sub(next) as u32);
        let duplicate = self.duplicate.take();
        let recent = self.reassembly.iter().flat_map(|reassembly| reassembly.recent());
        for (left, right) in duplicate.into_iter().chain(recent) {
            let fin = u64::from(right > next && self.fin == Some(right));
            option.push(sequence(left), sequence(right + fin));
        }
        option
    }

    /// Keeps bytes in order until there is a queue.
    pub(crate) fn hold(&mut self, received: Received<'_>) {
        let unqueued = self.unqueued.get_or_insert_default();
        match received {
            Received::Copy(bytes) => unqueued.push_slice(bytes),
            Received::Kept(bytes, held) => unqueued.push_kept(bytes, held),
        }
    }

    /// Takes bytes that were kept for want of a queue.
    pub(crate) fn take_held(&mut self) -> Option<Bytes> {
        let bytes = self.unqueued.as_mut()?.pop(usize::MAX);
        if bytes.is_none() {
            self.unqueued = None;
        }
        bytes
    }

    /// Whether there are bytes in order for which there is no queue.
    pub(crate) fn has_unqueued(&self) -> bool {
        self.unqueued.is_some()
    }
}

impl From<Piece> for Received<'_> {
    fn from(piece: Piece) -> Self {
        Received::Kept(piece.bytes, piece.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receiver() -> Receiver {
        Receiver::new(RecvBuffer::new(100_000, 100_000))
    }

    fn bytes(len: usize) -> impl FnOnce() -> (Bytes, usize) {
        move || (Bytes::from(vec![0; len]), len)
    }

    fn blocks(receiver: &mut Receiver, expected: u32) -> Vec<(u32, u32)> {
        let option = receiver.take_sack(expected);
        let Some(blocks) = option.as_slice().get(4..) else { return Vec::new() };
        assert_eq!(usize::from(option.as_slice()[3]), blocks.len() + 2);
        let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().expect("four"));
        blocks.chunks(8).map(|block| (number(&block[..4]), number(&block[4..]))).collect()
    }

    #[test]
    fn the_newest_three_blocks_are_announced() {
        let mut receiver = receiver();
        for offset in [10, 30, 50, 70] {
            receiver.take(offset, 10, bytes(10));
        }
        assert_eq!(blocks(&mut receiver, 1000), [(1070, 1080), (1050, 1060), (1030, 1040)]);

        receiver.take(20, 10, bytes(10));
        assert_eq!(blocks(&mut receiver, 1000), [(1010, 1040), (1070, 1080), (1050, 1060)]);

        let Arrival::Next(waiting) = receiver.take(0, 10, bytes(10)) else { panic!("the next") };
        assert_eq!(waiting.iter().map(|piece| piece.bytes.len()).sum::<usize>(), 30);
        assert_eq!(receiver.received(), 40);
        assert_eq!(blocks(&mut receiver, 1040), [(1070, 1080), (1050, 1060)]);
    }

    #[test]
    fn what_arrives_twice_is_announced_once_and_first() {
        let mut receiver = receiver();
        receiver.take(0, 50, bytes(50));
        receiver.set_duplicate(20, 10);
        assert_eq!(blocks(&mut receiver, u32::MAX), [(u32::MAX - 20, u32::MAX - 10)]);
        assert_eq!(blocks(&mut receiver, u32::MAX), []);

        receiver.take(10, 10, bytes(10));
        receiver.take(10, 10, bytes(10));
        assert_eq!(blocks(&mut receiver, 0), [(10, 20), (10, 20)]);
        assert_eq!(blocks(&mut receiver, 0), [(10, 20)]);
    }

    #[test]
    fn a_block_before_the_fin_has_it() {
        let mut receiver = receiver();
        receiver.take(10, 10, bytes(10));
        receiver.take(30, 10, bytes(10));
        receiver.set_fin(40);
        assert_eq!(blocks(&mut receiver, 0), [(30, 41), (10, 20)]);
    }

    #[test]
    fn a_fin_behind_a_gap_waits_for_it() {
        let mut receiver = receiver();
        receiver.take(10, 10, bytes(10));
        receiver.set_fin(20);
        assert!(!receiver.is_at_fin());
        receiver.take(0, 10, bytes(10));
        assert!(receiver.is_at_fin());
        assert!(!receiver.has_gap());
    }
}
