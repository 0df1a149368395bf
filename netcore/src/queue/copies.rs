//! Copies of what applications write.

use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Makes copies in buffers that are used again once the last byte of them was acknowledged.
///
/// An allocator gives large buffers back to the system and takes them anew, and then each of their
/// pages is cleared again.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    idle: Mutex<Idle>,
}

/// Buffers that nobody uses.
#[derive(Debug, Default)]
struct Idle {
    /// By size.
    buffers: [Vec<Vec<u8>>; CLASSES],
    bytes: usize,
}

/// Sizes are multiples of this, so that a copy wastes less.
const CLASS_BYTES: usize = 4096;
const CLASSES: usize = 16;
/// The largest copy in one buffer.
pub(crate) const COPY_BYTES_MAX: usize = CLASS_BYTES * CLASSES;
/// The most bytes that are kept for later.
const IDLE_BYTES_MAX: usize = 1024 * 1024;

impl Copies {
    /// A copy of at most [`COPY_BYTES_MAX`] bytes, which `fill` appends to an empty buffer, and the
    /// size of that.
    pub(crate) fn make(
        self: &Arc<Self>,
        len: usize,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> (Bytes, usize) {
        let class = len.saturating_sub(1) / CLASS_BYTES;
        let size = (class + 1) * CLASS_BYTES;
        let mut buffer = self.take(class).unwrap_or_else(|| Vec::with_capacity(size));
        buffer.clear();
        fill(&mut buffer);
        debug_assert_eq!(buffer.len(), len, "as long as was said");
        (Bytes::from_owner(Copy { buffer, copies: self.clone() }), size)
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, class: usize) -> Option<Vec<u8>> {
        let mut idle = self.lock();
        let buffer = idle.buffers.get_mut(class)?.pop()?;
        idle.bytes -= buffer.capacity();
        Some(buffer)
    }

    fn give_back(&self, buffer: Vec<u8>) {
        let size = buffer.capacity();
        let mut idle = self.lock();
        if idle.bytes + size > IDLE_BYTES_MAX || !size.is_multiple_of(CLASS_BYTES) {
            return;
        }
        if let Some(buffers) = idle.buffers.get_mut(size / CLASS_BYTES - 1) {
            buffers.push(buffer);
            idle.bytes += size;
        }
    }
}

/// A copy, whose buffer goes back when it is dropped.
struct Copy {
    buffer: Vec<u8>,
    copies: Arc<Copies>,
}

impl AsRef<[u8]> for Copy {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.copies.give_back(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_after_its_last_part() {
        let copies = Arc::new(Copies::default());
        let (whole, size) = copies.make(5_000, |buffer| buffer.resize(5_000, 1));
        let part = whole.slice(10..20);
        let at = whole.as_ptr();
        drop(whole);
        let (other, _) = copies.make(5_000, |buffer| buffer.resize(5_000, 2));
        drop((part, other));
        let (again, _) = copies.make(8_192, |buffer| buffer.resize(8_192, 3));

        assert_eq!((size, again.len()), (8_192, 8_192));
        assert!(again.iter().all(|byte| *byte == 3));
        let (first, _) = copies.make(6_000, |buffer| buffer.resize(6_000, 4));
        assert!([again.as_ptr(), first.as_ptr()].contains(&at), "a buffer came back");
    }

    #[test]
    fn what_is_kept_for_later_is_bounded() {
        let copies = Arc::new(Copies::default());
        let many: Vec<_> = (0..100)
            .map(|_| copies.make(COPY_BYTES_MAX, |buffer| buffer.resize(COPY_BYTES_MAX, 0)))
            .collect();
        drop(many);

        assert_eq!(copies.lock().bytes, IDLE_BYTES_MAX);
    }
}
