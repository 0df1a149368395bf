//! The kernel's TUN and TAP interfaces, with and without offload.

use super::packet_socket::{self, Addresses};
use super::{InterfaceOffload, driver, refusal, virtio};
use bytes::Bytes;
use netcore::Medium;
use rustix::io::Errno;
use rustix::net::netdevice;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, RawFd};
#[cfg(feature = "tun-tap")]
use std::os::fd::{FromRawFd, IntoRawFd};

/// The layer of what an interface carries.
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

    /// The bytes in front of an IP packet behind a VLAN tag.
    pub(super) fn header_bytes_max(self) -> usize {
        match self {
            Self::Ip => 0,
            Self::Ethernet => 14 + 4,
        }
    }

    fn flags(self, queues: Queues) -> u16 {
        let kind = match self {
            Self::Ip => driver::TUN,
            Self::Ethernet => driver::TAP,
        };
        let queues = if queues == Queues::Several { driver::MULTI_QUEUE } else { 0 };
        kind | queues | driver::NO_PACKET_INFO
    }
}

/// An open interface, non-blocking.
pub(super) struct Interface {
    file: File,
    name: String,
    /// A packet has up to 64 KiB, which the kernel cuts and joins, behind a virtio-net header.
    /// Without offload it is as on a wire.
    has_offload: bool,
    /// Of a packet socket: an interface that others have made.
    addresses: Option<Addresses>,
}

/// How many descriptors an interface has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queues {
    One,
    Several,
}

impl Interface {
    /// Opens an interface, without offload also where the kernel has none.
    ///
    /// # Errors
    ///
    /// The kernel's, with their cure.
    pub(super) fn open(
        name: &str,
        layer: Layer,
        offload: InterfaceOffload,
        queues: Queues,
    ) -> io::Result<Self> {
        let refused = |error: Errno| refusal::of_making(&error.into(), name, layer);
        let flags = layer.flags(queues);
        let plain = || Self::plain(driver::open()?, name, flags).map_err(refused);
        if offload == InterfaceOffload::Off {
            return plain();
        }
        match Self::with_offload(driver::open()?, name, flags) {
            // Of a kernel without offload, and for an interface of another kind.
            Err(error @ Errno::INVAL) => {
                let interface = plain()?;
                tracing::warn!(name = interface.name(), %error, "this interface has no offload");
                Ok(interface)
            }
            result => result.map_err(refused),
        }
    }

    /// Takes over an interface that the `tun-tap` crate has opened.
    #[cfg(feature = "tun-tap")]
    pub(super) fn from_iface(iface: tun_tap::Iface) -> io::Result<Self> {
        let name = iface.name().to_owned();
        // SAFETY: `into_raw_fd` gives up the ownership of an open descriptor.
        #[expect(unsafe_code, reason = "tun-tap gives no OwnedFd")]
        let file = unsafe { File::from_raw_fd(iface.into_raw_fd()) };
        driver::set_offload(&file, 0)?;
        Ok(Self::new(file, name, false)?)
    }

    /// Takes over a descriptor that is attached to an interface, and returns the layer too; gives it
    /// back if it is none of the driver's.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if it is attached to no interface, or if its packets have packet information;
    /// the kernel's.
    pub(super) fn from_descriptor(file: File) -> io::Result<Result<(Layer, Self), File>> {
        let (name, flags) = match driver::attached(&file) {
            Ok(attached) => attached,
            Err(Errno::BADFD) => {
                return Err(invalid("the descriptor is attached to no interface (TUNSETIFF)"));
            }
            Err(_) => return Ok(Err(file)),
        };
        if flags & driver::NO_PACKET_INFO == 0 {
            return Err(invalid(&format!("{name} has packet information: open it with IFF_NO_PI")));
        }
        let layer = if flags & driver::TAP == 0 { Layer::Ip } else { Layer::Ethernet };
        let has_offload = flags & driver::VIRTIO_HEADER != 0;
        match has_offload {
            true => {
                driver::set_header_bytes(&file, virtio::HEADER_BYTES as i32)?;
                Self::prefer_offload(&file, &name)?;
            }
            false => driver::set_offload(&file, 0)?,
        }
        Ok(Ok((layer, Self::new(file, name, has_offload)?)))
    }

    /// Opens a packet socket on an interface with this index.
    ///
    /// # Errors
    ///
    /// The kernel's, with their cure.
    pub(super) fn of_packets(
        name: &str,
        index: u32,
        offload: InterfaceOffload,
    ) -> io::Result<Self> {
        let has_offload = offload == InterfaceOffload::Preferred;
        let socket = packet_socket::open(name, index, has_offload)?;
        let addresses = Some(Addresses::new(index));
        Ok(Self { file: socket.into(), name: name.to_owned(), has_offload, addresses })
    }

    fn plain(file: File, name: &str, flags: u16) -> Result<Self, Errno> {
        let name = driver::attach(&file, name, flags)?;
        // An interface that outlives its readers keeps the offload of the last one, and without
        // the header no packet shows that it is incomplete.
        driver::set_offload(&file, 0)?;
        Self::new(file, name, false)
    }

    fn with_offload(file: File, name: &str, flags: u16) -> Result<Self, Errno> {
        let name = driver::attach(&file, name, flags | driver::VIRTIO_HEADER)?;
        Self::prefer_offload(&file, &name)?;
        Self::new(file, name, true)
    }

    /// Turns on the offload that the kernel has.
    fn prefer_offload(file: &File, name: &str) -> Result<(), Errno> {
        driver::set_offload(file, driver::TCP_OFFLOAD)?;
        // Linux has UDP's since 6.2.
        if let Err(error) = driver::set_offload(file, driver::TCP_OFFLOAD | driver::UDP_OFFLOAD) {
            tracing::debug!(name, %error, "this interface has no offload for UDP");
        }
        Ok(())
    }

    fn new(file: File, name: String, has_offload: bool) -> Result<Self, Errno> {
        rustix::io::ioctl_fionbio(&file, true)?;
        Ok(Self { file, name, has_offload, addresses: None })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn has_offload(&self) -> bool {
        self.has_offload
    }

    /// Reads one packet, with its header if there is offload.
    pub(super) fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(&self.file, buffer)?)
    }

    /// Whether others have made the interface, and it stays when this is dropped.
    pub(super) fn is_of_others(&self) -> bool {
        self.addresses.is_some()
    }

    /// Whether the interface is gone, after an error event of its descriptor.
    pub(super) fn is_deleted(&self) -> bool {
        // A TUN or TAP has no other errors; a packet socket has one when its interface goes down.
        self.addresses
            .as_ref()
            .is_none_or(|it| netdevice::index_to_name(&self.file, it.interface()).is_err())
    }

    /// Notes the source of an Ethernet frame, which begins behind the header if there is offload.
    fn note_source(&self, packet: &[u8]) {
        if let Some(addresses) = &self.addresses {
            let start = if self.has_offload { virtio::HEADER_BYTES } else { 0 };
            addresses.note(&self.file, packet.get(start..).unwrap_or_default());
        }
    }

    /// Writes one packet, with its header if there is offload.
    pub(super) fn send(&self, packet: &[u8]) -> io::Result<usize> {
        self.note_source(packet);
        Ok(rustix::io::write(&self.file, packet)?)
    }

    /// The same with the rest of the packet elsewhere.
    pub(super) fn send_gathered(&self, packet: &[u8], rest: &[Bytes]) -> io::Result<usize> {
        self.note_source(packet);
        let slices = std::iter::once(packet).chain(rest.iter().map(|slice| &slice[..]));
        let slices: Vec<_> = slices.map(IoSlice::new).collect();
        Ok(rustix::io::writev(&self.file, &slices)?)
    }
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

impl AsRawFd for Interface {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}
