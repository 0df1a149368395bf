//! A TAP device.

use super::interface::Layer;
use super::kernel::{KernelDevice, KernelSlot};
use super::{Device, InterfaceConfig, QueueCounters};
use netcore::{Frame, Link, LinkCapabilities};
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

/// A TAP device of the Linux kernel, which carries Ethernet frames: the stack is a neighbour of the
/// kernel and of whatever the interface is bridged to, and has a
/// [hardware address](netcore::Netstack::hardware_address).
///
/// Otherwise as a [`Tun`](super::Tun).
#[derive(Debug)]
pub struct Tap(pub(super) KernelDevice);

impl Tap {
    /// Opens an interface, which the kernel makes if there is none of this name.
    ///
    /// # Errors
    ///
    /// As [`Tun::open`](super::Tun::open).
    pub fn open(config: &InterfaceConfig) -> io::Result<Self> {
        KernelDevice::open(Layer::Ethernet, config).map(Self)
    }

    /// Takes over a TAP that the `tun-tap` crate has opened, as
    /// [`Tun::from_iface`](super::Tun::from_iface) does a TUN.
    ///
    /// Needs the feature `tun-tap`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a TUN; otherwise as `Tun::from_iface`.
    #[cfg(feature = "tun-tap")]
    pub fn from_iface(iface: tun_tap::Iface) -> io::Result<Self> {
        KernelDevice::from_iface(Layer::Ethernet, iface).map(Self)
    }

    /// Whether the kernel cuts and joins packets, as
    /// [`InterfaceOffload`](super::InterfaceOffload) says.
    pub fn has_offload(&self) -> bool {
        self.0.has_offload()
    }

    /// The packets on each queue.
    pub fn queue_counters(&self) -> QueueCounters {
        self.0.queue_counters()
    }

    /// The name of the kernel's interface.
    pub fn name(&self) -> &str {
        self.0.name()
    }
}

super::kernel::is_a_kernel_device!(Tap);
