//! Datagrams with an address: `sendto` and `recvfrom`, `sendmsg` and `recvmsg`, and those for many.

use crate::run::call::Call;
use crate::run::calls::connect::here;
use crate::run::message::Message;
use crate::run::supervisor::{Descriptor, Supervisor, within};
use netfd::Mode;
use netfd::posix::{DatagramSocket, Family, Given, errno};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, socket_timeout};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// The longest payload of a datagram over IPv4 (RFC 791, RFC 768).
const PAYLOAD_MAX: usize = 65_507;

/// A received datagram.
struct Taken {
    payload: Vec<u8>,
    sender: SocketAddr,
}

/// The messages of a call.
pub(super) struct Messages {
    pub(super) all: Vec<Message>,
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
    pub(super) fn of(call: &Call) -> Result<Self, Errno> {
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

    pub(super) fn has(&self, flag: libc::c_int) -> bool {
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
        name => match call.address(socket.family(), name, message.name_len)? {
            Given::Address(target) => Some(here(target)),
            Given::None => None,
        },
    };
    let target = target.map(|target| match supervisor.redirect(target) {
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
    let datagrams = socket.bound().await?;
    let udp = datagrams.socket();
    let sent = match (target, waits) {
        (Some(target), true) => udp.send_to(payload, target).await,
        (Some(target), false) => udp.try_send_to(payload, target),
        (None, _) if socket.peer().is_none() => return Err(Errno::DESTADDRREQ),
        (None, true) => udp.send(payload).await,
        (None, false) => udp.try_send(payload),
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
    let taken = take(&socket, descriptor.near.as_fd(), stays);
    if !matches!(taken, Err(Errno::AGAIN)) || !waits {
        return finish(call, descriptor, &socket, &messages, taken);
    }
    // A copy of the descriptor would keep the socket open.
    drop(descriptor);
    let held = supervisor.clone();
    supervisor.park(call.task(), async move {
        let taking = take_next(&held, &call, &socket, stays);
        match within(timeout, taking).await.unwrap_or(Err(Errno::AGAIN)) {
            Ok((descriptor, taken)) => finish(call, descriptor, &socket, &messages, Ok(taken)),
            Err(errno) => call.fail(errno),
        }
    });
}

/// Takes a datagram and its sender, or leaves it where it is.
fn take(socket: &DatagramSocket, near: BorrowedFd<'_>, stays: bool) -> Result<Taken, Errno> {
    let datagrams = socket.datagrams().ok_or(Errno::AGAIN)?;
    let mut payload = vec![0; PAYLOAD_MAX];
    let taken = match stays {
        true => datagrams.try_peek_from(near, &mut payload),
        false => datagrams.try_recv_from(near, &mut payload),
    };
    let (n, sender) = taken.map_err(|error| errno(&error))?;
    payload.truncate(n);
    Ok(Taken { payload, sender: socket.known(sender) })
}

/// Takes the next datagram, and has a copy of the descriptor only when one has arrived.
async fn take_next(
    supervisor: &Supervisor,
    call: &Call,
    socket: &DatagramSocket,
    stays: bool,
) -> Result<(Descriptor, Taken), Errno> {
    loop {
        let arrival = socket.wait_until_bound().await?.arrival();
        {
            let (descriptor, _) = supervisor.find(call).ok_or(Errno::BADF)?;
            match take(socket, descriptor.near.as_fd(), stays) {
                Err(Errno::AGAIN) => {}
                taken => return Ok((descriptor, taken?)),
            }
        }
        // None comes any more once the descriptor is closed.
        if !arrival.await {
            return Err(Errno::BADF);
        }
    }
}

/// Answers a call with a datagram, or if it is for many with those that are there.
fn finish(
    call: Call,
    descriptor: Descriptor,
    socket: &DatagramSocket,
    messages: &Messages,
    first: Result<Taken, Errno>,
) {
    let received = receive_all(&call, descriptor.near.as_fd(), socket, messages, first);
    // Before the program goes on: it may close the socket, and bind another one to its port.
    drop(descriptor);
    call.end(received);
}

fn receive_all(
    call: &Call,
    near: BorrowedFd<'_>,
    socket: &DatagramSocket,
    messages: &Messages,
    first: Result<Taken, Errno>,
) -> Result<i64, Errno> {
    let mut taken = first;
    let mut received = 0;
    for message in &messages.all {
        let told = taken.and_then(|taken| tell(call, socket.family(), messages, message, &taken));
        match told {
            Ok(len) if messages.returns == Returns::Len => return Ok(len as i64),
            Ok(len) => {
                message.write_len(call, len)?;
                received += 1;
            }
            Err(_) if received > 0 => break,
            Err(errno) => return Err(errno),
        }
        taken = take(socket, near, messages.has(libc::MSG_PEEK));
    }
    Ok(received)
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
