//! The calls of ICMP datagram sockets, as ping(8) has them.

use crate::run::call::Call;
use crate::run::calls::create::{TYPE, give, mode};
use crate::run::calls::datagram::Messages;
use crate::run::message::{Control, Message};
use crate::run::supervisor::{Descriptor, Held, Supervisor, within};
use crate::run::tasks::{self, Identity};
use netfd::Mode;
use netfd::posix::{Done, Echo, EchoFailure, EchoSocket, Family, Given, Value, errno, icmp_error};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, socket_timeout};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The longest message over IPv4.
const MESSAGE_MAX: usize = 65_515;
/// The longest value of an option that is looked at, in bytes.
const VALUE_MAX: usize = 256;
/// `SO_EE_ORIGIN_ICMP` and `SO_EE_ORIGIN_ICMP6` (linux/errqueue.h).
const ORIGIN: [u8; 2] = [2, 3];

/// The family of the ping socket that a call of `socket` asks for; `None` if it asks for another one.
pub(super) fn family(call: &Call) -> Option<Family> {
    match (call.int(0), call.int(1) & TYPE, call.int(2)) {
        (libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP) => Some(Family::V4),
        (libc::AF_INET6, libc::SOCK_DGRAM, libc::IPPROTO_ICMPV6) => Some(Family::V6),
        _ => None,
    }
}

pub(super) fn create(supervisor: &Arc<Supervisor>, call: Call, family: Family) {
    let ip = match &supervisor.ip {
        Ok(ip) => ip,
        Err(why) => {
            supervisor.notices.netlink_alone(why);
            return call.fail(Errno::PERM);
        }
    };
    let (net, held) = (tasks::net_of(&ip.net, call.task()), supervisor.clone());
    supervisor.park(call.task(), async move {
        let made = async {
            let (near, end) = netfd::datagram_pair(mode(&call))?;
            let identity = Identity::of(&near)?;
            let (socket, service) = EchoSocket::open(&net, family, end).await?;
            Ok::<_, std::io::Error>((near, identity, socket, service))
        };
        match made.await {
            Ok((near, identity, socket, service)) => {
                held.add(identity, Held::Echo(socket));
                held.serve_echo(identity, service);
                give(&held, call, &near, identity);
            }
            Err(error) => call.fail(errno(&error)),
        }
    });
}

pub(super) fn handle(
    supervisor: &Arc<Supervisor>,
    call: Call,
    descriptor: Descriptor,
    socket: Arc<EchoSocket>,
) {
    match call.number() {
        libc::SYS_bind => {
            let bound = match call.address(socket.family(), call.argument(1), call.argument(2)) {
                Ok(Given::Address(local)) => socket.bind(local),
                Ok(Given::None) => Ok(()),
                Err(errno) => Err(errno),
            };
            call.end(bound.map(|()| 0));
        }
        libc::SYS_connect => {
            match call.address(socket.family(), call.argument(1), call.argument(2)) {
                Ok(Given::Address(peer)) => socket.connect(Some(peer.ip())),
                Ok(Given::None) => socket.connect(None),
                Err(errno) => return call.fail(errno),
            }
            call.end(Ok(0));
        }
        libc::SYS_getsockname => tell(call, &socket, socket.local()),
        libc::SYS_getpeername => match socket.peer() {
            Some(peer) => tell(call, &socket, SocketAddr::new(peer, 0)),
            None => call.fail(Errno::NOTCONN),
        },
        libc::SYS_setsockopt => set(supervisor, call, &socket),
        libc::SYS_getsockopt => get(supervisor, call, &socket),
        libc::SYS_sendto | libc::SYS_sendmsg => send(supervisor, call, descriptor, socket),
        libc::SYS_recvfrom | libc::SYS_recvmsg => receive(supervisor, call, descriptor, socket),
        _ => call.fail(Errno::OPNOTSUPP),
    }
}

fn tell(call: Call, socket: &EchoSocket, address: SocketAddr) {
    let (at, len_at) = (call.argument(1), call.argument(2));
    let written = call.write_address(socket.family(), address, at, len_at);
    call.end(written.map(|()| 0));
}

fn set(supervisor: &Supervisor, call: Call, socket: &EchoSocket) {
    let (level, name) = (call.int(1), call.int(2));
    let mut value = vec![0; usize::try_from(call.int(4)).unwrap_or(0).min(VALUE_MAX)];
    if let Err(errno) = call.read(call.argument(3), &mut value) {
        return call.fail(errno);
    }
    match socket.set(level, name, &value) {
        Ok(Done::Here) => call.end(Ok(0)),
        Ok(Done::ByDescriptor) => call.pass(),
        Err(errno) => {
            if errno == Errno::NOPROTOOPT {
                supervisor.notices.unknown_option(level, name);
            }
            call.fail(errno);
        }
    }
}

fn get(supervisor: &Supervisor, call: Call, socket: &EchoSocket) {
    let (level, name) = (call.int(1), call.int(2));
    match socket.get(level, name) {
        Ok(Value::Bytes(bytes)) => {
            let (at, len_at) = (call.argument(3), call.argument(4));
            let written = call
                .write_sized(&bytes, at, len_at)
                .and_then(|len| call.write(len_at, &(len as u32).to_ne_bytes()));
            call.end(written.map(|()| 0));
        }
        Ok(Value::OfDescriptor) => call.pass(),
        Err(errno) => {
            if errno == Errno::NOPROTOOPT {
                supervisor.notices.unknown_option(level, name);
            }
            call.fail(errno);
        }
    }
}

fn send(supervisor: &Arc<Supervisor>, call: Call, descriptor: Descriptor, socket: Arc<EchoSocket>) {
    drop(descriptor);
    let read = Messages::of(&call).and_then(|messages| {
        let message = messages.all.first().ok_or(Errno::INVAL)?;
        let target = match message.name {
            0 => None,
            name => match call.address(socket.family(), name, message.name_len)? {
                Given::Address(target) => Some(target.ip()),
                Given::None => None,
            },
        };
        Ok((message.payload(&call, MESSAGE_MAX)?, target))
    });
    let (payload, target) = match read {
        Ok(read) => read,
        Err(errno) => return call.fail(errno),
    };
    supervisor.park(call.task(), async move {
        call.end(socket.send(&payload, target).await.map(|len| len as i64));
    });
}

fn receive(
    supervisor: &Arc<Supervisor>,
    call: Call,
    descriptor: Descriptor,
    socket: Arc<EchoSocket>,
) {
    let messages = match Messages::of(&call) {
        Ok(messages) => messages,
        Err(errno) => return call.fail(errno),
    };
    if messages.has(libc::MSG_ERRQUEUE) {
        let failure = socket.take_failure().ok_or(Errno::AGAIN);
        let told = failure.and_then(|failure| tell_failure(&call, &socket, &messages, failure));
        return call.end(told.map(|len| len as i64));
    }
    let waits = !messages.has(libc::MSG_DONTWAIT) && descriptor.mode() == Mode::Blocking;
    let timeout = socket_timeout(&descriptor.near, Timeout::Recv).ok().flatten();
    let stays = messages.has(libc::MSG_PEEK);
    let taken = socket.try_recv(&descriptor.near, stays);
    // A copy of the descriptor would keep the socket open.
    drop(descriptor);
    if !matches!(taken, Err(Errno::AGAIN)) || !waits {
        return finish(call, &socket, &messages, taken);
    }
    let held = supervisor.clone();
    supervisor.park(call.task(), async move {
        let next = take_next(&held, &call, &socket, stays);
        let taken = within(timeout, next).await.unwrap_or(Err(Errno::AGAIN));
        finish(call, &socket, &messages, taken);
    });
}

async fn take_next(
    supervisor: &Supervisor,
    call: &Call,
    socket: &EchoSocket,
    stays: bool,
) -> Result<Echo, Errno> {
    loop {
        let arrival = socket.arrival();
        match supervisor.find(call) {
            Some((descriptor, Held::Echo(_))) => match socket.try_recv(&descriptor.near, stays) {
                Err(Errno::AGAIN) => {}
                taken => return taken,
            },
            _ => return Err(Errno::BADF),
        }
        if socket.has_ended() {
            return Err(Errno::BADF);
        }
        arrival.await;
    }
}

fn finish(call: Call, socket: &EchoSocket, messages: &Messages, taken: Result<Echo, Errno>) {
    let told = taken.and_then(|Echo { message: echo, sender, hop_limit }| {
        let message = messages.all.first().ok_or(Errno::INVAL)?;
        let hop_limit = hop_limit.map(|hops| {
            let (level, kind) = match socket.family() {
                Family::V4 => (libc::IPPROTO_IP, libc::IP_TTL),
                Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT),
            };
            (level, kind, i32::from(hops).to_ne_bytes().to_vec())
        });
        let controls: Vec<_> = hop_limit.into_iter().collect();
        let len = write(&call, socket, message, &echo, sender, 0, &controls)?;
        Ok(if messages.has(libc::MSG_TRUNC) { echo.len() } else { len })
    });
    call.end(told.map(|len| len as i64));
}

/// Writes what an ICMP error was about: `struct sock_extended_err`, and the address of its sender.
fn tell_failure(
    call: &Call,
    socket: &EchoSocket,
    messages: &Messages,
    EchoFailure { error: failure, target }: EchoFailure,
) -> Result<usize, Errno> {
    let message = messages.all.first().ok_or(Errno::INVAL)?;
    let family = socket.family();
    let (number, kind, code) = icmp_error(family, failure.error);
    let (level, name, origin) = match family {
        Family::V4 => (libc::IPPROTO_IP, libc::IP_RECVERR, ORIGIN[0]),
        Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR, ORIGIN[1]),
    };
    let mut data = (number.raw_os_error() as u32).to_ne_bytes().to_vec();
    data.extend([origin, kind, code, 0]);
    data.extend([0; 8]);
    data.extend(family.encode(SocketAddr::new(failure.from, 0)));
    let request = socket.request(failure.sequence);
    let flags = libc::MSG_ERRQUEUE;
    write(call, socket, message, &request, target, flags, &[(level, name, data)])
}

fn write(
    call: &Call,
    socket: &EchoSocket,
    message: &Message,
    payload: &[u8],
    sender: IpAddr,
    flags: libc::c_int,
    controls: &[Control],
) -> Result<usize, Errno> {
    let written = message.write_payload(call, payload)?;
    if message.name != 0 {
        let sender = SocketAddr::new(sender, 0);
        call.write_address(socket.family(), sender, message.name, message.name_len_at)?;
    }
    let is_cut = if written < payload.len() { libc::MSG_TRUNC } else { 0 };
    message.write_flags(call, flags | is_cut)?;
    message.write_controls(call, controls)?;
    Ok(written)
}
