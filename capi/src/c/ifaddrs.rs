//! `getifaddrs`.

use super::{call, find_stack, ns};
use ipnet::IpNet;
use libc::{ifaddrs, sockaddr, sockaddr_storage};
use netfd::posix::Family;
use rustix::io::Errno;
use std::ffi::{CString, c_int, c_uint};
use std::mem::zeroed;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ptr;

/// An entry of a list, with what it points to. The entry is first, so a pointer to one is a pointer to
/// the other.
#[repr(C)]
struct Node {
    entry: ifaddrs,
    addresses: [sockaddr_storage; 3],
    name: CString,
}

/// Lists the addresses of a stack, as getifaddrs(3): those of its interface, which has the name of its
/// configuration, and those of loopback, "lo". There are no entries of AF_PACKET, and ifa_data is
/// NULL. ns_freeifaddrs frees the list. NULL is the default stack.
///
/// Returns 0, or -1: EINVAL if there is no such stack; EFAULT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ns_getifaddrs(stack: *mut ns, ifap: *mut *mut ifaddrs) -> c_int {
    call("ns_getifaddrs", -1, || {
        if ifap.is_null() {
            return Err(Errno::FAULT.into());
        }
        let stack = find_stack(stack)?;
        let network = stack.net.network();
        let mut own = (libc::IFF_MULTICAST) as c_uint;
        if network.link.is_up {
            own |= libc::IFF_UP as c_uint;
            if network.link.has_carrier {
                own |= libc::IFF_RUNNING as c_uint;
            }
        }
        own |= match network.link.hardware_address {
            Some(_) => libc::IFF_BROADCAST as c_uint,
            None => (libc::IFF_POINTOPOINT | libc::IFF_NOARP) as c_uint,
        };
        let loopback = (libc::IFF_UP | libc::IFF_RUNNING | libc::IFF_LOOPBACK) as c_uint;
        let name = |name: &str| CString::new(name).unwrap_or_default();
        let hosts = [
            IpNet::new_assert(Ipv4Addr::LOCALHOST.into(), 8),
            IpNet::new_assert(Ipv6Addr::LOCALHOST.into(), 128),
        ];
        let hosts = hosts.iter().map(|address| (name("lo"), loopback, address));
        let all = hosts.chain(network.addresses.iter().map(|it| (name(&stack.name), own, it)));
        let mut first = ptr::null_mut();
        for (name, flags, address) in all.collect::<Vec<_>>().into_iter().rev() {
            first = node(name, flags, address, first);
        }
        // SAFETY: It is not null, and the caller's promise.
        unsafe { ifap.write(first) };
        Ok(0)
    })
}

fn node(name: CString, flags: c_uint, address: &IpNet, next: *mut ifaddrs) -> *mut ifaddrs {
    // SAFETY: All fields may be zero: null, none.
    let (entry, addresses) = unsafe { (zeroed::<ifaddrs>(), zeroed::<[sockaddr_storage; 3]>()) };
    let node = Box::into_raw(Box::new(Node { entry, addresses, name }));
    let has_broadcast = flags & libc::IFF_BROADCAST as c_uint != 0;
    let broadcast = Some(address.broadcast()).filter(|it| it.is_ipv4() && has_broadcast);
    // SAFETY: The node is ours and valid.
    unsafe {
        let addresses = (&raw mut (*node).addresses).cast::<sockaddr_storage>();
        let entry = &mut (*node).entry;
        entry.ifa_next = next;
        entry.ifa_name = (*node).name.as_ptr().cast_mut();
        entry.ifa_flags = flags;
        entry.ifa_addr = put(addresses, address.addr());
        entry.ifa_netmask = put(addresses.add(1), address.netmask());
        entry.ifa_ifu =
            broadcast.map_or(ptr::null_mut(), |broadcast| put(addresses.add(2), broadcast));
    }
    node.cast()
}

/// # Safety
///
/// The storage can be written.
unsafe fn put(storage: *mut sockaddr_storage, ip: IpAddr) -> *mut sockaddr {
    let family = if ip.is_ipv4() { Family::V4 } else { Family::V6 };
    let encoded = family.encode(SocketAddr::new(ip, 0));
    // SAFETY: The caller's promise; an address is shorter than the storage.
    unsafe { ptr::copy_nonoverlapping(encoded.as_ptr(), storage.cast(), encoded.len()) };
    storage.cast()
}

/// Frees what ns_getifaddrs has returned, and nothing else. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ns_freeifaddrs(ifa: *mut ifaddrs) {
    let mut next = ifa;
    while !next.is_null() {
        // SAFETY: The caller's promise: it is an entry of a node of ours.
        let node = unsafe { Box::from_raw(next.cast::<Node>()) };
        next = node.entry.ifa_next;
    }
}
