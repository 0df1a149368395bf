//! Blocking TCP connections.

use crate::stream::Stream;
use crate::stream_methods::{address_methods, option_methods};
use crate::wait;
use netcore::Error;
use netcore::tcp::TcpInfo;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A TCP connection, with the methods of `std::net::TcpStream`.
///
/// The connection closes when the last clone is dropped, as described at
/// [`crate::TcpStream`].
pub struct TcpStream {
    stream: Arc<Stream>,
}

impl TcpStream {
    pub(crate) fn into_stream(self) -> Arc<Stream> {
        self.stream
    }

    address_methods!(self => self.stream);
    option_methods!(self => self.stream);

    /// Shuts the read half, the write half or both down.
    ///
    /// # Errors
    ///
    /// `NotConnected` if the connection has ended.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        crate::TcpStream::shut_down(&self.stream, how)
    }

    /// As [`crate::TcpStream::info`]; waits for the stack, whatever the mode and the timeouts.
    ///
    /// # Errors
    ///
    /// As [`crate::TcpStream::info`].
    pub fn info(&self) -> io::Result<TcpInfo> {
        Ok(pollster::block_on(self.stream.info())?)
    }

    /// A second handle to the same connection, which shares its timeouts and mode.
    ///
    /// # Errors
    ///
    /// None.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { stream: self.stream.clone() })
    }

    /// The read timeout; `None` waits indefinitely.
    ///
    /// # Errors
    ///
    /// None.
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.stream.blocking.read_timeout())
    }

    /// The write timeout; `None` waits indefinitely.
    ///
    /// # Errors
    ///
    /// None.
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.stream.blocking.write_timeout())
    }

    /// Sets how long a read may wait; it fails with `TimedOut` then, and loses nothing.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for zero.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.stream.blocking.set_read_timeout(timeout)
    }

    /// Sets how long a write may wait; it fails with `TimedOut` then, and has written nothing.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for zero.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.stream.blocking.set_write_timeout(timeout)
    }

    /// Makes reads and writes fail with `WouldBlock` instead of waiting.
    ///
    /// # Errors
    ///
    /// None.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.stream.blocking.set_nonblocking(nonblocking);
        Ok(())
    }

    /// Copies received bytes into `buf` and leaves them to be read; returns how many, 0 at the end
    /// of the stream.
    ///
    /// # Errors
    ///
    /// As a read.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.read_with(|| self.stream.try_peek(buf))
    }

    fn read_with<T>(&self, mut attempt: impl FnMut() -> Result<T, Error>) -> io::Result<T> {
        if self.stream.blocking.is_nonblocking() {
            return attempt().map_err(io::Error::from);
        }
        wait::block(&self.stream.reads(), deadline(self.stream.blocking.read_timeout()), attempt)
    }

    fn write_with<T>(&self, mut attempt: impl FnMut() -> Result<T, Error>) -> io::Result<T> {
        if self.stream.blocking.is_nonblocking() {
            return attempt().map_err(io::Error::from);
        }
        wait::block(&self.stream.writes(), deadline(self.stream.blocking.write_timeout()), attempt)
    }
}

/// When a call that begins now and may take so long is over. A timeout past the end of time is
/// none.
pub(super) fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

impl Read for &TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.read_with(|| self.stream.try_recv(buf))
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.read_with(|| self.stream.try_recv_vectored(bufs))
    }
}

impl Write for &TcpStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_with(|| self.stream.try_send(buf))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write_with(|| self.stream.try_send_vectored(bufs))
    }

    /// Does nothing: written bytes are sent without a flush.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(bufs)
    }
}

impl Write for TcpStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpStream")
            .field("local_addr", &self.stream.local_addr())
            .field("peer_addr", &self.stream.peer_addr())
            .finish()
    }
}

impl From<crate::TcpStream> for TcpStream {
    fn from(stream: crate::TcpStream) -> Self {
        Self { stream: stream.into_stream() }
    }
}
