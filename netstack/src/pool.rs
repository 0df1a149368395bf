//! Buffers for frames, reused once their last part is dropped.

use bytes::Bytes;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Frames are carved out of large buffers: one allocation for many, and no clearing, since a
/// buffer stays initialised when it comes back.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    idle: Arc<Mutex<Vec<Box<[u8]>>>>,
    buffer_bytes: usize,
}

/// How many idle buffers a pool keeps.
const IDLE_MAX: usize = 32;

impl Pool {
    pub(crate) fn new(buffer_bytes: usize) -> Self {
        Self { idle: Arc::default(), buffer_bytes }
    }

    /// A buffer with arbitrary contents.
    pub(crate) fn take(&self) -> Buffer {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = idle.unwrap_or_else(|| vec![0; self.buffer_bytes].into_boxed_slice());
        Buffer { bytes, pool: self.clone() }
    }

    fn give_back(&self, buffer: Box<[u8]>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(buffer);
        }
    }
}

/// One buffer, which goes back to its pool when it is dropped.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    pool: Pool,
}

impl Buffer {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn slice_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        &mut self.bytes[range]
    }

    /// Makes the first `len` bytes immutable and shareable; parts of the result keep the buffer in
    /// use. If they fill less than half of it they are copied, so that a packet that is queued for
    /// long keeps at most twice its size.
    pub(crate) fn freeze(self, len: usize) -> Bytes {
        if len < self.len() / 2 {
            return Bytes::copy_from_slice(&self.bytes[..len]);
        }
        Bytes::from_owner(self).slice(..len)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_its_last_part_is_dropped() {
        let pool = Pool::new(16);
        let mut buffer = pool.take();
        buffer.slice_mut(0..9).copy_from_slice(b"abcdefghi");
        let whole = buffer.freeze(9);
        let part = whole.slice(1..3);

        drop(whole);
        assert_eq!((&part[..], pool.idle.lock().expect("not poisoned").len()), (&b"bc"[..], 0));
        drop(part);

        assert_eq!(pool.idle.lock().expect("not poisoned").len(), 1);
    }

    #[test]
    fn buffer_that_is_less_than_half_full_returns_at_once() {
        let pool = Pool::new(16);
        let mut buffer = pool.take();
        buffer.slice_mut(0..4).copy_from_slice(b"abcd");

        let copy = buffer.freeze(4);

        assert_eq!((&copy[..], pool.idle.lock().expect("not poisoned").len()), (&b"abcd"[..], 1));
    }
}
