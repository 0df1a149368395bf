//! Async TCP listeners.

use crate::blocking;
use crate::stream::{BlockingMode, DEFAULT_TTL, valid_ttl};
use crate::tcp_stream::TcpStream;
use crate::wait::{self, Waitable};
use netcore::queue::{AcceptQueue, WaitKey};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Waker};

/// A TCP listener, with the methods of `tokio::net::TcpListener`.
///
/// Connections are completed before they are accepted, up to the backlog. Dropping the listener
/// resets those that were not accepted; accepted ones are not affected.
pub struct TcpListener {
    listener: Arc<Listener>,
}

/// A listener's queue, closed when the last handle is dropped.
pub(crate) struct Listener {
    queue: Arc<AcceptQueue>,
    pub(crate) blocking: BlockingMode,
    /// The time to live of accepted connections; 0 if it was not set.
    ttl: AtomicU8,
}

impl Listener {
    pub(crate) fn try_accept(&self) -> Result<(TcpStream, SocketAddr), netcore::Error> {
        let queue = self.queue.try_accept()?;
        let ttl = self.ttl.load(Ordering::Relaxed);
        if ttl != 0 {
            queue.set_options(|options| options.hop_limit = Some(ttl));
        }
        let peer = queue.peer_address();
        Ok((TcpStream::new(queue), peer))
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.queue.local_address()
    }

    pub(crate) fn ttl(&self) -> u32 {
        match self.ttl.load(Ordering::Relaxed) {
            0 => DEFAULT_TTL,
            ttl => u32::from(ttl),
        }
    }

    pub(crate) fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.ttl.store(valid_ttl(ttl)?, Ordering::Relaxed);
        Ok(())
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
    /// For a queue whose connections have `hop_limit` unless another one is set.
    pub(crate) fn new(queue: Arc<AcceptQueue>, hop_limit: Option<u8>) -> Self {
        let blocking = BlockingMode::default();
        let ttl = AtomicU8::new(hop_limit.unwrap_or(0));
        Self { listener: Arc::new(Listener { queue, blocking, ttl }) }
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

    /// As [`accept`](Self::accept); only the last caller is woken.
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

    /// Once the stack is gone no connection ever arrives: waits forever then, since axum retries
    /// after every error.
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
