//! `sendto` and `recvfrom` with an address.

use crate::run::address::Given;
use crate::run::call::Call;
use crate::run::calls::connect::here;
use crate::run::datagram_socket::{DatagramSocket, PAYLOAD_MAX};
use crate::run::descriptor::Mode;
use crate::run::errno;
use crate::run::supervisor::{Descriptor, Supervisor, within};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, socket_timeout};
use rustix::net::{RecvFlags, recv};
use std::sync::Arc;

pub(super) fn send_to(
    supervisor: &Arc<Supervisor>,
    call: Call,
    descriptor: Descriptor,
    socket: Arc<DatagramSocket>,
) {
    let waits = waits(&call, &descriptor);
    drop(descriptor);
    let target = match call.address(socket.family, call.argument(4), call.argument(5)) {
        Ok(Given::Address(target)) => Some(here(target)),
        Ok(Given::None) => None,
        Err(errno) => return call.fail(errno),
    };
    let len = usize::try_from(call.argument(2)).unwrap_or(usize::MAX);
    if len > PAYLOAD_MAX {
        return call.fail(Errno::MSGSIZE);
    }
    let mut payload = vec![0; len];
    if let Err(errno) = call.read(call.argument(1), &mut payload) {
        return call.fail(errno);
    }
    supervisor.park(call.task(), async move {
        let sent = async {
            let bound = socket.socket().await?;
            let target = target.or(socket.peer()).ok_or(Errno::DESTADDRREQ)?;
            let sent = match waits {
                true => bound.send_to(&payload, target).await,
                false => bound.try_send_to(&payload, target),
            };
            sent.map_err(|error| errno::of(&error))
        };
        let sent = sent.await;
        call.end(sent.map(|n| n as i64));
    });
}

/// Whether the call is to wait.
fn waits(call: &Call, descriptor: &Descriptor) -> bool {
    call.int(3) & libc::MSG_DONTWAIT == 0 && descriptor.mode() == Mode::Blocking
}

pub(super) fn recv_from(
    supervisor: &Arc<Supervisor>,
    call: Call,
    descriptor: Descriptor,
    socket: Arc<DatagramSocket>,
) {
    let waits = waits(&call, &descriptor);
    let timeout = socket_timeout(&descriptor.near, Timeout::Recv).ok().flatten();
    let stays = call.int(3) & libc::MSG_PEEK != 0;
    let taken = take(&descriptor, stays);
    if taken != Err(Errno::AGAIN) || !waits {
        return finish(call, &socket, taken);
    }
    // A copy of the descriptor would keep the socket open.
    drop(descriptor);
    let held = supervisor.clone();
    supervisor.park(call.task(), async move {
        let taking = async {
            loop {
                let arrival = socket.arrival();
                let Some((descriptor, _)) = held.find(&call) else { return Err(Errno::BADF) };
                match take(&descriptor, stays) {
                    Err(Errno::AGAIN) => drop(descriptor),
                    taken => return taken,
                }
                arrival.await;
            }
        };
        let taken = within(timeout, taking).await.unwrap_or(Err(Errno::AGAIN));
        finish(call, &socket, taken);
    });
}

/// Takes a datagram from the descriptor; one that stays is taken again.
fn take(descriptor: &Descriptor, stays: bool) -> Result<Vec<u8>, Errno> {
    let mut buf = vec![0; PAYLOAD_MAX];
    let peek = if stays { RecvFlags::PEEK } else { RecvFlags::empty() };
    let (n, _) = recv(&descriptor.near, buf.as_mut_slice(), RecvFlags::DONTWAIT | peek)?;
    buf.truncate(n);
    Ok(buf)
}

/// Gives the program a datagram and its sender.
fn finish(call: Call, socket: &DatagramSocket, taken: Result<Vec<u8>, Errno>) {
    let has = |flag| call.int(3) & flag != 0;
    let payload = match taken {
        Ok(payload) => payload,
        Err(errno) => return call.fail(errno),
    };
    let sender = socket.sender(has(libc::MSG_PEEK));
    let room = usize::try_from(call.argument(2)).unwrap_or(usize::MAX).min(payload.len());
    let told = call.write(call.argument(1), &payload[..room]).and_then(|()| match sender {
        Some(it) => call.write_address(socket.family, it, call.argument(4), call.argument(5)),
        None => Ok(()),
    });
    let len = if has(libc::MSG_TRUNC) { payload.len() } else { room };
    call.end(told.map(|()| len as i64));
}
