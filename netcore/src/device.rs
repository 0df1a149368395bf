//! smoltcp devices as links: the only part of the public API with smoltcp types.

use crate::link::{
    CHUNK_BYTES, Frame, FrameChecksum, Link, LinkCapabilities, Medium, Offload, Slot,
};
use crate::pipe::Pipe;
use crate::time::Instant;
use bytes::{Bytes, BytesMut};
use smoltcp::phy::{self, Device, DeviceCapabilities, RxToken as _};
use smoltcp::time;

pub use smoltcp;

impl From<phy::Medium> for Medium {
    fn from(medium: phy::Medium) -> Self {
        match medium {
            phy::Medium::Ip => Self::Ip,
            phy::Medium::Ethernet => Self::Ethernet,
        }
    }
}

impl From<Medium> for phy::Medium {
    fn from(medium: Medium) -> Self {
        match medium {
            Medium::Ip => Self::Ip,
            Medium::Ethernet => Self::Ethernet,
        }
    }
}

/// A smoltcp device as a [`Link`].
pub(crate) struct DeviceLink<'d, D> {
    device: &'d mut D,
    now: time::Instant,
    /// Received frames are split off this buffer.
    chunk: &'d mut BytesMut,
}

impl<'d, D: Device> DeviceLink<'d, D> {
    pub(crate) fn new(device: &'d mut D, now: Instant, chunk: &'d mut BytesMut) -> Self {
        Self { device, now: now.into(), chunk }
    }
}

impl<D: Device> Link for DeviceLink<'_, D> {
    type Slot<'a>
        = DeviceSlot<D::TxToken<'a>>
    where
        Self: 'a;

    fn capabilities(&self) -> LinkCapabilities {
        let capabilities = self.device.capabilities();
        LinkCapabilities::new(capabilities.medium.into(), capabilities.ip_mtu())
    }

    fn receive(&mut self) -> Option<Frame> {
        let verified = !self.device.capabilities().checksum.tcp.rx();
        let (received, _) = self.device.receive(self.now)?;
        received.consume(|frame| {
            if self.chunk.capacity() < frame.len() {
                *self.chunk = BytesMut::with_capacity(CHUNK_BYTES.max(frame.len()));
            }
            self.chunk.extend_from_slice(frame);
        });
        let checksum = if verified { FrameChecksum::Trusted } else { FrameChecksum::Unknown };
        Some(Frame::new(self.chunk.split().freeze(), checksum))
    }

    fn transmit(&mut self) -> Option<Self::Slot<'_>> {
        self.device.transmit(self.now).map(DeviceSlot)
    }
}

pub(crate) struct DeviceSlot<T>(T);

impl<T: phy::TxToken> Slot for DeviceSlot<T> {
    fn send<R>(self, len: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        self.0.consume(len, |frame| fill(frame).0)
    }
}

/// A device that sends into one end of a [`Pipe`] and receives from it.
///
/// A full pipe is a device without room; a pipe whose other end is gone drops packets, like an
/// unplugged cable.
#[derive(Debug)]
pub struct PipeDev {
    /// The end that the stack uses.
    pub pipe: Pipe,
    /// The medium: IP packets or Ethernet frames.
    pub medium: phy::Medium,
    /// The largest packet, in bytes, with the Ethernet header if there is one.
    pub mtu: usize,
}

impl Device for PipeDev {
    type RxToken<'a> = RxToken;
    type TxToken<'a> = TxToken<'a>;

    fn receive(&mut self, _now: time::Instant) -> Option<(RxToken, TxToken<'_>)> {
        let packet = self.pipe.rx.try_recv().ok()?;
        Some((RxToken(packet), TxToken(&self.pipe.tx)))
    }

    fn transmit(&mut self, _now: time::Instant) -> Option<TxToken<'_>> {
        (!self.pipe.tx.is_full()).then_some(TxToken(&self.pipe.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        // Always set: its default depends on features that other crates enable.
        capabilities.medium = self.medium;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}

/// A packet received from the pipe.
#[derive(Debug)]
pub struct RxToken(Bytes);

impl phy::RxToken for RxToken {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

/// Room for one packet in the pipe.
#[derive(Debug)]
pub struct TxToken<'a>(&'a flume::Sender<Bytes>);

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = BytesMut::zeroed(len);
        let result = f(&mut packet);
        if self.0.try_send(packet.freeze()).is_err() {
            tracing::debug!("packet lost: the pipe is full or its other end is gone");
        }
        result
    }
}
