//! The kernel's TUN interface, with and without offload.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};
use tun_tap::{Iface, Mode};

/// An open TUN interface that does not block.
pub(super) enum Interface {
    /// One packet for each system call, as it is on a wire.
    Plain(Iface),
    /// Packets of up to 64 KiB that the kernel cuts and joins, each behind a virtio-net header.
    Offload { device: SyncDevice, name: String },
}

impl Interface {
    pub(super) fn plain(name: &str) -> io::Result<Self> {
        let interface = Iface::without_packet_info(name, Mode::Tun)?;
        interface.set_non_blocking()?;
        Ok(Self::Plain(interface))
    }

    pub(super) fn offload(name: &str) -> io::Result<Self> {
        let mut builder = DeviceBuilder::new().layer(Layer::L3).inherit_enable_state();
        if !name.is_empty() {
            builder = builder.name(name);
        }
        let device = builder
            .with(|linux| {
                linux.offload(true);
            })
            .build_sync()?;
        rustix::io::ioctl_fionbio(device.as_fd(), true)?;
        let name = device.name()?;
        Ok(Self::Offload { device, name })
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Plain(interface) => interface.name(),
            Self::Offload { name, .. } => name,
        }
    }

    pub(super) fn has_offload(&self) -> bool {
        matches!(self, Self::Offload { .. })
    }

    /// Reads one packet, with its header if there is offload.
    pub(super) fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(interface) => interface.recv(buffer),
            Self::Offload { device, .. } => device.recv(buffer),
        }
    }

    /// Writes one packet, with its header if there is offload.
    pub(super) fn send(&self, packet: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(interface) => interface.send(packet),
            Self::Offload { device, .. } => device.send(packet),
        }
    }
}

impl AsRawFd for Interface {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Plain(interface) => interface.as_raw_fd(),
            Self::Offload { device, .. } => device.as_raw_fd(),
        }
    }
}
