//! `getsockopt` and `setsockopt`.

use crate::failure::{Failure, Result};
use crate::sockets::{Found, Socket};
use netfd::posix::{Done, Family, Value, kind_option, tcp_info};
use rustix::io::Errno;

/// Reads an option.
pub(crate) fn get(found: &Found<'_>, level: libc::c_int, name: libc::c_int) -> Result<Value> {
    let socket = &found.socket;
    let stream = match socket {
        Socket::Stream(socket) => Some(&**socket),
        Socket::Datagram(_) => None,
    };
    if let Some(value) = kind_option(socket.family(), stream, level, name) {
        return Ok(value);
    }
    match (level, name) {
        (libc::SOL_SOCKET, libc::SO_ERROR) => {
            let error = match socket {
                Socket::Stream(socket) => socket.take_error(),
                Socket::Datagram(socket) => socket.take_error(),
            };
            // Of a reset connection the descriptor knows it.
            Ok(error.map_or(Value::OfDescriptor, |errno| errno.raw_os_error().into()))
        }
        (libc::IPPROTO_TCP, libc::TCP_INFO) => match socket {
            Socket::Stream(socket) => Ok(Value::Bytes(found.stack.block_on(tcp_info(socket)))),
            Socket::Datagram(_) => Err(unknown(level, name)),
        },
        _ if !is_of(socket, level) => Err(unknown(level, name)),
        _ => socket
            .settings(|settings| settings.get(level, name))
            .map_err(|errno| told(errno, level, name)),
    }
}

/// Sets an option.
pub(crate) fn set(
    socket: &Socket,
    level: libc::c_int,
    name: libc::c_int,
    value: &[u8],
) -> Result<Done> {
    if !is_of(socket, level) {
        return Err(unknown(level, name));
    }
    let set = socket.change(|settings| settings.set(level, name, value));
    set.map_err(|errno| told(errno, level, name))
}

/// Whether a socket has options of this level.
fn is_of(socket: &Socket, level: libc::c_int) -> bool {
    match level {
        libc::IPPROTO_TCP => matches!(socket, Socket::Stream(_)),
        libc::IPPROTO_IPV6 => socket.family() == Family::V6,
        _ => true,
    }
}

fn told(errno: Errno, level: libc::c_int, name: libc::c_int) -> Failure {
    if errno == Errno::NOPROTOOPT { unknown(level, name) } else { errno.into() }
}

fn unknown(level: libc::c_int, name: libc::c_int) -> Failure {
    let text = format!("there is no option {name} of level {level}");
    Failure::new(Errno::NOPROTOOPT, text)
}
