//! `getsockopt` and `setsockopt`.

use crate::run::call::Call;
use crate::run::supervisor::{Socket, Supervisor};
use netfd::posix::{Done, Family, Settings, Value, kind_option, tcp_info};
use rustix::io::Errno;

/// The longest value that is looked at, in bytes.
const LEN_MAX: usize = 256;

pub(super) fn get(supervisor: &Supervisor, call: Call, socket: &Socket) {
    let (level, name) = (call.int(1), call.int(2));
    if let (Socket::Stream(socket), libc::IPPROTO_TCP, libc::TCP_INFO) = (socket, level, name) {
        let socket = socket.clone();
        return supervisor.park(call.task(), async move {
            let info = tcp_info(&socket).await;
            answer(call, &info);
        });
    }
    match value(socket, level, name) {
        Ok(Value::Bytes(bytes)) => answer(call, &bytes),
        Ok(Value::OfDescriptor) => call.pass(),
        Err(errno) => {
            if errno == Errno::NOPROTOOPT {
                supervisor.notices.unknown_option(level, name);
            }
            call.fail(errno);
        }
    }
}

fn answer(call: Call, value: &[u8]) {
    let (at, len_at) = (call.argument(3), call.argument(4));
    let written = call
        .write_sized(value, at, len_at)
        .and_then(|len| call.write(len_at, &(len as u32).to_ne_bytes()));
    call.end(written.map(|()| 0));
}

fn value(socket: &Socket, level: libc::c_int, name: libc::c_int) -> Result<Value, Errno> {
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
        (libc::IPPROTO_TCP, _) if stream.is_none() => Err(Errno::NOPROTOOPT),
        (libc::IPPROTO_IPV6, _) if socket.family() == Family::V4 => Err(Errno::NOPROTOOPT),
        _ => look(socket, |settings| settings.get(level, name)),
    }
}

fn look<T>(socket: &Socket, look: impl FnOnce(&Settings) -> T) -> T {
    match socket {
        Socket::Stream(socket) => socket.settings(look),
        Socket::Datagram(socket) => socket.settings(look),
    }
}

pub(super) fn set(supervisor: &Supervisor, call: Call, socket: &Socket) {
    let (level, name) = (call.int(1), call.int(2));
    let mut value = vec![0; usize::try_from(call.int(4)).unwrap_or(0).min(LEN_MAX)];
    if let Err(errno) = call.read(call.argument(3), &mut value) {
        return call.fail(errno);
    }
    match change(socket, level, name, &value) {
        Ok(Done::Here) => call.end(Ok(0)),
        Ok(Done::ByDescriptor) => call.pass(),
        Err(errno) => {
            if errno == Errno::NOPROTOOPT {
                supervisor.notices.unknown_option(level, name);
            }
            call.fail(errno);
        }
    }
}

fn change(
    socket: &Socket,
    level: libc::c_int,
    name: libc::c_int,
    value: &[u8],
) -> Result<Done, Errno> {
    let is_stream = matches!(socket, Socket::Stream(_));
    match level {
        libc::IPPROTO_TCP if !is_stream => return Err(Errno::NOPROTOOPT),
        libc::IPPROTO_IPV6 if socket.family() == Family::V4 => return Err(Errno::NOPROTOOPT),
        _ => {}
    }
    let change = |settings: &mut Settings| settings.set(level, name, value);
    match socket {
        Socket::Stream(socket) => socket.change(change),
        Socket::Datagram(socket) => socket.change(change),
    }
}
