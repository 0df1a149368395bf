//! `getaddrinfo`.

use super::{call, find_stack, ns, pointers};
use crate::failure::Failure;
use crate::names::{self, Hints, NoAddress};
use libc::{addrinfo, sockaddr_storage, socklen_t};
use netfd::posix::Family;
use rustix::io::Errno;
use std::ffi::{CString, c_char, c_int};
use std::mem::zeroed;
use std::net::{IpAddr, SocketAddr};
use std::ptr;

/// An entry of a list, with what it points to. The entry is first, so a pointer to one is a pointer to
/// the other.
#[repr(C)]
struct Node {
    entry: addrinfo,
    address: sockaddr_storage,
    name: Option<CString>,
}

/// A type of socket that a service is for.
struct Service {
    kind: c_int,
    protocol: c_int,
    port: u16,
}

/// Looks a name up with the stack's resolver, as getaddrinfo(3). NULL is the default stack. Services
/// are those of the machine (/etc/services). The results are in the order to try them, the families in
/// turns, and ns_freeaddrinfo frees them.
///
/// Returns 0 or an EAI_ number for gai_strerror: EAI_NONAME, EAI_AGAIN if no name server answers or
/// the stack has none, EAI_FAIL, EAI_FAMILY, EAI_SERVICE, EAI_SOCKTYPE, EAI_BADFLAGS; EAI_SYSTEM with
/// errno EINVAL if there is no such stack.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ns_getaddrinfo(
    stack: *mut ns,
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    res: *mut *mut addrinfo,
) -> c_int {
    let mut code = libc::EAI_SYSTEM;
    let done = call("ns_getaddrinfo", None, || {
        if res.is_null() {
            return Err(Errno::FAULT.into());
        }
        // SAFETY: All fields may be zero.
        let any = unsafe { zeroed() };
        // SAFETY: The caller's promise.
        let hints: addrinfo = if hints.is_null() { any } else { unsafe { hints.read() } };
        let stack = find_stack(stack)?;
        // SAFETY: The caller's promise.
        let node = unsafe { pointers::text(node)? };
        let mut failed = |it: NoAddress| {
            code = it.code;
            Failure::new(Errno::INVAL, it.text)
        };
        // SAFETY: The caller's promise.
        let services = unsafe { services(node.is_none(), service, &hints) }.map_err(&mut failed)?;
        let asked = Hints { flags: hints.ai_flags, family: hints.ai_family };
        let addresses = names::addresses(&stack, node, asked).map_err(&mut failed)?;
        let name = node.filter(|_| hints.ai_flags & libc::AI_CANONNAME != 0);
        Ok(Some(list(&addresses, &services, name)))
    });
    match done {
        Some(first) => {
            // SAFETY: It is not null, and the caller's promise.
            unsafe { res.write(first) };
            0
        }
        None => code,
    }
}

/// What libc makes of the service, for an address of this machine.
///
/// # Safety
///
/// The service is null or a string.
unsafe fn services(
    is_needed: bool,
    service: *const c_char,
    hints: &addrinfo,
) -> Result<Vec<Service>, NoAddress> {
    if service.is_null() && is_needed {
        return Err(NoAddress::new(libc::EAI_NONAME, "neither a node nor a service"));
    }
    // SAFETY: All fields may be zero.
    let mut asked: addrinfo = unsafe { zeroed() };
    asked.ai_family = libc::AF_INET;
    asked.ai_socktype = hints.ai_socktype;
    asked.ai_protocol = hints.ai_protocol;
    asked.ai_flags = libc::AI_PASSIVE | hints.ai_flags & libc::AI_NUMERICSERV;
    let service = if service.is_null() { c"0".as_ptr() } else { service };
    let mut first = ptr::null_mut();
    // SAFETY: The service is a string, and the rest is ours.
    let code = unsafe { libc::getaddrinfo(ptr::null(), service, &raw const asked, &raw mut first) };
    if code != 0 {
        return Err(NoAddress::new(code, "no such service for this type of socket"));
    }
    let mut all = Vec::new();
    let mut next = first;
    // SAFETY: libc's list ends with null; its entries are valid until it is freed.
    while let Some(entry) = unsafe { next.as_ref() } {
        // SAFETY: Of AF_INET it is a sockaddr_in.
        let address = unsafe { entry.ai_addr.cast::<libc::sockaddr_in>().read() };
        // Raw sockets are none of a stack's.
        if entry.ai_socktype != libc::SOCK_RAW {
            let port = u16::from_be(address.sin_port);
            all.push(Service { kind: entry.ai_socktype, protocol: entry.ai_protocol, port });
        }
        next = entry.ai_next;
    }
    // SAFETY: It is libc's, and not used any more.
    unsafe { libc::freeaddrinfo(first) };
    Ok(all)
}

/// Makes a list; only the first entry has the name.
fn list(addresses: &[IpAddr], services: &[Service], name: Option<&str>) -> *mut addrinfo {
    let mut first = ptr::null_mut();
    let all = addresses.iter().flat_map(|ip| services.iter().map(move |service| (*ip, service)));
    let all: Vec<_> = all.collect();
    for (at, (ip, service)) in all.into_iter().enumerate().rev() {
        let name = name.filter(|_| at == 0).and_then(|name| CString::new(name).ok());
        first = node(SocketAddr::new(ip, service.port), service, name, first);
    }
    first
}

fn node(
    address: SocketAddr,
    service: &Service,
    name: Option<CString>,
    next: *mut addrinfo,
) -> *mut addrinfo {
    let family = if address.is_ipv4() { Family::V4 } else { Family::V6 };
    let encoded = family.encode(address);
    // SAFETY: All fields may be zero: null, none.
    let zeros = unsafe { (zeroed::<addrinfo>(), zeroed::<sockaddr_storage>()) };
    let node = Box::into_raw(Box::new(Node { entry: zeros.0, address: zeros.1, name }));
    // SAFETY: The node is ours and valid; an address is shorter than the storage.
    unsafe {
        let storage = &raw mut (*node).address;
        ptr::copy_nonoverlapping(encoded.as_ptr(), storage.cast(), encoded.len());
        let entry = &mut (*node).entry;
        entry.ai_family = family.number();
        entry.ai_socktype = service.kind;
        entry.ai_protocol = service.protocol;
        entry.ai_addrlen = encoded.len() as socklen_t;
        entry.ai_addr = storage.cast();
        entry.ai_canonname =
            (*node).name.as_ref().map_or(ptr::null_mut(), |name| name.as_ptr().cast_mut());
        entry.ai_next = next;
    }
    node.cast()
}

/// Frees what ns_getaddrinfo has returned, and nothing else. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ns_freeaddrinfo(res: *mut addrinfo) {
    let mut next = res;
    while !next.is_null() {
        // SAFETY: The caller's promise: it is an entry of a node of ours.
        let node = unsafe { Box::from_raw(next.cast::<Node>()) };
        next = node.entry.ai_next;
    }
}
