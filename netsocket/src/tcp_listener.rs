//! Async TCP listeners.

use crate::blocking;
use crate::tcp_stream::TcpStream;
use crate::wait::{self, Waitable};
use netcore::queue::{AcceptQueue, WaitKey};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// A TCP listener, with the methods of `tokio::net::TcpListener`.
///
/// Connections are made while nobody accepts them, as many as its backlog allows. Dropping the
/// listener resets those that nobody accepted; what was accepted lives on.
pub struct TcpListener {
    listener: Arc<Listener>,
}

/// A listener's queue, closed when the last handle is dropped.
pub(crate) struct Listener {
    queue: Arc<AcceptQueue>,
    pub(crate) blocking: crate::stream::BlockingMode,
}

impl Listener {
    pub(crate) fn try_accept(&self) -> Result<(TcpStream, SocketAddr), netcore::Error> {
        let queue = self.queue.try_accept()?;
        let peer = queue.peer_address();
        Ok((TcpStream::new(queue), peer))
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

impl TcpListener {
    pub(crate) fn new(queue: Arc<AcceptQueue>) -> Self {
        Self { listener: Arc::new(Listener { queue, blocking: Default::default() }) }
    }

    pub(crate) fn into_listener(self) -> Arc<Listener> {
        self.listener
    }

    /// Waits for the next connection, oldest first.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` if the stack is gone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready loses no connection.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        wait::retry(&*self.listener, || self.listener.try_accept()).await
    }

    /// As [`accept`](Self::accept); only the last task that asked is woken.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        wait::poll_retry(&*self.listener, cx, || self.listener.try_accept())
    }

    /// The address that the listener listens on.
    ///
    /// # Errors
    ///
    /// None.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.listener.local_addr())
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpListener").field("local_addr", &self.listener.local_addr()).finish()
    }
}

impl From<blocking::TcpListener> for TcpListener {
    fn from(listener: blocking::TcpListener) -> Self {
        Self { listener: listener.into_listener() }
    }
}

#[cfg(feature = "axum")]
impl axum::serve::Listener for TcpListener {
    type Io = TcpStream;
    type Addr = SocketAddr;

    /// Once the stack is gone no connection ever comes: waits for ever then, since axum asks again
    /// after any error.
    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match TcpListener::accept(self).await {
            Ok(accepted) => accepted,
            Err(_) => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        TcpListener::local_addr(self)
    }
}
