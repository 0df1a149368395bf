//! Pairs: a near end for the program, and a far end to attach a socket to.

use crate::datagram_end::DatagramEnd;
use crate::far::Far;
use crate::stream_end::StreamEnd;
use rustix::fs::fstat;
use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Whether calls on a near end block, `O_NONBLOCK`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// They wait.
    #[default]
    Blocking,
    /// They fail with `WouldBlock`.
    Nonblocking,
}

/// Makes the pair of a TCP socket: the near end, close-on-exec, is the program's; the far end stays.
///
/// The near end works from the beginning, as a socket that is neither bound nor connected does:
/// it can be put into an epoll set, duplicated and inherited before anything is attached to it.
/// Unlike with the kernel's, what is written to it before is discarded.
///
/// # Errors
///
/// The kernel's, as `EMFILE`.
///
/// # Panics
///
/// Outside of a tokio runtime with I/O enabled.
pub fn stream_pair(mode: Mode) -> io::Result<(OwnedFd, StreamEnd)> {
    let (near, far) = pair(SocketType::STREAM, mode)?;
    let key = key(&near)?;
    Ok((near, StreamEnd::new(Far::new(far)?, key)))
}

/// Makes the pair of a UDP socket, as [`stream_pair`] does. It is one of `SOCK_SEQPACKET`, because
/// a pair of datagram sockets does not show that the other end was closed. Messages longer than a
/// UDP datagram may be fail with `EMSGSIZE`.
///
/// # Errors
///
/// The kernel's, as `EMFILE`.
///
/// # Panics
///
/// Outside of a tokio runtime with I/O enabled.
pub fn datagram_pair(mode: Mode) -> io::Result<(OwnedFd, DatagramEnd)> {
    let (near, far) = pair(SocketType::SEQPACKET, mode)?;
    set_socket_send_buffer_size(&near, SEND_BUFFER)?;
    let key = key(&near)?;
    let far = Far::new(far)?;
    far.mark_packets()?;
    Ok((near, DatagramEnd::new(far, key)))
}

/// The kernel doubles it, and takes messages of up to 32 bytes less (`unix_dgram_sendmsg`): of
/// 65,508 bytes. Being even, it cannot be 65,507.
const SEND_BUFFER: usize = (65_508 + 32) / 2;

/// What identifies a near end: its inode number, which all copies of it have in common, those of
/// `dup`, `fork`, `exec` and `SCM_RIGHTS` included.
///
/// # Errors
///
/// The kernel's.
pub fn key(near: impl AsFd) -> io::Result<u64> {
    Ok(fstat(near)?.st_ino)
}

pub(crate) fn pair(kind: SocketType, mode: Mode) -> io::Result<(OwnedFd, OwnedFd)> {
    let (near, far) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    rustix::io::ioctl_fionbio(&far, true)?;
    rustix::io::ioctl_fionbio(&near, mode == Mode::Nonblocking)?;
    Ok((near, far))
}
