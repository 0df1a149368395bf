//! The calls of netlink sockets.

use crate::run::call::Call;
use crate::run::calls::datagram::Messages;
use crate::run::supervisor::{Descriptor, Held, Supervisor, within};
use netfd::Mode;
use netfd::netlink::{Address, Socket};
use netfd::posix::{Done, SOCKADDR_LEN_MAX, Value};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, socket_timeout};
use rustix::net::{RecvFlags, recv};
use std::sync::Arc;

/// Longer than every datagram to the program: with a failed request it gets that back.
const DATAGRAM_BYTES_MAX: usize = 128 * 1024;
/// The longest value of an option that is looked at, in bytes.
const VALUE_BYTES_MAX: usize = 256;

pub(super) fn handle(
    supervisor: &Arc<Supervisor>,
    call: Call,
    descriptor: Descriptor,
    socket: Arc<Socket>,
) {
    match call.number() {
        libc::SYS_bind => {
            let bound = address(&call).and_then(|local| socket.bind(local));
            call.end(bound.map(|()| 0));
        }
        libc::SYS_connect => {
            let connected = address(&call).and_then(|peer| socket.connect(peer));
            call.end(connected.map(|()| 0));
        }
        libc::SYS_getsockname => tell(call, socket.local()),
        libc::SYS_getpeername => tell(call, Address::default()),
        libc::SYS_setsockopt => set(call, &socket),
        libc::SYS_getsockopt => get(call, &socket),
        libc::SYS_listen | libc::SYS_accept | libc::SYS_accept4 => call.fail(Errno::OPNOTSUPP),
        libc::SYS_recvmsg | libc::SYS_recvfrom => receive(supervisor, call, descriptor, socket),
        // The kernel ignores the address: there is only one receiver.
        _ => call.pass(),
    }
}

fn address(call: &Call) -> Result<Address, Errno> {
    let len = usize::try_from(call.int(2)).map_err(|_| Errno::INVAL)?;
    let mut bytes = vec![0; len.min(SOCKADDR_LEN_MAX)];
    call.read(call.argument(1), &mut bytes)?;
    Address::decode(&bytes)
}

fn tell(call: Call, address: Address) {
    let written = write_address(&call, address, call.argument(1), call.argument(2));
    call.end(written.map(|()| 0));
}

fn write_address(call: &Call, address: Address, at: u64, len_at: u64) -> Result<(), Errno> {
    let bytes = address.encode();
    call.write_sized(&bytes, at, len_at)?;
    call.write(len_at, &(bytes.len() as u32).to_ne_bytes())
}

fn set(call: Call, socket: &Socket) {
    let (level, name) = (call.int(1), call.int(2));
    let mut value = vec![0; usize::try_from(call.int(4)).unwrap_or(0).min(VALUE_BYTES_MAX)];
    if let Err(errno) = call.read(call.argument(3), &mut value) {
        return call.fail(errno);
    }
    match socket.set(level, name, &value) {
        Ok(Done::Here) => call.end(Ok(0)),
        Ok(Done::ByDescriptor) => call.pass(),
        Err(errno) => call.fail(errno),
    }
}

fn get(call: Call, socket: &Socket) {
    match socket.get(call.int(1), call.int(2)) {
        Ok(Value::Bytes(bytes)) => {
            let (at, len_at) = (call.argument(3), call.argument(4));
            let written = call
                .write_sized(&bytes, at, len_at)
                .and_then(|len| call.write(len_at, &(len as u32).to_ne_bytes()));
            call.end(written.map(|()| 0));
        }
        Ok(Value::OfDescriptor) => call.pass(),
        Err(errno) => call.fail(errno),
    }
}

fn receive(supervisor: &Arc<Supervisor>, call: Call, descriptor: Descriptor, socket: Arc<Socket>) {
    let messages = match Messages::of(&call) {
        Ok(messages) => messages,
        Err(errno) => return call.fail(errno),
    };
    let waits = !messages.has(libc::MSG_DONTWAIT) && descriptor.mode() == Mode::Blocking;
    let timeout = socket_timeout(&descriptor.near, Timeout::Recv).ok().flatten();
    let taken = take(&socket, &descriptor, &messages);
    if !matches!(taken, Err(Errno::AGAIN)) || !waits {
        drop(descriptor);
        return finish(call, &messages, taken);
    }
    // A copy of the descriptor would keep the socket open.
    drop(descriptor);
    let held = supervisor.clone();
    supervisor.park(call.task(), async move {
        let next = take_next(&held, &call, &socket, &messages);
        let taken = within(timeout, next).await.unwrap_or(Err(Errno::AGAIN));
        finish(call, &messages, taken);
    });
}

async fn take_next(
    supervisor: &Supervisor,
    call: &Call,
    socket: &Socket,
    messages: &Messages,
) -> Result<Vec<u8>, Errno> {
    loop {
        let arrival = socket.arrival();
        match supervisor.find(call) {
            Some((descriptor, Held::Netlink(_))) => match take(socket, &descriptor, messages) {
                Err(Errno::AGAIN) => {}
                taken => return taken,
            },
            _ => return Err(Errno::BADF),
        }
        arrival.await;
    }
}

/// Takes a datagram, or leaves it where it is.
fn take(socket: &Socket, descriptor: &Descriptor, messages: &Messages) -> Result<Vec<u8>, Errno> {
    if socket.take_missed() {
        return Err(Errno::NOBUFS);
    }
    let mut flags = RecvFlags::DONTWAIT;
    flags.set(RecvFlags::PEEK, messages.has(libc::MSG_PEEK));
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    let (_, len) = recv(&descriptor.near, &mut datagram[..], flags)?;
    datagram.truncate(len);
    Ok(datagram)
}

/// Answers with a datagram, from the stack.
fn finish(call: Call, messages: &Messages, taken: Result<Vec<u8>, Errno>) {
    let told = taken.and_then(|datagram| {
        // These calls are for one.
        let message = messages.all.first().ok_or(Errno::INVAL)?;
        let written = message.write_payload(&call, &datagram)?;
        if message.name != 0 {
            write_address(&call, Address::default(), message.name, message.name_len_at)?;
        }
        let is_cut = written < datagram.len();
        message.write_flags(&call, if is_cut { libc::MSG_TRUNC } else { 0 })?;
        Ok(if messages.has(libc::MSG_TRUNC) { datagram.len() } else { written })
    });
    call.end(told.map(|len| len as i64));
}
