//! `accept` and `accept4`.

use crate::run::call::Call;
use crate::run::descriptor::{self, Mode};
use crate::run::errno;
use crate::run::notification::OnExec;
use crate::run::stream_socket::{Accepted, Phase, StreamSocket};
use crate::run::supervisor::{Descriptor, Holder, Socket, Supervisor, within};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, socket_timeout};
use std::os::fd::AsFd;
use std::sync::Arc;

pub(super) fn accept(
    supervisor: &Arc<Supervisor>,
    call: Call,
    descriptor: Descriptor,
    socket: Arc<StreamSocket>,
) {
    if socket.phase() != Phase::Listening {
        return call.fail(Errno::INVAL);
    }
    if let Some(accepted) = socket.accept() {
        return hand_over(supervisor, call, &descriptor, &socket, accepted);
    }
    if descriptor.mode() == Mode::NonBlocking {
        return call.fail(Errno::AGAIN);
    }
    let timeout = socket_timeout(&descriptor.near, Timeout::Recv).ok().flatten();
    let held = supervisor.clone();
    // A copy of the descriptor would keep the listener open.
    drop(descriptor);
    supervisor.park(call.task(), async move {
        loop {
            let has_come = |phase| phase != Phase::Listening || socket.has_accepted();
            let phase = match within(timeout, socket.wait_for(has_come)).await {
                Some(phase) => phase,
                None => return call.fail(Errno::AGAIN),
            };
            if phase != Phase::Listening {
                return call.fail(Errno::INVAL);
            }
            // Another thread may have been faster.
            if let Some(accepted) = socket.accept() {
                let Some((descriptor, _)) = held.find(&call) else {
                    return socket.put_back(accepted);
                };
                return hand_over(&held, call, &descriptor, &socket, accepted);
            }
        }
    });
}

/// Gives the program the connection; or if it is not there to get it, the next one who asks.
fn hand_over(
    supervisor: &Arc<Supervisor>,
    call: Call,
    listening: &Descriptor,
    socket: &StreamSocket,
    accepted: Accepted,
) {
    let flags = if call.number() == libc::SYS_accept4 { call.int(3) } else { 0 };
    let has = |flag| flags & flag != 0;
    let mode = if has(libc::SOCK_NONBLOCK) { Mode::NonBlocking } else { Mode::Blocking };
    let on_exec = if has(libc::SOCK_CLOEXEC) { OnExec::Close } else { OnExec::Keep };
    let (near, far, identity) = match descriptor::stream(mode) {
        Ok(made) => made,
        Err(error) => {
            socket.put_back(accepted);
            return call.fail(errno::of(&error));
        }
    };
    if call.argument(1) != 0 {
        let (at, len_at) = (call.argument(1), call.argument(2));
        if let Err(errno) = call.write_address(socket.family(), accepted.peer, at, len_at) {
            socket.put_back(accepted);
            return call.fail(errno);
        }
    }
    let (new, service) = socket.connected(far, accepted);
    // Known before the program can name it in a call.
    supervisor.add(identity, Socket::Stream(new.clone()));
    let task = call.task();
    match call.insert(near.as_fd(), on_exec) {
        Some(number) => {
            descriptor::take_announcement(&listening.near);
            supervisor.held(identity, Holder { task, number });
            supervisor.serve_stream(identity, service);
        }
        None => {
            supervisor.remove(identity);
            if let Some(accepted) = new.into_accepted() {
                socket.put_back(accepted);
            }
        }
    }
}
