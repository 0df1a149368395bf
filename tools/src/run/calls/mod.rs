//! The system calls.

mod accept;
mod bind;
mod connect;
mod create;
mod datagram;
mod interfaces;
mod listen;
mod names;
mod netlink;
mod options;
mod ping;

use crate::run::call::Call;
use crate::run::supervisor::{Descriptor, Held, Socket, Supervisor};
use rustix::io::Errno;
use std::sync::Arc;

/// Answers a call, now or later.
pub(crate) fn handle(supervisor: &Arc<Supervisor>, call: Call) {
    if call.number() == libc::SYS_socket {
        return create::create(supervisor, call);
    }
    if call.number() == libc::SYS_ioctl {
        return interfaces::request(supervisor, call);
    }
    match supervisor.find(&call) {
        Some((descriptor, Held::Ip(socket))) => handle_for(supervisor, call, descriptor, socket),
        Some((descriptor, Held::Netlink(socket))) => {
            netlink::handle(supervisor, call, descriptor, socket);
        }
        Some((descriptor, Held::Echo(socket))) => {
            ping::handle(supervisor, call, descriptor, socket);
        }
        // A file, a pipe, a socket of another kind, or no descriptor at all.
        None => call.pass(),
    }
}

fn handle_for(supervisor: &Arc<Supervisor>, call: Call, descriptor: Descriptor, socket: Socket) {
    match (call.number(), socket) {
        (libc::SYS_setsockopt, socket) => options::set(supervisor, call, &socket),
        (libc::SYS_getsockopt, socket) => options::get(supervisor, call, &socket),
        (libc::SYS_getsockname, socket) => names::local(call, &socket),
        (libc::SYS_getpeername, socket) => names::peer(call, &socket),
        (libc::SYS_bind, socket) => bind::bind(supervisor, call, descriptor, socket),
        (libc::SYS_listen, Socket::Stream(socket)) => {
            listen::listen(supervisor, call, descriptor, socket);
        }
        (libc::SYS_accept | libc::SYS_accept4, Socket::Stream(socket)) => {
            accept::accept(supervisor, call, descriptor, socket);
        }
        (libc::SYS_listen | libc::SYS_accept | libc::SYS_accept4, Socket::Datagram(_)) => {
            call.fail(Errno::OPNOTSUPP);
        }
        (libc::SYS_connect, Socket::Stream(socket)) => {
            connect::stream(supervisor, call, descriptor, socket);
        }
        (libc::SYS_connect, Socket::Datagram(socket)) => {
            connect::datagrams(supervisor, call, socket);
        }
        (libc::SYS_sendto | libc::SYS_sendmsg | libc::SYS_sendmmsg, Socket::Datagram(socket)) => {
            datagram::send(supervisor, call, descriptor, socket)
        }
        (libc::SYS_recvfrom | libc::SYS_recvmsg | libc::SYS_recvmmsg, Socket::Datagram(socket)) => {
            datagram::receive(supervisor, call, descriptor, socket)
        }
        // Of a stream: the kernel has the bytes, and no address for them.
        (_, _) => call.pass(),
    }
}
