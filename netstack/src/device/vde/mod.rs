//! Ethernet frames to a VDE switch and to its clients.
//!
//! Each end has a datagram socket, connected to the other's, that carries a frame in each datagram; a
//! stream beside them stays silent, and its end is that of the link.

mod client;
mod request;

use client::Asked;
pub use client::VdeConfig;
pub(crate) use request::{REQUEST_BYTES_MAX, address};
pub use request::{VdeRequest, VdeRequestError};

use super::Device;
use super::unix_datagram::{DatagramCounters, UnixDatagramDevice, UnixDatagramSlot};
use crate::unix_path::BoundPath;
use netcore::{Frame, Link, LinkCapabilities};
use std::fmt;
use std::io;
use std::os::unix::net::{UnixDatagram, UnixStream as StdStream};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::UnixStream;

/// A device on a port of a VDE switch: of Debian's `vde_switch`, or of one that
/// [`Switch::vde_listener`](crate::switch::Switch::vde_listener) opens to others.
///
/// The link has a carrier from the time on at which the switch has given the port. The end of the
/// switch ends the stack in good order. What the switch has no room for is dropped
/// and counted as in [`UnixDatagramDevice`].
pub struct VdeDevice {
    /// Until the switch has answered.
    asked: Option<Asked>,
    control: Control,
    frames: UnixDatagramDevice,
}

/// The stream whose end is that of the link.
enum Control {
    Unattached(StdStream),
    Attached(UnixStream),
    Gone,
}

impl VdeDevice {
    /// The end of a switch, on the sockets of a client. Removes the path of its own at the end.
    pub(crate) fn served(
        control: UnixStream,
        frames: UnixDatagram,
        path: BoundPath,
        mtu: usize,
    ) -> io::Result<Self> {
        let frames = UnixDatagramDevice::from_socket(frames, mtu)?.with_path(path);
        Ok(Self { asked: None, control: Control::Attached(control), frames })
    }

    fn new(control: StdStream, frames: UnixDatagramDevice, asked: Asked) -> Self {
        Self { asked: Some(asked), control: Control::Unattached(control), frames }
    }

    /// What it has dropped.
    pub fn counters(&self) -> DatagramCounters {
        self.frames.counters()
    }
}

impl Control {
    /// Waits for the end of the stream.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self::Attached(stream) = self else { return Poll::Ready(()) };
        let mut bytes = [0; 64];
        let mut buffer = ReadBuf::new(&mut bytes);
        match Pin::new(stream).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                // Nobody has anything to say there. The rest of it waits for the next turn.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            ended => ended.map(drop),
        }
    }
}

impl fmt::Debug for VdeDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VdeDevice").field("frames", &self.frames).finish_non_exhaustive()
    }
}

impl Link for VdeDevice {
    type Slot<'a> = UnixDatagramSlot<'a>;

    fn capabilities(&self) -> LinkCapabilities {
        self.frames.capabilities()
    }

    fn has_carrier(&self) -> bool {
        self.asked.is_none()
    }

    fn receive(&mut self) -> Option<Frame> {
        match self.asked {
            Some(_) => None,
            None => self.frames.receive(),
        }
    }

    fn transmit(&mut self) -> Option<UnixDatagramSlot<'_>> {
        self.frames.transmit()
    }
}

impl Device for VdeDevice {
    fn attach(&mut self) -> io::Result<()> {
        self.control = match std::mem::replace(&mut self.control, Control::Gone) {
            Control::Unattached(stream) => Control::Attached(UnixStream::from_std(stream)?),
            attached => attached,
        };
        self.frames.attach()
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let (Some(asked), Control::Attached(control)) = (&mut self.asked, &mut self.control) {
            ready!(asked.poll_answer(control, cx))?;
            // The stack reads that there is a carrier.
            self.asked = None;
            return Poll::Ready(Ok(()));
        }
        if let Poll::Ready(received) = self.frames.poll_receive(cx) {
            return Poll::Ready(received);
        }
        if self.control.poll_end(cx).is_pending() {
            return Poll::Pending;
        }
        // What was sent before the end.
        match self.frames.poll_receive(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            _ => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.frames.poll_room(cx)
    }

    fn poll_delivered(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.frames.poll_delivered(cx)
    }
}
