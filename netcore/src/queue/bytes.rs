//! A queue of bytes, as copies or as whole [`Bytes`], cheap for small pieces.

use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;

/// Bytes in order, as a list of chunks.
///
/// Small pieces are gathered in one buffer at the tail, so that the memory held stays in
/// proportion to the bytes queued: a peer that sends one byte a segment, or a caller that writes
/// one byte a call, must not cost an allocation each.
#[derive(Debug, Default)]
pub(crate) struct ByteQueue {
    chunks: VecDeque<Chunk>,
    tail: BytesMut,
    len: usize,
    /// Bytes of the buffers that the chunks keep alive.
    held: usize,
    /// Capacity of the tail's next buffer: doubles with each buffer filled by small pieces, and
    /// begins with what was queued the last time.
    next_tail: usize,
    /// Bytes queued since the queue was empty.
    queued: usize,
}

/// Unread bytes, and the bytes counted for their buffer.
#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    held: usize,
}

/// A piece of at least this size becomes a chunk of its own.
const OWN_CHUNK: usize = 4096;
const TAIL_MIN: usize = 256;
const TAIL_MAX: usize = 32 * 1024;

impl ByteQueue {
    /// Appends a copy of `data`.
    pub(crate) fn push_slice(&mut self, data: &[u8]) {
        if data.len() >= OWN_CHUNK {
            self.push_chunk(Bytes::copy_from_slice(data), data.len());
            return;
        }
        if self.tail.capacity() - self.tail.len() < data.len() {
            self.seal_tail();
            let capacity = self.next_tail.clamp(TAIL_MIN, TAIL_MAX).max(data.len());
            self.tail = BytesMut::with_capacity(capacity);
            self.next_tail = capacity * 2;
        }
        self.tail.extend_from_slice(data);
        self.len += data.len();
        self.queued += data.len();
    }

    /// Appends `chunk` without a copy, unless it is so small that a copy costs less.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        if chunk.len() < OWN_CHUNK {
            self.push_slice(&chunk);
        } else {
            let len = chunk.len();
            self.push_chunk(chunk, len);
        }
    }

    /// Appends `chunk` without a copy; it keeps alive a buffer of `held` bytes.
    pub(crate) fn push_kept(&mut self, chunk: Bytes, held: usize) {
        debug_assert!(chunk.len() <= held, "a chunk is a part of its buffer");
        self.push_chunk(chunk, held);
    }

    /// Puts `chunk` back in front of everything else.
    pub(crate) fn unread(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            let held = chunk.len();
            self.len += held;
            self.held += held;
            self.chunks.push_front(Chunk { bytes: chunk, held });
        }
    }

    /// Moves bytes into `buf` until it is full or the queue empty; returns how many.
    pub(crate) fn read(&mut self, buf: &mut [u8]) -> usize {
        let mut filled = 0;
        while filled < buf.len() {
            let Some(front) = self.front_mut() else { break };
            let n = front.len().min(buf.len() - filled);
            buf[filled..filled + n].copy_from_slice(&front[..n]);
            front.advance(n);
            filled += n;
            self.len -= n;
            self.drop_empty_front();
        }
        filled
    }

    /// Copies bytes into `buf` from the front and leaves them queued; returns how many.
    pub(crate) fn peek(&self, buf: &mut [u8]) -> usize {
        let mut filled = 0;
        let tail = std::iter::once(&self.tail[..]);
        for chunk in self.chunks.iter().map(|chunk| &chunk.bytes[..]).chain(tail) {
            if filled == buf.len() {
                break;
            }
            let n = chunk.len().min(buf.len() - filled);
            buf[filled..filled + n].copy_from_slice(&chunk[..n]);
            filled += n;
        }
        filled
    }

    /// Takes the first chunk, at most `max` bytes of it, without a copy.
    pub(crate) fn pop(&mut self, max: usize) -> Option<Bytes> {
        let front = self.front_mut()?;
        let chunk = front.split_to(front.len().min(max));
        self.len -= chunk.len();
        self.drop_empty_front();
        Some(chunk)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Memory kept alive, in bytes: a buffer counts until its last byte is read.
    pub(crate) fn held(&self) -> usize {
        self.held + self.tail.len()
    }

    /// The same with what is allocated beside, for a bound on memory.
    pub(crate) fn allocated(&self) -> usize {
        self.held + self.tail.capacity() + self.chunks.capacity() * size_of::<Chunk>()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn push_chunk(&mut self, bytes: Bytes, held: usize) {
        self.seal_tail();
        self.len += bytes.len();
        self.held += held;
        self.chunks.push_back(Chunk { bytes, held });
    }

    /// Turns the content of the tail into a chunk. Its spare capacity stays usable.
    fn seal_tail(&mut self) {
        if !self.tail.is_empty() {
            let bytes = self.tail.split().freeze();
            let held = bytes.len();
            self.held += held;
            self.chunks.push_back(Chunk { bytes, held });
        }
    }

    fn front_mut(&mut self) -> Option<&mut Bytes> {
        if self.chunks.is_empty() {
            self.seal_tail();
        }
        self.chunks.front_mut().map(|chunk| &mut chunk.bytes)
    }

    fn drop_empty_front(&mut self) {
        if self.chunks.front().is_some_and(|chunk| chunk.bytes.is_empty())
            && let Some(read) = self.chunks.pop_front()
        {
            self.held -= read.held;
        }
        if self.chunks.is_empty() && self.tail.is_empty() {
            // An idle stream holds no buffers.
            *self = Self { next_tail: self.queued, ..Self::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Slice(usize),
        Chunk(usize),
        Read(usize),
        Pop(usize),
        PopAndUnread(usize),
        Peek(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..6000usize).prop_map(Step::Slice),
            (0..9000usize).prop_map(Step::Chunk),
            (0..9000usize).prop_map(Step::Read),
            (1..9000usize).prop_map(Step::Pop),
            (1..9000usize).prop_map(Step::PopAndUnread),
            (0..9000usize).prop_map(Step::Peek),
        ]
    }

    proptest! {
        #[test]
        fn behaves_like_one_long_vector(steps in proptest::collection::vec(step(), 1..60)) {
            let (mut queue, mut model, mut next) = (ByteQueue::default(), VecDeque::new(), 0u8);
            let mut fresh = |n: usize| -> Vec<u8> {
                (0..n).map(|_| { next = next.wrapping_add(1); next }).collect()
            };
            for step in steps {
                match step {
                    Step::Slice(n) => {
                        let data = fresh(n);
                        queue.push_slice(&data);
                        model.extend(data);
                    }
                    Step::Chunk(n) => {
                        let data = fresh(n);
                        queue.push(data.clone().into());
                        model.extend(data);
                    }
                    Step::Read(n) => {
                        let mut buf = vec![0; n];
                        let got = queue.read(&mut buf);
                        prop_assert_eq!(got, n.min(model.len()));
                        prop_assert!(buf[..got].iter().copied().eq(model.drain(..got)));
                    }
                    Step::Pop(n) => match queue.pop(n) {
                        Some(chunk) => {
                            prop_assert!(!chunk.is_empty() && chunk.len() <= n);
                            prop_assert!(chunk.iter().copied().eq(model.drain(..chunk.len())));
                        }
                        None => prop_assert!(model.is_empty()),
                    },
                    Step::PopAndUnread(n) => {
                        if let Some(chunk) = queue.pop(n) {
                            queue.unread(chunk);
                        }
                    }
                    Step::Peek(n) => {
                        let mut buf = vec![0; n];
                        let got = queue.peek(&mut buf);
                        prop_assert_eq!(got, n.min(model.len()));
                        prop_assert!(buf[..got].iter().eq(model.iter().take(got)));
                    }
                }
                prop_assert_eq!(queue.len(), model.len());
                prop_assert!(queue.held() >= queue.len() || queue.is_empty());
            }
            queue.read(&mut vec![0; model.len()]);
            prop_assert_eq!(queue.held(), 0);
        }
    }

    #[test]
    fn single_bytes_share_buffers() {
        let mut queue = ByteQueue::default();

        for _ in 0..100_000 {
            queue.push_slice(&[1]);
        }

        assert!(queue.chunks.len() < 16, "{} chunks", queue.chunks.len());
    }

    #[test]
    fn buffer_counts_until_its_last_byte_is_read() {
        let mut queue = ByteQueue::default();
        queue.push_kept(Bytes::from(vec![1; 40_000]), 65_536);
        queue.push_slice(&[2; 10]);

        queue.read(&mut [0; 39_999]);
        assert_eq!((queue.len(), queue.held()), (11, 65_546));
        queue.read(&mut [0; 1]);

        assert_eq!((queue.len(), queue.held()), (10, 10));
    }
}
