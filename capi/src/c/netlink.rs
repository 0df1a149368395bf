//! The calls of netlink sockets: what others do for those of IP.

use super::{call, checked, pointers};
use crate::failure::Result;
use crate::netlink;
use libc::{msghdr, sockaddr, socklen_t, ssize_t};
use netfd::netlink::{Address, Socket};
use netfd::posix::{Done, SOCKADDR_LEN_MAX, Value};
use rustix::io::Errno;
use std::ffi::{c_int, c_void};
use std::ptr;

/// The longest value of an option that is looked at, in bytes.
const VALUE_LEN_MAX: usize = 256;

/// Runs a call, if the descriptor is a netlink socket's.
pub(super) fn on_netlink<T>(
    name: &str,
    failed: T,
    fd: c_int,
    body: impl FnOnce(&Socket) -> Result<T>,
) -> Option<T> {
    // SAFETY: As for the kernel's calls.
    let near = unsafe { pointers::descriptor(fd) }.ok()?;
    let socket = netlink::find(near)?;
    Some(call(name, failed, || body(&socket)))
}

/// # Safety
///
/// The address has this length.
pub(super) unsafe fn address(at: *const sockaddr, len: socklen_t) -> Result<Address> {
    // SAFETY: The caller's promise.
    let bytes = unsafe { pointers::bytes(at.cast(), (len as usize).min(SOCKADDR_LEN_MAX))? };
    Ok(Address::decode(bytes)?)
}

/// # Safety
///
/// There is room as `len_at` says.
pub(super) unsafe fn write(
    address: Address,
    at: *mut sockaddr,
    len_at: *mut socklen_t,
) -> Result<c_int> {
    // SAFETY: The caller's promise.
    unsafe { pointers::write_sized(&address.encode(), at.cast(), len_at)? };
    Ok(0)
}

/// # Safety
///
/// There is room as `optlen` says.
pub(super) unsafe fn get_option(
    socket: &Socket,
    fd: c_int,
    (level, name): (c_int, c_int),
    optval: *mut c_void,
    optlen: *mut socklen_t,
) -> Result<c_int> {
    match socket.get(level, name)? {
        Value::Bytes(value) => {
            // SAFETY: The caller's promise.
            let written = unsafe { pointers::write_sized(&value, optval, optlen)? };
            // SAFETY: It was written. Of an option the length is that of what was written.
            unsafe { optlen.write(written as socklen_t) };
            Ok(0)
        }
        Value::OfDescriptor => {
            // SAFETY: The caller's promise.
            checked(unsafe { libc::getsockopt(fd, level, name, optval, optlen) })
        }
    }
}

/// # Safety
///
/// The value has this length.
pub(super) unsafe fn set_option(
    socket: &Socket,
    fd: c_int,
    (level, name): (c_int, c_int),
    optval: *const c_void,
    optlen: socklen_t,
) -> Result<c_int> {
    let len = usize::try_from(optlen.cast_signed()).map_err(|_| Errno::INVAL)?;
    // SAFETY: The caller's promise.
    let value = unsafe { pointers::bytes(optval, len.min(VALUE_LEN_MAX))? };
    match socket.set(level, name, value)? {
        Done::Here => Ok(0),
        Done::ByDescriptor => {
            // SAFETY: The caller's promise.
            checked(unsafe { libc::setsockopt(fd, level, name, optval, optlen) })
        }
    }
}

/// # Safety
///
/// The message is valid.
pub(super) unsafe fn send(fd: c_int, msg: *const msghdr, flags: c_int) -> Result<ssize_t> {
    // The pair has one receiver, and ignores the address.
    // SAFETY: The caller's promise.
    let sent = unsafe { libc::sendmsg(fd, msg, flags) };
    Ok(checked(sent as i64)? as ssize_t)
}

/// # Safety
///
/// The message is valid.
pub(super) unsafe fn receive(fd: c_int, msg: *mut msghdr, flags: c_int) -> Result<ssize_t> {
    if msg.is_null() {
        return Err(Errno::FAULT.into());
    }
    // SAFETY: It is valid.
    let message = unsafe { msg.read() };
    let (name, room) = (message.msg_name, message.msg_namelen);
    // SAFETY: The caller's promise. Whose address it is, is known: the stack's.
    let received = unsafe {
        msg.write(msghdr { msg_name: ptr::null_mut(), msg_namelen: 0, ..message });
        libc::recvmsg(fd, msg, flags)
    };
    // SAFETY: As above.
    unsafe { ((*msg).msg_name, (*msg).msg_namelen) = (name, room) };
    let received = checked(received as i64)? as ssize_t;
    if !name.is_null() {
        // SAFETY: The message is valid, and its room is as it says.
        unsafe { write(Address::default(), name.cast(), &raw mut (*msg).msg_namelen)? };
    }
    Ok(received)
}
