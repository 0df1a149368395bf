//! Devices, which carry frames to and from a stack.

#[cfg(test)]
pub(crate) mod cable;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod carrier;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod config;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod driver;
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
mod pipe;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod receiver;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod refusal;
mod stream;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod tap;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod tun;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod unix_datagram;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod unix_path;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod unix_stream;
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
pub use tap::Tap;
#[cfg(all(target_os = "linux", feature = "tun"))]
pub use tun::Tun;
#[cfg(all(target_os = "linux", feature = "tun"))]
pub use unix_datagram::{DatagramCounters, UnixDatagramDevice, UnixDatagramSlot};
#[cfg(all(target_os = "linux", feature = "tun"))]
pub use unix_stream::{UnixStreamDevice, UnixStreamSlot};

use netcore::Link;
use std::io;
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::Duration;

/// A [`Link`] that can be waited for.
///
/// [`Builder::spawn`](crate::Builder::spawn) drives one: it receives and transmits until there is
/// nothing more to do, calls [`flush`](Self::flush), and then waits.
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
