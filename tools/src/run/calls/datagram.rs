//! Datagrams with an address: `sendto` and `recvfrom`, `sendmsg` and `recvmsg`, and those for many.

use crate::run::call::Call;
use crate::run::calls::connect::here;
use crate::run::datagram_socket::{DatagramSocket, PAYLOAD_MAX, Taken};
use crate::run::message::Message;
use crate::run::supervisor::{Descriptor, Supervisor, within};
use netfd::Mode;
use netfd::posix::errno;
use netfd::posix::{Family, Given};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, socket_timeout};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

/// The messages of a call.
struct Messages {
    all: Vec<Message>,
    flags: libc::c_int,
    returns: Returns,
}

/// What the call returns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Returns {
    /// The length of its one message.
    Len,
    /// The number of messages.
    Count,
}

impl Messages {
    /// Those of the arguments.
    fn of(call: &Call) -> Result<Self, Errno> {
        let one = |message, flags| Self { all: vec![message], flags, returns: Returns::Len };
        Ok(match call.number() {
            libc::SYS_sendto | libc::SYS_recvfrom => one(Message::of_arguments(call), call.int(3)),
            libc::SYS_sendmsg | libc::SYS_recvmsg => {
                one(Message::read(call, call.argument(1))?, call.int(2))
            }
            _ => Self {
                all: Message::read_many(call, call.argument(1), call.argument(2))?,
                flags: call.int(3),
                returns: Returns::Count,
            },
        })
    }

    fn has(&self, flag: libc::c_int) -> bool {
        self.flags & flag != 0
    }
}

pub(super) fn send(
    supervisor: &Arc<Supervisor>,
    call: Call,
    descriptor: Descriptor,
    socket: Arc<DatagramSocket>,
) {
    let read = Messages::of(&call).and_then(|messages| {
        let datagrams = messages.all.iter().map(|it| datagram(supervisor, &call, &socket, it));
        Ok((datagrams.collect::<Result<Vec<_>, _>>()?, messages))
    });
    let (datagrams, messages) = match read {
        Ok(read) => read,
        Err(errno) => return call.fail(errno),
    };
    let waits = !messages.has(libc::MSG_DONTWAIT) && descriptor.mode() == Mode::Blocking;
    drop(descriptor);
    supervisor.park(call.task(), async move {
        let mut sent = 0;
        for ((payload, target), message) in datagrams.iter().zip(&messages.all) {
            match send_one(&socket, payload, *target, waits).await {
                Ok(n) if messages.returns == Returns::Len => return call.end(Ok(n as i64)),
                Ok(n) => {
                    if let Err(errno) = message.write_len(&call, n) {
                        return call.fail(errno);
                    }
                    sent += 1;
                }
                // Of many those before count.
                Err(_) if sent > 0 => break,
                Err(errno) => return call.fail(errno),
            }
        }
        call.end(Ok(sent));
    });
}

/// The payload and the destination.
fn datagram(
    supervisor: &Supervisor,
    call: &Call,
    socket: &DatagramSocket,
    message: &Message,
) -> Result<(Vec<u8>, Option<SocketAddr>), Errno> {
    let target = match message.name {
        0 => None,
        name => match call.address(socket.family, name, message.name_len)? {
            Given::Address(target) => Some(here(target)),
            Given::None => None,
        },
    };
    let target = target.map(|target| match supervisor.names.redirect(target) {
        Some(service) => {
            socket.redirect(service, target);
            service
        }
        None => target,
    });
    Ok((message.payload(call, PAYLOAD_MAX)?, target))
}

async fn send_one(
    socket: &DatagramSocket,
    payload: &[u8],
    target: Option<SocketAddr>,
    waits: bool,
) -> Result<usize, Errno> {
    let bound = socket.socket().await?;
    let sent = match (target, waits) {
        (Some(target), true) => bound.send_to(payload, target).await,
        (Some(target), false) => bound.try_send_to(payload, target),
        (None, _) if socket.peer().is_none() => return Err(Errno::DESTADDRREQ),
        (None, true) => bound.send(payload).await,
        (None, false) => bound.try_send(payload),
    };
    sent.map_err(|error| errno(&error))
}

pub(super) fn receive(
    supervisor: &Arc<Supervisor>,
    call: Call,
    descriptor: Descriptor,
    socket: Arc<DatagramSocket>,
) {
    let messages = match Messages::of(&call) {
        Ok(messages) => messages,
        Err(errno) => return call.fail(errno),
    };
    let waits = !messages.has(libc::MSG_DONTWAIT) && descriptor.mode() == Mode::Blocking;
    let timeout = socket_timeout(&descriptor.near, Timeout::Recv).ok().flatten();
    let stays = messages.has(libc::MSG_PEEK);
    let taken = socket.take(descriptor.near.as_fd(), stays);
    if taken != Err(Errno::AGAIN) || !waits {
        return finish(call, &descriptor, &socket, &messages, taken);
    }
    // A copy of the descriptor would keep the socket open.
    drop(descriptor);
    let held = supervisor.clone();
    supervisor.park(call.task(), async move {
        let taking = socket.retry(|| {
            let (descriptor, _) = held.find(&call).ok_or(Errno::BADF)?;
            let taken = socket.take(descriptor.near.as_fd(), stays)?;
            Ok((descriptor, taken))
        });
        match within(timeout, taking).await.unwrap_or(Err(Errno::AGAIN)) {
            Ok((descriptor, taken)) => finish(call, &descriptor, &socket, &messages, Ok(taken)),
            Err(errno) => call.fail(errno),
        }
    });
}

/// Gives the program a datagram, and to a call for many those that are there.
fn finish(
    call: Call,
    descriptor: &Descriptor,
    socket: &DatagramSocket,
    messages: &Messages,
    first: Result<Taken, Errno>,
) {
    let mut taken = first;
    let mut received = 0;
    for message in &messages.all {
        let told = taken.and_then(|taken| tell(&call, socket.family, messages, message, &taken));
        match told {
            Ok(len) if messages.returns == Returns::Len => return call.end(Ok(len as i64)),
            Ok(len) => {
                if let Err(errno) = message.write_len(&call, len) {
                    return call.fail(errno);
                }
                received += 1;
            }
            Err(_) if received > 0 => break,
            Err(errno) => return call.fail(errno),
        }
        taken = socket.take(descriptor.near.as_fd(), messages.has(libc::MSG_PEEK));
    }
    call.end(Ok(received));
}

/// Writes a datagram and its sender; returns the length.
fn tell(
    call: &Call,
    family: Family,
    messages: &Messages,
    message: &Message,
    Taken { payload, sender }: &Taken,
) -> Result<usize, Errno> {
    let written = message.write_payload(call, payload)?;
    if message.name != 0 {
        call.write_address(family, *sender, message.name, message.name_len_at)?;
    }
    let is_cut = written < payload.len();
    message.write_flags(call, if is_cut { libc::MSG_TRUNC } else { 0 })?;
    Ok(if messages.has(libc::MSG_TRUNC) { payload.len() } else { written })
}
