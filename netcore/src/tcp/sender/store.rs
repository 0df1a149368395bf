//! The bytes of a connection that its peer has not acknowledged.

use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// What is in flight and what waits to be sent: one run of the stream, from SND.UNA on.
///
/// Large pieces are kept as they came, by reference; small ones are gathered, so that memory stays
/// in proportion to the bytes. A position counts bytes of the stream from 0.
#[derive(Debug, Default)]
pub(crate) struct SendStore {
    chunks: VecDeque<Chunk>,
    /// The end of the run, if it was gathered.
    tail: BytesMut,
    start: u64,
    end: u64,
    /// Where the last read was: the next one mostly goes on there.
    cursor: usize,
    /// What the tail's next buffer will hold; doubles while small pieces keep coming.
    next_tail: usize,
}

#[derive(Debug)]
struct Chunk {
    start: u64,
    bytes: Bytes,
}

/// A piece of at least this size becomes a chunk of its own.
const OWN_CHUNK: usize = 4096;
/// The most slices of one packet.
const SLICES_MAX: usize = 32;
const TAIL_MIN: usize = 256;
const TAIL_MAX: usize = 16 * 1024;

impl SendStore {
    /// The position of the first byte that is kept.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// One past the last byte.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    pub(crate) fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Appends bytes.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        let len = bytes.len() as u64;
        if bytes.len() >= OWN_CHUNK {
            self.seal_tail();
            self.chunks.push_back(Chunk { start: self.end, bytes });
        } else {
            if self.tail.capacity() - self.tail.len() < bytes.len() {
                self.seal_tail();
                let capacity = self.next_tail.clamp(TAIL_MIN, TAIL_MAX).max(bytes.len());
                self.tail = BytesMut::with_capacity(capacity);
                self.next_tail = capacity * 2;
            }
            self.tail.extend_from_slice(&bytes);
        }
        self.end += len;
    }

    /// Copies the bytes from `position` on into `out`.
    ///
    /// # Panics
    ///
    /// If some of them are not kept.
    pub(crate) fn copy(&mut self, position: u64, mut out: &mut [u8]) {
        assert!(self.start <= position && position + out.len() as u64 <= self.end, "kept bytes");
        let tail_start = self.end - self.tail.len() as u64;
        let mut at = position;
        if at < tail_start {
            let mut index = self.find(at);
            while !out.is_empty() && at < tail_start {
                let chunk = &self.chunks[index];
                let rest = &chunk.bytes[(at - chunk.start) as usize..];
                let n = rest.len().min(out.len());
                let (now, later) = out.split_at_mut(n);
                now.copy_from_slice(&rest[..n]);
                (out, at) = (later, at + n as u64);
                index += usize::from(n == rest.len());
            }
            self.cursor = index;
        }
        if !out.is_empty() {
            let skip = (at - tail_start) as usize;
            out.copy_from_slice(&self.tail[skip..skip + out.len()]);
        }
    }

    /// The bytes from `position` on, by reference, unless they stand in more than
    /// [`SLICES_MAX`] places.
    ///
    /// # Panics
    ///
    /// If some of them are not kept.
    pub(crate) fn slices(&mut self, position: u64, len: usize, out: &mut Vec<Bytes>) -> bool {
        let end = position + len as u64;
        assert!(self.start <= position && end <= self.end, "kept bytes");
        if end > self.end - self.tail.len() as u64 {
            self.seal_tail();
        }
        let first = self.find(position);
        let last = self.chunks.partition_point(|chunk| chunk.start < end);
        if last - first > SLICES_MAX {
            return false;
        }
        for chunk in self.chunks.range(first..last) {
            let from = position.saturating_sub(chunk.start) as usize;
            let to = chunk.bytes.len().min((end - chunk.start) as usize);
            out.push(chunk.bytes.slice(from..to));
        }
        self.cursor = last - 1;
        true
    }

    /// The chunk in which `position` is: mostly that of the last read.
    fn find(&self, position: u64) -> usize {
        let is_in = |chunk: &Chunk| {
            chunk.start <= position && position < chunk.start + chunk.bytes.len() as u64
        };
        match self.chunks.get(self.cursor).is_some_and(is_in) {
            true => self.cursor,
            false => self.chunks.partition_point(|chunk| chunk.start <= position) - 1,
        }
    }

    /// Forgets the bytes before `position`.
    pub(crate) fn release(&mut self, position: u64) {
        debug_assert!((self.start..=self.end).contains(&position), "a part of what is kept");
        self.start = position;
        if self.start == self.end {
            // An idle connection holds no buffers.
            *self = Self { start: self.start, end: self.end, ..Self::default() };
            return;
        }
        while let Some(front) = self.chunks.front()
            && front.start + front.bytes.len() as u64 <= position
        {
            self.chunks.pop_front();
            self.cursor = self.cursor.saturating_sub(1);
        }
    }

    /// Makes what the tail holds a chunk. Its spare room stays usable.
    fn seal_tail(&mut self) {
        if !self.tail.is_empty() {
            let start = self.end - self.tail.len() as u64;
            self.chunks.push_back(Chunk { start, bytes: self.tail.split().freeze() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_what_was_pushed(
            steps in proptest::collection::vec((0..9000usize, 0..100u64, 0..100u64), 1..40),
        ) {
            let (mut store, mut all) = (SendStore::default(), Vec::new());
            for (len, from, released) in steps {
                let bytes: Vec<u8> = (all.len()..all.len() + len).map(|n| (n % 251) as u8).collect();
                all.extend_from_slice(&bytes);
                store.push(bytes.into());
                let position = store.start() + (store.len() as u64) * from / 100;
                let mut read = vec![0; ((store.end() - position) as usize).min(5000)];
                store.copy(position, &mut read);
                prop_assert_eq!(&read[..], &all[position as usize..][..read.len()]);
                store.release(store.start() + (store.len() as u64) * released / 100);
            }
            store.release(store.end());
            prop_assert_eq!(store.len(), 0);
        }
    }
}
