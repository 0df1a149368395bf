//! Addresses and options of sockets.

use super::netlink::on_netlink;
use super::sockets::on_socket;
use super::{checked, netlink, pointers};
use crate::failure::Result;
use crate::options;
use crate::sockets::{Found, Socket};
use libc::{sockaddr, socklen_t};
use netfd::netlink::Address;
use netfd::posix::{Done, Value};
use rustix::io::Errno;
use std::ffi::{c_int, c_void};
use std::net::SocketAddr;

/// The longest value of an option that is looked at, in bytes.
const VALUE_LEN_MAX: usize = 256;

/// Writes the local address of a socket, as getsockname(2): the unspecified one before it has one.
///
/// Returns 0, or -1: EFAULT, ENOTSOCK.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ns_getsockname(
    fd: c_int,
    addr: *mut sockaddr,
    addrlen: *mut socklen_t,
) -> c_int {
    let of_netlink = on_netlink("ns_getsockname", -1, fd, |socket| {
        // SAFETY: The caller's promise.
        unsafe { netlink::write(socket.local(), addr, addrlen) }
    });
    if let Some(returned) = of_netlink {
        return returned;
    }
    on_socket("ns_getsockname", -1, fd, |found| {
        let local = match &found.socket {
            Socket::Stream(socket) => socket.local(),
            Socket::Datagram(socket) => socket.local(),
        };
        // SAFETY: The caller's promise.
        unsafe { write(found, local, addr, addrlen) }
    })
}

/// Writes the address of a socket's peer, as getpeername(2).
///
/// Returns 0, or -1: ENOTCONN, EFAULT, ENOTSOCK.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ns_getpeername(
    fd: c_int,
    addr: *mut sockaddr,
    addrlen: *mut socklen_t,
) -> c_int {
    let of_netlink = on_netlink("ns_getpeername", -1, fd, |_| {
        // SAFETY: The caller's promise.
        unsafe { netlink::write(Address::default(), addr, addrlen) }
    });
    if let Some(returned) = of_netlink {
        return returned;
    }
    on_socket("ns_getpeername", -1, fd, |found| {
        let peer = match &found.socket {
            Socket::Stream(socket) => socket.peer(),
            Socket::Datagram(socket) => socket.peer(),
        };
        // SAFETY: The caller's promise.
        unsafe { write(found, peer.ok_or(Errno::NOTCONN)?, addr, addrlen) }
    })
}

unsafe fn write(
    found: &Found<'_>,
    address: SocketAddr,
    at: *mut sockaddr,
    len_at: *mut socklen_t,
) -> Result<c_int> {
    let address = found.socket.family().encode(address);
    // SAFETY: The caller's promise.
    unsafe { pointers::write_sized(&address, at.cast(), len_at)? };
    Ok(0)
}

/// Reads an option of a socket, as getsockopt(2), with the levels SOL_SOCKET, IPPROTO_TCP, IPPROTO_IP
/// and IPPROTO_IPV6, and Linux's units: seconds for TCP_KEEPIDLE, milliseconds for TCP_USER_TIMEOUT.
///
/// Returns 0, or -1: ENOPROTOOPT if there is no such option; EFAULT, EINVAL, ENOTSOCK.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ns_getsockopt(
    fd: c_int,
    level: c_int,
    optname: c_int,
    optval: *mut c_void,
    optlen: *mut socklen_t,
) -> c_int {
    let of_netlink = on_netlink("ns_getsockopt", -1, fd, |socket| {
        // SAFETY: The caller's promise.
        unsafe { netlink::get_option(socket, fd, (level, optname), optval, optlen) }
    });
    if let Some(returned) = of_netlink {
        return returned;
    }
    on_socket("ns_getsockopt", -1, fd, |found| match options::get(found, level, optname)? {
        Value::Bytes(value) => {
            // SAFETY: The caller's promise.
            let written = unsafe { pointers::write_sized(&value, optval, optlen)? };
            // SAFETY: It was written. Of an option the length is that of what was written.
            unsafe { optlen.write(written as socklen_t) };
            Ok(0)
        }
        Value::OfDescriptor => {
            // SAFETY: The caller's promise.
            checked(unsafe { libc::getsockopt(fd, level, optname, optval, optlen) })
        }
    })
}

/// Sets an option of a socket, as setsockopt(2); see ns_getsockopt.
///
/// Returns 0, or -1: ENOPROTOOPT if there is no such option; EINVAL for a value that it cannot have;
/// EFAULT, ENOTSOCK.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ns_setsockopt(
    fd: c_int,
    level: c_int,
    optname: c_int,
    optval: *const c_void,
    optlen: socklen_t,
) -> c_int {
    let of_netlink = on_netlink("ns_setsockopt", -1, fd, |socket| {
        // SAFETY: The caller's promise.
        unsafe { netlink::set_option(socket, fd, (level, optname), optval, optlen) }
    });
    if let Some(returned) = of_netlink {
        return returned;
    }
    on_socket("ns_setsockopt", -1, fd, |found| {
        let len = usize::try_from(optlen.cast_signed()).map_err(|_| Errno::INVAL)?;
        // SAFETY: The caller's promise.
        let value = unsafe { pointers::bytes(optval, len.min(VALUE_LEN_MAX))? };
        match options::set(&found.socket, level, optname, value)? {
            Done::Here => Ok(0),
            Done::ByDescriptor => {
                // SAFETY: The caller's promise.
                checked(unsafe { libc::setsockopt(fd, level, optname, optval, optlen) })
            }
        }
    })
}
