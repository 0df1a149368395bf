//! The far end of a TCP socket's pair.

use crate::backlog::{Backlog, Incoming};
use crate::connecting::Connecting;
use crate::far::{Far, Watch};
use crate::pump::pump;
use netsocket::{TcpListener, TcpStream};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// The far end of a TCP socket's pair, of [`stream_pair`](crate::stream_pair).
///
/// Dropping it looks to the program as if the peer had closed the connection.
#[derive(Debug)]
pub struct StreamEnd {
    far: Far,
    key: u64,
}

impl StreamEnd {
    pub(crate) fn new(far: Far, key: u64) -> Self {
        Self { far, key }
    }

    /// The [key](crate::key) of the near end.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// Waits until the last copy of the near end is closed, or both of its halves are shut down.
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub async fn closed(&self) {
        self.far.hung_up().await;
    }

    /// Makes the near end look like that of a connection attempt: it is not writable.
    ///
    /// A copy of the near end is needed for the time of the call.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn connecting(self, near: impl AsFd) -> io::Result<Connecting> {
        Connecting::new(self, near.as_fd())
    }

    /// Carries bytes between the program and the connection, until it is over for both. To be
    /// spawned as a task.
    ///
    /// | of the program | to the connection |
    /// |---|---|
    /// | `shutdown(SHUT_WR)` | the end of the stream, after all bytes |
    /// | last copy closed, everything read | is closed; remaining bytes are still sent |
    /// | last copy closed, bytes unread | is reset (RFC 2525 section 2.17) |
    ///
    /// | of the connection | to the program |
    /// |---|---|
    /// | end of the stream | end of the stream, after all bytes: `POLLIN`, `POLLRDHUP` |
    /// | reset, timeout | `ECONNRESET` after all bytes: `POLLERR`, `POLLHUP` |
    ///
    /// To show the reset, one byte of the program's must be unread at this end. If there is none,
    /// `near` is called with the error for a copy of the near end, through which the byte is
    /// written; without one, and after the program's `SHUT_WR`, a reset looks like the end of the
    /// stream. `near` is called before the error shows, so it is the place to note it for
    /// `SO_ERROR`.
    ///
    /// The connection is closed with its last handle. Who sets options of it while it is carried
    /// keeps a [`Weak`](std::sync::Weak).
    ///
    /// # Errors
    ///
    /// The error that ended the connection.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future looks to both sides as if the other had closed.
    pub async fn carry(
        self,
        stream: Arc<TcpStream>,
        near: impl FnOnce(&io::Error) -> Option<OwnedFd>,
    ) -> io::Result<()> {
        pump(self.far, stream, near).await
    }

    /// Makes it a listener's. The near end is readable while a connection waits, and never writable.
    ///
    /// A copy of the near end is needed for the time of the call.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn listen(self, listener: TcpListener, near: impl AsFd) -> io::Result<Arc<Backlog>> {
        self.listen_to(Arc::new(Incoming::new(listener)), near)
    }

    /// As [`listen`](Self::listen), where others may listen to the same.
    pub(crate) fn listen_to(
        self,
        incoming: Arc<Incoming>,
        near: impl AsFd,
    ) -> io::Result<Arc<Backlog>> {
        // Nobody ever reads the filler.
        let connecting = self.connecting(near)?;
        let Self { far, key } = connecting.into_end();
        Ok(Arc::new(Backlog::new(far, key, incoming)))
    }

    pub(crate) fn watch(&self) -> Watch {
        self.far.watch()
    }

    pub(crate) fn far(&self) -> &Far {
        &self.far
    }
}
