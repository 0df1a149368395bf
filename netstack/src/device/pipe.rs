//! A pipe in memory, between two stacks or between a stack and a program.

use super::Device;
use crate::batch::Batch;
use crate::machine;
use bytes::Bytes;
use netcore::Medium;
use netcore::isolation::wake;
use netcore::{Frame, FrameChecksum, Link, LinkCapabilities, Offload, Slot};
use std::collections::VecDeque;
use std::future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::runtime::Handle;

/// The time from a packet to the wake-up of the thread that sleeps for it.
const SPIN: Duration = Duration::from_micros(10);

/// A pipe for IP packets of up to `mtu` bytes, which holds at most `frames_max` of them in each
/// direction.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let (device, far) = netstack::device::pipe(16, 1500);
/// let stack = netstack::Builder::new().address("10.0.0.2/24".parse().unwrap()).spawn(device)?;
/// let socket = stack.net().udp_bind("10.0.0.2:1000").await?;
/// socket.send_to(b"hello", "10.0.0.1:80").await?;
///
/// let packet = far.recv().await.expect("the stack is there");
/// assert!(packet.ends_with(b"hello"));
/// # Ok(())
/// # }
/// ```
pub fn pipe(frames_max: usize, mtu: usize) -> (PipeDevice, PipeEnd) {
    to_program(frames_max, capabilities(Medium::Ip, mtu, false))
}

/// A pipe for Ethernet frames with IP packets of up to `mtu` bytes in them, behind a header of 14;
/// otherwise as [`pipe()`].
pub fn ethernet_pipe(frames_max: usize, mtu: usize) -> (PipeDevice, PipeEnd) {
    to_program(frames_max, capabilities(Medium::Ethernet, mtu, false))
}

/// A pipe between two stacks. With `jumbo` TCP sends segments of up to 64 KiB through it as one
/// frame each, and no checksums are computed: both ends are in this process.
pub(crate) fn join(
    frames_max: usize,
    medium: Medium,
    mtu: usize,
    jumbo: bool,
) -> (PipeDevice, PipeDevice) {
    let there = Arc::new(Direction::new(frames_max));
    let back = Arc::new(Direction::new(frames_max));
    let capabilities = capabilities(medium, mtu, jumbo);
    let near = PipeDevice::new(there.clone(), back.clone(), capabilities);
    (near, PipeDevice::new(back, there, capabilities))
}

fn to_program(frames_max: usize, capabilities: LinkCapabilities) -> (PipeDevice, PipeEnd) {
    let there = Arc::new(Direction::new(frames_max));
    let back = Arc::new(Direction::new(frames_max));
    let near = PipeDevice::new(there.clone(), back.clone(), capabilities);
    (near, PipeEnd { outgoing: back, incoming: there })
}

fn capabilities(medium: Medium, mtu: usize, jumbo: bool) -> LinkCapabilities {
    LinkCapabilities::new(medium, mtu)
        .with_offload(jumbo.then_some(JUMBO_BYTES_MAX))
        .with_scatter_gather()
}

/// The largest IP packet.
const JUMBO_BYTES_MAX: usize = 65_535;

/// The queue of one direction.
#[derive(Debug)]
struct Direction {
    frames_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Frame>,
    /// One end is gone.
    is_closed: bool,
    receiver: Option<Waker>,
    sender: Option<Waker>,
}

impl Direction {
    fn new(frames_max: usize) -> Self {
        Self { frames_max: frames_max.max(1), state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn room(&self) -> usize {
        self.frames_max.saturating_sub(self.lock().frames.len())
    }

    fn push(&self, frames: impl Iterator<Item = Frame>) {
        let mut state = self.lock();
        if state.is_closed {
            return;
        }
        state.frames.extend(frames);
        let receiver = state.receiver.take();
        drop(state);
        if let Some(receiver) = receiver {
            wake(receiver);
        }
    }

    /// Swaps the frames with `into`, which must be empty.
    fn take(&self, into: &mut VecDeque<Frame>) {
        let mut state = self.lock();
        std::mem::swap(&mut state.frames, into);
        let sender = state.sender.take_if(|_| !into.is_empty());
        drop(state);
        if let Some(sender) = sender {
            wake(sender);
        }
    }

    fn pop(&self) -> Option<Frame> {
        let mut state = self.lock();
        let frame = state.frames.pop_front()?;
        let sender = state.sender.take();
        drop(state);
        if let Some(sender) = sender {
            wake(sender);
        }
        Some(frame)
    }

    fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        if !state.frames.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if state.is_closed {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        state.receiver = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        if state.is_closed || state.frames.len() < self.frames_max {
            return Poll::Ready(Ok(()));
        }
        state.sender = Some(cx.waker().clone());
        Poll::Pending
    }

    fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        let wakers = (state.receiver.take(), state.sender.take());
        drop(state);
        for waker in [wakers.0, wakers.1].into_iter().flatten() {
            wake(waker);
        }
    }
}

/// The end of a pipe for a stack.
#[derive(Debug)]
pub struct PipeDevice {
    outgoing: Arc<Direction>,
    incoming: Arc<Direction>,
    capabilities: LinkCapabilities,
    received: VecDeque<Frame>,
    batch: Batch,
    /// Free slots of the pipe at the last look.
    room: usize,
}

impl PipeDevice {
    fn new(
        outgoing: Arc<Direction>,
        incoming: Arc<Direction>,
        capabilities: LinkCapabilities,
    ) -> Self {
        let received = VecDeque::new();
        Self { outgoing, incoming, capabilities, received, batch: Batch::new(), room: 0 }
    }

    fn pass_on(&mut self) {
        self.outgoing.push(self.batch.take().map(|(frame, _)| frame));
    }
}

impl Link for PipeDevice {
    type Slot<'a> = PipeSlot<'a>;

    fn capabilities(&self) -> LinkCapabilities {
        self.capabilities
    }

    fn receive(&mut self) -> Option<Frame> {
        if self.received.is_empty() {
            self.incoming.take(&mut self.received);
        }
        self.received.pop_front()
    }

    fn transmit(&mut self) -> Option<PipeSlot<'_>> {
        if self.batch.is_full() {
            self.pass_on();
        }
        if self.room == 0 {
            self.pass_on();
            self.room = self.outgoing.room();
        }
        (self.room > 0).then_some(PipeSlot(self))
    }
}

impl Device for PipeDevice {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.received.is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.incoming.poll_receive(cx)
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.poll_room(cx)
    }

    fn spin(&self) -> Duration {
        // What runs on the same thread needs no wake-up.
        let is_shared = Handle::try_current().is_ok_and(|here| here.metrics().num_workers() > 1);
        if is_shared && machine::has_several_processors() { SPIN } else { Duration::ZERO }
    }

    fn flush(&mut self) {
        if !self.batch.is_empty() {
            self.pass_on();
        }
    }
}

impl Drop for PipeDevice {
    fn drop(&mut self) {
        self.pass_on();
        self.outgoing.close();
        self.incoming.close();
    }
}

/// The slot for one frame in a pipe.
#[derive(Debug)]
pub struct PipeSlot<'a>(&'a mut PipeDevice);

impl Slot for PipeSlot<'_> {
    fn send<R>(self, len: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        let device = self.0;
        if !device.batch.has_room(len) {
            device.pass_on();
        }
        device.room -= 1;
        device.batch.add(len, fill)
    }

    fn send_gathered<R>(
        self,
        len: usize,
        payload: &mut Vec<Bytes>,
        fill: impl FnOnce(&mut [u8]) -> (R, Offload),
    ) -> R {
        let device = self.0;
        if !device.batch.has_room(len) {
            device.pass_on();
        }
        device.room -= 1;
        device.batch.add_with(len, std::mem::take(payload), fill)
    }
}

/// The end of a pipe for a program: a test that drives a stack by hand, or a tunnel that carries
/// its packets.
///
/// Dropping it ends the stack on the other end.
#[derive(Debug)]
pub struct PipeEnd {
    outgoing: Arc<Direction>,
    incoming: Arc<Direction>,
}

impl PipeEnd {
    /// Sends a packet, or a frame on Ethernet, to the stack, once there is room; returns `false` if
    /// the stack has ended.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready has sent nothing.
    pub async fn send(&self, packet: Bytes) -> bool {
        let room = future::poll_fn(|cx| self.outgoing.poll_room(cx)).await;
        room.is_ok() && self.try_send(packet)
    }

    /// Sends a packet, or a frame on Ethernet, to the stack; returns whether there was room.
    pub fn try_send(&self, packet: Bytes) -> bool {
        let has_room = self.outgoing.room() > 0 && !self.outgoing.lock().is_closed;
        if has_room {
            let frame = Frame::new(packet, FrameChecksum::Unknown);
            self.outgoing.push(std::iter::once(frame));
        }
        has_room
    }

    /// Receives the next packet of the stack; `None` once the stack has ended.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready loses no packet.
    pub async fn recv(&self) -> Option<Bytes> {
        loop {
            if let Some(packet) = self.try_recv() {
                return Some(packet);
            }
            future::poll_fn(|cx| self.incoming.poll_receive(cx)).await.ok()?;
        }
    }

    /// As [`recv`](Self::recv), blocking the thread.
    pub fn recv_blocking(&self) -> Option<Bytes> {
        pollster::block_on(self.recv())
    }

    /// Takes the next packet of the stack, if the pipe holds one.
    pub fn try_recv(&self) -> Option<Bytes> {
        self.incoming.pop().map(|frame| frame.data)
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        self.outgoing.close();
        self.incoming.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What [`Device::spin`] of a pipe is on a runtime with so many workers.
    fn spin_with(workers: usize) -> Duration {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(workers).build().expect("a runtime");
        runtime.block_on(async { pipe(4, 1500).0.spin() })
    }

    #[test]
    fn a_pipe_is_polled_where_another_thread_may_fill_it() {
        let several = if machine::has_several_processors() { SPIN } else { Duration::ZERO };
        assert_eq!([spin_with(1), spin_with(2)], [Duration::ZERO, several]);
        assert_eq!(pipe(4, 1500).0.spin(), Duration::ZERO, "outside of a runtime");
    }

    #[test]
    fn frames_of_ethernet_pass_whole() {
        let (mut device, end) = ethernet_pipe(4, 1500);
        let sent: Vec<u8> = (0..1514).map(|index| index as u8).collect();

        let slot = device.transmit().expect("room");
        slot.send(sent.len(), |frame| (frame.copy_from_slice(&sent), Offload::default()));
        device.flush();
        let received = end.try_recv().expect("it was sent");
        assert!(end.try_send(received));

        assert_eq!(device.capabilities().medium, Medium::Ethernet);
        assert_eq!(device.capabilities().mtu, 1500);
        assert_eq!(device.receive().expect("it came back").data, sent);
    }

    #[test]
    fn the_largest_jumbo_frame_has_room_for_its_header() {
        let (mut near, mut far) = join(4, Medium::Ethernet, 1500, true);

        for _ in 0..2 {
            let slot = near.transmit().expect("room");
            slot.send(14 + JUMBO_BYTES_MAX, |frame| (frame.fill(7), Offload::default()));
        }
        near.flush();

        assert_eq!(far.receive().expect("the first").data.len(), 14 + JUMBO_BYTES_MAX);
        assert_eq!(far.receive().expect("the second").data.len(), 14 + JUMBO_BYTES_MAX);
    }
}
