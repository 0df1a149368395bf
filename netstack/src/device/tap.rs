//! A TAP device.

use super::Device;
use super::interface::Layer;
use super::kernel::{KernelDevice, KernelSlot, Settings};
use super::tun::TunOffload;
use ipnet::IpNet;
use netcore::{Frame, Link, LinkCapabilities};
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

/// What a TAP device is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapConfig {
    /// The name of the kernel's interface; empty for one that the kernel chooses. `%d` in it is
    /// replaced by a number that makes it new.
    pub name: String,
    /// The largest IP packet, in bytes; a frame has 14 more.
    pub mtu: usize,
    /// Addresses for the kernel's end. With any, it is brought up; without, that is left to
    /// somebody else (`ip address add`, `ip link set up`, `ip link set master`).
    pub host_addresses: Vec<IpNet>,
    /// Who cuts TCP data into packets and sums them up.
    pub offload: TunOffload,
}

impl Default for TapConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            mtu: 1500,
            host_addresses: Vec::new(),
            offload: TunOffload::default(),
        }
    }
}

/// A TAP device of the Linux kernel, which carries Ethernet frames: the stack is a neighbour of the
/// kernel's end, and of whatever that is bridged to, and has a
/// [hardware address](netcore::Netstack::hardware_address).
///
/// Otherwise as a [`Tun`](super::Tun).
#[derive(Debug)]
pub struct Tap(KernelDevice);

impl Tap {
    /// Makes the device.
    ///
    /// # Errors
    ///
    /// As [`Tun::open`](super::Tun::open).
    pub fn open(config: &TapConfig) -> io::Result<Self> {
        let TapConfig { name, mtu, host_addresses, offload } = config;
        let (layer, mtu, offload) = (Layer::Ethernet, *mtu, *offload);
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

super::kernel::is_a_kernel_device!(Tap);
