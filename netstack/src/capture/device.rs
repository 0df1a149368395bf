//! A device that records its frames.

use super::filter::Filter;
use super::live::InterfaceTap;
use super::recorder::Recorder;
use crate::device::Device;
use crate::tap::FrameLog;
use netcore::{Frame, Link, LinkCapabilities, Observer, Offload, Slot};
use std::io::{self, Write};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// A device that records every frame, in both directions, with a comment on each of what the stack
/// has decided about it. [`Stack::capture`](crate::Stack::capture) does so while a stack runs.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// use netstack::capture::Capture;
///
/// let (device, _far) = netstack::device::pipe(16, 1500);
/// let device = Capture::new(device, std::io::sink());
/// let recorder = device.recorder();
/// let stack = netstack::Builder::new().address("10.0.0.2/24".parse().unwrap()).spawn(device)?;
///
/// stack.net().udp_bind("10.0.0.2:9").await?.send_to(b"hello", "10.0.0.1:9").await?;
/// stack.shutdown(std::time::Duration::from_secs(1)).await?;
/// assert_eq!(recorder.statistics().frames, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Capture<D> {
    device: D,
    recorder: Recorder,
    log: FrameLog<InterfaceTap>,
}

impl<D: Device> Capture<D> {
    /// Records the frames of a device. [`Recorder::new`] documents the writer.
    pub fn new(device: D, writer: impl Write + Send + 'static) -> Self {
        Self::with_recorder(device, &Recorder::new(writer), "")
    }

    /// Records the frames of a device into a shared file, as an interface with this name.
    pub fn with_recorder(device: D, recorder: &Recorder, name: &str) -> Self {
        let medium = device.capabilities().medium;
        let interface = recorder.interface(name, medium);
        let log = FrameLog::new(InterfaceTap { interface, filter: Filter::all(), medium });
        Self { device, recorder: recorder.clone(), log }
    }

    /// What writes the file.
    pub fn recorder(&self) -> Recorder {
        self.recorder.clone()
    }
}

impl<D: Device> Link for Capture<D> {
    type Slot<'a> = CaptureSlot<'a, D>;

    fn has_carrier(&self) -> bool {
        self.device.has_carrier()
    }

    fn capabilities(&self) -> LinkCapabilities {
        self.device.capabilities()
    }

    fn receive(&mut self) -> Option<Frame> {
        let Some(frame) = self.device.receive() else {
            self.log.settle();
            return None;
        };
        let frame = frame.linearize();
        self.log.receive(Instant::now(), frame.data.clone());
        Some(frame)
    }

    fn transmit(&mut self) -> Option<CaptureSlot<'_, D>> {
        let slot = self.device.transmit()?;
        Some(CaptureSlot { slot, log: &mut self.log })
    }

    fn observer(&mut self) -> Option<&mut dyn Observer> {
        Some(&mut self.log)
    }
}

impl<D: Device> Device for Capture<D> {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.device.poll_receive(cx)
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.device.poll_room(cx)
    }

    fn poll_delivered(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.device.poll_delivered(cx)
    }

    fn look(&mut self) {
        self.device.look();
    }

    fn spin(&self) -> Duration {
        self.device.spin()
    }

    fn flush(&mut self) {
        self.log.settle();
        self.device.flush();
    }

    fn attach(&mut self) -> io::Result<()> {
        self.device.attach()
    }
}

impl<D> Drop for Capture<D> {
    fn drop(&mut self) {
        self.log.settle();
    }
}

/// A slot for one frame at a recorded device.
#[derive(Debug)]
pub struct CaptureSlot<'a, D: Device + 'a> {
    slot: D::Slot<'a>,
    log: &'a mut FrameLog<InterfaceTap>,
}

impl<'a, D: Device + 'a> Slot for CaptureSlot<'a, D> {
    fn send<R>(self, len: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        let log = self.log;
        self.slot.send(len, |buffer| {
            let filled = fill(buffer);
            log.send(Instant::now(), buffer);
            filled
        })
    }
}
