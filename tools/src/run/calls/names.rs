//! `getsockname` and `getpeername`.

use crate::run::call::Call;
use crate::run::supervisor::Socket;
use rustix::io::Errno;
use std::net::SocketAddr;

pub(super) fn local(call: Call, socket: &Socket) {
    tell(call, socket, socket.local());
}

pub(super) fn peer(call: Call, socket: &Socket) {
    let peer = match socket {
        Socket::Stream(socket) => socket.peer(),
        Socket::Datagram(socket) => socket.peer(),
    };
    match peer {
        Some(peer) => tell(call, socket, peer),
        None => call.fail(Errno::NOTCONN),
    }
}

fn tell(call: Call, socket: &Socket, address: SocketAddr) {
    let (at, len_at) = (call.argument(1), call.argument(2));
    let written = call.write_address(socket.family(), address, at, len_at);
    call.end(written.map(|()| 0));
}
