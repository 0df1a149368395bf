//! A TUN device.

use super::interface::Layer;
use super::kernel::{KernelDevice, KernelSlot};
use super::{Device, InterfaceConfig, QueueCounters};
use netcore::{Frame, Link, LinkCapabilities};
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

/// A TUN device of the Linux kernel, which carries IP packets: with segmentation and checksum
/// offload, or without it one packet of the MTU for each system call.
///
/// Opening one needs access to `/dev/net/tun` and the capability `CAP_NET_ADMIN` in the network
/// namespace, which root has, and every user in a namespace of its own
/// (`unshare --user --map-root-user --net`). An interface that root has made for a user
/// (`ip tuntap add tun0 mode tun user USER`) needs no capability, as long as the configuration has
/// the interface's MTU and no host addresses.
#[derive(Debug)]
pub struct Tun(pub(super) KernelDevice);

impl Tun {
    /// Opens an interface, which the kernel makes if there is none of this name.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` without access to `/dev/net/tun`, without `CAP_NET_ADMIN`, or for an IPv6
    /// host address where IPv6 is disabled; `AddrInUse` if the name is taken; `InvalidInput` for a
    /// name, an MTU or a host address that the kernel refuses; `AlreadyExists` for a host address
    /// that the interface has; `NotFound` if the kernel has no TUN driver. The text names the cure.
    pub fn open(config: &InterfaceConfig) -> io::Result<Self> {
        KernelDevice::open(Layer::Ip, config).map(Self)
    }

    /// Takes over a TUN that the `tun-tap` crate has opened, as it is configured: the MTU, the
    /// addresses and whether it is up stay, and there is no offload. It becomes non-blocking.
    ///
    /// Needs the feature `tun-tap`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a TAP, and for an interface with packet information in front of each
    /// packet (`tun_tap::Iface::new`); otherwise the kernel's.
    #[cfg(feature = "tun-tap")]
    pub fn from_iface(iface: tun_tap::Iface) -> io::Result<Self> {
        KernelDevice::from_iface(Layer::Ip, iface).map(Self)
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

super::kernel::is_a_kernel_device!(Tun);
