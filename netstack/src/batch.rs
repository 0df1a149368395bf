//! Frames that were sent and not yet passed on.

use crate::pool::{Buffer, Pool};
use bytes::Bytes;
use netcore::{FRAME_BUFFER_BYTES, Frame, FrameChecksum, Offload};

/// Gathers frames in one buffer, so that many are passed on at once and allocated together.
#[derive(Debug)]
pub(crate) struct Batch {
    pool: Pool,
    /// The buffer that they are in, one jumbo packet with its header or a batch of ordinary ones,
    /// and how much of it they fill.
    chunk: Option<(Buffer, usize)>,
    frames: Vec<InBatch>,
}

/// One frame.
#[derive(Debug)]
struct InBatch {
    /// Its end in the buffer.
    end: usize,
    /// What follows it elsewhere.
    rest: Vec<Bytes>,
    /// The work left to the link.
    offload: Offload,
}

/// A full batch is passed on at this many frames, so that the receiver can begin.
const FRAMES_MAX: usize = 32;

impl Batch {
    pub(crate) fn new() -> Self {
        Self { pool: Pool::new(FRAME_BUFFER_BYTES), chunk: None, frames: Vec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether it is time to pass them on.
    pub(crate) fn is_full(&self) -> bool {
        self.frames.len() >= FRAMES_MAX
    }

    /// Whether a frame of `len` bytes fits behind the others.
    pub(crate) fn has_room(&self, len: usize) -> bool {
        self.chunk.as_ref().is_none_or(|(buffer, used)| used + len <= buffer.len())
    }

    /// Adds a frame of `len` bytes, which `fill` writes.
    ///
    /// # Panics
    ///
    /// If it does not fit.
    pub(crate) fn add<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        self.add_with(len, Vec::new(), fill)
    }

    /// Adds a frame of `len` bytes, which `fill` writes, with `rest` behind them.
    ///
    /// # Panics
    ///
    /// If it does not fit.
    pub(crate) fn add_with<R>(
        &mut self,
        len: usize,
        rest: Vec<Bytes>,
        fill: impl FnOnce(&mut [u8]) -> (R, Offload),
    ) -> R {
        let pool = &self.pool;
        let (buffer, used) = self.chunk.get_or_insert_with(|| (pool.take(), 0));
        let (result, offload) = fill(buffer.slice_mut(*used..*used + len));
        *used += len;
        self.frames.push(InBatch { end: *used, rest, offload });
        result
    }

    /// Takes all of them out.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = (Frame, Offload)> {
        let chunk = self.chunk.take().map(|(chunk, used)| chunk.freeze(used)).unwrap_or_default();
        let mut start = 0;
        std::mem::take(&mut self.frames).into_iter().map(move |InBatch { end, rest, offload }| {
            let data = chunk.slice(start..end);
            start = end;
            (Frame { data, rest, checksum: checksum_of(offload) }, offload)
        })
    }
}

/// State of the checksum of a frame that was never on a wire.
fn checksum_of(offload: Offload) -> FrameChecksum {
    match offload.checksum {
        Some(_) => FrameChecksum::Trusted,
        None => FrameChecksum::Unknown,
    }
}
