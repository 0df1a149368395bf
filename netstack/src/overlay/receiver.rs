//! Receiving datagrams in batches.

use super::device::CountersInner;
use super::forwarding::{Datagram, Forwarding};
use crate::frame_layout::Layout;
use crate::pool::{Buffer, Pool};
use bytes::Bytes;
use netcore::{FRAME_BUFFER_BYTES, Frame, FrameChecksum};
use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};
use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use tokio::time::Instant;

/// Received frames, and the buffers for more.
pub(super) struct Receiver {
    pool: Pool,
    buffers: Vec<Buffer>,
    pub(super) frames: VecDeque<Frame>,
}

/// The most reads of one system call, each of one datagram, or of several that the kernel has joined
/// (`UDP_GRO`).
const BATCH: usize = 16;

impl Receiver {
    pub(super) fn new() -> Self {
        Self { pool: Pool::new(FRAME_BUFFER_BYTES), buffers: Vec::new(), frames: VecDeque::new() }
    }

    /// Reads a batch of datagrams; `WouldBlock` if there was none.
    pub(super) fn read(
        &mut self,
        socket: &impl AsFd,
        state: &UdpSocketState,
        forwarding: &mut Forwarding,
        counters: &CountersInner,
        mut is_own: impl FnMut(SocketAddr, Instant) -> bool,
    ) -> io::Result<()> {
        while self.buffers.len() < BATCH {
            self.buffers.push(self.pool.take());
        }
        let mut slices = self.buffers.iter_mut().map(|buffer| {
            let len = buffer.len();
            IoSliceMut::new(buffer.slice_mut(0..len))
        });
        let mut slices: [IoSliceMut<'_>; BATCH] =
            std::array::from_fn(|_| slices.next().expect("as many buffers"));
        let mut metas = [RecvMeta::default(); BATCH];
        let read = state.recv(UdpSockRef::from(socket), &mut slices, &mut metas)?;
        let now = Instant::now();
        for (index, meta) in metas[..read].iter().enumerate() {
            if is_own(meta.addr, now) {
                continue;
            }
            let buffer = std::mem::replace(&mut self.buffers[index], self.pool.take());
            let whole = buffer.freeze(meta.len);
            let stride = meta.stride.clamp(1, meta.len.max(1));
            let mut start = 0;
            while start < whole.len() {
                let end = whole.len().min(start + stride);
                self.take_in(whole.slice(start..end), meta.addr, now, forwarding, counters);
                start = end;
            }
        }
        Ok(())
    }

    fn take_in(
        &mut self,
        datagram: Bytes,
        from: SocketAddr,
        now: Instant,
        forwarding: &mut Forwarding,
        counters: &CountersInner,
    ) {
        match forwarding.receive(&datagram, from, now) {
            Datagram::Frame(frame) => {
                let data = datagram.slice_ref(frame);
                let checksum = checksum_of(&data);
                self.frames.push_back(Frame::new(data, checksum));
            }
            Datagram::Goodbye => {}
            Datagram::Foreign => {
                counters.dropped_incoming.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// The state of a frame's checksum. One that is the sum of the pseudo header alone was left to the
/// hardware by a sender of this machine, and the frame was never on a wire: the VXLAN of Linux
/// behind a veth does that.
fn checksum_of(frame: &[u8]) -> FrameChecksum {
    match Layout::of(frame).is_some_and(|layout| layout.is_begun(frame)) {
        true => FrameChecksum::Trusted,
        false => FrameChecksum::Unknown,
    }
}
