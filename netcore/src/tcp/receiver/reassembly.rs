//! What has arrived out of order.

use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// Blocks of bytes behind gaps. Positions count the bytes of the stream from 0.
#[derive(Debug, Default)]
pub(super) struct Reassembly {
    /// By where they begin. No two of them overlap or touch.
    blocks: BTreeMap<u64, Block>,
    /// Memory that the pieces keep alive, and what it takes to hold them, in bytes.
    held: usize,
    /// Where the blocks begin or began that segments have reached last, the newest first (RFC 2018
    /// section 4).
    recent: VecDeque<u64>,
}

#[derive(Debug)]
struct Block {
    end: u64,
    pieces: VecDeque<Piece>,
}

/// Received bytes, and the memory counted for them.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(super) bytes: Bytes,
    pub(super) held: usize,
}

/// What it takes to hold a piece, whatever its size. A peer that sends every second byte is bounded
/// by it.
const PIECE_BYTES: usize = 160;
/// More blocks than that are not announced in one acknowledgement.
const RECENT_MAX: usize = 4;

impl Reassembly {
    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Memory that the pieces keep alive, in bytes.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Bytes in all blocks.
    pub(super) fn bytes(&self) -> u64 {
        self.blocks.iter().map(|(start, block)| block.end - start).sum()
    }

    /// The blocks that segments have reached last, the newest first.
    pub(super) fn recent(&self) -> impl Iterator<Item = (u64, u64)> {
        self.recent.iter().filter_map(|start| Some((*start, self.blocks.get(start)?.end)))
    }

    /// Takes bytes at `start`, and keeps those of them that are not there yet, if that takes no
    /// more than `held_max` bytes together with all others. Returns what of them was there before.
    pub(super) fn insert(
        &mut self,
        mut start: u64,
        mut bytes: Bytes,
        held: usize,
        held_max: usize,
    ) -> Option<(u64, u64)> {
        let mut duplicate = None;
        while !bytes.is_empty() {
            let before = self.blocks.range(..=start).next_back();
            let before = before.map(|(first, block)| (*first, block.end));
            if let Some((first, end)) = before.filter(|(_, end)| *end > start) {
                // The block of a duplicate is announced behind it (RFC 2883 section 4).
                self.set_newest(first);
                let known = (end - start).min(bytes.len() as u64);
                duplicate.get_or_insert((start, start + known));
                start += known;
                let _ = bytes.split_to(known as usize);
                continue;
            }
            let next = self.blocks.range(start..).next().map(|(next, _)| *next);
            let room = next.map_or(u64::MAX, |next| next - start);
            let piece = bytes.split_to(bytes.len().min(room.try_into().unwrap_or(usize::MAX)));
            let end = start + piece.len() as u64;
            let held = held.max(piece.len()) + PIECE_BYTES;
            if self.held + held > held_max {
                break;
            }
            self.held += held;
            self.join(start, end, Piece { bytes: piece, held });
            start = end;
        }
        duplicate
    }

    /// Adds a piece that overlaps no block.
    fn join(&mut self, start: u64, end: u64, piece: Piece) {
        let mut block = match self.blocks.remove(&end) {
            Some(mut next) => {
                self.recent.retain(|recent| *recent != end);
                next.pieces.push_front(piece);
                next
            }
            None => Block { end, pieces: VecDeque::from([piece]) },
        };
        let before = self.blocks.range_mut(..start).next_back();
        let first = match before {
            Some((first, before)) if before.end == start => {
                before.end = block.end;
                // The shorter list moves: however blocks are joined, no piece moves often.
                if before.pieces.len() < block.pieces.len() {
                    std::mem::swap(&mut before.pieces, &mut block.pieces);
                    for piece in block.pieces.into_iter().rev() {
                        before.pieces.push_front(piece);
                    }
                } else {
                    before.pieces.append(&mut block.pieces);
                }
                *first
            }
            _ => {
                self.blocks.insert(start, block);
                start
            }
        };
        self.set_newest(first);
    }

    /// Notes that the newest segment is in the block that begins at `first`.
    fn set_newest(&mut self, first: u64) {
        self.recent.retain(|recent| *recent != first);
        self.recent.truncate(RECENT_MAX - 1);
        self.recent.push_front(first);
    }

    /// Takes the block that begins at or before `position`, and behind its first bytes that lie
    /// before it; returns its pieces and its end.
    pub(super) fn take(&mut self, position: u64) -> Option<(VecDeque<Piece>, u64)> {
        let (start, _) = self.blocks.range(..=position).next()?;
        let mut start = *start;
        let mut block = self.blocks.remove(&start)?;
        self.recent.retain(|recent| *recent != start);
        self.held -= block.pieces.iter().map(|piece| piece.held).sum::<usize>();
        while start < position {
            let Some(front) = block.pieces.front_mut() else { break };
            let known = (position - start).min(front.bytes.len() as u64);
            let _ = front.bytes.split_to(known as usize);
            if front.bytes.is_empty() {
                block.pieces.pop_front();
            }
            start += known;
        }
        for piece in &mut block.pieces {
            piece.held -= PIECE_BYTES;
        }
        Some((block.pieces, block.end.max(position)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Segments of a stream in any order and with overlaps; a model of single bytes says what
        /// has arrived.
        #[test]
        fn gives_back_what_has_arrived_behind_no_gap(
            segments in prop::collection::vec((0u64..200, 1usize..60), 1..60),
        ) {
            let stream: Vec<u8> = (0..=255).collect();
            let (mut reassembly, mut there, mut position) =
                (Reassembly::default(), [false; 256], 0u64);
            for (start, len) in segments {
                let start = start.max(position);
                let end = (start + len as u64).min(256);
                let bytes = Bytes::copy_from_slice(&stream[start as usize..end as usize]);
                let was_there = (start..end).find(|at| there[*at as usize]);
                if start == position {
                    there[start as usize..end as usize].fill(true);
                    position = end;
                    while let Some((pieces, end)) = reassembly.take(position) {
                        let bytes: Vec<u8> =
                            pieces.into_iter().flat_map(|piece| piece.bytes).collect();
                        prop_assert_eq!(&bytes[..], &stream[position as usize..end as usize]);
                        position = end;
                    }
                    prop_assert!(there[..position as usize].iter().all(|there| *there));
                    prop_assert!(!there.get(position as usize).is_some_and(|there| *there));
                } else {
                    let duplicate = reassembly.insert(start, bytes, 0, usize::MAX);
                    prop_assert_eq!(duplicate.map(|(start, _)| start), was_there);
                    there[start as usize..end as usize].fill(true);
                    let newest = reassembly.recent().next().expect("something is there");
                    prop_assert!(newest.0 <= start && end <= newest.1);
                    for (start, end) in reassembly.recent() {
                        prop_assert!(there[start as usize..end as usize].iter().all(|there| *there));
                    }
                }
            }
            prop_assert_eq!(reassembly.is_empty(), there[position as usize..].iter().all(|t| !*t));
            if reassembly.is_empty() {
                prop_assert_eq!(reassembly.held(), 0);
            }
        }
    }

    #[test]
    fn small_pieces_are_bounded_by_what_they_take() {
        let mut reassembly = Reassembly::default();
        for position in 0..10_000 {
            reassembly.insert(position * 2, Bytes::from_static(b"x"), 0, 16_000);
        }
        assert!(reassembly.held() <= 16_000);
        assert_eq!(reassembly.blocks.len(), 16_000 / (PIECE_BYTES + 1));
    }
}
