//! A device that records its frames.

use super::recorder::{Interface, Recorder};
use crate::device::Device;
use crate::direction::Direction;
use netcore::{Frame, Link, LinkCapabilities, Offload, Slot};
use std::io::{self, Write};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// A device that records every frame, in both directions.
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
    interface: Interface,
}

impl<D: Device> Capture<D> {
    /// Records the frames of a device. [`Recorder::new`] documents the writer.
    pub fn new(device: D, writer: impl Write + Send + 'static) -> Self {
        Self::with_recorder(device, &Recorder::new(writer), "")
    }

    /// Records the frames of a device into a shared file, as an interface with this name.
    pub fn with_recorder(device: D, recorder: &Recorder, name: &str) -> Self {
        let interface = recorder.interface(name, device.capabilities().medium);
        Self { device, recorder: recorder.clone(), interface }
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
        let frame = self.device.receive()?.linearize();
        self.interface.record(Instant::now(), Direction::Inbound, &frame.data);
        Some(frame)
    }

    fn transmit(&mut self) -> Option<CaptureSlot<'_, D>> {
        let slot = self.device.transmit()?;
        Some(CaptureSlot { slot, interface: &self.interface })
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
        self.device.flush();
    }

    fn attach(&mut self) -> io::Result<()> {
        self.device.attach()
    }
}

/// A slot for one frame at a recorded device.
#[derive(Debug)]
pub struct CaptureSlot<'a, D: Device + 'a> {
    slot: D::Slot<'a>,
    interface: &'a Interface,
}

impl<'a, D: Device + 'a> Slot for CaptureSlot<'a, D> {
    fn send<R>(self, len: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        let interface = self.interface;
        self.slot.send(len, |buffer| {
            let filled = fill(buffer);
            interface.record(Instant::now(), Direction::Outbound, buffer);
            filled
        })
    }
}
