//! Blocking TCP listeners.

use super::TcpStream;
use crate::tcp_listener::Listener;
use crate::wait;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// A TCP listener, with the methods of `std::net::TcpListener`.
pub struct TcpListener {
    listener: Arc<Listener>,
}

impl TcpListener {
    pub(crate) fn into_listener(self) -> Arc<Listener> {
        self.listener
    }

    /// Waits for the next connection, oldest first.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` if the stack is gone; `WouldBlock` in non-blocking mode if there is none.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let attempt = || self.listener.try_accept();
        let (stream, peer) = if self.listener.blocking.is_nonblocking() {
            attempt()?
        } else {
            wait::block(&*self.listener, None, attempt)?
        };
        Ok((stream.into(), peer))
    }

    /// All connections that come, one after the other, without an end.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// The address that the listener listens on.
    ///
    /// # Errors
    ///
    /// None.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.listener.local_addr())
    }

    /// The time to live or hop limit of accepted connections.
    ///
    /// # Errors
    ///
    /// None.
    pub fn ttl(&self) -> io::Result<u32> {
        Ok(self.listener.ttl())
    }

    /// Sets the time to live or hop limit of connections accepted from now on, from 1 to 255.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for any other value.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.listener.set_ttl(ttl)
    }

    /// Always `None`, for parity with std: [`accept`](Self::accept) returns the errors.
    ///
    /// # Errors
    ///
    /// None.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(None)
    }

    /// A second handle to the same listener.
    ///
    /// # Errors
    ///
    /// None.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { listener: self.listener.clone() })
    }

    /// Makes [`accept`](Self::accept) fail with `WouldBlock` instead of waiting.
    ///
    /// # Errors
    ///
    /// None.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.listener.blocking.set_nonblocking(nonblocking);
        Ok(())
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpListener").field("local_addr", &self.listener.local_addr()).finish()
    }
}

impl From<crate::TcpListener> for TcpListener {
    fn from(listener: crate::TcpListener) -> Self {
        Self { listener: listener.into_listener() }
    }
}

/// The connections of a listener; see [`TcpListener::incoming`].
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}
