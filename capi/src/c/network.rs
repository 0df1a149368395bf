//! Addresses, routes and the link.

use super::{call, find_stack, ns, pointers};
use crate::network;
use std::ffi::{c_int, c_void};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Adds an address to a stack. `addr` is a struct in_addr for AF_INET and a struct in6_addr for
/// AF_INET6, `prefixlen` the number of bits of the network on the link. NULL is the default stack.
///
/// Returns 0, or -1: EADDRNOTAVAIL if it cannot be a host's; ENOBUFS for too many; EAFNOSUPPORT, EINVAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ns_addr_add(
    stack: *mut ns,
    family: c_int,
    addr: *const c_void,
    prefixlen: c_int,
) -> c_int {
    call("ns_addr_add", -1, || {
        // SAFETY: The caller's promise.
        let address = unsafe { pointers::ip(family, addr)? };
        network::add_address(&*find_stack(stack)?, address, prefixlen)?;
        Ok(0)
    })
}

/// Removes an address from a stack, and ends the connections on it; see ns_addr_add.
///
/// Returns 0, or -1: EADDRNOTAVAIL if the stack does not have it; EAFNOSUPPORT, EINVAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ns_addr_del(
    stack: *mut ns,
    family: c_int,
    addr: *const c_void,
    prefixlen: c_int,
) -> c_int {
    call("ns_addr_del", -1, || {
        // SAFETY: The caller's promise.
        let address = unsafe { pointers::ip(family, addr)? };
        network::remove_address(&*find_stack(stack)?, address, prefixlen)?;
        Ok(0)
    })
}

/// Adds a route to the destinations `dst`/`prefixlen`, over the gateway `gw`, or on the link itself for
/// NULL. A `dst` of NULL with a `prefixlen` of 0 is the default route. It replaces a route to the same
/// destinations.
///
/// Returns 0, or -1: EINVAL for a gateway that is not on the link; EADDRNOTAVAIL for one that cannot be
/// a host's; ENOBUFS for too many; EAFNOSUPPORT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ns_route_add(
    stack: *mut ns,
    family: c_int,
    dst: *const c_void,
    prefixlen: c_int,
    gw: *const c_void,
) -> c_int {
    call("ns_route_add", -1, || {
        // SAFETY: The caller's promise.
        let (destination, gateway) = unsafe { route(family, dst, prefixlen, gw)? };
        network::add_route(&*find_stack(stack)?, destination, prefixlen, gateway)?;
        Ok(0)
    })
}

/// Removes a route; see ns_route_add. For a `gw` of NULL it may have any gateway.
///
/// Returns 0, or -1: ESRCH if there is none; EAFNOSUPPORT, EINVAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ns_route_del(
    stack: *mut ns,
    family: c_int,
    dst: *const c_void,
    prefixlen: c_int,
    gw: *const c_void,
) -> c_int {
    call("ns_route_del", -1, || {
        // SAFETY: The caller's promise.
        let (destination, gateway) = unsafe { route(family, dst, prefixlen, gw)? };
        network::remove_route(&*find_stack(stack)?, destination, prefixlen, gateway)?;
        Ok(0)
    })
}

unsafe fn route(
    family: c_int,
    destination: *const c_void,
    prefix_len: c_int,
    gateway: *const c_void,
) -> crate::failure::Result<(IpAddr, Option<IpAddr>)> {
    let destination = match family {
        libc::AF_INET if destination.is_null() && prefix_len == 0 => Ipv4Addr::UNSPECIFIED.into(),
        libc::AF_INET6 if destination.is_null() && prefix_len == 0 => Ipv6Addr::UNSPECIFIED.into(),
        // SAFETY: The caller's promise.
        _ => unsafe { pointers::ip(family, destination)? },
    };
    let gateway = match gateway.is_null() {
        true => None,
        // SAFETY: The caller's promise.
        false => Some(unsafe { pointers::ip(family, gateway)? }),
    };
    Ok((destination, gateway))
}

/// Sets the link of a stack up (1) or down (0).
///
/// Returns 0, or -1: EINVAL if there is no such stack.
#[unsafe(no_mangle)]
pub extern "C" fn ns_link_set(stack: *mut ns, up: c_int) -> c_int {
    call("ns_link_set", -1, || {
        network::set_link_up(&*find_stack(stack)?, up != 0)?;
        Ok(0)
    })
}
