//! A TUN device.

use super::Device;
use super::interface::Layer;
use super::kernel::{KernelDevice, KernelSlot, Settings};
use ipnet::IpNet;
use netcore::{Frame, Link, LinkCapabilities};
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

/// What a TUN device is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunConfig {
    /// The name of the kernel's interface; empty for one that the kernel chooses. `%d` in it is
    /// replaced by a number that makes it new.
    pub name: String,
    /// The largest IP packet, in bytes.
    pub mtu: usize,
    /// Addresses for the kernel's end. With any, it is brought up; without, that is left to
    /// somebody else (`ip address add`, `ip link set up`).
    pub host_addresses: Vec<IpNet>,
    /// Who cuts TCP data into packets and sums them up.
    pub offload: TunOffload,
}

/// Who cuts TCP data into packets of the MTU, joins them, and computes checksums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TunOffload {
    /// The kernel, if it can; then a packet on the device may have up to 64 KiB. Only what leaves
    /// the machine is ever cut.
    #[default]
    Preferred,
    /// The stack: every packet is as it is on a wire.
    Off,
}

impl Default for TunConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            mtu: 1500,
            host_addresses: Vec::new(),
            offload: TunOffload::default(),
        }
    }
}

/// A TUN device of the Linux kernel, which carries IP packets: through the `tun-rs` crate with
/// segmentation and checksum offload, or through `tun-tap` with one packet as it is on a wire for
/// each system call.
///
/// Making one needs access to `/dev/net/tun` and the capability `CAP_NET_ADMIN` in the network
/// namespace, which root has, and everybody in a namespace of their own
/// (`unshare --user --map-root-user --net`). An interface that root has made for a user
/// (`ip tuntap add tun0 mode tun user USER`) needs no capability, as long as the MTU is the one that
/// it has and there are no host addresses.
#[derive(Debug)]
pub struct Tun(KernelDevice);

impl Tun {
    /// Makes the device.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` without access to `/dev/net/tun`, without `CAP_NET_ADMIN`, or for an IPv6
    /// host address where IPv6 is disabled; `AddrInUse` if the name is taken; `InvalidInput` for a
    /// name, an MTU or a host address that the kernel refuses; `AlreadyExists` for a host address
    /// that is there; `NotFound` if the kernel has no TUN driver. The text says what to do.
    pub fn open(config: &TunConfig) -> io::Result<Self> {
        let TunConfig { name, mtu, host_addresses, offload } = config;
        let (layer, mtu, offload) = (Layer::Ip, *mtu, *offload);
        KernelDevice::open(Settings { layer, name, mtu, host_addresses, offload }).map(Self)
    }

    /// Whether the kernel cuts and joins packets; see [`TunOffload`].
    pub fn has_offload(&self) -> bool {
        self.0.has_offload()
    }

    /// The name of the kernel's interface.
    pub fn name(&self) -> &str {
        self.0.name()
    }
}

super::kernel::is_a_kernel_device!(Tun);
