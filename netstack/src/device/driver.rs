//! The kernel's TUN/TAP driver (`Documentation/networking/tuntap.rst` of Linux).

use super::refusal;
use rustix::io::{Errno, Result};
use rustix::ioctl::{IntegerSetter, Opcode, Setter, Updater, ioctl, opcode};
use std::ffi::{c_int, c_uint};
use std::fs::{File, OpenOptions};
use std::io;

/// The file whose descriptors become interfaces.
pub(super) const PATH: &str = "/dev/net/tun";
/// The longest name of an interface in bytes: `IFNAMSIZ` without the final zero.
pub(super) const NAME_BYTES_MAX: usize = 15;

/// `IFF_TUN` of Linux: the interface carries IP packets.
pub(super) const TUN: u16 = 0x0001;
/// `IFF_TAP` of Linux: the interface carries Ethernet frames.
pub(super) const TAP: u16 = 0x0002;
/// `IFF_MULTI_QUEUE` of Linux: more descriptors can be attached, each a queue.
pub(super) const MULTI_QUEUE: u16 = 0x0100;
/// `IFF_NO_PI` of Linux: no protocol number is in front of a packet.
pub(super) const NO_PACKET_INFO: u16 = 0x1000;
/// `IFF_VNET_HDR` of Linux: a virtio-net header is in front of each packet.
pub(super) const VIRTIO_HEADER: u16 = 0x4000;

/// `TUN_F_CSUM`, `TUN_F_TSO4` and `TUN_F_TSO6` of Linux: packets without a checksum, and TCP
/// segments of up to 64 KiB.
pub(super) const TCP_OFFLOAD: u32 = 0x01 | 0x02 | 0x04;
/// `TUN_F_USO4` and `TUN_F_USO6` of Linux 6.2: several UDP datagrams in one packet.
pub(super) const UDP_OFFLOAD: u32 = 0x20 | 0x40;

/// `TUNSETIFF` of Linux.
const SET_INTERFACE: Opcode = opcode::write::<c_int>(b'T', 202);
/// `TUNSETOFFLOAD` of Linux.
const SET_OFFLOAD: Opcode = opcode::write::<c_int>(b'T', 208);

/// `TUNGETIFF` of Linux, which writes a `struct ifreq` in spite of its number.
const GET_INTERFACE: Opcode = opcode::read::<c_uint>(b'T', 210);
/// `TUNSETVNETHDRSZ` of Linux.
const SET_HEADER_BYTES: Opcode = opcode::write::<c_int>(b'T', 216);

/// `struct ifreq` of Linux, with the member of its union that the driver uses.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; NAME_BYTES_MAX + 1],
    flags: u16,
    /// The union has 24 bytes at most, on a machine with 64 bits.
    _rest: [u8; 22],
}

/// Opens the driver.
///
/// # Errors
///
/// Those of the file, with their cure.
pub(super) fn open() -> io::Result<File> {
    let opened = OpenOptions::new().read(true).write(true).open(PATH);
    opened.map_err(|error| refusal::of_opening(&error))
}

/// Attaches the descriptor to the interface of this name, which is made if there is none, and
/// returns the name that it has.
pub(super) fn attach(driver: &File, name: &str, flags: u16) -> Result<String> {
    let mut request = InterfaceRequest { name: [0; NAME_BYTES_MAX + 1], flags, _rest: [0; 22] };
    let room = request.name.get_mut(..name.len()).filter(|room| room.len() <= NAME_BYTES_MAX);
    room.ok_or(Errno::INVAL)?.copy_from_slice(name.as_bytes());
    // SAFETY: the kernel reads and writes one `struct ifreq`, which is no larger than the request
    // and has no invalid values.
    #[expect(unsafe_code, reason = "an ioctl")]
    unsafe {
        ioctl(driver, Updater::<SET_INTERFACE, _>::new(&mut request))?;
    }
    let named = request.name.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(named).into_owned())
}

/// The name of the interface that a descriptor is attached to, and its flags: a set of `IFF_*`.
///
/// # Errors
///
/// `EBADFD` if it is attached to none; others if it is not of this driver.
pub(super) fn attached(descriptor: &File) -> Result<(String, u16)> {
    let mut request = InterfaceRequest { name: [0; NAME_BYTES_MAX + 1], flags: 0, _rest: [0; 22] };
    // SAFETY: the driver writes one `struct ifreq`, which is no larger than the request and has no
    // invalid values; anything else that a descriptor can be refuses the request.
    #[expect(unsafe_code, reason = "an ioctl")]
    unsafe {
        ioctl(descriptor, Updater::<GET_INTERFACE, _>::new(&mut request))?;
    }
    let named = request.name.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok((String::from_utf8_lossy(named).into_owned(), request.flags))
}

/// Sets the length of the virtio-net header in front of each packet.
pub(super) fn set_header_bytes(driver: &File, bytes: c_int) -> Result<()> {
    // SAFETY: the kernel reads one int.
    #[expect(unsafe_code, reason = "an ioctl")]
    unsafe {
        ioctl(driver, Setter::<SET_HEADER_BYTES, _>::new(bytes))
    }
}

/// Sets which packets the reader of the interface takes beside those of a wire: a set of
/// `TUN_F_*`.
pub(super) fn set_offload(driver: &File, offload: u32) -> Result<()> {
    // SAFETY: the argument of this request is a set of bits, by value.
    #[expect(unsafe_code, reason = "an ioctl")]
    unsafe {
        ioctl(driver, IntegerSetter::<SET_OFFLOAD>::new_usize(offload as usize))
    }
}
