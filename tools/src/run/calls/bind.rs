//! `bind`.

use crate::run::call::Call;
use crate::run::supervisor::{Socket, Supervisor};
use netfd::posix::Given;
use rustix::io::Errno;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

pub(super) fn bind(supervisor: &Arc<Supervisor>, call: Call, socket: Socket) {
    let family = socket.family();
    let local = match call.address(family, call.argument(1), call.argument(2)) {
        Ok(Given::Address(local)) => local,
        // Old programs say AF_UNSPEC with the address 0.0.0.0 (bind in net/ipv4/af_inet.c).
        Ok(Given::None) => family.unspecified(),
        Err(errno) => return call.fail(errno),
    };
    if let Socket::Stream(socket) = &socket {
        let bound = socket.bind(local);
        if bound != Err(Errno::ADDRINUSE) {
            return call.end(bound.map(|()| 0));
        }
    }
    supervisor.park(call.task(), async move {
        let mut bound = bind_once(&socket, local).await;
        for _ in 0..CLOSING_TRIES {
            if bound != Err(Errno::ADDRINUSE) {
                break;
            }
            sleep(CLOSING_STEP).await;
            bound = bind_once(&socket, local).await;
        }
        call.end(bound.map(|()| 0).map_err(not_available));
    });
}

/// A program that closes a socket and binds its port again finds it free, on the kernel. Here the
/// end of the descriptor comes to the stack a moment later: so long a port may be in use.
const CLOSING_STEP: Duration = Duration::from_millis(2);
const CLOSING_TRIES: u32 = 25;

async fn bind_once(socket: &Socket, local: SocketAddr) -> Result<(), Errno> {
    match socket {
        Socket::Stream(socket) => socket.bind(local),
        Socket::Datagram(socket) => socket.bind(local).await.map(|_| ()),
    }
}

/// An address that the stack has not is `EADDRNOTAVAIL`, of whichever kind it is.
fn not_available(errno: Errno) -> Errno {
    if errno == Errno::NETUNREACH { Errno::ADDRNOTAVAIL } else { errno }
}
