//! Async UDP sockets.

use crate::address::ToSocketAddrs;
use crate::blocking;
use crate::datagram_socket::Socket;
use crate::names::Names;
use crate::readiness::{Interest, Ready, operation_methods};
use crate::udp_methods::udp_option_methods;
use crate::wait;
use bytes::{BufMut, Bytes};
use netcore::queue::DatagramQueue;
use netcore::{HasChannel, udp};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::ReadBuf;

/// A UDP socket, with the methods of `tokio::net::UdpSocket`.
///
/// Datagrams keep their boundaries: bytes beyond the buffer are discarded. Datagrams larger than
/// the link's MTU are sent in fragments, up to 65,507 bytes; larger ones fail with
/// [`io::ErrorKind::InvalidInput`].
pub struct UdpSocket {
    socket: Arc<Socket>,
    names: Names,
}

impl UdpSocket {
    pub(crate) fn new(queue: Arc<DatagramQueue>, names: Names) -> Self {
        Self { socket: Arc::new(Socket::new(queue)), names }
    }

    #[cfg(feature = "quinn")]
    pub(crate) fn into_socket(self) -> Arc<Socket> {
        self.socket
    }

    pub(crate) fn from_parts(socket: Arc<Socket>, names: Names) -> Self {
        Self { socket, names }
    }

    pub(crate) fn into_parts(self) -> (Arc<Socket>, Names) {
        (self.socket, self.names)
    }

    /// The address that the socket is bound to. For a socket on the unspecified address that is
    /// connected, the address that it sends from.
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

    /// Sets the peer: from now on only its datagrams are received, [`send`](Self::send) sends to
    /// it, and an ICMP port unreachable from it is returned as `ConnectionRefused`. Datagrams
    /// received before stay in the queue. Nothing is sent. Of a name's addresses it is the first of
    /// the socket's family; `0.0.0.0` and `[::]` stand for this host.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if datagrams can never be sent there; `NetworkUnreachable` without a route;
    /// `PermissionDenied` for a broadcast address, unless that is [allowed](Self::set_broadcast);
    /// the error of the lookup; `BrokenPipe` if the stack is gone.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the peer is the new or the old one.
    pub async fn connect(&self, addr: impl ToSocketAddrs) -> io::Result<()> {
        let peer = self.names.peer(addr, self.socket.local_addr().is_ipv4()).await?;
        let connect = udp::Command::Connect { peer: Some(peer) };
        self.names.channel().request(Some(self.socket.id()), connect).await?;
        Ok(())
    }

    /// Undoes [`connect`](Self::connect): datagrams of all peers are received again (on Linux a
    /// connect to `AF_UNSPEC`). Without a peer it changes nothing.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` if the stack is gone.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the socket may have a peer or none.
    pub async fn disconnect(&self) -> io::Result<()> {
        let disconnect = udp::Command::Connect { peer: None };
        self.names.channel().request(Some(self.socket.id()), disconnect).await?;
        Ok(())
    }

    /// Sends a datagram to the peer, once there is room for it.
    ///
    /// # Errors
    ///
    /// `NotConnected` without a peer; `InvalidInput` if it is too large; an error that the network
    /// reported for an earlier datagram, once; `BrokenPipe` if the stack is gone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready has sent nothing.
    pub async fn send(&self, buf: &[u8]) -> io::Result<usize> {
        let peer = self.socket.peer_addr()?;
        self.send_to(buf, peer).await
    }

    /// Sends a datagram, once there is room for it.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), and `InvalidInput` if nothing can be sent to `target`; the error of
    /// the lookup. A missing route is reported by the next call.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready has sent nothing.
    pub async fn send_to(&self, buf: &[u8], target: impl ToSocketAddrs) -> io::Result<usize> {
        let target = self.names.peer(target, self.socket.local_addr().is_ipv4()).await?;
        let payload = Bytes::copy_from_slice(buf);
        wait::retry(&self.socket.writes(buf.len()), || {
            self.socket.try_send_to(payload.clone(), target)
        })
        .await
    }

    /// Receives a datagram from the peer; bytes beyond `buf` are discarded.
    ///
    /// # Errors
    ///
    /// An error that the network reported for an earlier datagram, once; `BrokenPipe` if the stack
    /// is gone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready loses no datagram.
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.recv_from(buf).await.map(|(n, _)| n)
    }

    /// Receives a datagram and its source address; bytes beyond `buf` are discarded.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready loses no datagram.
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        wait::retry(&self.socket.reads(), || self.socket.try_recv_from(buf)).await
    }

    /// Receives a datagram with its source and destination addresses; bytes beyond `buf` are
    /// discarded.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready loses no datagram.
    pub async fn recv_from_to(
        &self,
        buf: &mut [u8],
    ) -> io::Result<(usize, SocketAddr, SocketAddr)> {
        wait::retry(&self.socket.reads(), || self.socket.try_recv_from_to(buf)).await
    }

    /// Sends a datagram from this address of the stack, once there is room for it. A socket that
    /// [intercepts](crate::Net::udp_intercept) sends from any port, others from their own.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), and `AddrNotAvailable` if the port is not this socket's. An address
    /// that is not the stack's, or a missing route, shows with the next call.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready has sent nothing.
    pub async fn send_from_to(
        &self,
        buf: &[u8],
        local: SocketAddr,
        target: SocketAddr,
    ) -> io::Result<usize> {
        let payload = Bytes::copy_from_slice(buf);
        wait::retry(&self.socket.writes(buf.len()), || {
            self.socket.try_send_from_to(payload.clone(), local, target)
        })
        .await
    }

    /// As [`recv_from_to`](Self::recv_from_to), if there is a datagram.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv), and `WouldBlock` if none is available.
    pub fn try_recv_from_to(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr, SocketAddr)> {
        Ok(self.socket.try_recv_from_to(buf)?)
    }

    /// As [`send_from_to`](Self::send_from_to), if there is room.
    ///
    /// # Errors
    ///
    /// As [`send_from_to`](Self::send_from_to), and `WouldBlock` without room.
    pub fn try_send_from_to(
        &self,
        buf: &[u8],
        local: SocketAddr,
        target: SocketAddr,
    ) -> io::Result<usize> {
        Ok(self.socket.try_send_from_to(Bytes::copy_from_slice(buf), local, target)?)
    }

    /// Receives a whole datagram and its source address, without a copy.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready loses no datagram.
    pub async fn recv_bytes_from(&self) -> io::Result<(Bytes, SocketAddr)> {
        wait::retry(&self.socket.reads(), || {
            let datagram = self.socket.try_recv()?;
            Ok((datagram.payload, datagram.peer))
        })
        .await
    }

    /// Copies the next datagram into `buf` and leaves it to be received.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub async fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        wait::retry(&self.socket.reads(), || self.socket.try_peek_from(buf)).await
    }

    /// Sends a datagram to the peer if there is room.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), and `WouldBlock` without room.
    pub fn try_send(&self, buf: &[u8]) -> io::Result<usize> {
        self.try_send_to(buf, self.socket.peer_addr()?)
    }

    /// Sends a datagram if there is room.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to), and `WouldBlock` without room.
    pub fn try_send_to(&self, buf: &[u8], target: SocketAddr) -> io::Result<usize> {
        Ok(self.socket.try_send_to(Bytes::copy_from_slice(buf), target)?)
    }

    /// Receives a datagram if there is one.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv), and `WouldBlock` if none is available.
    pub fn try_recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.socket.try_recv_from(buf)?.0)
    }

    /// Receives a datagram and its source address, if one is available.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv), and `WouldBlock` if none is available.
    pub fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        Ok(self.socket.try_recv_from(buf)?)
    }

    /// Receives a datagram from the peer into the free room of `buf`; the rest is discarded.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready loses no datagram.
    pub async fn recv_buf<B: BufMut>(&self, buf: &mut B) -> io::Result<usize> {
        self.recv_buf_from(buf).await.map(|(n, _)| n)
    }

    /// As [`recv_buf`](Self::recv_buf), and returns the source address.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready loses no datagram.
    pub async fn recv_buf_from<B: BufMut>(&self, buf: &mut B) -> io::Result<(usize, SocketAddr)> {
        wait::retry(&self.socket.reads(), || self.socket.try_recv_buf_from(buf)).await
    }

    /// As [`recv_buf`](Self::recv_buf), if there is a datagram.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv), and `WouldBlock` if none is available.
    pub fn try_recv_buf<B: BufMut>(&self, buf: &mut B) -> io::Result<usize> {
        Ok(self.socket.try_recv_buf_from(buf)?.0)
    }

    /// As [`recv_buf_from`](Self::recv_buf_from), if there is a datagram.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv), and `WouldBlock` if none is available.
    pub fn try_recv_buf_from<B: BufMut>(&self, buf: &mut B) -> io::Result<(usize, SocketAddr)> {
        Ok(self.socket.try_recv_buf_from(buf)?)
    }

    /// Copies the next datagram of the peer into `buf` and leaves it to be received.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.peek_from(buf).await.map(|(n, _)| n)
    }

    /// Waits for a datagram, leaves it in the queue and returns its source address.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub async fn peek_sender(&self) -> io::Result<SocketAddr> {
        self.peek_from(&mut []).await.map(|(_, sender)| sender)
    }

    /// As [`peek`](Self::peek), if there is a datagram.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv), and `WouldBlock` if none is available.
    pub fn try_peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.socket.try_peek_from(buf)?.0)
    }

    /// As [`peek_from`](Self::peek_from), if there is a datagram.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv), and `WouldBlock` if none is available.
    pub fn try_peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        Ok(self.socket.try_peek_from(buf)?)
    }

    /// As [`peek_sender`](Self::peek_sender), if there is a datagram.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv), and `WouldBlock` if none is available.
    pub fn try_peek_sender(&self) -> io::Result<SocketAddr> {
        Ok(self.socket.try_peek_from(&mut [])?.1)
    }

    /// Waits until the socket is ready for something that `interest` names, and returns all of it
    /// that is so.
    ///
    /// # Errors
    ///
    /// None: an error is found by sending or receiving.
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        Ok(self.socket.ready(interest).await.ready)
    }

    operation_methods!(self => self.socket);

    /// Waits until there is a datagram, or an error, to receive.
    ///
    /// # Errors
    ///
    /// None: an error is found by receiving.
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub async fn readable(&self) -> io::Result<()> {
        wait::ready(&self.socket.reads()).await;
        Ok(())
    }

    /// Waits until there is room for a small datagram.
    ///
    /// # Errors
    ///
    /// None: an error is found by sending.
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub async fn writable(&self) -> io::Result<()> {
        wait::ready(&self.socket.writes(0)).await;
        Ok(())
    }

    /// As [`recv_from`](Self::recv_from); only the last caller is woken.
    pub fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<SocketAddr>> {
        wait::poll_retry(&self.socket.reads(), cx, || {
            let (n, peer) = self.socket.try_recv_from(buf.initialize_unfilled())?;
            buf.advance(n);
            Ok(peer)
        })
    }

    /// As [`send_to`](Self::send_to); only the last caller is woken.
    pub fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        buf: &[u8],
        target: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        let payload = Bytes::copy_from_slice(buf);
        wait::poll_retry(&self.socket.writes(buf.len()), cx, || {
            self.socket.try_send_to(payload.clone(), target)
        })
    }

    /// As [`recv`](Self::recv); only the last caller is woken.
    pub fn poll_recv(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_recv_from(cx, buf).map_ok(|_| ())
    }

    /// As [`send`](Self::send); only the last caller is woken.
    pub fn poll_send(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.socket.peer_addr() {
            Ok(peer) => self.poll_send_to(cx, buf, peer),
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }

    /// As [`peek`](Self::peek); only the last caller is woken.
    pub fn poll_peek(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_peek_from(cx, buf).map_ok(|_| ())
    }

    /// As [`peek_from`](Self::peek_from); only the last caller is woken.
    pub fn poll_peek_from(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<SocketAddr>> {
        wait::poll_retry(&self.socket.reads(), cx, || {
            let (n, peer) = self.socket.try_peek_from(buf.initialize_unfilled())?;
            buf.advance(n);
            Ok(peer)
        })
    }

    /// As [`peek_sender`](Self::peek_sender); only the last caller is woken.
    pub fn poll_peek_sender(&self, cx: &mut Context<'_>) -> Poll<io::Result<SocketAddr>> {
        wait::poll_retry(&self.socket.reads(), cx, || Ok(self.socket.try_peek_from(&mut [])?.1))
    }

    /// As [`readable`](Self::readable); only the last caller is woken.
    pub fn poll_recv_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        wait::poll_ready(&self.socket.reads(), cx).map(Ok)
    }

    /// As [`writable`](Self::writable); only the last caller is woken.
    pub fn poll_send_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        wait::poll_ready(&self.socket.writes(0), cx).map(Ok)
    }

    udp_option_methods!(self => self.socket);

    /// Joins an IPv4 multicast group. A stack has one link, so `interface` is ignored.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if it is not a multicast address; `AddrInUse` if the socket has joined it
    /// already; `QuotaExceeded` if it has joined too many.
    pub fn join_multicast_v4(&self, multiaddr: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        let _ = interface;
        Ok(self.socket.join(multiaddr.into())?)
    }

    /// Leaves an IPv4 group.
    ///
    /// # Errors
    ///
    /// `AddrNotAvailable` if the socket is not in it.
    pub fn leave_multicast_v4(&self, multiaddr: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        let _ = interface;
        Ok(self.socket.leave(multiaddr.into())?)
    }
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpSocket").field("local_addr", &self.socket.local_addr()).finish()
    }
}

impl From<blocking::UdpSocket> for UdpSocket {
    fn from(socket: blocking::UdpSocket) -> Self {
        let (socket, names) = socket.into_parts();
        Self::from_parts(socket, names)
    }
}
