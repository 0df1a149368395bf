//! Devices, which carry frames to and from a stack.

#[cfg(test)]
pub(crate) mod cable;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod carrier;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod config;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod driver;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod flows;
mod framing;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod host;
#[cfg(all(target_os = "linux", feature = "tun-tap"))]
mod iface;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod inherited;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod interface;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod kernel;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod packet;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod packet_socket;
mod pipe;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod ptp;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod queue;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod queue_counters;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod receiver;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod refusal;
mod stream;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod tap;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod tun;
#[cfg(feature = "tun-rs")]
mod tun_rs;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod unix_datagram;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod unix_stream;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod vde;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod virtio;

pub(crate) use pipe::join;
pub use pipe::{PipeDevice, PipeEnd, ethernet_pipe, pipe};
pub use stream::{StreamDevice, StreamSlot};

#[cfg(all(target_os = "linux", feature = "tun"))]
pub use config::{InterfaceConfig, InterfaceOffload};
#[cfg(all(target_os = "linux", feature = "tun"))]
pub(crate) use inherited::{Inherited, inherit};
#[cfg(all(target_os = "linux", feature = "tun"))]
pub use packet::PacketDevice;
#[cfg(all(target_os = "linux", feature = "tun"))]
pub use ptp::{PtpDevice, PtpSlot};
#[cfg(all(target_os = "linux", feature = "tun"))]
pub use queue_counters::QueueCounters;
#[cfg(all(target_os = "linux", feature = "tun"))]
pub use tap::Tap;
#[cfg(all(target_os = "linux", feature = "tun"))]
pub use tun::Tun;
#[cfg(feature = "tun-rs")]
pub use tun_rs::{TunRsDevice, TunRsSlot};
#[cfg(all(target_os = "linux", feature = "tun"))]
pub use unix_datagram::{DatagramCounters, UnixDatagramDevice, UnixDatagramSlot};
#[cfg(all(target_os = "linux", feature = "tun"))]
pub use unix_stream::{UnixStreamDevice, UnixStreamSlot};
#[cfg(all(target_os = "linux", feature = "tun"))]
pub(crate) use vde::{REQUEST_BYTES_MAX, address};
#[cfg(all(target_os = "linux", feature = "tun"))]
pub use vde::{VdeConfig, VdeDevice, VdeRequest, VdeRequestError};

use netcore::Link;
use std::io;
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::Duration;

/// A [`Link`] that can be waited for.
///
/// [`Builder::spawn`](crate::Builder::spawn) drives one: it receives and transmits until there is
/// nothing more to do, calls [`flush`](Self::flush), and then waits.
///
/// A device of one's own, on a pair of channels:
///
/// ```
/// use netstack::device::Device;
/// use netstack::netsocket::netcore::{Frame, FrameChecksum, Link, LinkCapabilities, Medium};
/// use netstack::netsocket::netcore::{Offload, Slot};
/// use std::io;
/// use std::task::{Context, Poll, ready};
/// use tokio::sync::mpsc::{Receiver, UnboundedSender};
///
/// struct Channels {
///     incoming: Receiver<Vec<u8>>,
///     outgoing: UnboundedSender<Vec<u8>>,
///     /// What `poll_receive` has taken.
///     next: Option<Vec<u8>>,
/// }
///
/// struct Room<'a>(&'a UnboundedSender<Vec<u8>>);
///
/// impl Slot for Room<'_> {
///     fn send<R>(self, len: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
///         let mut packet = vec![0; len];
///         let (result, _) = fill(&mut packet);
///         // Without a receiver it is lost, as on a wire.
///         let _ = self.0.send(packet);
///         result
///     }
/// }
///
/// impl Link for Channels {
///     type Slot<'a> = Room<'a>;
///
///     fn capabilities(&self) -> LinkCapabilities {
///         LinkCapabilities::new(Medium::Ip, 1500)
///     }
///
///     fn receive(&mut self) -> Option<Frame> {
///         let packet = self.next.take().or_else(|| self.incoming.try_recv().ok())?;
///         Some(Frame::new(packet.into(), FrameChecksum::Unknown))
///     }
///
///     fn transmit(&mut self) -> Option<Room<'_>> {
///         Some(Room(&self.outgoing))
///     }
/// }
///
/// impl Device for Channels {
///     fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
///         if self.next.is_none() {
///             self.next = ready!(self.incoming.poll_recv(cx));
///         }
///         let end = || io::ErrorKind::UnexpectedEof.into();
///         Poll::Ready(self.next.as_ref().map(drop).ok_or_else(end))
///     }
///
///     fn poll_room(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
///         Poll::Ready(Ok(()))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// let (_to_stack, incoming) = tokio::sync::mpsc::channel(16);
/// let (outgoing, mut from_stack) = tokio::sync::mpsc::unbounded_channel();
/// let device = Channels { incoming, outgoing, next: None };
/// let builder = netstack::Builder::new().address("10.0.0.2/24".parse().unwrap());
/// let stack = builder.spawn(device)?;
///
/// stack.net().udp_bind("10.0.0.2:9").await?.send_to(b"hello", "10.0.0.1:9").await?;
/// assert!(from_stack.recv().await.expect("a packet").ends_with(b"hello"));
/// # Ok(())
/// # }
/// ```
pub trait Device: Link + Send + 'static {
    /// Waits until [`receive`](Link::receive) may give a frame.
    ///
    /// An error ends the stack: [`io::ErrorKind::UnexpectedEof`] in good order, because no frame
    /// will ever come again; [`io::ErrorKind::NotConnected`] because the device was removed. A
    /// panic of the device ends the stack as an error does, with the panic's message.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Waits until [`transmit`](Link::transmit) may have room.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Sends the frames transmitted so far, for devices that gather them.
    fn flush(&mut self) {}

    /// Waits until the frames sent are delivered, as far as the device can ensure that; called at
    /// the end of a shutdown, before the device is dropped.
    fn poll_delivered(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    /// Makes the next [`receive`](Link::receive) read from the operating system without a call of
    /// [`poll_receive`](Self::poll_receive). For devices that otherwise read after an event of the
    /// runtime only.
    fn look(&mut self) {}

    /// The default of [`Builder::spin`](crate::Builder::spin), the time in which the stack reads
    /// again before it waits: about that of a wake-up. Zero where a wake-up is cheap, and where
    /// time is virtual.
    fn spin(&self) -> Duration {
        Duration::ZERO
    }

    /// The known addresses of the peer on the link, which the stack may not have too.
    fn peer_addresses(&self) -> Vec<IpAddr> {
        Vec::new()
    }

    /// Called once, in the context of the runtime that will drive the device, before anything
    /// else.
    ///
    /// # Errors
    ///
    /// The reason why the device cannot be used; the stack does not start then.
    fn attach(&mut self) -> io::Result<()> {
        Ok(())
    }
}
