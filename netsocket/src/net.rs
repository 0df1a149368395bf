//! Making a stack's sockets.

use crate::address::{ToSocketAddrs, none_given};
use crate::blocking;
use crate::control::Control;
#[cfg(feature = "dns")]
use crate::dns::Resolver;
use crate::names::Names;
use crate::owner;
use crate::pending::PendingListener;
use crate::ping_socket::PingSocket;
use crate::race::{self, Candidates, Reach};
use crate::raw_socket::RawSocket;
use crate::tcp_listener::TcpListener;
use crate::tcp_socket::TcpSocket;
use crate::tcp_stream::TcpStream;
use netcore::queue::AcceptQueue;
use netcore::queue::SocketQueue;
use netcore::raw::Version;
use netcore::tcp::{ListenOptions, OnSyn, Options};
use netcore::{
    Channel, Command, Error, HasChannel, Network, NetworkWatch, Owner, Reservation, Response,
    Snapshot, control, icmp, raw, tcp,
};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// A stack, as its users see it: where its sockets come from.
///
/// Made of a stack's command channel, and cheap to clone. It does not keep the stack alive: once
/// that is gone, every call fails with [`io::ErrorKind::BrokenPipe`].
///
/// # Names
///
/// With the feature `dns`, a host name may stand wherever an address may, and is looked up with
#[cfg_attr(
    feature = "dns",
    doc = "[`resolver`](Self::resolver): by the stack's own name servers, or"
)]
#[cfg_attr(not(feature = "dns"), doc = "`resolver`: by the stack's own name servers, or")]
/// by others. That needs a tokio runtime with its time, as trying several addresses side by side
/// does; outside of one, a lookup fails and the addresses are tried one after the other.
#[derive(Debug, Clone)]
pub struct Net {
    channel: Channel,
    pub(crate) names: Names,
    attempt_delay: Duration,
}

impl Net {
    /// Makes one from what leads to a command channel.
    pub fn new(stack: &impl HasChannel) -> Self {
        let channel = stack.command_channel().with_current_owner(owner::current);
        let names = Names::new(&channel);
        Self { channel, names, attempt_delay: race::ATTEMPT_DELAY }
    }

    /// What names are looked up with. Clones share it.
    #[cfg(feature = "dns")]
    pub fn resolver(&self) -> &Resolver {
        self.names.resolver()
    }

    /// Replaces the resolver, for this handle and its clones.
    #[cfg(feature = "dns")]
    #[must_use]
    pub fn with_resolver(mut self, resolver: Resolver) -> Self {
        self.names = self.names.with(resolver);
        self
    }

    /// Sets how long one of several addresses is tried before the next one is tried too; 250 ms at
    /// first, and never less than 10 (RFC 8305 section 5).
    #[must_use]
    pub fn with_attempt_delay(mut self, delay: Duration) -> Self {
        self.attempt_delay = delay.max(race::ATTEMPT_DELAY_MIN);
        self
    }

    /// Names the sockets that are made with this handle and its clones, for those who look at the stack
    /// from outside: `netstack ss -p`, captures, [`snapshot`](Self::snapshot). A connection that is
    /// accepted has the name of its listener.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// # let stack = netcore::Netstack::new(netcore::Config::default(), netcore::Instant::ZERO);
    /// # let net = netsocket::Net::new(&stack);
    /// let backups = net.named("backups");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn named(&self, name: impl Into<String>) -> Self {
        self.owned_by(Owner::named(name))
    }

    /// As [`named`](Self::named), with all that is known of the owner, as for another process.
    #[must_use]
    pub fn owned_by(&self, owner: Owner) -> Self {
        Self { channel: self.channel.clone().owned_by(owner), ..self.clone() }
    }

    /// The same stack for plain threads.
    pub fn blocking(&self) -> blocking::Net {
        blocking::Net::new(self.clone())
    }

    /// Opens a TCP connection.
    ///
    /// With several addresses, the next attempt starts when the previous one has not finished after
    /// the [attempt delay](Self::with_attempt_delay), or at once when it has failed; the first
    /// connection made is returned, and the other attempts are dropped. Addresses are tried in the
    /// order given; those of a name alternate between the families, IPv6 first, and families of
    /// which the stack has no address come last (RFC 8305).
    ///
    /// # Errors
    ///
    /// `ConnectionRefused`, `TimedOut`, `NetworkUnreachable`, `AddrNotAvailable` (no address of
    /// this family, no free port), `InvalidInput`: with several addresses, that of the last attempt
    /// that reached the network, and the message names its address. The error of the lookup, if
    /// that failed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives every attempt up: their sockets and ports are free again.
    pub async fn tcp_connect(&self, addr: impl ToSocketAddrs) -> io::Result<TcpStream> {
        self.tcp_connect_with(addr, Options::default()).await
    }

    /// As [`tcp_connect`](Self::tcp_connect), with options.
    ///
    /// # Errors
    ///
    /// As [`tcp_connect`](Self::tcp_connect).
    ///
    /// # Cancel safety
    ///
    /// As [`tcp_connect`](Self::tcp_connect).
    pub async fn tcp_connect_with(
        &self,
        addr: impl ToSocketAddrs,
        options: Options,
    ) -> io::Result<TcpStream> {
        let candidates = self.names.candidates(addr.targets()?)?;
        if let Candidates::Given(addresses) = &candidates
            && let [remote] = addresses[..]
        {
            return Ok(self.connect(remote, None, options).await?);
        }
        race::connect(candidates, self.reach(), self.attempt_delay, async |remote| {
            Ok(self.connect(remote, None, options.clone()).await?)
        })
        .await
    }

    /// Opens a TCP connection from an address and port of the stack; port 0 lets the stack choose.
    ///
    /// # Errors
    ///
    /// As [`tcp_connect`](Self::tcp_connect), and `AddrInUse` if there is such a connection.
    ///
    /// # Cancel safety
    ///
    /// As [`tcp_connect`](Self::tcp_connect).
    pub async fn tcp_connect_from(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
        options: Options,
    ) -> io::Result<TcpStream> {
        Ok(self.connect(remote, Some(local), options).await?)
    }

    /// Listens for TCP connections. Port 0 lets the stack choose; `[::]` takes IPv4 too.
    ///
    /// # Errors
    ///
    /// `AddrInUse`; `AddrNotAvailable` if the address is none of the stack's.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the port is free again.
    pub async fn tcp_listen(&self, addr: impl ToSocketAddrs) -> io::Result<TcpListener> {
        self.tcp_listen_with(addr, ListenOptions::default()).await
    }

    /// As [`tcp_listen`](Self::tcp_listen), with options.
    ///
    /// # Errors
    ///
    /// As [`tcp_listen`](Self::tcp_listen); `InvalidInput` for [`OnSyn::Hold`], which
    /// [`tcp_listen_pending`](Self::tcp_listen_pending) is for.
    ///
    /// # Cancel safety
    ///
    /// As [`tcp_listen`](Self::tcp_listen).
    pub async fn tcp_listen_with(
        &self,
        addr: impl ToSocketAddrs,
        options: ListenOptions,
    ) -> io::Result<TcpListener> {
        if options.on_syn == OnSyn::Hold {
            let message = "OnSyn::Hold needs tcp_listen_pending";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let hop_limit = options.connection.hop_limit;
        Ok(TcpListener::new(self.listen(addr, options).await?, hop_limit))
    }

    /// Listens for TCP connections without answering any: the program decides on each SYN before
    /// its peer gets an answer. `options` are those of [`tcp_listen_with`](Self::tcp_listen_with),
    /// except that [`on_syn`](ListenOptions::on_syn) is always [`OnSyn::Hold`].
    ///
    /// # Errors
    ///
    /// As [`tcp_listen`](Self::tcp_listen).
    ///
    /// # Cancel safety
    ///
    /// As [`tcp_listen`](Self::tcp_listen).
    pub async fn tcp_listen_pending(
        &self,
        addr: impl ToSocketAddrs,
        options: ListenOptions,
    ) -> io::Result<PendingListener> {
        let options = ListenOptions { on_syn: OnSyn::Hold, ..options };
        let queue = self.listen(addr, options).await?;
        Ok(PendingListener::new(queue, self.channel.clone()))
    }

    async fn listen(
        &self,
        addr: impl ToSocketAddrs,
        options: ListenOptions,
    ) -> io::Result<Arc<AcceptQueue>> {
        let mut last = none_given();
        for local in self.names.resolve(addr).await? {
            let command = tcp::Command::Listen { local, options: options.clone() };
            match self.open(command).await {
                Ok((_, SocketQueue::Accept(queue))) => return Ok(queue),
                Ok(_) => return Err(Error::WrongSocket.into()),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    /// Listens for connections to any port without another listener, and answers no SYN until the
    /// program has decided on it: a proxy can connect to the real server first, and refuse what
    /// that refuses. With [any-IP](crate::Control::set_any_ip) it gets the connections to all
    /// destinations that are routed to the stack;
    /// [`PendingConnection::local_addr`](crate::PendingConnection::local_addr) is the destination
    /// that the peer dialled.
    ///
    /// It is bound to `[::]`, so IPv4 addresses appear as `::ffff:a.b.c.d`, which
    /// [`to_canonical`](IpAddr::to_canonical) undoes. This is
    /// [`tcp_listen_pending`](Self::tcp_listen_pending) on `[::]:0` with
    /// [`ListenOptions::any_port`]; call that for other options, or for `0.0.0.0:0`, which has
    /// plain IPv4 addresses.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if there is another listener on all ports.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, nothing is left behind.
    pub async fn tcp_intercept(&self) -> io::Result<PendingListener> {
        let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0);
        let options = ListenOptions { any_port: true, ..Default::default() };
        self.tcp_listen_pending(any, options).await
    }

    /// As [`tcp_intercept`](Self::tcp_intercept), but every connection is completed before the
    /// program gets it: every port appears open. [`TcpStream::local_addr`] is the destination that
    /// the peer dialled, in the same form.
    ///
    /// This is [`tcp_listen_with`](Self::tcp_listen_with) on `[::]:0` with
    /// [`ListenOptions::any_port`].
    ///
    /// # Errors
    ///
    /// As [`tcp_intercept`](Self::tcp_intercept).
    ///
    /// # Cancel safety
    ///
    /// As [`tcp_intercept`](Self::tcp_intercept).
    pub async fn tcp_intercept_accept(&self) -> io::Result<TcpListener> {
        let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0);
        self.tcp_listen_with(any, ListenOptions { any_port: true, ..Default::default() }).await
    }

    /// Listens on a port that was reserved.
    pub(crate) async fn tcp_listen_reserved(
        &self,
        reservation: Reservation,
        options: ListenOptions,
    ) -> io::Result<TcpListener> {
        let hop_limit = options.connection.hop_limit;
        match self.open(tcp::Command::ListenReserved { reservation, options }).await? {
            (_, SocketQueue::Accept(queue)) => Ok(TcpListener::new(queue, hop_limit)),
            _ => Err(Error::WrongSocket.into()),
        }
    }

    /// Connects from a port that was reserved.
    pub(crate) async fn tcp_connect_reserved(
        &self,
        reservation: Reservation,
        remote: SocketAddr,
        options: Options,
    ) -> io::Result<TcpStream> {
        match self.open(tcp::Command::ConnectReserved { reservation, remote, options }).await? {
            (_, SocketQueue::Stream(queue)) => Ok(TcpStream::new(queue)),
            _ => Err(Error::WrongSocket.into()),
        }
    }

    /// A socket for IPv4 that neither listens nor is connected yet, for options that must be set
    /// before.
    pub fn tcp_socket_v4(&self) -> TcpSocket {
        TcpSocket::v4(self)
    }

    /// The same for IPv6.
    pub fn tcp_socket_v6(&self) -> TcpSocket {
        TcpSocket::v6(self)
    }

    /// Makes a socket that sends ICMP echo requests to `target`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the address cannot be a host's.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, nothing is left behind.
    pub async fn ping(&self, target: IpAddr) -> io::Result<PingSocket> {
        let local = match target.to_canonical() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        self.ping_from(local, target).await
    }

    /// As [`ping`](Self::ping), from the address `local` of the stack.
    ///
    /// # Errors
    ///
    /// `AddrNotAvailable` if `local` is no address of the stack; `InvalidInput` if `target` cannot be a
    /// host's of the same family.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, nothing is left behind.
    pub async fn ping_from(&self, local: IpAddr, target: IpAddr) -> io::Result<PingSocket> {
        let (local, target) = (local.to_canonical(), target.to_canonical());
        match self.open(icmp::Command::Open { local }).await? {
            (
                Response::Icmp(icmp::Response::Opened { identifier, .. }),
                SocketQueue::Datagram(queue),
            ) => PingSocket::new(queue, target, identifier),
            _ => Err(Error::WrongSocket.into()),
        }
    }

    /// Makes a socket that receives all IP packets of a protocol, and sends such.
    ///
    /// # Errors
    ///
    /// `QuotaExceeded` if the stack has too many sockets.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, nothing is left behind.
    pub async fn raw(&self, version: Version, protocol: u8) -> io::Result<RawSocket> {
        match self.open(raw::Command::Open { version, protocol }).await? {
            (_, SocketQueue::Datagram(queue)) => Ok(RawSocket::new(queue)),
            _ => Err(Error::WrongSocket.into()),
        }
    }

    /// Where the stack's addresses, routes and link are changed.
    pub fn control(&self) -> Control {
        Control::new(self.channel.clone())
    }

    /// The stack's current addresses, routes, link and name servers.
    pub fn network(&self) -> Arc<Network> {
        self.watch_network().current()
    }

    /// The same, now and whenever it changes from now on.
    pub fn watch_network(&self) -> NetworkWatch {
        self.channel.network()
    }

    /// All sockets of the stack and its counters, at this moment.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` if the stack is gone.
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub async fn snapshot(&self) -> io::Result<Snapshot> {
        match self.channel.request(None, control::Command::Snapshot).await?.try_into()? {
            control::Response::Snapshot(snapshot) => Ok(*snapshot),
            _ => Err(Error::WrongSocket.into()),
        }
    }

    /// The families that a connection could be made in.
    fn reach(&self) -> Reach {
        let network = self.network();
        let has_v4 = network.addresses.iter().any(|address| address.addr().is_ipv4());
        // A link-local source cannot reach destinations beyond the link.
        let is_wide = |address: &ipnet::IpNet| match address.addr() {
            IpAddr::V6(ip) => !ip.is_unicast_link_local(),
            IpAddr::V4(_) => false,
        };
        let has_v6 = network.addresses.iter().any(is_wide);
        Reach { v4: has_v4 || network.any_ip, v6: has_v6 || network.any_ip }
    }

    async fn connect(
        &self,
        remote: SocketAddr,
        local: Option<SocketAddr>,
        options: Options,
    ) -> Result<TcpStream, Error> {
        match self.open(tcp::Command::Connect { remote, local, options }).await? {
            (_, SocketQueue::Stream(queue)) => Ok(TcpStream::new(queue)),
            _ => Err(Error::WrongSocket),
        }
    }

    /// Carries out a command that makes a socket.
    pub(crate) async fn open(
        &self,
        command: impl Into<Command>,
    ) -> Result<(Response, SocketQueue), Error> {
        let (response, queue) = self.channel.call(None, command).await?;
        Ok((response, queue.ok_or(Error::WrongSocket)?))
    }
}

impl HasChannel for Net {
    fn command_channel(&self) -> Channel {
        self.channel.clone()
    }
}
