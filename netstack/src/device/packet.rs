//! A device on an existing interface of the machine, by a packet socket (packet(7)).

use super::interface::{Interface, Layer};
use super::kernel::{KernelDevice, KernelSlot};
use super::{Device, InterfaceOffload, host, refusal};
use netcore::{Frame, Link, LinkCapabilities};
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

/// A device on an Ethernet interface that exists, beside the kernel: the stack is a further host on
/// the wire, with a [hardware address](netcore::Netstack::hardware_address) of its own.
///
/// It needs the capability `CAP_NET_RAW` in the network namespace. The interface takes frames to the
/// stack's addresses, and to all groups, as long as the device is there. The kernel and the stack
/// do not see what the other sends on this interface; frames of a virtual LAN are not the stack's.
///
/// With offload a frame has up to 64 KiB, in both directions.
#[derive(Debug)]
pub struct PacketDevice(pub(super) KernelDevice);

impl PacketDevice {
    /// Opens the interface `name`, for IP packets of up to `mtu` bytes: without one, of its own MTU.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` without `CAP_NET_RAW`; `NotFound` if there is no such interface;
    /// `InvalidInput` if it is not Ethernet, or for an MTU out of range; the kernel's.
    pub fn open(name: &str, mtu: Option<usize>, offload: InterfaceOffload) -> io::Result<Self> {
        let link = host::link(name).map_err(|error| {
            let kind = match error.raw_os_error() {
                Some(libc::ENODEV) => io::ErrorKind::NotFound,
                _ => error.kind(),
            };
            io::Error::new(kind, format!("interface {name}: {error}"))
        })?;
        if !host::is_ethernet(&link) {
            let message = format!("{name} is no Ethernet interface");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let mtu = mtu.or_else(|| host::mtu(&link)).unwrap_or(MTU);
        refusal::check_mtu(mtu)?;
        let interface = Interface::of_packets(name, link.header.index, offload)?;
        Ok(Self(KernelDevice::new(Layer::Ethernet, vec![interface], mtu, Vec::new())))
    }

    /// The same for IP packets of at most `mtu` bytes.
    #[must_use]
    pub fn with_mtu_max(self, mtu: usize) -> Self {
        Self(self.0.with_mtu_max(mtu))
    }

    /// Whether the kernel cuts and joins packets, as [`InterfaceOffload`] says.
    pub fn has_offload(&self) -> bool {
        self.0.has_offload()
    }

    /// The name of the kernel's interface.
    pub fn name(&self) -> &str {
        self.0.name()
    }
}

/// The MTU of Ethernet.
const MTU: usize = 1500;

super::kernel::is_a_kernel_device!(PacketDevice);
