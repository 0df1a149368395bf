//! Blocking UDP sockets.

use super::tcp_stream::deadline;
use crate::address::ToSocketAddrs;
use crate::datagram_socket::Socket;
use crate::names::Names;
use crate::udp_methods::udp_option_methods;
use crate::wait;
use bytes::Bytes;
use netcore::{Error, HasChannel, udp};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A UDP socket, with the methods of `std::net::UdpSocket`. See also [`crate::UdpSocket`].
pub struct UdpSocket {
    socket: Arc<Socket>,
    names: Names,
}

impl UdpSocket {
    pub(crate) fn into_parts(self) -> (Arc<Socket>, Names) {
        (self.socket, self.names)
    }

    /// The address that the socket is at; see [`crate::UdpSocket::local_addr`].
    ///
    /// # Errors
    ///
    /// None.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.socket.local_addr())
    }

    /// The address that the socket is connected to.
    ///
    /// # Errors
    ///
    /// `NotConnected` without one.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.socket.peer_addr()?)
    }

    /// Sets the peer; see [`crate::UdpSocket::connect`].
    ///
    /// # Errors
    ///
    /// As [`crate::UdpSocket::connect`].
    pub fn connect(&self, addr: impl ToSocketAddrs) -> io::Result<()> {
        let peer = self.names.peer_blocking(addr, self.socket.local_addr().is_ipv4(), None)?;
        let connect = udp::Command::Connect { peer: Some(peer) };
        self.names.channel().request_blocking(Some(self.socket.id()), connect)?;
        Ok(())
    }

    /// Sends a datagram to the peer, once there is room for it.
    ///
    /// # Errors
    ///
    /// As [`crate::UdpSocket::send`]; `TimedOut` after the write timeout.
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.send_to(buf, self.socket.peer_addr()?)
    }

    /// Sends a datagram, once there is room for it.
    ///
    /// # Errors
    ///
    /// As [`crate::UdpSocket::send_to`]; `TimedOut` after the write timeout, within which a name is
    /// looked up too.
    pub fn send_to(&self, buf: &[u8], addr: impl ToSocketAddrs) -> io::Result<usize> {
        let deadline = deadline(self.socket.blocking.write_timeout());
        let is_v4 = self.socket.local_addr().is_ipv4();
        let target = self.names.peer_blocking(addr, is_v4, deadline)?;
        let payload = Bytes::copy_from_slice(buf);
        self.write_with(buf.len(), deadline, || self.socket.try_send_to(payload.clone(), target))
    }

    /// Receives a datagram from the peer; bytes beyond `buf` are discarded.
    ///
    /// # Errors
    ///
    /// As [`crate::UdpSocket::recv`]; `TimedOut` after the read timeout.
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.recv_from(buf).map(|(n, _)| n)
    }

    /// Receives a datagram and its source address; bytes beyond `buf` are discarded.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.read_with(|| self.socket.try_recv_from(buf))
    }

    /// Receives a datagram with its source and destination addresses; bytes beyond `buf` are
    /// discarded.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn recv_from_to(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr, SocketAddr)> {
        self.read_with(|| self.socket.try_recv_from_to(buf))
    }

    /// Sends a datagram from this address of the stack, once there is room for it.
    ///
    /// # Errors
    ///
    /// As [`crate::UdpSocket::send_from_to`]; `TimedOut` after the write timeout.
    pub fn send_from_to(
        &self,
        buf: &[u8],
        local: SocketAddr,
        target: SocketAddr,
    ) -> io::Result<usize> {
        let payload = Bytes::copy_from_slice(buf);
        let deadline = deadline(self.socket.blocking.write_timeout());
        self.write_with(buf.len(), deadline, || {
            self.socket.try_send_from_to(payload.clone(), local, target)
        })
    }

    /// Copies the next datagram of the peer into `buf` and leaves it to be received.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.peek_from(buf).map(|(n, _)| n)
    }

    /// Copies the next datagram into `buf` and leaves it to be received.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.read_with(|| self.socket.try_peek_from(buf))
    }

    /// A second handle to the same socket, which shares its timeouts and mode.
    ///
    /// # Errors
    ///
    /// None.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.clone(), names: self.names.clone() })
    }

    /// The receive timeout; `None` waits indefinitely.
    ///
    /// # Errors
    ///
    /// None.
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.socket.blocking.read_timeout())
    }

    /// The send timeout; `None` waits indefinitely.
    ///
    /// # Errors
    ///
    /// None.
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.socket.blocking.write_timeout())
    }

    /// Sets how long a receive may wait; it fails with `TimedOut` then, and loses nothing.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for zero.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.blocking.set_read_timeout(timeout)
    }

    /// Sets how long a send may wait; it fails with `TimedOut` then, and has sent nothing.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for zero.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.blocking.set_write_timeout(timeout)
    }

    /// Makes sends and receives fail with `WouldBlock` instead of waiting.
    ///
    /// # Errors
    ///
    /// None.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.socket.blocking.set_nonblocking(nonblocking);
        Ok(())
    }

    udp_option_methods!(self => self.socket);

    /// Joins an IPv4 multicast group. A stack has one link, so `interface` is ignored.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if it is not a multicast address; `AddrInUse` if the socket has joined it
    /// already; `QuotaExceeded` if it has joined too many.
    pub fn join_multicast_v4(&self, multiaddr: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        let _ = interface;
        Ok(self.socket.join((*multiaddr).into())?)
    }

    /// Leaves an IPv4 group.
    ///
    /// # Errors
    ///
    /// `AddrNotAvailable` if the socket is not in it.
    pub fn leave_multicast_v4(&self, multiaddr: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        let _ = interface;
        Ok(self.socket.leave((*multiaddr).into())?)
    }

    fn write_with<T>(
        &self,
        len: usize,
        deadline: Option<Instant>,
        mut attempt: impl FnMut() -> Result<T, Error>,
    ) -> io::Result<T> {
        if self.socket.blocking.is_nonblocking() {
            return Ok(attempt()?);
        }
        wait::block(&self.socket.writes(len), deadline, attempt)
    }

    fn read_with<T>(&self, mut attempt: impl FnMut() -> Result<T, Error>) -> io::Result<T> {
        if self.socket.blocking.is_nonblocking() {
            return Ok(attempt()?);
        }
        let deadline = deadline(self.socket.blocking.read_timeout());
        wait::block(&self.socket.reads(), deadline, attempt)
    }
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpSocket").field("local_addr", &self.socket.local_addr()).finish()
    }
}

impl From<crate::UdpSocket> for UdpSocket {
    fn from(socket: crate::UdpSocket) -> Self {
        let (socket, names) = socket.into_parts();
        Self { socket, names }
    }
}
