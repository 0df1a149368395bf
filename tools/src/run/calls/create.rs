//! `socket`.

use crate::run::call::Call;
use crate::run::calls::ping;
use crate::run::notification::OnExec;
use crate::run::supervisor::{Held, Holder, Socket, Supervisor};
use crate::run::tasks::{self, Identity};
use netfd::Mode;
use netfd::netlink::{self, Protocol};
use netfd::posix::{DatagramSocket, Family, ReusedPorts, StreamSocket, errno};
use netstack::Net;
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// The bits of a socket's type that are the type.
pub(super) const TYPE: libc::c_int = 0xf;

pub(super) fn create(supervisor: &Arc<Supervisor>, call: Call) {
    if let Some(family) = ping::family(&call) {
        return ping::create(supervisor, call, family);
    }
    let made = match call.int(0) {
        libc::AF_INET => of_family(supervisor, &call, Family::V4),
        libc::AF_INET6 => of_family(supervisor, &call, Family::V6),
        libc::AF_NETLINK => netlink(supervisor, &call),
        // The filter lets no other through to here.
        _ => Err(Errno::AFNOSUPPORT),
    };
    let (near, identity) = match made {
        Ok(made) => made,
        Err(errno) => return call.fail(errno),
    };
    give(supervisor, call, &near, identity);
}

/// Gives the program a socket.
pub(super) fn give(supervisor: &Supervisor, call: Call, near: &OwnedFd, identity: Identity) {
    let on_exec = match call.int(1) & libc::SOCK_CLOEXEC {
        0 => OnExec::Keep,
        _ => OnExec::Close,
    };
    let task = call.task();
    // If the program did not get it, this was the last copy.
    if let Some(number) = call.insert(near.as_fd(), on_exec) {
        supervisor.held(identity, Holder { task, number });
    }
}

pub(super) fn mode(call: &Call) -> Mode {
    if call.int(1) & libc::SOCK_NONBLOCK != 0 { Mode::Nonblocking } else { Mode::Blocking }
}

fn of_family(
    supervisor: &Arc<Supervisor>,
    call: &Call,
    family: Family,
) -> Result<(OwnedFd, Identity), Errno> {
    let is_stream = match (call.int(1) & TYPE, call.int(2)) {
        (libc::SOCK_STREAM, 0 | libc::IPPROTO_TCP) => true,
        (libc::SOCK_DGRAM, 0 | libc::IPPROTO_UDP) => false,
        (libc::SOCK_RAW, _) => return Err(Errno::PERM),
        // Programs that ask for MPTCP take TCP then.
        (libc::SOCK_STREAM | libc::SOCK_DGRAM, _) => return Err(Errno::PROTONOSUPPORT),
        _ => return Err(Errno::SOCKTNOSUPPORT),
    };
    let ip = supervisor.ip.as_ref().map_err(|why| {
        supervisor.notices.netlink_alone(why);
        Errno::PERM
    })?;
    let net = tasks::net_of(&ip.net, call.task());
    let made = match is_stream {
        true => stream(supervisor, (&net, &ip.ports), family, mode(call)),
        false => datagrams(supervisor, &net, family, mode(call)),
    };
    made.map_err(|error| errno(&error))
}

fn netlink(supervisor: &Arc<Supervisor>, call: &Call) -> Result<(OwnedFd, Identity), Errno> {
    let kind = call.int(1) & TYPE;
    if !matches!(kind, libc::SOCK_RAW | libc::SOCK_DGRAM) {
        return Err(Errno::SOCKTNOSUPPORT);
    }
    // The filter lets no other through to here.
    let protocol = Protocol::from_number(call.int(2)).ok_or(Errno::PROTONOSUPPORT)?;
    let made = netlink::netlink_pair(mode(call)).and_then(|(near, end)| {
        let identity = Identity::of(&near)?;
        Ok((near, end, identity))
    });
    let (near, end, identity) = made.map_err(|error| errno(&error))?;
    let (server, reports) = (&supervisor.netlink, supervisor.reports);
    let (socket, service) =
        netlink::Socket::open(server, (kind, protocol), reports, call.task(), end);
    supervisor.add(identity, Held::Netlink(socket));
    supervisor.serve_netlink(identity, service);
    Ok((near, identity))
}

fn stream(
    supervisor: &Arc<Supervisor>,
    (net, ports): (&Net, &ReusedPorts),
    family: Family,
    mode: Mode,
) -> io::Result<(OwnedFd, Identity)> {
    let (near, end) = netfd::stream_pair(mode)?;
    let identity = Identity::of(&near)?;
    let (socket, service) = StreamSocket::new(net, ports, family, end);
    supervisor.add(identity, Held::Ip(Socket::Stream(socket)));
    supervisor.serve_stream(identity, service);
    Ok((near, identity))
}

fn datagrams(
    supervisor: &Arc<Supervisor>,
    net: &Net,
    family: Family,
    mode: Mode,
) -> io::Result<(OwnedFd, Identity)> {
    let (near, end) = netfd::datagram_pair(mode)?;
    let identity = Identity::of(&near)?;
    let (socket, service) = DatagramSocket::new(net, family, end);
    supervisor.add(identity, Held::Ip(Socket::Datagram(socket)));
    supervisor.serve_datagrams(identity, service);
    Ok((near, identity))
}
