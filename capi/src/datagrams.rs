//! The calls of UDP sockets.

use crate::failure::Result;
use crate::sockets::{self, Found, Socket};
use crate::stack::Stack;
use crate::waiting::wait;
use netfd::Mode;
use netfd::posix::{DatagramSocket, Family};
use rustix::event::PollFlags;
use rustix::io::Errno;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

/// The longest payload of a datagram over IPv4 (RFC 791, RFC 768).
const PAYLOAD_MAX: usize = 65_507;

pub(crate) fn create(stack: &Arc<Stack>, family: Family, mode: Mode) -> Result<OwnedFd> {
    let _context = stack.enter();
    let (near, end) = netfd::datagram_pair(mode)?;
    let key = end.key();
    let (socket, service) = DatagramSocket::new(&stack.net, family, end);
    sockets::add(stack, key, Socket::Datagram(socket), near.as_raw_fd());
    stack.spawn(async move {
        service.run(|| {}).await;
        sockets::finish(key);
    });
    Ok(near)
}

pub(crate) fn connect(found: &Found<'_>, socket: &DatagramSocket, peer: SocketAddr) -> Result<()> {
    Ok(found.stack.block_on(socket.connect(peer, peer))?)
}

pub(crate) fn disconnect(found: &Found<'_>, socket: &DatagramSocket) -> Result<()> {
    Ok(found.stack.block_on(socket.disconnect())?)
}

/// Sends a datagram, to its peer without a target.
pub(crate) fn send(
    found: &Found<'_>,
    socket: &DatagramSocket,
    payload: &[u8],
    target: Option<SocketAddr>,
    flags: libc::c_int,
) -> Result<usize> {
    if payload.len() > PAYLOAD_MAX {
        return Err(Errno::MSGSIZE.into());
    }
    let datagrams = found.stack.block_on(socket.bound())?;
    // Reported by the network for an earlier one.
    if let Some(error) = datagrams.take_error() {
        return Err(error.into());
    }
    let waits = flags & libc::MSG_DONTWAIT == 0 && found.is_blocking()?;
    let udp = datagrams.socket();
    Ok(match (target, waits) {
        (None, _) if udp.peer_addr().is_err() => return Err(Errno::DESTADDRREQ.into()),
        (Some(target), true) => found.stack.block_on(udp.send_to(payload, target))?,
        (Some(target), false) => udp.try_send_to(payload, target)?,
        (None, true) => found.stack.block_on(udp.send(payload))?,
        (None, false) => udp.try_send(payload)?,
    })
}

/// Receives a datagram and its sender. It is cut to the length of `buf` by the caller, who learns
/// its whole length this way.
pub(crate) fn receive<'buf>(
    found: &Found<'_>,
    socket: &DatagramSocket,
    buf: &'buf mut Vec<u8>,
    flags: libc::c_int,
) -> Result<(&'buf [u8], SocketAddr)> {
    if flags & libc::MSG_ERRQUEUE != 0 {
        return Err(Errno::AGAIN.into());
    }
    buf.resize(PAYLOAD_MAX, 0);
    let datagrams = found.stack.block_on(socket.bound())?;
    let waits = flags & libc::MSG_DONTWAIT == 0 && found.is_blocking()?;
    loop {
        if let Some(error) = datagrams.take_error() {
            return Err(error.into());
        }
        let received = match flags & libc::MSG_PEEK {
            0 => datagrams.try_recv_from(found.near, buf),
            _ => datagrams.try_peek_from(found.near, buf),
        };
        match received {
            Ok((n, sender)) => return Ok((&buf[..n], sender)),
            Err(error) if error.kind() == ErrorKind::WouldBlock && waits => {
                wait(found.near, PollFlags::IN)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
