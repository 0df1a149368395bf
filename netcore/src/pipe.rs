//! A pipe that carries packets between two ends, and a device made of one end.

use bytes::{Bytes, BytesMut};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::time::Instant;

/// One end of a pipe: what goes into `tx` comes out of the other end's `rx`.
///
/// ```
/// let (near, far) = netcore::Pipe::unbounded();
/// near.tx.send(bytes::Bytes::from_static(b"hello")).unwrap();
/// assert_eq!(far.rx.recv().unwrap(), "hello");
/// ```
#[derive(Debug, Clone)]
pub struct Pipe {
    /// To the other end.
    pub tx: flume::Sender<Bytes>,
    /// From the other end.
    pub rx: flume::Receiver<Bytes>,
}

impl Pipe {
    /// A pipe that takes any number of packets.
    pub fn unbounded() -> (Self, Self) {
        Self::join(flume::unbounded(), flume::unbounded())
    }

    /// A pipe that holds at most `packets` in each direction.
    pub fn bounded(packets: usize) -> (Self, Self) {
        Self::join(flume::bounded(packets), flume::bounded(packets))
    }

    fn join(
        (there, far_rx): (flume::Sender<Bytes>, flume::Receiver<Bytes>),
        (back, near_rx): (flume::Sender<Bytes>, flume::Receiver<Bytes>),
    ) -> (Self, Self) {
        (Self { tx: there, rx: near_rx }, Self { tx: back, rx: far_rx })
    }
}

/// A device that sends into one end of a [`Pipe`] and receives from it.
///
/// A full pipe is a device without room; a pipe whose other end is gone swallows what is sent, as
/// a cable does that is not plugged in.
#[derive(Debug)]
pub struct PipeDev {
    /// The end that the stack uses.
    pub pipe: Pipe,
    /// What the packets are: IP packets or Ethernet frames.
    pub medium: Medium,
    /// The largest packet, in bytes, with the Ethernet header if there is one.
    pub mtu: usize,
}

impl Device for PipeDev {
    type RxToken<'a> = RxToken;
    type TxToken<'a> = TxToken<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(RxToken, TxToken<'_>)> {
        let packet = self.pipe.rx.try_recv().ok()?;
        Some((RxToken(packet), TxToken(&self.pipe.tx)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<TxToken<'_>> {
        (!self.pipe.tx.is_full()).then_some(TxToken(&self.pipe.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        // Always said: its default depends on the features that other crates turn on.
        capabilities.medium = self.medium;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}

/// A packet that came out of the pipe.
#[derive(Debug)]
pub struct RxToken(Bytes);

impl phy::RxToken for RxToken {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

/// The place for one packet in the pipe.
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
