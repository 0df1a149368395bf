//! Reading from a TUN or a TAP.

use super::interface::{Interface, Layer};
use super::virtio;
use crate::pool::Pool;
use netcore::{FRAME_BUFFER_BYTES, Frame, FrameChecksum};
use std::collections::VecDeque;
use std::io;

/// Reads packets in batches.
pub(super) struct Receiver {
    layer: Layer,
    pool: Pool,
    /// The most bytes of one read.
    frame_bytes_max: usize,
    pub(super) frames: VecDeque<Frame>,
}

/// The packets in one buffer.
#[derive(Debug, Default)]
struct Run {
    packets: usize,
    bytes: usize,
}

/// The most packets in a batch, and about how many bytes.
const BATCH_PACKETS: usize = 64;
const BATCH_BYTES: usize = 256 * 1024;

impl Receiver {
    pub(super) fn new(layer: Layer, frame_bytes_max: usize) -> Self {
        let pool = Pool::new(FRAME_BUFFER_BYTES.max(frame_bytes_max));
        Self { layer, pool, frame_bytes_max, frames: VecDeque::new() }
    }

    /// Reads a batch; `WouldBlock` if the interface has no more packets.
    pub(super) fn read(&mut self, interface: &Interface) -> io::Result<()> {
        let (mut packets, mut bytes) = (0, 0);
        while packets < BATCH_PACKETS && bytes + self.frame_bytes_max <= BATCH_BYTES {
            let (run, ended) = self.read_run(interface, BATCH_PACKETS - packets);
            packets += run.packets;
            bytes += run.bytes;
            match ended {
                Ok(()) => {}
                Err(error) if packets == 0 || error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(error);
                }
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// Reads packets into one buffer, as long as there is room for one more of any size. Large
    /// packets have the buffer nearly for themselves, and small ones share it.
    fn read_run(&mut self, interface: &Interface, packets_max: usize) -> (Run, io::Result<()>) {
        let mut buffer = self.pool.take();
        let (mut run, mut ends) = (Run::default(), [0; BATCH_PACKETS]);
        let mut ended = Ok(());
        while run.packets < packets_max && run.bytes + self.frame_bytes_max <= buffer.len() {
            let room = run.bytes..run.bytes + self.frame_bytes_max;
            match interface.recv(buffer.slice_mut(room)) {
                Ok(len) => {
                    run.bytes += len;
                    ends[run.packets] = run.bytes;
                    run.packets += 1;
                }
                Err(error) => {
                    ended = Err(error);
                    break;
                }
            }
        }
        if run.packets == 0 {
            return (run, ended);
        }
        let whole = buffer.freeze(run.bytes);
        let mut start = 0;
        for end in &ends[..run.packets] {
            let packet = whole.slice(start..*end);
            start = *end;
            if interface.has_offload() {
                let header_bytes = self.layer.header_bytes();
                virtio::read_frames(packet, header_bytes, &mut |frame| {
                    self.frames.push_back(frame);
                });
            } else {
                let checksum = FrameChecksum::Unknown;
                self.frames.push_back(Frame::new(packet, checksum));
            }
        }
        (run, ended)
    }
}
