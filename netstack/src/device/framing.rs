//! Ethernet frames in a byte stream, each behind its length in four bytes, big-endian.

use crate::pool::{Buffer, Pool};
use netcore::{FRAME_BUFFER_BYTES, Frame, FrameChecksum, Offload};
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The state of both directions of a stream.
#[derive(Debug)]
pub(super) struct Framing {
    incoming: Incoming,
    /// What ends the link, once the frames before it are taken.
    failure: Option<io::Error>,
    outgoing: Vec<u8>,
    /// How much of it is written.
    written: usize,
    needs_flush: bool,
}

/// Bytes that were read, up to whole frames.
#[derive(Debug)]
struct Incoming {
    pool: Pool,
    buffer: Option<Buffer>,
    /// How much of the buffer is filled.
    filled: usize,
    /// The largest frame of the link.
    frame_bytes_max: usize,
    frames: VecDeque<Frame>,
    /// Frames that were larger.
    oversized: u64,
}

/// The header of an Ethernet frame, and of one with a VLAN tag.
pub(super) const HEADER_BYTES: usize = 14;
pub(super) const HEADER_BYTES_MAX: usize = 14 + 4;
/// The largest IP packet behind the largest header: a greater length is no length.
pub(super) const FRAME_BYTES_MAX: usize = HEADER_BYTES_MAX + 65_535;
const LENGTH_BYTES: usize = 4;
/// Bytes to write, at which there is room for no further frame.
const OUTGOING_BYTES_MAX: usize = 256 * 1024;

impl Framing {
    /// For IP packets of up to `mtu` bytes.
    pub(super) fn new(mtu: usize) -> Self {
        let frame_bytes_max = HEADER_BYTES_MAX + mtu;
        let incoming = Incoming {
            pool: Pool::new(FRAME_BUFFER_BYTES),
            buffer: None,
            filled: 0,
            frame_bytes_max,
            frames: VecDeque::new(),
            oversized: 0,
        };
        Self { incoming, failure: None, outgoing: Vec::new(), written: 0, needs_flush: false }
    }

    /// Forgets what is not written.
    pub(super) fn discard_outgoing(&mut self) {
        self.outgoing.clear();
        (self.written, self.needs_flush) = (0, false);
    }

    pub(super) fn pop(&mut self) -> Option<Frame> {
        self.incoming.frames.pop_front()
    }

    /// Frames that were dropped because they were larger than the MTU.
    pub(super) fn oversized(&self) -> u64 {
        self.incoming.oversized
    }

    pub(super) fn has_room(&self) -> bool {
        self.outgoing.len() - self.written < OUTGOING_BYTES_MAX
    }

    /// Adds a frame of `len` bytes, which `fill` writes.
    pub(super) fn push<R>(
        &mut self,
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> (R, Offload),
    ) -> R {
        self.outgoing.extend_from_slice(&(len as u32).to_be_bytes());
        let start = self.outgoing.len();
        self.outgoing.resize(start + len, 0);
        fill(&mut self.outgoing[start..]).0
    }

    /// Reads until a frame is whole.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` at the end of the stream, `InvalidData` for a length that is none, those of
    /// the stream.
    pub(super) fn poll_read(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.incoming.frames.is_empty() {
            if let Some(failure) = &self.failure {
                return Poll::Ready(Err(io::Error::new(failure.kind(), failure.to_string())));
            }
            let mut bytes = ReadBuf::new(self.incoming.room());
            let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut bytes));
            let len = bytes.filled().len();
            let taken = match read {
                Ok(()) if len == 0 => Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(()) => self.incoming.take_in(len),
                Err(error) => Err(error),
            };
            self.failure = taken.err();
        }
        Poll::Ready(Ok(()))
    }

    /// Writes all that is to be written.
    ///
    /// # Errors
    ///
    /// Those of the stream.
    pub(super) fn poll_write(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.written < self.outgoing.len() {
            let rest = &self.outgoing[self.written..];
            let len = ready!(Pin::new(&mut *stream).poll_write(cx, rest))?;
            if len == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += len;
            self.needs_flush = true;
        }
        self.outgoing.clear();
        self.written = 0;
        if self.needs_flush {
            ready!(Pin::new(stream).poll_flush(cx))?;
            self.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl Incoming {
    /// Room for the next bytes: a frame that is not whole leaves some.
    fn room(&mut self) -> &mut [u8] {
        let buffer = self.buffer.get_or_insert_with(|| self.pool.take());
        let len = buffer.len();
        buffer.slice_mut(self.filled..len)
    }

    /// Takes in `len` bytes that were written into the room.
    fn take_in(&mut self, len: usize) -> io::Result<()> {
        self.filled += len;
        let Some(buffer) = self.buffer.take() else { return Ok(()) };
        let bytes = &buffer.as_ref()[..self.filled];
        let (mut spans, mut at) = (Vec::new(), 0);
        let mut valid = Ok(());
        while let Some(length) = bytes[at..].first_chunk::<LENGTH_BYTES>() {
            let len = u32::from_be_bytes(*length) as usize;
            if !(HEADER_BYTES..=FRAME_BYTES_MAX).contains(&len) {
                valid = Err(no_length(len));
                break;
            }
            let frame = at + LENGTH_BYTES..at + LENGTH_BYTES + len;
            if frame.end > bytes.len() {
                break;
            }
            at = frame.end;
            match len <= self.frame_bytes_max {
                true => spans.push(frame),
                false => self.oversized += 1,
            }
        }
        if at == 0 {
            self.buffer = Some(buffer);
            return valid;
        }
        let rest = self.filled - at;
        if rest > 0 {
            let mut next = self.pool.take();
            next.slice_mut(0..rest).copy_from_slice(&bytes[at..]);
            self.buffer = Some(next);
        }
        self.filled = rest;
        let whole = buffer.freeze(at);
        let frames = spans.into_iter().map(|span| whole.slice(span));
        self.frames.extend(frames.map(|data| Frame::new(data, FrameChecksum::Unknown)));
        valid
    }
}

fn no_length(len: usize) -> io::Error {
    let message = format!(
        "the peer announced a frame of {len} bytes: an Ethernet frame has {HEADER_BYTES} to \
         {FRAME_BYTES_MAX}"
    );
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::task::Waker;

    /// A stream that gives its bytes in pieces, and then ends.
    struct Pieces(VecDeque<Vec<u8>>);

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if let Some(mut piece) = self.0.pop_front() {
                let rest = piece.split_off(piece.len().min(buffer.remaining()));
                buffer.put_slice(&piece);
                if !rest.is_empty() {
                    self.0.push_front(rest);
                }
            }
            Poll::Ready(Ok(()))
        }
    }

    /// The frames in a stream, and how it ended.
    fn read(framing: &mut Framing, bytes: &[u8], piece: usize) -> (Vec<Vec<u8>>, io::Error) {
        let mut stream = Pieces(bytes.chunks(piece).map(<[u8]>::to_vec).collect());
        let mut frames = Vec::new();
        loop {
            let mut cx = Context::from_waker(Waker::noop());
            match framing.poll_read(&mut stream, &mut cx) {
                Poll::Ready(Ok(())) => {
                    frames.extend(std::iter::from_fn(|| framing.pop()).map(|it| it.data.to_vec()));
                }
                Poll::Ready(Err(error)) => return (frames, error),
                Poll::Pending => unreachable!("the stream never waits"),
            }
        }
    }

    fn framed(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut all = Vec::new();
        for frame in frames {
            all.extend((frame.len() as u32).to_be_bytes());
            all.extend(frame);
        }
        all
    }

    #[test]
    fn a_length_that_is_none_ends_the_link_behind_what_was_right() {
        for length in [0, 13, FRAME_BYTES_MAX as u32 + 1, u32::MAX] {
            let right = vec![7; 60];
            let bytes =
                [framed(std::slice::from_ref(&right)), length.to_be_bytes().to_vec()].concat();

            let (frames, error) = read(&mut Framing::new(1500), &bytes, 3);

            assert_eq!(frames, [right]);
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(error.to_string().contains(&format!("a frame of {length} bytes")), "{error}");
        }
    }

    #[test]
    fn frames_over_the_mtu_are_dropped_and_counted() {
        let frames = [vec![1; 1518], vec![2; 1519], vec![3; FRAME_BYTES_MAX], vec![4; 14]];
        let mut framing = Framing::new(1500);

        let (read, error) = read(&mut framing, &framed(&frames), 10_000);

        assert_eq!(read, [frames[0].clone(), frames[3].clone()]);
        assert_eq!((framing.oversized(), error.kind()), (2, io::ErrorKind::UnexpectedEof));
    }

    proptest! {
        #[test]
        fn frames_in_any_pieces_arrive_whole(
            lens in proptest::collection::vec(14_usize..3000, 0..80),
            piece in 1_usize..70_000,
        ) {
            let frames: Vec<Vec<u8>> =
                lens.iter().enumerate().map(|(index, len)| vec![index as u8; *len]).collect();

            let (read, error) = read(&mut Framing::new(9000), &framed(&frames), piece);

            prop_assert_eq!(read, frames);
            prop_assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }

        #[test]
        fn any_bytes_end_in_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 0..4096),
            piece in 1_usize..512,
        ) {
            let (frames, error) = read(&mut Framing::new(1500), &bytes, piece);

            prop_assert!(frames.iter().all(|frame| (14..=1518).contains(&frame.len())));
            let is_known = matches!(
                error.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            );
            prop_assert!(is_known, "{error}");
        }
    }
}
