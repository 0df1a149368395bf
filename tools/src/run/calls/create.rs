//! `socket`.

use crate::run::call::Call;
use crate::run::notification::OnExec;
use crate::run::supervisor::{Holder, Socket, Supervisor};
use crate::run::tasks::Identity;
use netfd::Mode;
use netfd::posix::{DatagramSocket, Family, StreamSocket, errno};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// The bits of a socket's type that are the type.
const TYPE: libc::c_int = 0xf;

pub(super) fn create(supervisor: &Arc<Supervisor>, call: Call) {
    let family = match call.int(0) {
        libc::AF_INET => Family::V4,
        libc::AF_INET6 => Family::V6,
        // The filter lets no other through to here.
        _ => return call.fail(Errno::AFNOSUPPORT),
    };
    let (kind, flags) = (call.int(1) & TYPE, call.int(1) & !TYPE);
    let protocol = call.int(2);
    let is_stream = match (kind, protocol) {
        (libc::SOCK_STREAM, 0 | libc::IPPROTO_TCP) => true,
        (libc::SOCK_DGRAM, 0 | libc::IPPROTO_UDP) => false,
        (libc::SOCK_RAW, _) => return call.fail(Errno::PERM),
        (libc::SOCK_DGRAM, libc::IPPROTO_ICMP | libc::IPPROTO_ICMPV6) => {
            return call.fail(Errno::ACCESS);
        }
        // Programs that ask for MPTCP take TCP then.
        (libc::SOCK_STREAM | libc::SOCK_DGRAM, _) => return call.fail(Errno::PROTONOSUPPORT),
        _ => return call.fail(Errno::SOCKTNOSUPPORT),
    };
    let has = |flag| flags & flag != 0;
    let mode = if has(libc::SOCK_NONBLOCK) { Mode::Nonblocking } else { Mode::Blocking };
    let on_exec = if has(libc::SOCK_CLOEXEC) { OnExec::Close } else { OnExec::Keep };
    let made = match is_stream {
        true => stream(supervisor, family, mode),
        false => datagrams(supervisor, family, mode),
    };
    let (near, identity) = match made {
        Ok(made) => made,
        Err(error) => return call.fail(errno(&error)),
    };
    let task = call.task();
    // If the program did not get it, this was the last copy.
    if let Some(number) = call.insert(near.as_fd(), on_exec) {
        supervisor.held(identity, Holder { task, number });
    }
}

fn stream(
    supervisor: &Arc<Supervisor>,
    family: Family,
    mode: Mode,
) -> io::Result<(OwnedFd, Identity)> {
    let (near, end) = netfd::stream_pair(mode)?;
    let identity = Identity::of(&near)?;
    let (socket, service) = StreamSocket::new(&supervisor.net, family, end);
    supervisor.add(identity, Socket::Stream(socket));
    supervisor.serve_stream(identity, service);
    Ok((near, identity))
}

fn datagrams(
    supervisor: &Arc<Supervisor>,
    family: Family,
    mode: Mode,
) -> io::Result<(OwnedFd, Identity)> {
    let (near, end) = netfd::datagram_pair(mode)?;
    let identity = Identity::of(&near)?;
    let (socket, service) = DatagramSocket::new(&supervisor.net, family, end);
    supervisor.add(identity, Socket::Datagram(socket));
    supervisor.serve_datagrams(identity, service);
    Ok((near, identity))
}
