//! Making a stack's sockets, for plain threads.

#[cfg(feature = "dns")]
use super::Resolver;
use super::{Control, PendingListener, TcpListener, TcpStream, UdpSocket};
use crate::address::{Targets, ToSocketAddrs};
use crate::wait;
use netcore::tcp::{Families, ListenOptions, Options};
use netcore::{Network, NetworkWatch, udp};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A stack, as plain threads see it. See [`Net`](crate::Net).
#[derive(Debug, Clone)]
pub struct Net {
    net: crate::Net,
}

impl Net {
    pub(crate) fn new(net: crate::Net) -> Self {
        Self { net }
    }

    /// Names the sockets that are made with this handle and its clones, as [`crate::Net::named`].
    #[must_use]
    pub fn named(&self, name: impl Into<String>) -> Self {
        Self::new(self.net.named(name))
    }

    /// Opens a TCP connection. If there are several addresses, they are tried as by
    /// [`crate::Net::tcp_connect`].
    ///
    /// # Errors
    ///
    /// As [`crate::Net::tcp_connect`].
    pub fn tcp_connect(&self, addr: impl ToSocketAddrs) -> io::Result<TcpStream> {
        self.tcp_connect_with(addr, Options::default())
    }

    /// As [`tcp_connect`](Self::tcp_connect), with options.
    ///
    /// # Errors
    ///
    /// As [`tcp_connect`](Self::tcp_connect).
    pub fn tcp_connect_with(
        &self,
        addr: impl ToSocketAddrs,
        options: Options,
    ) -> io::Result<TcpStream> {
        let connecting = self.net.tcp_connect_with(&addr, options);
        wait_for(&addr, connecting, None)?.map(TcpStream::from)
    }

    /// Opens a TCP connection, within `timeout`.
    ///
    /// # Errors
    ///
    /// As [`tcp_connect`](Self::tcp_connect); `TimedOut` if it took longer; `InvalidInput` if the
    /// timeout is zero.
    pub fn tcp_connect_timeout(
        &self,
        addr: &SocketAddr,
        timeout: Duration,
    ) -> io::Result<TcpStream> {
        if timeout.is_zero() {
            let message = "timeout must be non-zero";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        self.tcp_connect_until(addr, Instant::now().checked_add(timeout))
    }

    /// Opens a TCP connection, until a deadline if there is one.
    pub(crate) fn tcp_connect_until(
        &self,
        addr: impl ToSocketAddrs,
        deadline: Option<Instant>,
    ) -> io::Result<TcpStream> {
        wait_for(&addr, self.net.tcp_connect(&addr), deadline)?.map(TcpStream::from)
    }

    /// What names are looked up with. Clones share it.
    #[cfg(feature = "dns")]
    pub fn resolver(&self) -> Resolver {
        self.net.resolver().blocking()
    }

    /// Listens for TCP connections. Port 0 lets the stack choose; `[::]` takes IPv4 too.
    ///
    /// # Errors
    ///
    /// As [`crate::Net::tcp_listen`].
    pub fn tcp_listen(&self, addr: impl ToSocketAddrs) -> io::Result<TcpListener> {
        self.tcp_listen_with(addr, ListenOptions::default())
    }

    /// As [`tcp_listen`](Self::tcp_listen), with options.
    ///
    /// # Errors
    ///
    /// As [`tcp_listen`](Self::tcp_listen).
    pub fn tcp_listen_with(
        &self,
        addr: impl ToSocketAddrs,
        options: ListenOptions,
    ) -> io::Result<TcpListener> {
        wait_for(&addr, self.net.tcp_listen_with(&addr, options), None)?.map(TcpListener::from)
    }

    /// Binds a UDP socket. Port 0 lets the stack choose; `[::]` takes IPv4 too.
    ///
    /// # Errors
    ///
    /// As [`crate::Net::udp_bind`].
    pub fn udp_bind(&self, addr: impl ToSocketAddrs) -> io::Result<UdpSocket> {
        wait_for(&addr, self.net.udp_bind(&addr), None)?.map(UdpSocket::from)
    }

    /// Binds a UDP socket with options, as those that let sockets share a port.
    ///
    /// # Errors
    ///
    /// As [`crate::Net::udp_bind`].
    pub fn udp_bind_with_options(
        &self,
        addr: impl ToSocketAddrs,
        families: Families,
        options: udp::Options,
    ) -> io::Result<UdpSocket> {
        let bind = self.net.udp_bind_with_options(&addr, families, options);
        wait_for(&addr, bind, None)?.map(UdpSocket::from)
    }

    /// Listens for TCP connections and answers none by itself.
    ///
    /// # Errors
    ///
    /// As [`crate::Net::tcp_listen_pending`].
    pub fn tcp_listen_pending(
        &self,
        addr: impl ToSocketAddrs,
        options: ListenOptions,
    ) -> io::Result<PendingListener> {
        let listening = self.net.tcp_listen_pending(&addr, options);
        wait_for(&addr, listening, None)?.map(PendingListener::from)
    }

    /// Listens for connections to any port without another listener, and answers no SYN until the
    /// program has decided on it.
    ///
    /// # Errors
    ///
    /// As [`crate::Net::tcp_intercept`].
    pub fn tcp_intercept(&self) -> io::Result<PendingListener> {
        pollster::block_on(self.net.tcp_intercept()).map(PendingListener::from)
    }

    /// Listens for connections to any port that no other socket has, and makes each.
    ///
    /// # Errors
    ///
    /// As [`crate::Net::tcp_intercept_accept`].
    pub fn tcp_intercept_accept(&self) -> io::Result<TcpListener> {
        pollster::block_on(self.net.tcp_intercept_accept()).map(TcpListener::from)
    }

    /// Makes a UDP socket that receives datagrams to any port without another socket.
    ///
    /// # Errors
    ///
    /// As [`crate::Net::udp_intercept`].
    pub fn udp_intercept(&self) -> io::Result<UdpSocket> {
        pollster::block_on(self.net.udp_intercept()).map(UdpSocket::from)
    }

    /// Where the stack's addresses, routes and link are changed.
    pub fn control(&self) -> Control {
        self.net.control().blocking()
    }

    /// The stack's current addresses, routes, link and name servers.
    pub fn network(&self) -> Arc<Network> {
        self.net.network()
    }

    /// The same, now and whenever it changes from now on.
    pub fn watch_network(&self) -> NetworkWatch {
        self.net.watch_network()
    }

    /// Sends one echo request and returns how long the reply took.
    ///
    /// # Errors
    ///
    /// As [`PingSocket::ping`](crate::PingSocket::ping); `TimedOut` if it took longer than
    /// `timeout`.
    pub fn ping(&self, target: IpAddr, timeout: Duration) -> io::Result<Duration> {
        let deadline = Instant::now().checked_add(timeout);
        let round_trip = async { self.net.ping(target).await?.ping(1, &[0; 56]).await };
        match wait::block_on(round_trip, deadline) {
            Some(replied) => replied.map(|(_, round_trip)| round_trip),
            None => Err(netcore::Error::TimedOut.into()),
        }
    }
}

/// Waits for a future on an address; with a timer if a name is looked up, or if several addresses
/// race.
fn wait_for<T>(
    addr: &impl ToSocketAddrs,
    work: impl Future<Output = T>,
    deadline: Option<Instant>,
) -> io::Result<T> {
    match addr.targets()? {
        Targets::Addresses(addresses) if addresses.len() < 2 => {
            wait::block_on(work, deadline).ok_or_else(|| netcore::Error::TimedOut.into())
        }
        _ => wait::block_on_with_time(work, deadline),
    }
}

impl From<crate::Net> for Net {
    fn from(net: crate::Net) -> Self {
        Self { net }
    }
}

impl From<Net> for crate::Net {
    fn from(net: Net) -> Self {
        net.net
    }
}
