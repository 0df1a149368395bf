//! What pointers are to.

use crate::failure::{Failure, Result};
use libc::{sockaddr, socklen_t};
use netfd::posix::{Family, Given, SOCKADDR_LEN_MAX, own_number};
use rustix::io::Errno;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::ptr;

/// The descriptor of a call.
///
/// # Errors
///
/// `EBADF` for negative ones.
///
/// # Safety
///
/// A program that closes it meanwhile has the call fail, or act on the next one with this number, as
/// with the kernel's calls.
pub(super) unsafe fn descriptor<'a>(fd: c_int) -> Result<BorrowedFd<'a>> {
    if fd < 0 {
        return Err(Errno::BADF.into());
    }
    // SAFETY: It is not -1; what else it stands for is the caller's promise.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// A copy of the near end with this key, if this process has it: most likely under `number`.
pub(crate) fn own_copy(key: u64, number: RawFd) -> Option<OwnedFd> {
    let copy = |number: RawFd| {
        if number < 0 {
            return None;
        }
        // SAFETY: It is not -1. Whatever it is, it is only duplicated, to see which one it is.
        let copy = unsafe { BorrowedFd::borrow_raw(number) }.try_clone_to_owned().ok()?;
        (netfd::key(&copy).ok()? == key).then_some(copy)
    };
    copy(number).or_else(|| copy(own_number(key)?))
}

/// A string; `None` for null.
///
/// # Safety
///
/// It is null, or ends with a zero.
pub(super) unsafe fn text<'a>(text: *const c_char) -> Result<Option<&'a str>> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: The caller's promise.
    let text = unsafe { CStr::from_ptr(text) };
    let text = text.to_str().map_err(|_| Failure::new(Errno::INVAL, "the text is no UTF-8"))?;
    Ok(Some(text))
}

/// The bytes to read at a pointer.
///
/// # Safety
///
/// There are `len` bytes there, which stay as they are.
pub(super) unsafe fn bytes<'a>(at: *const c_void, len: usize) -> Result<&'a [u8]> {
    match at.is_null() {
        true if len == 0 => Ok(&[]),
        true => Err(Errno::FAULT.into()),
        // SAFETY: The caller's promise.
        false => Ok(unsafe { std::slice::from_raw_parts(at.cast(), len) }),
    }
}

/// A socket address, for a socket of this family.
///
/// # Safety
///
/// It has `len` bytes.
pub(super) unsafe fn address(family: Family, at: *const sockaddr, len: socklen_t) -> Result<Given> {
    let len = len as usize;
    if len > SOCKADDR_LEN_MAX {
        return Err(Errno::INVAL.into());
    }
    // SAFETY: The caller's promise.
    Ok(family.decode(unsafe { bytes(at.cast(), len)? })?)
}

/// Writes a value, cut to the room there, and its whole length.
///
/// # Safety
///
/// `at` has room for `*len_at` bytes.
pub(super) unsafe fn write_sized(
    value: &[u8],
    at: *mut c_void,
    len_at: *mut socklen_t,
) -> Result<usize> {
    if at.is_null() || len_at.is_null() {
        return Err(Errno::FAULT.into());
    }
    // SAFETY: The caller's promise.
    let room = unsafe { len_at.read() };
    let room = usize::try_from(room.cast_signed()).map_err(|_| Errno::INVAL)?;
    let len = value.len().min(room);
    // SAFETY: There is room, and a value of ours does not overlap it.
    unsafe { ptr::copy_nonoverlapping(value.as_ptr(), at.cast(), len) };
    // SAFETY: It was read.
    unsafe { len_at.write(socklen_t::try_from(value.len()).unwrap_or(socklen_t::MAX)) };
    Ok(len)
}

/// An IP address, as `struct in_addr` or `struct in6_addr`.
///
/// # Errors
///
/// `EAFNOSUPPORT` for another family; `EFAULT` for null.
///
/// # Safety
///
/// It is one of the family.
pub(super) unsafe fn ip(family: c_int, at: *const c_void) -> Result<IpAddr> {
    if at.is_null() {
        return Err(Errno::FAULT.into());
    }
    match family {
        // SAFETY: The caller's promise; an array of bytes has no alignment.
        libc::AF_INET => Ok(Ipv4Addr::from(unsafe { at.cast::<[u8; 4]>().read() }).into()),
        // SAFETY: As above.
        libc::AF_INET6 => Ok(Ipv6Addr::from(unsafe { at.cast::<[u8; 16]>().read() }).into()),
        _ => Err(Errno::AFNOSUPPORT.into()),
    }
}
