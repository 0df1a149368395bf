//! Frames in a byte stream, each behind its length, in any pieces and with any lengths.

use arbitrary::Unstructured;
use netcore::Link;
use netstack::device::{Device, StreamDevice};
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const MTU: usize = 1500;
/// The lengths of an Ethernet frame, whatever the MTU.
const FRAME_BYTES: std::ops::RangeInclusive<usize> = 14..=18 + 65_535;

/// Plays the frames in `data` to a stream device.
///
/// Every frame up to the first wrong length arrives whole and in order unless it is larger than the
/// MTU and its header, and the stream then ends with the error that it should.
///
/// # Panics
///
/// If one of these invariants does not hold.
pub fn lengths(data: &[u8]) {
    let mut story = Unstructured::new(data);
    let (mut bytes, mut expected, mut end) = (Vec::new(), Vec::new(), io::ErrorKind::UnexpectedEof);
    // An error is the end of the data.
    while !story.is_empty() && bytes.len() < 1 << 20 {
        let Ok(length) = length(&mut story) else { break };
        bytes.extend((length as u32).to_be_bytes());
        if !FRAME_BYTES.contains(&length) {
            end = io::ErrorKind::InvalidData;
            bytes.extend(story.bytes(story.len()).unwrap_or_default());
            break;
        }
        let frame = vec![story.arbitrary().unwrap_or(0); length];
        bytes.extend(&frame);
        if length <= 18 + MTU {
            expected.push(frame);
        }
    }
    let piece = data.first().map_or(1, |byte| 1 + usize::from(*byte) * 7);
    let pieces = Pieces(bytes.chunks(piece).map(<[u8]>::to_vec).collect());

    let (frames, error) = received(StreamDevice::new(pieces, MTU));

    assert_eq!(frames, expected);
    assert_eq!(error.kind(), end, "{error}");
}

fn length(story: &mut Unstructured<'_>) -> arbitrary::Result<usize> {
    Ok(match story.int_in_range(0..=15)? {
        0 => story.arbitrary::<u32>()? as usize,
        1 => *story.choose(&[0, 13, 65_554, u32::MAX as usize])?,
        2 => story.int_in_range(FRAME_BYTES)?,
        3 => story.int_in_range(1510..=1530)?,
        _ => story.int_in_range(14..=1518)?,
    })
}

fn received(mut device: StreamDevice<Pieces>) -> (Vec<Vec<u8>>, io::Error) {
    let mut frames = Vec::new();
    loop {
        frames.extend(std::iter::from_fn(|| device.receive()).map(|frame| frame.data.to_vec()));
        match device.poll_receive(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return (frames, error),
            Poll::Pending => panic!("the stream never waits"),
        }
    }
}

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

impl AsyncWrite for Pieces {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
