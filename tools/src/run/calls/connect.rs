//! `connect`.

use crate::run::call::Call;
use crate::run::supervisor::{Descriptor, Holder, Supervisor, within};
use netfd::Mode;
use netfd::posix::Given;
use netfd::posix::{Attempt, DatagramSocket, Phase, StreamSocket};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, socket_timeout};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub(super) fn stream(
    supervisor: &Arc<Supervisor>,
    call: Call,
    descriptor: Descriptor,
    socket: Arc<StreamSocket>,
) {
    let peer = match call.address(socket.family(), call.argument(1), call.argument(2)) {
        Ok(Given::Address(peer)) => here(peer),
        Ok(Given::None) => return disconnect(call, &socket),
        Err(errno) => return call.fail(errno),
    };
    let remote = supervisor.redirect(peer).unwrap_or(peer);
    let mode = descriptor.mode();
    match socket.phase() {
        Phase::Idle => {}
        // Interrupted by a signal and repeated, a blocking one joins its first attempt.
        Phase::Connecting if mode == Mode::Blocking => {
            let timeout = socket_timeout(&descriptor.near, Timeout::Send).ok().flatten();
            return supervisor.park(call.task(), told(call, socket, timeout));
        }
        Phase::Connecting => return call.fail(Errno::ALREADY),
        // The first one after the attempt gets its outcome.
        Phase::Connected { .. } if socket.tell() => return call.end(Ok(0)),
        Phase::Connected { .. } | Phase::Listening => return call.fail(Errno::ISCONN),
        Phase::Failed | Phase::Ended => {
            return call.fail(socket.take_error().unwrap_or(Errno::CONNABORTED));
        }
    }
    // Not told before, and interrupted: this is the same attempt.
    if let Some(errno) = socket.take_error() {
        return call.fail(errno);
    }
    let holder = Holder { task: call.task(), number: call.int(0) };
    supervisor.held(descriptor.identity, holder);
    let timeout = socket_timeout(&descriptor.near, Timeout::Send).ok().flatten();
    // Another thread was faster.
    if !socket.begin() {
        return call.fail(Errno::ALREADY);
    }
    let attempt = Attempt { near: descriptor.near, mode, remote, peer };
    supervisor.park(call.task(), async move {
        match (socket.connect(attempt).await, mode) {
            (Err(errno), _) => call.fail(errno),
            (Ok(()), Mode::Nonblocking) => call.fail(Errno::INPROGRESS),
            (Ok(()), Mode::Blocking) => told(call, socket, timeout).await,
        }
    });
}

/// Answers with the outcome of the attempt.
async fn told(call: Call, socket: Arc<StreamSocket>, timeout: Option<Duration>) {
    let ended = socket.wait_for(|phase| phase != Phase::Connecting);
    match within(timeout, ended).await {
        None => call.fail(Errno::INPROGRESS),
        Some(Phase::Connected { .. }) => {
            // Before the answer, since the next call may come at once.
            socket.tell();
            if call.answer(Ok(0)).is_err() {
                socket.keep_untold();
            }
        }
        Some(_) => {
            let errno = socket.take_error().unwrap_or(Errno::CONNABORTED);
            if call.answer(Err(errno)).is_err() {
                socket.keep_error(errno);
            }
        }
    }
}

/// `connect` to `AF_UNSPEC`: nothing to undo before a connection; after it, Linux would reset it.
fn disconnect(call: Call, socket: &StreamSocket) {
    match socket.phase() {
        Phase::Idle => call.end(Ok(0)),
        _ => call.fail(Errno::OPNOTSUPP),
    }
}

pub(super) fn datagrams(supervisor: &Arc<Supervisor>, call: Call, socket: Arc<DatagramSocket>) {
    match call.address(socket.family(), call.argument(1), call.argument(2)) {
        Ok(Given::Address(peer)) => {
            let peer = here(peer);
            let target = match supervisor.redirect(peer) {
                Some(service) => {
                    socket.redirect(service, peer);
                    service
                }
                None => peer,
            };
            supervisor.park(call.task(), async move {
                call.end(socket.connect(target, peer).await.map(|()| 0));
            });
        }
        Ok(Given::None) => supervisor.park(call.task(), async move {
            call.end(socket.disconnect().await.map(|()| 0));
        }),
        Err(errno) => call.fail(errno),
    }
}

/// The unspecified address is this host (RFC 1122 section 3.2.1.3), to Linux its loopback address.
pub(super) fn here(mut remote: SocketAddr) -> SocketAddr {
    if remote.ip().is_unspecified() {
        remote.set_ip(match remote {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    remote
}
