//! `bind`.

use crate::run::call::Call;
use crate::run::supervisor::{Descriptor, Socket, Supervisor};
use netfd::posix::{Given, released};
use rustix::io::Errno;
use std::net::SocketAddr;
use std::sync::Arc;

pub(super) fn bind(
    supervisor: &Arc<Supervisor>,
    call: Call,
    descriptor: Descriptor,
    socket: Socket,
) {
    let family = socket.family();
    let local = match call.address(family, call.argument(1), call.argument(2)) {
        Ok(Given::Address(local)) => local,
        // Old programs say AF_UNSPEC with the address 0.0.0.0 (bind in net/ipv4/af_inet.c).
        Ok(Given::None) => family.unspecified(),
        Err(errno) => return call.fail(errno),
    };
    let identity = descriptor.identity;
    drop(descriptor);
    if supervisor.take_bound(identity, local) {
        return call.end(Ok(0));
    }
    let held = supervisor.clone();
    // Not given up with the call: a socket that is bound must be known as such.
    supervisor.spawn(async move {
        let mut bound = bind_once(&socket, local).await;
        if bound == Err(Errno::ADDRINUSE)
            && let Ok(ip) = &held.ip
        {
            let closed = released(&ip.net, held.closing(local.port())).await;
            bound = match closed {
                Ok(()) => bind_once(&socket, local).await,
                Err(errno) => Err(errno),
            };
        }
        let is_bound = bound.is_ok();
        if call.answer(bound.map(|()| 0).map_err(not_available)).is_err() && is_bound {
            held.keep_bound(identity, local);
        }
    });
}

async fn bind_once(socket: &Socket, local: SocketAddr) -> Result<(), Errno> {
    match socket {
        Socket::Stream(socket) => socket.bind(local),
        Socket::Datagram(socket) => socket.bind(local).await,
    }
}

/// An address that the stack has not is `EADDRNOTAVAIL`, of whichever kind it is.
fn not_available(errno: Errno) -> Errno {
    if errno == Errno::NETUNREACH { Errno::ADDRNOTAVAIL } else { errno }
}
