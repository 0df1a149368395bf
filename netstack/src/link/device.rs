//! The device that a URL names.

use crate::device::{Device, Inherited, Tap, Tun, UnixDatagramDevice, UnixStreamDevice};
use crate::device::{PacketDevice, PtpDevice, PtpSlot, VdeDevice, inherit};
use crate::overlay::OverlayDevice;
use crate::switch::{SwitchPort, SwitchSlot};
#[cfg(feature = "wireguard")]
use crate::wireguard::WireGuardDevice;
use bytes::Bytes;
use netcore::{Frame, Link, LinkCapabilities, Offload, Slot};
use rustix::net::{AddressFamily, SocketType, sockopt};
use std::io;
use std::net::IpAddr;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::task::{Context, Poll};
use std::time::Duration;

/// A device of any kind that a [`LinkUrl`](super::LinkUrl) can name.
#[derive(Debug)]
#[non_exhaustive]
pub enum LinkDevice {
    /// A TUN.
    Tun(Tun),
    /// A TAP.
    Tap(Tap),
    /// A UNIX stream socket.
    Stream(UnixStreamDevice),
    /// A UNIX datagram socket.
    Datagram(UnixDatagramDevice),
    /// A port of a VDE switch.
    Vde(VdeDevice),
    /// An interface of the machine, beside the kernel.
    Packet(PacketDevice),
    /// An overlay network over UDP.
    Overlay(OverlayDevice),
    /// A WireGuard tunnel.
    #[cfg(feature = "wireguard")]
    WireGuard(Box<WireGuardDevice>),
    /// A link to another program that comes to the same path.
    Ptp(PtpDevice),
    /// A port of a switch of this process.
    Switch(SwitchPort),
}

impl LinkDevice {
    /// Takes over an open descriptor: a TUN, a TAP, or a UNIX socket. One of type `SOCK_SEQPACKET` is
    /// connected and carries a frame in each packet; its end is that of the stack.
    ///
    /// Without an MTU, in bytes, it is that of the interface; of a socket, and of an interface in
    /// another network namespace, it is 1500. With `IFF_VNET_HDR` the link has offload.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for any other descriptor, for a TUN or TAP that is not attached to an interface
    /// or was opened without `IFF_NO_PI`, and for an MTU out of range; the kernel's.
    pub fn from_fd(descriptor: OwnedFd, mtu: Option<usize>) -> io::Result<Self> {
        match inherit(descriptor, mtu)? {
            Inherited::Tun(tun) => Ok(Self::Tun(tun)),
            Inherited::Tap(tap) => Ok(Self::Tap(tap)),
            Inherited::Other(descriptor) => socket(descriptor, mtu.unwrap_or(SOCKET_MTU)),
        }
    }
}

/// Opens a descriptor by its number: a duplicate, and both are closed on exec.
pub(super) fn open_descriptor(number: RawFd, mtu: Option<usize>) -> io::Result<LinkDevice> {
    let failed = |error: io::Error| match error.raw_os_error() {
        Some(EBADF) => {
            let message = format!("descriptor {number} is not open: the parent must hand it in");
            io::Error::new(io::ErrorKind::NotFound, message)
        }
        _ => io::Error::new(error.kind(), format!("descriptor {number}: {error}")),
    };
    // SAFETY: the number is not negative, and the descriptor is used in two calls that fail if it is
    // not open; what is kept is a duplicate.
    #[expect(unsafe_code, reason = "a number is all that a parent can give")]
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    let duplicate = descriptor.try_clone_to_owned().map_err(failed)?;
    // Programs that this one starts are not to have the link.
    rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::CLOEXEC)
        .map_err(|error| failed(error.into()))?;
    LinkDevice::from_fd(duplicate, mtu).map_err(failed)
}

const EBADF: i32 = 9;

/// The MTU of a link over a socket, unless another is given.
pub(super) const SOCKET_MTU: usize = 1500;

/// The device on a socket.
fn socket(descriptor: OwnedFd, mtu: usize) -> io::Result<LinkDevice> {
    let wrong = |message| Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    let Ok(family) = sockopt::socket_domain(&descriptor) else {
        return wrong("neither a TUN, a TAP nor a socket");
    };
    if family != AddressFamily::UNIX {
        return wrong("a socket, but none of the UNIX family");
    }
    let listens = sockopt::socket_acceptconn(&descriptor)?;
    match sockopt::socket_type(&descriptor)? {
        SocketType::STREAM if listens => {
            UnixStreamDevice::from_listener(descriptor.into(), mtu).map(LinkDevice::Stream)
        }
        SocketType::STREAM => {
            UnixStreamDevice::from_stream(descriptor.into(), mtu).map(LinkDevice::Stream)
        }
        SocketType::DGRAM => {
            UnixDatagramDevice::from_socket(descriptor.into(), mtu).map(LinkDevice::Datagram)
        }
        SocketType::SEQPACKET if !listens => {
            UnixDatagramDevice::from_seqpacket(descriptor, mtu).map(LinkDevice::Datagram)
        }
        _ => wrong("neither a connected socket nor one of datagrams"),
    }
}

/// Calls a method of whatever device it is.
macro_rules! each {
    ($link:expr, $device:ident => $call:expr) => {
        match $link {
            LinkDevice::Tun($device) => $call,
            LinkDevice::Tap($device) => $call,
            LinkDevice::Stream($device) => $call,
            LinkDevice::Datagram($device) => $call,
            LinkDevice::Vde($device) => $call,
            LinkDevice::Packet($device) => $call,
            LinkDevice::Overlay($device) => $call,
            #[cfg(feature = "wireguard")]
            LinkDevice::WireGuard($device) => $call,
            LinkDevice::Ptp($device) => $call,
            LinkDevice::Switch($device) => $call,
        }
    };
}

impl Link for LinkDevice {
    type Slot<'a> = LinkSlot<'a>;

    fn capabilities(&self) -> LinkCapabilities {
        each!(self, device => device.capabilities())
    }

    fn has_carrier(&self) -> bool {
        each!(self, device => device.has_carrier())
    }

    fn receive(&mut self) -> Option<Frame> {
        each!(self, device => device.receive())
    }

    fn transmit(&mut self) -> Option<LinkSlot<'_>> {
        match self {
            Self::Tun(device) => device.transmit().map(SlotOf::Tun),
            Self::Tap(device) => device.transmit().map(SlotOf::Tap),
            Self::Stream(device) => device.transmit().map(SlotOf::Stream),
            Self::Datagram(device) => device.transmit().map(SlotOf::Datagram),
            Self::Vde(device) => device.transmit().map(SlotOf::Datagram),
            Self::Packet(device) => device.transmit().map(SlotOf::Packet),
            Self::Overlay(device) => device.transmit().map(SlotOf::Overlay),
            #[cfg(feature = "wireguard")]
            Self::WireGuard(device) => device.transmit().map(SlotOf::WireGuard),
            Self::Ptp(device) => device.transmit().map(SlotOf::Ptp),
            Self::Switch(device) => device.transmit().map(SlotOf::Switch),
        }
        .map(LinkSlot)
    }
}

impl Device for LinkDevice {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, device => device.poll_receive(cx))
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, device => device.poll_room(cx))
    }

    fn flush(&mut self) {
        each!(self, device => device.flush());
    }

    fn poll_delivered(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        each!(self, device => device.poll_delivered(cx))
    }

    fn look(&mut self) {
        each!(self, device => device.look());
    }

    fn spin(&self) -> Duration {
        each!(self, device => device.spin())
    }

    fn peer_addresses(&self) -> Vec<IpAddr> {
        each!(self, device => device.peer_addresses())
    }

    fn attach(&mut self) -> io::Result<()> {
        each!(self, device => device.attach())
    }
}

/// The slot for one frame.
#[derive(Debug)]
pub struct LinkSlot<'a>(SlotOf<'a>);

#[derive(Debug)]
enum SlotOf<'a> {
    Tun(<Tun as Link>::Slot<'a>),
    Tap(<Tap as Link>::Slot<'a>),
    Stream(<UnixStreamDevice as Link>::Slot<'a>),
    Datagram(<UnixDatagramDevice as Link>::Slot<'a>),
    Packet(<PacketDevice as Link>::Slot<'a>),
    Overlay(<OverlayDevice as Link>::Slot<'a>),
    #[cfg(feature = "wireguard")]
    WireGuard(<WireGuardDevice as Link>::Slot<'a>),
    Ptp(PtpSlot<'a>),
    Switch(SwitchSlot<'a>),
}

impl Slot for LinkSlot<'_> {
    fn send<R>(self, len: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        match self.0 {
            SlotOf::Tun(slot) => slot.send(len, fill),
            SlotOf::Tap(slot) => slot.send(len, fill),
            SlotOf::Stream(slot) => slot.send(len, fill),
            SlotOf::Datagram(slot) => slot.send(len, fill),
            SlotOf::Packet(slot) => slot.send(len, fill),
            SlotOf::Overlay(slot) => slot.send(len, fill),
            #[cfg(feature = "wireguard")]
            SlotOf::WireGuard(slot) => slot.send(len, fill),
            SlotOf::Ptp(slot) => slot.send(len, fill),
            SlotOf::Switch(slot) => slot.send(len, fill),
        }
    }

    fn send_gathered<R>(
        self,
        len: usize,
        payload: &mut Vec<Bytes>,
        fill: impl FnOnce(&mut [u8]) -> (R, Offload),
    ) -> R {
        match self.0 {
            SlotOf::Tun(slot) => slot.send_gathered(len, payload, fill),
            SlotOf::Tap(slot) => slot.send_gathered(len, payload, fill),
            SlotOf::Stream(slot) => slot.send_gathered(len, payload, fill),
            SlotOf::Datagram(slot) => slot.send_gathered(len, payload, fill),
            SlotOf::Packet(slot) => slot.send_gathered(len, payload, fill),
            SlotOf::Overlay(slot) => slot.send_gathered(len, payload, fill),
            #[cfg(feature = "wireguard")]
            SlotOf::WireGuard(slot) => slot.send_gathered(len, payload, fill),
            SlotOf::Ptp(slot) => slot.send_gathered(len, payload, fill),
            SlotOf::Switch(slot) => slot.send_gathered(len, payload, fill),
        }
    }
}
