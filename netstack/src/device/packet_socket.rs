//! Packet sockets of Linux (packet(7)), and which frames they take.

use super::refusal;
use crate::socket_option;
use netcore::MacAddr;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use socket2::{SockFilter, SockRef};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

/// The hardware addresses of a packet socket's owner. The interface takes frames to them, and the
/// socket those frames, and frames to groups, alone.
#[derive(Debug)]
pub(super) struct Addresses {
    interface: u32,
    known: Mutex<Vec<MacAddr>>,
}

/// More senders than these are those of a network: the interface takes all frames then.
const ADDRESSES_MAX: usize = 16;
/// Both buffers of the socket, as far as the kernel allows.
const BUFFER_BYTES: usize = 4 << 20;
/// Whether a packet has a VLAN tag, and which (`SKF_AD_OFF`, `SKF_AD_VLAN_TAG_PRESENT` and
/// `SKF_AD_VLAN_TAG` of Linux).
const HAS_VLAN_TAG: u32 = (-0x1000_i32 + 48) as u32;
const VLAN_TAG: u32 = (-0x1000_i32 + 44) as u32;
/// The number of the VLAN in a tag. One with 0 has a priority only (IEEE 802.1Q section 6.9.1).
const VLAN_ID: u32 = 0xfff;

/// Opens a packet socket on an interface, non-blocking.
///
/// # Errors
///
/// `PermissionDenied` without `CAP_NET_RAW`; the kernel's.
pub(super) fn open(name: &str, interface: u32, has_header: bool) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    // Without a protocol nothing arrives before the filter is there.
    let socket = rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)
        .map_err(|error| refusal::of_packet_socket(&error.into(), name))?;
    for set in [sockopt::set_socket_recv_buffer_size_force, sockopt::set_socket_recv_buffer_size] {
        if set(&socket, BUFFER_BYTES).is_ok() {
            break;
        }
    }
    SockRef::from(&socket).set_send_buffer_size(BUFFER_BYTES)?;
    // What the kernel itself sends on the interface is for others.
    socket_option::set(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)?;
    if has_header {
        socket_option::set(&socket, libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1)?;
    }
    take_membership(&socket, interface, libc::PACKET_MR_ALLMULTI, None)?;
    attach_filter(&socket, Some(&[]))?;
    bind(&socket, interface)?;
    Ok(socket)
}

impl Addresses {
    pub(super) fn new(interface: u32) -> Self {
        Self { interface, known: Mutex::default() }
    }

    pub(super) fn interface(&self) -> u32 {
        self.interface
    }

    /// Notes the source of a frame that is sent.
    pub(super) fn note(&self, socket: &impl std::os::fd::AsFd, frame: &[u8]) {
        let Some(source) = frame.get(6..12).and_then(|it| it.try_into().ok()).map(MacAddr) else {
            return;
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() > ADDRESSES_MAX || known.contains(&source) || !source.is_unicast() {
            return;
        }
        known.push(source);
        let is_network = known.len() > ADDRESSES_MAX;
        let kind = if is_network { libc::PACKET_MR_PROMISC } else { libc::PACKET_MR_UNICAST };
        let taken = take_membership(socket, self.interface, kind, Some(source));
        let taken = taken.and_then(|()| attach_filter(socket, (!is_network).then_some(&known)));
        if let Err(error) = taken {
            tracing::warn!(%source, %error, "the interface does not take frames to an address");
        }
    }
}

/// Makes the interface take frames of a kind, until the socket is closed.
fn take_membership(
    socket: &impl std::os::fd::AsFd,
    interface: u32,
    kind: i32,
    address: Option<MacAddr>,
) -> io::Result<()> {
    let mut bytes = [0; 8];
    bytes[..6].copy_from_slice(&address.map_or([0; 6], MacAddr::octets));
    let membership = libc::packet_mreq {
        mr_ifindex: interface as i32,
        mr_type: kind as u16,
        mr_alen: if address.is_some() { 6 } else { 0 },
        mr_address: bytes,
    };
    socket_option::set(socket, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, membership)
}

/// Lets through frames to groups and to these addresses, or with `None` all; never those of a VLAN.
fn attach_filter(socket: &impl std::os::fd::AsFd, to: Option<&[MacAddr]>) -> io::Result<()> {
    SockRef::from(socket).attach_filter(&filter(to))
}

/// The filter, in classic BPF.
fn filter(to: Option<&[MacAddr]>) -> Vec<SockFilter> {
    let step = |code: u32, k| SockFilter::new(code as u16, 0, 0, k);
    let jump = |code: u32, yes, no, k| SockFilter::new(code as u16, yes, no, k);
    let load_byte = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
    let load_half = libc::BPF_LD | libc::BPF_H | libc::BPF_ABS;
    let load_word = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let is_equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let has_bit = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
    let end = libc::BPF_RET | libc::BPF_K;
    let (drop, accept) = (|| step(end, 0), || step(end, u32::MAX));

    let mut steps = vec![step(load_byte, HAS_VLAN_TAG), jump(is_equal, 3, 0, 0)];
    steps.extend([step(load_half, VLAN_TAG), jump(has_bit, 0, 1, VLAN_ID), drop()]);
    let Some(addresses) = to else {
        steps.push(accept());
        return steps;
    };
    steps.extend([step(load_byte, 0), jump(has_bit, 0, 1, 1), accept()]);
    for MacAddr([a, b, c, d, e, f]) in addresses {
        let (high, low) =
            (u32::from_be_bytes([*a, *b, *c, *d]), u32::from_be_bytes([0, 0, *e, *f]));
        steps.extend([step(load_word, 0), jump(is_equal, 0, 3, high)]);
        steps.extend([step(load_half, 4), jump(is_equal, 0, 1, low), accept()]);
    }
    steps.push(drop());
    steps
}

/// Makes all frames of the interface arrive.
fn bind(socket: &OwnedFd, interface: u32) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: interface as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the kernel reads the structure, whose length is given.
    #[expect(unsafe_code, reason = "a system call")]
    let result = unsafe {
        let len = size_of_val(&address) as libc::socklen_t;
        libc::bind(socket.as_raw_fd(), std::ptr::from_ref(&address).cast(), len)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
