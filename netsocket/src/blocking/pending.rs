//! Listeners that leave it to the program what becomes of each SYN, for plain threads.

use super::TcpStream;
use crate::pending::Listener;
use crate::wait;
use netcore::tcp::Refusal;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// A TCP listener that answers no SYN by itself. See
/// [`PendingListener`](crate::PendingListener).
pub struct PendingListener {
    listener: Arc<Listener>,
}

impl PendingListener {
    pub(crate) fn into_listener(self) -> Arc<Listener> {
        self.listener
    }

    /// Waits for the next connection attempt, oldest first.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` if the stack is gone; `WouldBlock` in non-blocking mode if there is none.
    pub fn next(&self) -> io::Result<PendingConnection> {
        let attempt = || self.listener.try_next();
        let pending = if self.listener.blocking.is_nonblocking() {
            attempt()?
        } else {
            wait::block(&*self.listener, None, attempt)?
        };
        Ok(pending.into())
    }

    /// The address that the listener listens on; `[::]:0` or `0.0.0.0:0` for every address and
    /// port.
    pub fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// A second handle to the same listener.
    ///
    /// # Errors
    ///
    /// None.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { listener: self.listener.clone() })
    }

    /// Makes [`next`](Self::next) fail with `WouldBlock` instead of waiting.
    ///
    /// # Errors
    ///
    /// None.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.listener.blocking.set_nonblocking(nonblocking);
        Ok(())
    }
}

impl fmt::Debug for PendingListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingListener").field("local_addr", &self.local_addr()).finish()
    }
}

impl From<crate::PendingListener> for PendingListener {
    fn from(listener: crate::PendingListener) -> Self {
        Self { listener: listener.into_listener() }
    }
}

/// A connection attempt that was not answered yet. See
/// [`PendingConnection`](crate::PendingConnection).
#[derive(Debug)]
pub struct PendingConnection(crate::PendingConnection);

impl PendingConnection {
    pub(crate) fn into_inner(self) -> crate::PendingConnection {
        self.0
    }

    /// The address of the peer, as [`crate::PendingConnection::peer_addr`].
    pub fn peer_addr(&self) -> SocketAddr {
        self.0.peer_addr()
    }

    /// The address that the peer has dialled, as [`crate::PendingConnection::local_addr`].
    pub fn local_addr(&self) -> SocketAddr {
        self.0.local_addr()
    }

    /// Answers the peer and waits until the handshake is done.
    ///
    /// # Errors
    ///
    /// As [`crate::PendingConnection::accept`].
    pub fn accept(self) -> io::Result<TcpStream> {
        pollster::block_on(self.0.accept()).map(TcpStream::from)
    }

    /// Refuses the connection with a reset, as a closed port does.
    ///
    /// # Errors
    ///
    /// As [`crate::PendingConnection::refuse`].
    pub fn refuse(self) -> io::Result<()> {
        self.0.refuse()
    }

    /// Refuses the connection with a reset or an ICMP error.
    ///
    /// # Errors
    ///
    /// As [`crate::PendingConnection::reject`].
    pub fn reject(self, how: Refusal) -> io::Result<()> {
        self.0.reject(how)
    }

    /// Drops the attempt without an answer.
    ///
    /// # Errors
    ///
    /// As [`crate::PendingConnection::ignore`].
    pub fn ignore(self) -> io::Result<()> {
        self.0.ignore()
    }
}

impl From<crate::PendingConnection> for PendingConnection {
    fn from(pending: crate::PendingConnection) -> Self {
        Self(pending)
    }
}
