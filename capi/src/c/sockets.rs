//! Calls that make sockets, and give them addresses.

use super::netlink::on_netlink;
use super::{call, find_stack, netlink, ns, pointers};
use crate::failure::Result;
use crate::sockets::{self, Found, Socket};
use crate::{datagrams, netlink as netlink_sockets, streams};
use libc::{sockaddr, socklen_t};
use netfd::Mode;
use netfd::posix::{Family, Given};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use std::ffi::c_int;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{IntoRawFd, OwnedFd};

/// The bits of a socket's type that are the type.
const TYPE: c_int = 0xf;

/// Makes a socket of a stack, as socket(2): AF_INET or AF_INET6, SOCK_STREAM (TCP) or SOCK_DGRAM (UDP),
/// with SOCK_NONBLOCK and SOCK_CLOEXEC; or AF_NETLINK, SOCK_RAW or SOCK_DGRAM, with NETLINK_ROUTE or
/// NETLINK_SOCK_DIAG, whose requests are the stack's to answer. NULL is the default stack.
///
/// read, write, poll, epoll, select, close, dup, fcntl, shutdown, sendfile and, for TCP, send and recv of
/// libc work on the descriptor, also in children.
///
/// Returns the descriptor, or -1: EAFNOSUPPORT, ESOCKTNOSUPPORT, EPROTONOSUPPORT, EMFILE; EINVAL if
/// there is no such stack; EOWNERDEAD, as all calls, in a child of the process that made the stack.
#[unsafe(no_mangle)]
pub extern "C" fn ns_msocket(
    stack: *mut ns,
    domain: c_int,
    r#type: c_int,
    protocol: c_int,
) -> c_int {
    call("ns_msocket", -1, || {
        let family = match domain {
            libc::AF_NETLINK => {
                let (stack, kind) = (find_stack(stack)?, r#type & TYPE);
                if !matches!(kind, libc::SOCK_RAW | libc::SOCK_DGRAM) {
                    return Err(Errno::SOCKTNOSUPPORT.into());
                }
                let mode = mode(r#type & !TYPE)?;
                return give(netlink_sockets::create(&stack, kind, protocol, mode)?, r#type);
            }
            libc::AF_INET => Family::V4,
            libc::AF_INET6 => Family::V6,
            _ => return Err(Errno::AFNOSUPPORT.into()),
        };
        let stack = find_stack(stack)?;
        let mode = mode(r#type & !TYPE)?;
        let near = match (r#type & TYPE, protocol) {
            (libc::SOCK_STREAM, 0 | libc::IPPROTO_TCP) => streams::create(&stack, family, mode)?,
            (libc::SOCK_DGRAM, 0 | libc::IPPROTO_UDP) => datagrams::create(&stack, family, mode)?,
            (libc::SOCK_STREAM | libc::SOCK_DGRAM, _) => return Err(Errno::PROTONOSUPPORT.into()),
            _ => return Err(Errno::SOCKTNOSUPPORT.into()),
        };
        give(near, r#type)
    })
}

fn mode(flags: c_int) -> Result<Mode> {
    match flags & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) {
        0 if flags & libc::SOCK_NONBLOCK != 0 => Ok(Mode::Nonblocking),
        0 => Ok(Mode::Blocking),
        _ => Err(Errno::INVAL.into()),
    }
}

/// Gives a descriptor to the program.
fn give(near: OwnedFd, flags: c_int) -> Result<c_int> {
    if flags & libc::SOCK_CLOEXEC == 0 {
        fcntl_setfd(&near, FdFlags::empty())?;
    }
    Ok(near.into_raw_fd())
}

/// Runs a call on a socket of a stack.
pub(super) fn on_socket<T>(
    name: &str,
    failed: T,
    fd: c_int,
    body: impl FnOnce(&Found<'_>) -> Result<T>,
) -> T {
    call(name, failed, || {
        // SAFETY: As for the kernel's calls.
        let near = unsafe { pointers::descriptor(fd)? };
        body(&sockets::find(near)?)
    })
}

/// Connects a socket, as connect(2). If the descriptor is non-blocking the attempt goes on after
/// EINPROGRESS: it is writable at the end, and SO_ERROR of ns_getsockopt has the outcome. AF_UNSPEC
/// disconnects a UDP socket.
///
/// Returns 0, or -1: EINPROGRESS, EALREADY, EISCONN, ECONNREFUSED, ETIMEDOUT, ENETUNREACH,
/// EHOSTUNREACH, EADDRNOTAVAIL, EINTR; ENOTSOCK if the descriptor is none of a stack.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ns_connect(fd: c_int, addr: *const sockaddr, addrlen: socklen_t) -> c_int {
    let of_netlink = on_netlink("ns_connect", -1, fd, |socket| {
        // SAFETY: The caller's promise.
        socket.connect(unsafe { netlink::address(addr, addrlen)? })?;
        Ok(0)
    });
    if let Some(returned) = of_netlink {
        return returned;
    }
    on_socket("ns_connect", -1, fd, |found| {
        // SAFETY: The caller's promise.
        let given = unsafe { pointers::address(found.socket.family(), addr, addrlen)? };
        match (&found.socket, given) {
            (Socket::Stream(it), Given::Address(peer)) => streams::connect(found, it, here(peer))?,
            (Socket::Stream(it), Given::None) => streams::disconnect(it)?,
            (Socket::Datagram(it), Given::Address(peer)) => {
                datagrams::connect(found, it, here(peer))?;
            }
            (Socket::Datagram(it), Given::None) => datagrams::disconnect(found, it)?,
        }
        Ok(0)
    })
}

/// The unspecified address is this host (RFC 1122 section 3.2.1.3), to Linux its loopback address.
pub(super) fn here(mut remote: SocketAddr) -> SocketAddr {
    if remote.ip().is_unspecified() {
        remote.set_ip(match remote {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    remote
}

/// Gives a socket a local address and port, as bind(2); port 0 is a free one. An AF_INET6 socket on ::
/// is on the stack's IPv4 addresses, too, unless IPV6_V6ONLY is set.
///
/// Returns 0, or -1: EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT; EINVAL if it has one; ENOTSOCK.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ns_bind(fd: c_int, addr: *const sockaddr, addrlen: socklen_t) -> c_int {
    let of_netlink = on_netlink("ns_bind", -1, fd, |socket| {
        // SAFETY: The caller's promise.
        socket.bind(unsafe { netlink::address(addr, addrlen)? })?;
        Ok(0)
    });
    if let Some(returned) = of_netlink {
        return returned;
    }
    on_socket("ns_bind", -1, fd, |found| {
        let family = found.socket.family();
        // SAFETY: The caller's promise.
        let local = match unsafe { pointers::address(family, addr, addrlen)? } {
            Given::Address(local) => local,
            // Old programs say AF_UNSPEC with the address 0.0.0.0 (bind in net/ipv4/af_inet.c).
            Given::None => family.unspecified(),
        };
        sockets::bind(found, local)?;
        Ok(0)
    })
}

/// Listens for connections, as listen(2). The descriptor is readable while one waits to be accepted.
///
/// Returns 0, or -1: EADDRINUSE; EINVAL if it is connected; EOPNOTSUPP for UDP; ENOTSOCK.
#[unsafe(no_mangle)]
pub extern "C" fn ns_listen(fd: c_int, backlog: c_int) -> c_int {
    on_socket("ns_listen", -1, fd, |found| {
        streams::listen(found, stream(found)?, backlog)?;
        Ok(0)
    })
}

fn stream<'a>(found: &'a Found<'_>) -> Result<&'a std::sync::Arc<netfd::posix::StreamSocket>> {
    match &found.socket {
        Socket::Stream(socket) => Ok(socket),
        Socket::Datagram(_) => Err(Errno::OPNOTSUPP.into()),
    }
}

/// Accepts a connection, as accept(2).
///
/// Returns its descriptor, or -1: EAGAIN if the listener is non-blocking and none waits; EINVAL if it
/// does not listen; EMFILE, EINTR, EOPNOTSUPP, ENOTSOCK.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ns_accept(
    fd: c_int,
    addr: *mut sockaddr,
    addrlen: *mut socklen_t,
) -> c_int {
    // SAFETY: The caller's promise.
    unsafe { accept("ns_accept", fd, addr, addrlen, 0) }
}

/// Accepts a connection, as accept4(2): with SOCK_NONBLOCK and SOCK_CLOEXEC.
///
/// Returns as ns_accept.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ns_accept4(
    fd: c_int,
    addr: *mut sockaddr,
    addrlen: *mut socklen_t,
    flags: c_int,
) -> c_int {
    // SAFETY: The caller's promise.
    unsafe { accept("ns_accept4", fd, addr, addrlen, flags) }
}

unsafe fn accept(
    name: &str,
    fd: c_int,
    addr: *mut sockaddr,
    addrlen: *mut socklen_t,
    flags: c_int,
) -> c_int {
    on_socket(name, -1, fd, |found| {
        let (near, peer) = streams::accept(found, stream(found)?, mode(flags)?)?;
        if !addr.is_null() {
            let peer = found.socket.family().encode(peer);
            // SAFETY: The caller's promise.
            unsafe { pointers::write_sized(&peer, addr.cast(), addrlen)? };
        }
        give(near, flags)
    })
}
