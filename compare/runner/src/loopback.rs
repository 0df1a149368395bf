//! The loopback interface of a new namespace.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

/// Brings it up. Not with the program `ip`, which a fresh machine does not have.
pub(crate) fn bring_up() -> io::Result<()> {
    // SAFETY: an `ifreq` is plain data, of which all zeros are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: the descriptor is open, and the request reads an `ifreq` that lives as long.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
