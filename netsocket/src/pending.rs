//! Listeners that leave it to the program what becomes of each SYN.

use crate::blocking;
use crate::stream::BlockingMode;
use crate::tcp_stream::TcpStream;
use crate::wait::{self, Waitable};
use netcore::queue::{AcceptQueue, HeldSyn, SocketQueue, WaitKey};
use netcore::tcp::{self, Refusal};
use netcore::{Channel, Error};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// A TCP listener that answers no SYN by itself: each waits as a [`PendingConnection`] until the
/// program accepts, refuses or ignores it. Made by
/// [`Net::tcp_listen_pending`](crate::Net::tcp_listen_pending) and
/// [`Net::tcp_intercept`](crate::Net::tcp_intercept).
///
/// Pending SYNs, queued or held by the program, are half-open connections: the stack's
/// [`half_open_per_listener_max`](netcore::TcpConfig::half_open_per_listener_max) and
/// [`half_open_max`](netcore::TcpConfig::half_open_max) bound them; beyond a bound the oldest is
/// dropped. Dropping the listener ends them all.
pub struct PendingListener {
    listener: Arc<Listener>,
}

/// The queue of a listener, closed when the last handle is dropped.
pub(crate) struct Listener {
    queue: Arc<AcceptQueue>,
    channel: Channel,
    pub(crate) blocking: BlockingMode,
}

impl Listener {
    pub(crate) fn try_next(&self) -> Result<PendingConnection, Error> {
        let held = self.queue.try_held()?;
        Ok(PendingConnection { held, channel: self.channel.clone() })
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.queue.local_address()
    }
}

impl Waitable for Listener {
    fn poll(&self, key: &mut WaitKey, waker: &Waker) -> Poll<()> {
        self.queue.poll_acceptable(key, waker)
    }

    fn forget(&self, key: &WaitKey) {
        self.queue.forget(key);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl PendingListener {
    pub(crate) fn new(queue: Arc<AcceptQueue>, channel: Channel) -> Self {
        let blocking = BlockingMode::default();
        Self { listener: Arc::new(Listener { queue, channel, blocking }) }
    }

    pub(crate) fn into_listener(self) -> Arc<Listener> {
        self.listener
    }

    /// Waits for the next connection attempt, oldest first.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` if the stack is gone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready loses no attempt.
    pub async fn next(&self) -> io::Result<PendingConnection> {
        wait::retry(&*self.listener, || self.listener.try_next()).await
    }

    /// As [`next`](Self::next); only the last caller is woken.
    pub fn poll_next(&self, cx: &mut Context<'_>) -> Poll<io::Result<PendingConnection>> {
        wait::poll_retry(&*self.listener, cx, || self.listener.try_next())
    }

    /// The address that the listener listens on; `[::]:0` or `0.0.0.0:0` for every address and
    /// port.
    pub fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }
}

impl fmt::Debug for PendingListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingListener").field("local_addr", &self.local_addr()).finish()
    }
}

impl From<blocking::PendingListener> for PendingListener {
    fn from(listener: blocking::PendingListener) -> Self {
        Self { listener: listener.into_listener() }
    }
}

/// A connection attempt that was not answered yet.
///
/// Dropping it refuses it with a reset. It ends by itself when its peer gives up, after
/// [`handshake_timeout`](netcore::TcpConfig::handshake_timeout) (60 s), when it is evicted for
/// newer attempts, and with its listener; [`ended`](Self::ended) waits for that, and every decision
/// then fails. A peer that closes its socket before it is answered sends nothing, though, and is
/// noticed only when it is answered.
pub struct PendingConnection {
    held: Arc<HeldSyn>,
    channel: Channel,
}

impl PendingConnection {
    /// The address of the peer. As with a [`TcpStream`], a listener on `[::]` sees IPv4 as
    /// `::ffff:a.b.c.d`; [`to_canonical`](std::net::IpAddr::to_canonical) undoes that.
    pub fn peer_addr(&self) -> SocketAddr {
        self.held.peer_address()
    }

    /// The address that the peer has dialled, in the same form.
    pub fn local_addr(&self) -> SocketAddr {
        self.held.local_address()
    }

    /// Answers the peer and waits until the handshake is done. The options of its SYN (MSS, window
    /// scale) apply to the connection; the socket options are those of the listener.
    ///
    /// # Errors
    ///
    /// `ConnectionReset` if the peer has given up; `TimedOut` if it does not complete the
    /// handshake, or waited too long; `ConnectionAborted` if it was evicted, or the listener has
    /// ended; `QuotaExceeded` if there are no buffers for it; `NetworkUnreachable` if there is no
    /// route to it any more; `BrokenPipe` if the stack is gone.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the peer is reset, whether or not it was answered before.
    pub async fn accept(self) -> io::Result<TcpStream> {
        match self.channel.call(Some(self.held.id()), tcp::Command::Admit).await {
            Ok((_, Some(SocketQueue::Stream(queue)))) => Ok(TcpStream::new(queue)),
            Ok(_) => Err(Error::WrongSocket.into()),
            Err(Error::Closed) => Err(self.held.end().unwrap_or(Error::Closed).into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Refuses the connection with a reset, as a closed port does.
    ///
    /// # Errors
    ///
    /// The reason why the attempt has ended already, as [`ended`](Self::ended).
    pub fn refuse(self) -> io::Result<()> {
        self.reject(Refusal::Reset)
    }

    /// Refuses the connection with a reset or an ICMP error. ICMP errors are limited by
    /// [`icmp_errors_per_second`](netcore::IpConfig::icmp_errors_per_second), and not sent beyond
    /// that. [`Refusal::from`] an [`io::ErrorKind`] maps the error of an outgoing connection to the
    /// matching refusal.
    ///
    /// # Errors
    ///
    /// The reason why the attempt has ended already, as [`ended`](Self::ended).
    pub fn reject(self, how: Refusal) -> io::Result<()> {
        Ok(self.held.refuse(how)?)
    }

    /// Drops the attempt without an answer. The peer retransmits its SYN, which makes a new attempt
    /// here.
    ///
    /// # Errors
    ///
    /// The reason why the attempt has ended already, as [`ended`](Self::ended).
    pub fn ignore(self) -> io::Result<()> {
        self.reject(Refusal::Silence)
    }

    /// Waits until the attempt has ended without a decision, and returns the reason:
    /// `ConnectionReset` (the peer has given up), `TimedOut` (it waited too long),
    /// `ConnectionAborted` (it was evicted, its listener has ended, or its address was removed),
    /// `BrokenPipe` (the stack is gone).
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub async fn ended(&self) -> io::Error {
        wait::ready(&*self.held).await;
        self.held.end().unwrap_or(Error::Closed).into()
    }
}

impl Waitable for HeldSyn {
    fn poll(&self, key: &mut WaitKey, waker: &Waker) -> Poll<()> {
        self.poll_ended(key, waker).map(|_| ())
    }

    fn forget(&self, key: &WaitKey) {
        HeldSyn::forget(self, key);
    }
}

impl Drop for PendingConnection {
    fn drop(&mut self) {
        self.held.close();
    }
}

impl fmt::Debug for PendingConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingConnection")
            .field("peer_addr", &self.peer_addr())
            .field("local_addr", &self.local_addr())
            .finish()
    }
}

impl From<blocking::PendingConnection> for PendingConnection {
    fn from(pending: blocking::PendingConnection) -> Self {
        pending.into_inner()
    }
}
