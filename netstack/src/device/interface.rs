//! The kernel's TUN and TAP interfaces, with and without offload.

use netcore::Medium;
use rustix::ioctl::{IntegerSetter, Opcode, ioctl, opcode};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use tun_rs::{DeviceBuilder, SyncDevice};
use tun_tap::{Iface, Mode};

/// What an interface carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layer {
    /// IP packets: a TUN.
    Ip,
    /// Ethernet frames: a TAP.
    Ethernet,
}

impl Layer {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ip => "TUN",
            Self::Ethernet => "TAP",
        }
    }

    pub(super) fn medium(self) -> Medium {
        match self {
            Self::Ip => Medium::Ip,
            Self::Ethernet => Medium::Ethernet,
        }
    }

    /// The bytes in front of an IP packet.
    pub(super) fn header_bytes(self) -> usize {
        match self {
            Self::Ip => 0,
            Self::Ethernet => 14,
        }
    }

    /// The same, should there be a VLAN tag.
    pub(super) fn header_bytes_max(self) -> usize {
        match self {
            Self::Ip => 0,
            Self::Ethernet => 14 + 4,
        }
    }
}

/// An open interface that does not block.
pub(super) enum Interface {
    /// One packet for each system call, as it is on a wire.
    Plain(Iface),
    /// Packets of up to 64 KiB that the kernel cuts and joins, each behind a virtio-net header.
    Offload { device: SyncDevice, name: String },
}

impl Interface {
    pub(super) fn plain(name: &str, layer: Layer) -> io::Result<Self> {
        let mode = match layer {
            Layer::Ip => Mode::Tun,
            Layer::Ethernet => Mode::Tap,
        };
        let interface = Iface::without_packet_info(name, mode)?;
        interface.set_non_blocking()?;
        leave_nothing_to_reader(&interface)?;
        Ok(Self::Plain(interface))
    }

    pub(super) fn offload(name: &str, layer: Layer) -> io::Result<Self> {
        let layer = match layer {
            Layer::Ip => tun_rs::Layer::L3,
            Layer::Ethernet => tun_rs::Layer::L2,
        };
        let mut builder = DeviceBuilder::new().layer(layer).inherit_enable_state();
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

/// `TUNSETOFFLOAD` of Linux.
const SET_OFFLOAD: Opcode = opcode::write::<u32>(b'T', 208);

/// Says that whoever reads takes packets as they are on a wire. An interface that outlives its users
/// remembers what the last one could do, and nothing would say of a packet that it is incomplete.
fn leave_nothing_to_reader(interface: &Iface) -> io::Result<()> {
    // SAFETY: `interface` keeps the descriptor open for as long as this call.
    #[expect(unsafe_code, reason = "tun-rs gives no BorrowedFd")]
    let descriptor = unsafe { BorrowedFd::borrow_raw(interface.as_raw_fd()) };
    // SAFETY: the request takes a set of bits as its argument, by value; none of them is set.
    #[expect(unsafe_code, reason = "an ioctl")]
    let done = unsafe { ioctl(descriptor, IntegerSetter::<SET_OFFLOAD>::new_usize(0)) };
    Ok(done?)
}

impl AsRawFd for Interface {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Plain(interface) => interface.as_raw_fd(),
            Self::Offload { device, .. } => device.as_raw_fd(),
        }
    }
}
