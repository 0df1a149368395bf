//! The calls of TCP sockets.

use crate::failure::Result;
use crate::sockets::{self, Found, Socket};
use crate::stack::Stack;
use crate::waiting::wait;
use netfd::Mode;
use netfd::posix::{Accepted, Attempt, Family, Left, Phase, Service, StreamSocket};
use rustix::event::PollFlags;
use rustix::io::Errno;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

/// The longest queue of a listener (`net.core.somaxconn`).
const BACKLOG_MAX: i32 = 4096;

/// Makes a socket that is neither connected nor listening.
pub(crate) fn create(stack: &Arc<Stack>, family: Family, mode: Mode) -> Result<OwnedFd> {
    let _context = stack.enter();
    let (near, end) = netfd::stream_pair(mode)?;
    let key = end.key();
    let (socket, service) = StreamSocket::new(&stack.net, &stack.ports, family, end);
    sockets::add(stack, key, Socket::Stream(socket), near.as_raw_fd());
    serve(stack, key, service);
    Ok(near)
}

/// Serves a socket until its last descriptor is closed.
fn serve(stack: &Stack, key: u64, service: Service) {
    stack.spawn(async move {
        match service.run(|| sockets::copy(key)).await {
            Left::Nothing | Left::Descriptor => sockets::finish(key),
        }
    });
}

pub(crate) fn connect(
    found: &Found<'_>,
    socket: &Arc<StreamSocket>,
    peer: SocketAddr,
) -> Result<()> {
    let is_blocking = found.is_blocking()?;
    match socket.phase() {
        Phase::Idle => {}
        // Interrupted by a signal and repeated, a blocking one joins its first attempt.
        Phase::Connecting if is_blocking => return outcome(found, socket),
        Phase::Connecting => return Err(Errno::ALREADY.into()),
        // The first one after the attempt gets its outcome.
        Phase::Connected { .. } if socket.tell() => return Ok(()),
        Phase::Connected { .. } | Phase::Listening => return Err(Errno::ISCONN.into()),
        Phase::Failed | Phase::Ended => {
            return Err(socket.take_error().unwrap_or(Errno::CONNABORTED).into());
        }
    }
    // Of an attempt that was interrupted.
    if let Some(errno) = socket.take_error() {
        return Err(errno.into());
    }
    let near = found.copy()?;
    // Another thread was faster.
    if !socket.begin() {
        return Err(Errno::ALREADY.into());
    }
    let mode = if is_blocking { Mode::Blocking } else { Mode::Nonblocking };
    found.stack.block_on(socket.connect(Attempt { near, mode, remote: peer, peer }))?;
    if is_blocking { outcome(found, socket) } else { Err(Errno::INPROGRESS.into()) }
}

/// Waits for the outcome of an attempt.
fn outcome(found: &Found<'_>, socket: &StreamSocket) -> Result<()> {
    wait(found.near, PollFlags::OUT).map_err(|failure| match failure.errno {
        // As Linux has it.
        Errno::AGAIN => Errno::INPROGRESS.into(),
        _ => failure,
    })?;
    match found.stack.block_on(socket.wait_for(|phase| phase != Phase::Connecting)) {
        Phase::Connected { .. } => {
            socket.tell();
            Ok(())
        }
        _ => Err(socket.take_error().unwrap_or(Errno::CONNABORTED).into()),
    }
}

/// `connect` to `AF_UNSPEC`: nothing to undo before a connection; after it, Linux would reset it.
pub(crate) fn disconnect(socket: &StreamSocket) -> Result<()> {
    match socket.phase() {
        Phase::Idle => Ok(()),
        _ => Err(Errno::OPNOTSUPP.into()),
    }
}

pub(crate) fn listen(found: &Found<'_>, socket: &StreamSocket, backlog: i32) -> Result<()> {
    match socket.phase() {
        Phase::Idle => {}
        // Repeated, or to change the length of the queue, which stays.
        Phase::Listening => return Ok(()),
        _ => return Err(Errno::INVAL.into()),
    }
    // A negative one is a very large one, to Linux.
    let backlog = if (0..=BACKLOG_MAX).contains(&backlog) { backlog } else { BACKLOG_MAX };
    let listening = socket.listen(found.copy()?, backlog.unsigned_abs());
    Ok(found.stack.block_on(listening)?)
}

pub(crate) fn accept(
    found: &Found<'_>,
    listener: &StreamSocket,
    mode: Mode,
) -> Result<(OwnedFd, SocketAddr)> {
    let backlog = listener.backlog().ok_or(Errno::INVAL)?;
    let (stream, peer) = loop {
        match backlog.try_accept(found.near) {
            Ok(accepted) => break accepted,
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => {
                return Err(error.into());
            }
            Err(_) if !found.is_blocking()? => return Err(Errno::AGAIN.into()),
            // Shut down.
            Err(_) if wait(found.near, PollFlags::IN)?.contains(PollFlags::HUP) => {
                return Err(Errno::INVAL.into());
            }
            Err(_) => {}
        }
    };
    let _context = found.stack.enter();
    let (near, end) = match netfd::stream_pair(mode) {
        Ok(pair) => pair,
        Err(error) => {
            backlog.put_back(stream, peer);
            return Err(error.into());
        }
    };
    let key = end.key();
    let (socket, service) = listener.connected(end, Accepted { stream, peer });
    sockets::add(&found.stack, key, Socket::Stream(socket), near.as_raw_fd());
    serve(&found.stack, key, service);
    Ok((near, peer))
}
