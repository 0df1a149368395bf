//! TCP sockets before they listen or connect.

use crate::net::Net;
use crate::stream::{DEFAULT_TTL, valid_keepalive, valid_ttl};
use crate::tcp_listener::TcpListener;
use crate::tcp_stream::TcpStream;
use crate::traffic_class::traffic_class_methods;
use netcore::tcp::congestion::CongestionControl;
use netcore::tcp::{Families, KeepAlive, ListenOptions, Options};
use netcore::{BufferBytes, Error, HasChannel, Reservation};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A TCP socket that neither listens nor is connected yet, with the methods of
/// `tokio::net::TcpSocket`: for options that must be set before. Made by [`Net::tcp_socket_v4`] and
/// [`Net::tcp_socket_v6`].
///
/// A port that it is [bound](Self::bind) to is its own until it is dropped, and then that of the
/// listener or the connection that it has become.
pub struct TcpSocket {
    net: Net,
    family: Family,
    settings: Mutex<Settings>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

#[derive(Debug, Clone, Default)]
struct Settings {
    bound: Option<Reservation>,
    families: Families,
    reuseaddr: bool,
    connection: Options,
}

impl TcpSocket {
    pub(crate) fn v4(net: &Net) -> Self {
        Self::new(net, Family::V4)
    }

    pub(crate) fn v6(net: &Net) -> Self {
        Self::new(net, Family::V6)
    }

    fn new(net: &Net, family: Family) -> Self {
        Self { net: net.clone(), family, settings: Mutex::default() }
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Binds the socket to a local address, and reserves the port; with port 0 the stack chooses
    /// one, which [`local_addr`](Self::local_addr) returns. Does not wait for the stack. Until the
    /// socket listens, a SYN to the port is answered with a reset, unless a [`Net::tcp_intercept`]
    /// listener takes it.
    ///
    /// Unlike on the kernel, [`set_reuseaddr`](Self::set_reuseaddr) does not let two sockets bind
    /// to one port.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the socket is bound already, or is of the other family; `AddrInUse` if a
    /// listener or another bound socket has the port; `AddrNotAvailable` if the address is not one
    /// of the stack's, or no port is left; `BrokenPipe` if the stack is gone.
    pub fn bind(&self, addr: SocketAddr) -> io::Result<()> {
        self.check_family(addr)?;
        let mut settings = self.settings();
        if settings.bound.is_some() {
            return Err(bound_already());
        }
        let reservation = self.net.command_channel().reserve_tcp(addr, settings.families)?;
        settings.bound = Some(reservation);
        Ok(())
    }

    /// Connects to `addr`.
    ///
    /// # Errors
    ///
    /// As [`Net::tcp_connect_from`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the attempt up: its socket and port are free again.
    pub async fn connect(self, addr: SocketAddr) -> io::Result<TcpStream> {
        self.check_family(addr)?;
        let Settings { bound, connection, .. } = self.settings().clone();
        match bound {
            Some(reservation) => self.net.tcp_connect_reserved(reservation, addr, connection).await,
            None => self.net.tcp_connect_with(addr, connection).await,
        }
    }

    /// Listens, with a backlog of up to `backlog` connections that were not accepted yet. Unlike
    /// tokio's it waits for the stack, and so is async.
    ///
    /// # Errors
    ///
    /// As [`Net::tcp_listen`].
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the port is free again.
    pub async fn listen(self, backlog: u32) -> io::Result<TcpListener> {
        let Settings { bound, families, connection, .. } = self.settings().clone();
        let backlog_max = Some(backlog as usize);
        let options = ListenOptions { backlog_max, families, connection, ..Default::default() };
        match bound {
            Some(reservation) => self.net.tcp_listen_reserved(reservation, options).await,
            None => self.net.tcp_listen_with(self.unspecified(), options).await,
        }
    }

    /// The address and port that it is [bound](Self::bind) to, or the unspecified ones.
    ///
    /// # Errors
    ///
    /// None.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let settings = self.settings();
        let bound = settings.bound.as_ref().map(Reservation::local_address);
        Ok(bound.unwrap_or_else(|| self.unspecified()))
    }

    fn unspecified(&self) -> SocketAddr {
        match self.family {
            Family::V4 => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            Family::V6 => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        }
    }

    /// The socket's error, of which it has none before it is used.
    ///
    /// # Errors
    ///
    /// None.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(None)
    }

    /// Stores the value without effect: a listener can always rebind the port of one that is gone,
    /// even if connections of that one are left.
    ///
    /// # Errors
    ///
    /// None.
    pub fn set_reuseaddr(&self, reuseaddr: bool) -> io::Result<()> {
        self.settings().reuseaddr = reuseaddr;
        Ok(())
    }

    /// The value [set](Self::set_reuseaddr). Off by default, as on the kernel.
    ///
    /// # Errors
    ///
    /// None.
    pub fn reuseaddr(&self) -> io::Result<bool> {
        Ok(self.settings().reuseaddr)
    }

    /// Whether a listener on `[::]` leaves IPv4 to others. Off by default.
    ///
    /// # Errors
    ///
    /// None.
    pub fn only_v6(&self) -> io::Result<bool> {
        Ok(self.settings().families == Families::V6Only)
    }

    /// Has a listener on `[::]` leave IPv4 to others, or take it too.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the socket is bound already, as on the kernel.
    pub fn set_only_v6(&self, only_v6: bool) -> io::Result<()> {
        if self.settings().bound.is_some() {
            return Err(bound_already());
        }
        self.settings().families = if only_v6 { Families::V6Only } else { Families::Both };
        Ok(())
    }

    /// The size of the send buffer that a connection begins with, in bytes: the most that may be
    /// unacknowledged.
    ///
    /// # Errors
    ///
    /// None.
    pub fn send_buffer_size(&self) -> io::Result<u32> {
        Ok(saturated(self.buffers().send))
    }

    /// Sets the size of the send buffer, in bytes. One that is set does not grow by itself.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for zero.
    pub fn set_send_buffer_size(&self, size: u32) -> io::Result<()> {
        self.settings().connection.send_buffer_bytes = Some(valid_size(size)?);
        Ok(())
    }

    /// The size of the receive buffer that a connection begins with, in bytes: the most that the peer
    /// may send ahead of the reader.
    ///
    /// # Errors
    ///
    /// None.
    pub fn recv_buffer_size(&self) -> io::Result<u32> {
        Ok(saturated(self.buffers().recv))
    }

    /// Sets the size of the receive buffer, in bytes: the largest window that the connection offers.
    /// One that is set does not grow by itself.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for zero.
    pub fn set_recv_buffer_size(&self, size: u32) -> io::Result<()> {
        self.settings().connection.recv_buffer_bytes = Some(valid_size(size)?);
        Ok(())
    }

    /// Whether an idle peer is probed.
    ///
    /// # Errors
    ///
    /// None.
    pub fn keepalive(&self) -> io::Result<bool> {
        Ok(self.settings().connection.keep_alive.is_some())
    }

    /// Probes an idle peer, with the kernel's default times, or does not.
    ///
    /// # Errors
    ///
    /// None.
    pub fn set_keepalive(&self, keepalive: bool) -> io::Result<()> {
        self.settings().connection.keep_alive = keepalive.then(KeepAlive::default);
        Ok(())
    }

    /// Probes an idle peer at the given times, as socket2's method of this name.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if one of the values is zero.
    pub fn set_tcp_keepalive(&self, keepalive: &KeepAlive) -> io::Result<()> {
        self.settings().connection.keep_alive = Some(valid_keepalive(*keepalive)?);
        Ok(())
    }

    /// Sets how long data may remain unacknowledged; see [`TcpStream::set_user_timeout`].
    ///
    /// # Errors
    ///
    /// None.
    pub fn set_tcp_user_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.settings().connection.user_timeout = timeout;
        Ok(())
    }

    /// Sets the congestion control; see [`TcpStream::set_congestion_control`].
    ///
    /// # Errors
    ///
    /// None.
    pub fn set_congestion_control(&self, control: Option<CongestionControl>) -> io::Result<()> {
        self.settings().connection.congestion_control = control;
        Ok(())
    }

    /// How dropping the stream behaves; see [`TcpStream::set_linger`].
    ///
    /// # Errors
    ///
    /// None.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        Ok(self.settings().connection.linger)
    }

    /// Sets how dropping the stream behaves; see [`TcpStream::set_linger`].
    ///
    /// # Errors
    ///
    /// None.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.settings().connection.linger = linger;
        Ok(())
    }

    /// Makes dropping the stream reset the connection.
    ///
    /// # Errors
    ///
    /// None.
    pub fn set_zero_linger(&self) -> io::Result<()> {
        self.set_linger(Some(Duration::ZERO))
    }

    /// Whether small segments are sent at once.
    ///
    /// # Errors
    ///
    /// None.
    pub fn nodelay(&self) -> io::Result<bool> {
        Ok(self.settings().connection.nodelay)
    }

    /// Sends small segments at once, or gathers them while data is in flight (RFC 896).
    ///
    /// # Errors
    ///
    /// None.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.settings().connection.nodelay = nodelay;
        Ok(())
    }

    /// The time to live or hop limit of outgoing packets.
    ///
    /// # Errors
    ///
    /// None.
    pub fn ttl(&self) -> io::Result<u32> {
        Ok(self.settings().connection.hop_limit.map_or(DEFAULT_TTL, u32::from))
    }

    /// Sets the time to live or hop limit of outgoing packets, from 1 to 255.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for any other value.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.settings().connection.hop_limit = Some(valid_ttl(ttl)?);
        Ok(())
    }

    traffic_class_methods!(
        self => self.settings().connection.traffic_class,
        class => self.settings().connection.traffic_class = class
    );

    fn buffers(&self) -> BufferBytes {
        self.net.command_channel().buffer_bytes(&self.settings().connection)
    }

    fn check_family(&self, addr: SocketAddr) -> io::Result<()> {
        match (self.family, addr) {
            (Family::V4, SocketAddr::V4(_)) | (Family::V6, SocketAddr::V6(_)) => Ok(()),
            _ => Err(Error::WrongFamily.into()),
        }
    }
}

fn saturated(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

fn bound_already() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the socket is already bound")
}

fn valid_size(size: u32) -> io::Result<usize> {
    if size == 0 {
        let message = "buffer size must be non-zero";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(size as usize)
}

impl fmt::Debug for TcpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpSocket")
            .field("family", &self.family)
            .field("local", &self.settings().bound.as_ref().map(Reservation::local_address))
            .finish_non_exhaustive()
    }
}
