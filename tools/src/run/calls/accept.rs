//! `accept` and `accept4`.

use crate::run::call::Call;
use crate::run::notification::OnExec;
use crate::run::supervisor::{Descriptor, Held, Holder, Socket, Supervisor, within};
use crate::run::tasks::Identity;
use netfd::Mode;
use netfd::posix::errno;
use netfd::posix::{Accepted, StreamSocket};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, socket_timeout};
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::sync::Arc;

pub(super) fn accept(
    supervisor: &Arc<Supervisor>,
    call: Call,
    descriptor: Descriptor,
    socket: Arc<StreamSocket>,
) {
    let Some(backlog) = socket.backlog() else { return call.fail(Errno::INVAL) };
    match backlog.try_accept(&descriptor.near) {
        Ok((stream, peer)) => {
            drop((descriptor, backlog));
            return hand_over(supervisor, call, &socket, Accepted { stream, peer });
        }
        Err(error) if error.kind() != ErrorKind::WouldBlock => {
            return call.fail(errno(&error));
        }
        Err(_) if descriptor.mode() == Mode::Nonblocking => return call.fail(Errno::AGAIN),
        Err(_) => {}
    }
    let timeout = socket_timeout(&descriptor.near, Timeout::Recv).ok().flatten();
    let held = supervisor.clone();
    // A copy of the descriptor would keep the listener open, and so would the backlog.
    drop((descriptor, backlog));
    supervisor.park(call.task(), async move {
        loop {
            let Some(acceptable) = socket.backlog().map(|backlog| backlog.acceptable()) else {
                return call.fail(Errno::INVAL);
            };
            match within(timeout, acceptable).await {
                Some(true) => {}
                Some(false) => return call.fail(Errno::INVAL),
                None => return call.fail(Errno::AGAIN),
            }
            let Some((descriptor, _)) = held.find(&call) else { return call.fail(Errno::BADF) };
            let Some(backlog) = socket.backlog() else { return call.fail(Errno::INVAL) };
            let accepted = backlog.try_accept(&descriptor.near);
            // Before the program goes on: it may close the listener, and bind another one.
            drop((descriptor, backlog));
            // Otherwise another thread was faster.
            if let Ok((stream, peer)) = accepted {
                return hand_over(&held, call, &socket, Accepted { stream, peer });
            }
        }
    });
}

/// Gives the program the connection; or if it is not there to get it, the next one who asks.
fn hand_over(supervisor: &Arc<Supervisor>, call: Call, socket: &StreamSocket, accepted: Accepted) {
    let flags = if call.number() == libc::SYS_accept4 { call.int(3) } else { 0 };
    let has = |flag| flags & flag != 0;
    let mode = if has(libc::SOCK_NONBLOCK) { Mode::Nonblocking } else { Mode::Blocking };
    let on_exec = if has(libc::SOCK_CLOEXEC) { OnExec::Close } else { OnExec::Keep };
    let made = netfd::stream_pair(mode).and_then(|(near, end)| {
        let identity = Identity::of(&near)?;
        Ok((near, end, identity))
    });
    let (near, end, identity) = match made {
        Ok(made) => made,
        Err(error) => {
            put_back(socket, accepted);
            return call.fail(errno(&error));
        }
    };
    if call.argument(1) != 0 {
        let (at, len_at) = (call.argument(1), call.argument(2));
        if let Err(errno) = call.write_address(socket.family(), accepted.peer, at, len_at) {
            put_back(socket, accepted);
            return call.fail(errno);
        }
    }
    let (new, service) = socket.connected(end, accepted);
    // Known before the program can name it in a call.
    supervisor.add(identity, Held::Ip(Socket::Stream(new)));
    let task = call.task();
    match call.insert(near.as_fd(), on_exec) {
        Some(number) => {
            supervisor.held(identity, Holder { task, number });
            supervisor.serve_stream(identity, service);
        }
        None => {
            supervisor.remove(identity);
            if let Some(accepted) = service.into_accepted() {
                put_back(socket, accepted);
            }
        }
    }
}

fn put_back(listener: &StreamSocket, accepted: Accepted) {
    // Without one it was closed meanwhile, and its connections with it.
    if let Some(backlog) = listener.backlog() {
        backlog.put_back(accepted.stream, accepted.peer);
    }
}
