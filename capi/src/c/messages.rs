//! Datagrams and messages.

use super::netlink::on_netlink;
use super::sockets::{here, on_socket};
use super::{checked, netlink, pointers};
use crate::datagrams;
use crate::failure::{Failure, Result};
use crate::sockets::{Found, Socket};
use libc::{iovec, msghdr, sockaddr, socklen_t, ssize_t};
use netfd::netlink::Address;
use netfd::posix::{DatagramSocket, Given, Phase, StreamSocket};
use rustix::io::Errno;
use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::net::SocketAddr;
use std::ptr;

/// As many pieces as the kernel takes (`IOV_MAX`).
const PIECES_MAX: usize = 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Sends, as sendto(2): a datagram to `addr`, or to the peer of the socket for NULL. On a TCP socket
/// `addr` is ignored.
///
/// Plain send, sendto, sendmsg and write of libc work on TCP sockets and on connected UDP sockets; on
/// others their datagrams are dropped.
///
/// Returns the number of bytes, or -1: EAGAIN, EDESTADDRREQ, EMSGSIZE, ENETUNREACH, ECONNREFUSED (of an
/// earlier datagram), EPIPE (with SIGPIPE, unless MSG_NOSIGNAL is set), ENOTSOCK.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ns_sendto(
    fd: c_int,
    buf: *const c_void,
    len: usize,
    flags: c_int,
    addr: *const sockaddr,
    addrlen: socklen_t,
) -> ssize_t {
    let of_netlink = on_netlink("ns_sendto", -1, fd, |_| {
        // The pair has one receiver. SAFETY: The caller's promise.
        let sent = unsafe { libc::sendto(fd, buf, len, flags, ptr::null(), 0) };
        Ok(checked(sent as i64)? as ssize_t)
    });
    if let Some(returned) = of_netlink {
        return returned;
    }
    on_socket("ns_sendto", -1, fd, |found| match &found.socket {
        Socket::Stream(socket) => {
            check_stream(socket, flags, Errno::PIPE)?;
            // SAFETY: The caller's promise.
            let sent = unsafe { libc::sendto(fd, buf, len, flags, ptr::null(), 0) };
            Ok(checked(sent as i64)? as ssize_t)
        }
        Socket::Datagram(socket) => {
            // SAFETY: The caller's promise.
            let (payload, target) =
                unsafe { (pointers::bytes(buf, len)?, target(found, addr, addrlen)?) };
            Ok(datagrams::send(found, socket, payload, target, flags)?.cast_signed())
        }
    })
}

/// Receives, as recvfrom(2): a datagram, and its sender if `addr` is not NULL.
///
/// Returns the number of bytes, 0 at the end of a TCP stream; or -1: EAGAIN, ECONNRESET, ECONNREFUSED
/// (of an earlier datagram), ENOTCONN, EINTR, ENOTSOCK.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ns_recvfrom(
    fd: c_int,
    buf: *mut c_void,
    len: usize,
    flags: c_int,
    addr: *mut sockaddr,
    addrlen: *mut socklen_t,
) -> ssize_t {
    let of_netlink = on_netlink("ns_recvfrom", -1, fd, |_| {
        let mut piece = iovec { iov_base: buf, iov_len: len };
        // SAFETY: Zeros are a message without anything.
        let mut message: msghdr = unsafe { std::mem::zeroed() };
        (message.msg_iov, message.msg_iovlen) = (&raw mut piece, 1);
        // SAFETY: The caller's promise.
        let received = unsafe { netlink::receive(fd, &raw mut message, flags)? };
        if !addr.is_null() {
            // SAFETY: The caller's promise.
            unsafe { netlink::write(Address::default(), addr, addrlen)? };
        }
        Ok(received)
    });
    if let Some(returned) = of_netlink {
        return returned;
    }
    on_socket("ns_recvfrom", -1, fd, |found| match &found.socket {
        Socket::Stream(socket) => {
            check_stream(socket, flags, Errno::NOTCONN)?;
            // SAFETY: The caller's promise.
            let received =
                unsafe { libc::recvfrom(fd, buf, len, flags, ptr::null_mut(), ptr::null_mut()) };
            let received = checked(received as i64)?;
            if !addr.is_null() && !addrlen.is_null() {
                // SAFETY: The caller's promise. A stream gives no addresses.
                unsafe { addrlen.write(0) };
            }
            Ok(received as ssize_t)
        }
        Socket::Datagram(socket) => {
            let pieces = [iovec { iov_base: buf, iov_len: len }];
            let received = receive(found, socket, &pieces, flags)?;
            if !addr.is_null() {
                let sender = found.socket.family().encode(received.sender);
                // SAFETY: The caller's promise.
                unsafe { pointers::write_sized(&sender, addr.cast(), addrlen)? };
            }
            Ok(received.returned(flags))
        }
    })
}

/// Sends a message, as sendmsg(2), without control data.
///
/// Returns as ns_sendto; EINVAL with control data, EMSGSIZE for more than 1024 pieces.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ns_sendmsg(fd: c_int, msg: *const msghdr, flags: c_int) -> ssize_t {
    let of_netlink = on_netlink("ns_sendmsg", -1, fd, |_| {
        // SAFETY: The caller's promise.
        unsafe { netlink::send(fd, msg, flags) }
    });
    if let Some(returned) = of_netlink {
        return returned;
    }
    on_socket("ns_sendmsg", -1, fd, |found| {
        // SAFETY: The caller's promise.
        let message = unsafe { message(msg)? };
        if message.msg_controllen != 0 {
            return Err(Failure::new(Errno::INVAL, "control data is not supported"));
        }
        match &found.socket {
            Socket::Stream(socket) => {
                check_stream(socket, flags, Errno::PIPE)?;
                let message = msghdr { msg_name: ptr::null_mut(), msg_namelen: 0, ..message };
                // SAFETY: The caller's promise.
                let sent = unsafe { libc::sendmsg(fd, &raw const message, flags) };
                Ok(checked(sent as i64)? as ssize_t)
            }
            Socket::Datagram(socket) => {
                // SAFETY: The caller's promise.
                let (payload, target) = unsafe {
                    let target = target(found, message.msg_name.cast(), message.msg_namelen)?;
                    (gather(pieces(&message)?)?, target)
                };
                Ok(datagrams::send(found, socket, &payload, target, flags)?.cast_signed())
            }
        }
    })
}

/// Receives a message, as recvmsg(2). There is no control data.
///
/// Returns as ns_recvfrom; EMSGSIZE for more than 1024 pieces.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ns_recvmsg(fd: c_int, msg: *mut msghdr, flags: c_int) -> ssize_t {
    let of_netlink = on_netlink("ns_recvmsg", -1, fd, |_| {
        // SAFETY: The caller's promise.
        unsafe { netlink::receive(fd, msg, flags) }
    });
    if let Some(returned) = of_netlink {
        return returned;
    }
    on_socket("ns_recvmsg", -1, fd, |found| {
        // SAFETY: The caller's promise.
        let mut message = unsafe { message(msg)? };
        let returned = match &found.socket {
            Socket::Stream(socket) => {
                check_stream(socket, flags, Errno::NOTCONN)?;
                let (control, control_len) = (ptr::null_mut(), 0);
                let mut plain = msghdr {
                    msg_name: ptr::null_mut(),
                    msg_namelen: 0,
                    msg_control: control,
                    msg_controllen: control_len,
                    ..message
                };
                // SAFETY: The caller's promise.
                let received = unsafe { libc::recvmsg(fd, &raw mut plain, flags) };
                let received = checked(received as i64)?;
                (message.msg_namelen, message.msg_flags) = (0, plain.msg_flags);
                received as ssize_t
            }
            Socket::Datagram(socket) => {
                // SAFETY: The caller's promise.
                let received = receive(found, socket, unsafe { pieces(&message)? }, flags)?;
                if !message.msg_name.is_null() {
                    let sender = found.socket.family().encode(received.sender);
                    let len_at = &raw mut message.msg_namelen;
                    // SAFETY: The caller's promise.
                    unsafe { pointers::write_sized(&sender, message.msg_name, len_at)? };
                }
                message.msg_flags = if received.is_cut() { libc::MSG_TRUNC } else { 0 };
                received.returned(flags)
            }
        };
        message.msg_controllen = 0;
        // SAFETY: It was read.
        unsafe { msg.write(message) };
        Ok(returned)
    })
}

/// What the kernel says of a pair and of a connection alike is left to it.
fn check_stream(socket: &StreamSocket, flags: c_int, unconnected: Errno) -> Result<()> {
    if flags & (libc::MSG_OOB | libc::MSG_FASTOPEN) != 0 {
        return Err(Errno::OPNOTSUPP.into());
    }
    match socket.phase() {
        Phase::Idle | Phase::Listening => Err(unconnected.into()),
        _ => Ok(()),
    }
}

/// # Safety
///
/// The address has this length.
unsafe fn target(
    found: &Found<'_>,
    addr: *const sockaddr,
    addrlen: socklen_t,
) -> Result<Option<SocketAddr>> {
    if addr.is_null() {
        return Ok(None);
    }
    // SAFETY: The caller's promise.
    Ok(match unsafe { pointers::address(found.socket.family(), addr, addrlen)? } {
        Given::Address(target) => Some(here(target)),
        Given::None => None,
    })
}

/// # Safety
///
/// It is null or valid.
unsafe fn message(msg: *const msghdr) -> Result<msghdr> {
    if msg.is_null() {
        return Err(Errno::FAULT.into());
    }
    // SAFETY: The caller's promise.
    Ok(unsafe { msg.read() })
}

/// # Safety
///
/// The message has so many pieces.
unsafe fn pieces(message: &msghdr) -> Result<&[iovec]> {
    // Of another type in musl.
    let len: usize = message.msg_iovlen as _;
    match message.msg_iov.is_null() {
        _ if len > PIECES_MAX => Err(Errno::MSGSIZE.into()),
        true if len == 0 => Ok(&[]),
        true => Err(Errno::FAULT.into()),
        // SAFETY: The caller's promise.
        false => Ok(unsafe { std::slice::from_raw_parts(message.msg_iov, len) }),
    }
}

/// # Safety
///
/// The pieces can be read.
unsafe fn gather(pieces: &[iovec]) -> Result<Vec<u8>> {
    let mut payload = Vec::new();
    for piece in pieces {
        // SAFETY: The caller's promise.
        payload.extend_from_slice(unsafe { pointers::bytes(piece.iov_base, piece.iov_len)? });
    }
    Ok(payload)
}

/// A datagram that was received.
struct Received {
    sender: SocketAddr,
    len: usize,
    /// What there was room for.
    written: usize,
}

impl Received {
    fn is_cut(&self) -> bool {
        self.written < self.len
    }

    fn returned(&self, flags: c_int) -> ssize_t {
        let len = if flags & libc::MSG_TRUNC != 0 { self.len } else { self.written };
        len.cast_signed()
    }
}

/// Receives a datagram into pieces, which can be written by the promise of all callers.
fn receive(
    found: &Found<'_>,
    socket: &DatagramSocket,
    pieces: &[iovec],
    flags: c_int,
) -> Result<Received> {
    SCRATCH.with_borrow_mut(|buf| {
        let (payload, sender) = datagrams::receive(found, socket, buf, flags)?;
        let mut left = payload;
        for piece in pieces {
            let (part, rest) = left.split_at(left.len().min(piece.iov_len));
            if part.is_empty() {
                continue;
            }
            if piece.iov_base.is_null() {
                return Err(Errno::FAULT.into());
            }
            // SAFETY: The piece has room, and a buffer of ours does not overlap it.
            unsafe { ptr::copy_nonoverlapping(part.as_ptr(), piece.iov_base.cast(), part.len()) };
            left = rest;
        }
        Ok(Received { sender, len: payload.len(), written: payload.len() - left.len() })
    })
}
