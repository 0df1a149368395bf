//! The functions of `netstack.h`.
//!
//! # Safety
//!
//! As for the calls of POSIX with the same names: pointers are to what they say, for the length given
//! beside them, or null where that is allowed. A `struct ns *` may have any value: it is looked up and
//! never followed.

#![allow(unsafe_code, reason = "pointers come from C; each block has its reason")]
#![allow(clippy::missing_safety_doc, reason = "it is the same for all, and said above")]

mod pointers;
mod signals;

// In the order of the header.
mod stacks;

mod sockets;

mod names;

mod messages;

mod addrinfo;

mod ifaddrs;

mod netlink;

mod network;

pub use addrinfo::{ns_freeaddrinfo, ns_getaddrinfo};
pub use ifaddrs::{ns_freeifaddrs, ns_getifaddrs};
pub use messages::{ns_recvfrom, ns_recvmsg, ns_sendmsg, ns_sendto};
pub use names::{ns_getpeername, ns_getsockname, ns_getsockopt, ns_setsockopt};
pub use network::{ns_addr_add, ns_addr_del, ns_link_set, ns_route_add, ns_route_del};
pub use sockets::{ns_accept, ns_accept4, ns_bind, ns_connect, ns_listen, ns_msocket};
pub use stacks::{ns_delstack, ns_error, ns_newstack, ns_setdefault};

pub(crate) use pointers::own_copy;
pub(crate) use signals::without_signals;

use crate::failure::{Failure, Result};
use crate::stack::{self, Stack};
use rustix::io::Errno;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// A stack. Its pointers are names that are looked up.
#[expect(non_camel_case_types, reason = "its name in C")]
#[derive(Debug)]
pub struct ns(());

/// Runs a call; on failure it returns `failed`, with errno and the text of [`ns_error`].
fn call<T>(name: &str, failed: T, body: impl FnOnce() -> Result<T>) -> T {
    let body = || stack::check_process().and_then(|()| body());
    // A panic must not enter C.
    let result = catch_unwind(AssertUnwindSafe(body))
        .unwrap_or_else(|_| Err(Failure::new(Errno::IO, "a defect of the library: it panicked")));
    result.unwrap_or_else(|failure| {
        failure.keep(name);
        set_errno(failure.errno);
        failed
    })
}

fn set_errno(errno: Errno) {
    // SAFETY: The location is the thread's own, and always valid.
    unsafe { *libc::__errno_location() = errno.raw_os_error() };
}

/// What libc has returned, with its errno.
fn checked<T: Copy + Into<i64>>(returned: T) -> Result<T> {
    if returned.into() < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(returned)
}

fn find_stack(stack: *mut ns) -> Result<Arc<Stack>> {
    stack::find(stack.addr())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    #[test]
    fn a_panic_is_an_error_of_the_call() {
        let returned = call("ns_test", -1, || panic!("on purpose"));

        let error = std::io::Error::last_os_error();
        assert_eq!((returned, error.raw_os_error()), (-1, Some(libc::EIO)));
        // SAFETY: A string of this thread, which has no other failure meanwhile.
        let text = unsafe { CStr::from_ptr(ns_error()) };
        assert_eq!(text.to_str(), Ok("ns_test: a defect of the library: it panicked"));
    }
}
