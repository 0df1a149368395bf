//! What carries frames to and from a stack.

#[cfg(test)]
pub(crate) mod cable;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod carrier;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod config;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod driver;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod host;
#[cfg(all(target_os = "linux", feature = "tun-tap"))]
mod iface;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod interface;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod kernel;
mod pipe;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod receiver;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod refusal;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod tap;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod tun;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod virtio;

pub(crate) use pipe::join;
pub use pipe::{PipeDevice, PipeEnd, ethernet_pipe, pipe};

#[cfg(all(target_os = "linux", feature = "tun"))]
pub use config::{InterfaceConfig, InterfaceOffload};
#[cfg(all(target_os = "linux", feature = "tun"))]
pub use tap::Tap;
#[cfg(all(target_os = "linux", feature = "tun"))]
pub use tun::Tun;

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
    /// An error ends the stack. [`io::ErrorKind::UnexpectedEof`] says that no frame will ever come
    /// again, which is an end in good order; [`io::ErrorKind::NotConnected`] that the device was
    /// removed. A panic of the device ends the stack as an error does, with the panic's message.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Waits until [`transmit`](Link::transmit) may have room.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Sends what was transmitted so far, for devices that gather frames.
    fn flush(&mut self) {}

    /// Waits until what was sent has been delivered, as far as the device can see to it; asked at the
    /// end of a shutdown, before the device is dropped.
    fn poll_delivered(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    /// Asks that the next [`receive`](Link::receive) look for frames itself, though
    /// [`poll_receive`](Self::poll_receive) was not called. For devices that otherwise leave the
    /// looking to the runtime.
    fn look(&mut self) {}

    /// How long to look for frames before waiting, unless [`Builder::spin`](crate::Builder::spin)
    /// says otherwise: about as long as it takes to be woken. Zero where waking is cheap, and where
    /// time is not that of a clock.
    fn spin(&self) -> Duration {
        Duration::ZERO
    }

    /// Addresses that the other end of the link is known to have, which the stack may not have too.
    fn peer_addresses(&self) -> Vec<IpAddr> {
        Vec::new()
    }

    /// Called once, in the context of the runtime that will drive the device, before anything
    /// else.
    ///
    /// # Errors
    ///
    /// What keeps the device from being used; the stack does not start then.
    fn attach(&mut self) -> io::Result<()> {
        Ok(())
    }
}
