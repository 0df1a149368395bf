//! Socket options that no crate has.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Sets an option to a value that the kernel only reads, a number or a structure of numbers.
///
/// # Errors
///
/// The kernel's.
pub(crate) fn set<T: Copy>(
    socket: &impl AsFd,
    level: c_int,
    option: c_int,
    value: T,
) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel reads `len` bytes, which are those of the value.
    #[expect(unsafe_code, reason = "a system call")]
    let result = unsafe {
        let value = std::ptr::from_ref(&value).cast();
        libc::setsockopt(socket.as_fd().as_raw_fd(), level, option, value, len)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
