//! Stacks.

use super::{call, ns, pointers};
use crate::failure::{Failure, last};
use crate::stack;
use rustix::io::Errno;
use std::ffi::{c_char, c_int};
use std::ptr;

/// Opens a link, and starts a stack on it, in threads of its own.
///
/// `config` is the URL of the link, as "tap://NAME", "tun://NAME", "vde://DIRECTORY" or "switch://NAME",
/// which joins the stacks of this process, and after it, separated by commas, any of:
///
///   ip=ADDRESS/LENGTH    an address of the stack, IPv4 or IPv6 (repeatable)
///   gw=ADDRESS           its default gateway (one for each family)
///   dhcp                 an IPv4 address by DHCP (not tun)
///   slaac                IPv6 addresses by router advertisements
///   dns=ADDRESS          a name server (repeatable)
///   search=DOMAIN        a search domain (repeatable)
///   host=ADDRESS/LENGTH  an address of the kernel on the tun or tap, which is brought up (repeatable)
///   mtu=BYTES            the largest IP packet, 1500 without it
///   name=NAME            the name of the interface in ns_getifaddrs, "ns0" without it
///
/// With dhcp or slaac it waits for an address, for 30 seconds at most.
///
/// Returns the stack, or NULL: EINVAL for a part that is not understood, which ns_error() names;
/// EPERM for a tun or tap without the capability CAP_NET_ADMIN, or of somebody else; EBUSY for one in
/// use; ETIMEDOUT without an address; other errors of opening the link.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ns_newstack(config: *const c_char) -> *mut ns {
    call("ns_newstack", ptr::null_mut(), || {
        // SAFETY: The caller's promise.
        let config = unsafe { pointers::text(config)? };
        let config =
            config.ok_or_else(|| Failure::new(Errno::INVAL, "there is no configuration"))?;
        Ok(ptr::without_provenance_mut(stack::create(&config.parse()?)?))
    })
}

/// Ends a stack. What was written to its closed sockets is sent first, for 5 seconds at most.
///
/// Returns 0, or -1: EBUSY while a descriptor of one of its sockets is open, and nothing is ended;
/// EINVAL if there is no such stack.
#[unsafe(no_mangle)]
pub extern "C" fn ns_delstack(stack: *mut ns) -> c_int {
    call("ns_delstack", -1, || stack::delete(stack.addr()).map(|()| 0))
}

/// Makes a stack the one that NULL stands for in the other calls; NULL makes it none again.
///
/// Returns 0, or -1: EINVAL if there is no such stack.
#[unsafe(no_mangle)]
pub extern "C" fn ns_setdefault(stack: *mut ns) -> c_int {
    call("ns_setdefault", -1, || stack::set_default(stack.addr()).map(|()| 0))
}

/// Returns the text of the last failed call of this thread, in English; an empty one before the
/// first. It is valid until the next failure in the thread, and belongs to the library.
#[unsafe(no_mangle)]
pub extern "C" fn ns_error() -> *const c_char {
    last()
}
