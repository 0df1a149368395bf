//! Sockets as descriptors of this process, each served by a task.

use crate::own_copy::own_copy;
use crate::pair::{Mode, datagram_pair, stream_pair};
use crate::registry::{Entry, Socket, alive, socket};
use crate::stream_end::StreamEnd;
use netsocket::{TcpListener, TcpStream, UdpSocket};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::Errno;
use rustix::net::sockopt::socket_error;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, mpsc};
use tokio::runtime::Handle;

/// Makes a descriptor of a connection, with a task on the current runtime that carries its bytes.
/// It is blocking and close-on-exec.
///
/// [`StreamEnd::carry`] has a table of its behaviour. A reset shows as `ECONNRESET` as long as this
/// process has the descriptor open itself; to a child that alone has kept it, it looks like the end
/// of the stream.
///
/// # Errors
///
/// The kernel's, as `EMFILE`.
///
/// # Panics
///
/// Outside of a tokio runtime with I/O enabled.
pub fn from_stream(stream: TcpStream) -> io::Result<OwnedFd> {
    let (near, end) = stream_pair(Mode::Blocking)?;
    // Of a connection that is over the rest is read, and the end.
    let peer = stream.peer_addr().ok();
    serve_stream(&near, end, stream, peer);
    Ok(near)
}

fn serve_stream(near: &OwnedFd, end: StreamEnd, stream: TcpStream, peer: Option<SocketAddr>) {
    let (key, number) = (end.key(), near.as_raw_fd());
    let stream = Arc::new(stream);
    let entry = Entry::new(key, Socket::Stream(Arc::downgrade(&stream), peer));
    tokio::spawn(async move {
        // The error is the program's to read.
        let _ = end.carry(stream, |_| own_copy(key, number)).await;
        drop(entry);
    });
}

/// Makes a descriptor of a listener, with a task on the current runtime. It is readable while a
/// connection waits; [`accept`] takes one. It is blocking and close-on-exec.
///
/// # Errors
///
/// The kernel's, as `EMFILE`.
///
/// # Panics
///
/// Outside of a tokio runtime with I/O enabled.
pub fn from_listener(listener: TcpListener) -> io::Result<OwnedFd> {
    let (near, end) = stream_pair(Mode::Blocking)?;
    let backlog = end.listen(listener, &near)?;
    let socket = Socket::Listener(Arc::downgrade(&backlog), Handle::current());
    let entry = Entry::new(backlog.key(), socket);
    tokio::spawn(async move {
        // Ends with the stack: then nothing comes any more.
        let _ = backlog.serve().await;
        drop(entry);
    });
    Ok(near)
}

/// Makes a descriptor of a UDP socket, with a task on the current runtime. While the socket is
/// connected, `send` and `recv` work on it; otherwise [`send_to`] and [`recv_from`] have the
/// addresses. It is blocking and close-on-exec.
///
/// # Errors
///
/// The kernel's, as `EMFILE`.
///
/// # Panics
///
/// Outside of a tokio runtime with I/O enabled.
pub fn from_udp(udp: UdpSocket) -> io::Result<OwnedFd> {
    let (near, end) = datagram_pair(Mode::Blocking)?;
    let datagrams = end.attach(Arc::new(udp));
    let socket = Socket::Datagrams(Arc::downgrade(&datagrams), Handle::current());
    let entry = Entry::new(datagrams.key(), socket);
    tokio::spawn(async move {
        // Ends with the stack: then nothing comes any more.
        let _ = datagrams.serve().await;
        drop(entry);
    });
    Ok(near)
}

/// Accepts a connection from a descriptor of [`from_listener`], as a descriptor and its peer's
/// address. Waits unless the listener's descriptor is non-blocking. The task of the connection is on
/// the listener's runtime; any thread may call it.
///
/// # Errors
///
/// `WouldBlock` if it is non-blocking and no connection waits; `EINVAL` if it is no listener's,
/// `ENOTSOCK` if it is none of this crate; the kernel's, as `EMFILE`: the connection waits on then.
pub fn accept(listener: impl AsFd) -> io::Result<(OwnedFd, SocketAddr)> {
    let Socket::Listener(backlog, runtime) = socket(&listener)? else {
        return Err(Errno::INVAL.into());
    };
    let (stream, peer) = wait(&listener, || alive(&backlog)?.try_accept(&listener))?;
    let _guard = runtime.enter();
    match stream_pair(Mode::Blocking) {
        Ok((near, end)) => {
            serve_stream(&near, end, stream, Some(peer));
            Ok((near, peer))
        }
        Err(error) => {
            alive(&backlog)?.put_back(stream, peer);
            Err(error)
        }
    }
}

/// The local address of a descriptor's socket, as `getsockname`.
///
/// # Errors
///
/// `ENOTSOCK` if it is none of this crate, or its task has ended: the connection has failed, or ended
/// in both directions.
pub fn local_addr(near: impl AsFd) -> io::Result<SocketAddr> {
    match socket(near)? {
        Socket::Stream(stream, _) => alive(&stream)?.local_addr(),
        Socket::Listener(backlog, _) => alive(&backlog)?.listener().local_addr(),
        Socket::Datagrams(datagrams, _) => alive(&datagrams)?.socket().local_addr(),
    }
}

/// The peer's address of a descriptor's socket, as `getpeername`.
///
/// # Errors
///
/// `NotConnected` without one; `ENOTSOCK` as [`local_addr`].
pub fn peer_addr(near: impl AsFd) -> io::Result<SocketAddr> {
    match socket(near)? {
        Socket::Stream(_, peer) => Ok(peer.ok_or(Errno::NOTCONN)?),
        Socket::Listener(..) => Err(Errno::NOTCONN.into()),
        Socket::Datagrams(datagrams, _) => alive(&datagrams)?.socket().peer_addr(),
    }
}

/// The connection of a descriptor, to set its options. It is not closed while this is held.
///
/// # Errors
///
/// `ENOTSOCK` as [`local_addr`], and if it is no connection's.
pub fn tcp_stream(near: impl AsFd) -> io::Result<Arc<TcpStream>> {
    match socket(near)? {
        Socket::Stream(stream, _) => alive(&stream),
        _ => Err(Errno::NOTSOCK.into()),
    }
}

/// The UDP socket of a descriptor, to set its options or to connect it. It is not closed while this
/// is held.
///
/// # Errors
///
/// `ENOTSOCK` as [`local_addr`], and if it is no UDP socket's.
pub fn udp_socket(near: impl AsFd) -> io::Result<Arc<UdpSocket>> {
    match socket(near)? {
        Socket::Datagrams(datagrams, _) => Ok(alive(&datagrams)?.socket().clone()),
        _ => Err(Errno::NOTSOCK.into()),
    }
}

/// Takes the error of a descriptor's socket, as `SO_ERROR`.
///
/// # Errors
///
/// The kernel's.
pub fn take_error(near: impl AsFd) -> io::Result<Option<io::Error>> {
    if let Ok(Socket::Datagrams(datagrams, _)) = socket(&near) {
        return Ok(alive(&datagrams)?.take_error());
    }
    Ok(socket_error(near)?.err().map(io::Error::from))
}

/// Receives a datagram and its sender, as `recvfrom`; bytes beyond `buf` are discarded. Waits unless
/// the descriptor is non-blocking.
///
/// # Errors
///
/// `WouldBlock` if it is non-blocking and there is none; as [`UdpSocket::recv_from`]; `ENOTSOCK` if
/// it is none of this crate, or no UDP socket's.
pub fn recv_from(near: impl AsFd, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    let Socket::Datagrams(datagrams, _) = socket(&near)? else {
        return Err(Errno::NOTSOCK.into());
    };
    wait(&near, || alive(&datagrams)?.try_recv_from(&near, buf))
}

/// As [`recv_from`], and leaves the datagram to be received, as `MSG_PEEK`.
///
/// # Errors
///
/// As [`recv_from`].
pub fn peek_from(near: impl AsFd, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    let Socket::Datagrams(datagrams, _) = socket(&near)? else {
        return Err(Errno::NOTSOCK.into());
    };
    wait(&near, || alive(&datagrams)?.try_peek_from(&near, buf))
}

/// Sends a datagram, as `sendto`. Waits for room unless the descriptor is non-blocking.
///
/// # Errors
///
/// `WouldBlock` if it is non-blocking and there is no room; as [`UdpSocket::send_to`]; `ENOTSOCK` if
/// it is none of this crate, or no UDP socket's.
pub fn send_to(near: impl AsFd, buf: &[u8], target: SocketAddr) -> io::Result<usize> {
    let Socket::Datagrams(datagrams, runtime) = socket(&near)? else {
        return Err(Errno::NOTSOCK.into());
    };
    let socket = alive(&datagrams)?.socket().clone();
    match socket.try_send_to(buf, target) {
        Err(error) if error.kind() == ErrorKind::WouldBlock && is_blocking(&near)? => {
            let (sender, sent) = mpsc::channel();
            let datagram = buf.to_vec();
            // This thread may be one that must not run a future itself.
            runtime.spawn(async move {
                let _ = sender.send(socket.send_to(&datagram, target).await);
            });
            sent.recv().map_err(|_| Errno::NOTCONN)?
        }
        result => result,
    }
}

/// Tries until there is something, if the descriptor is blocking.
fn wait<T>(near: impl AsFd, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match attempt() {
            Err(error) if error.kind() == ErrorKind::WouldBlock && is_blocking(&near)? => {
                poll(&mut [PollFd::new(&near, PollFlags::IN)], None)?;
            }
            result => return result,
        }
    }
}

fn is_blocking(near: impl AsFd) -> io::Result<bool> {
    Ok(!fcntl_getfl(near)?.contains(OFlags::NONBLOCK))
}
