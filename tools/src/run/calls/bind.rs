//! `bind`.

use crate::run::call::Call;
use crate::run::supervisor::{Socket, Supervisor};
use netfd::posix::Given;
use rustix::io::Errno;
use std::sync::Arc;

pub(super) fn bind(supervisor: &Arc<Supervisor>, call: Call, socket: Socket) {
    let family = socket.family();
    let local = match call.address(family, call.argument(1), call.argument(2)) {
        Ok(Given::Address(local)) => local,
        // Old programs say AF_UNSPEC with the address 0.0.0.0 (bind in net/ipv4/af_inet.c).
        Ok(Given::None) => family.unspecified(),
        Err(errno) => return call.fail(errno),
    };
    match socket {
        Socket::Stream(socket) => call.end(socket.bind(local).map(|()| 0)),
        Socket::Datagram(socket) => supervisor.park(call.task(), async move {
            let bound = socket.bind(local).await;
            call.end(bound.map(|_| 0).map_err(not_available));
        }),
    }
}

/// An address that the stack has not is `EADDRNOTAVAIL`, of whichever kind it is.
fn not_available(errno: Errno) -> Errno {
    if errno == Errno::NETUNREACH { Errno::ADDRNOTAVAIL } else { errno }
}
