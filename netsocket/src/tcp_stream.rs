//! Async TCP connections.

use crate::blocking;
use crate::readiness::operation_methods;
use crate::split::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
use crate::stream::Stream;
use crate::stream_io::implements;
use crate::stream_methods::{
    address_methods, option_methods, readiness_methods, reading_methods, writing_methods,
};
use crate::wait;
use bytes::{Buf, Bytes};
use netcore::Error;
use netcore::tcp::TcpInfo;
use std::fmt;
use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// A TCP connection, with the methods of `tokio::net::TcpStream`.
///
/// Read and write it through tokio's [`AsyncRead`](tokio::io::AsyncRead) and
/// [`AsyncWrite`](tokio::io::AsyncWrite), or those of futures-io with the feature of that name.
/// Dropping it closes the connection: written bytes are still sent, in the background; if received
/// bytes are unread the peer gets a reset instead (RFC 2525 section 2.17).
pub struct TcpStream {
    stream: Arc<Stream>,
}

impl TcpStream {
    pub(crate) fn new(queue: Arc<netcore::queue::StreamQueue>) -> Self {
        Self { stream: Arc::new(Stream::new(queue)) }
    }

    pub(crate) fn from_stream(stream: Arc<Stream>) -> Self {
        Self { stream }
    }

    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Whether both are handles of one connection.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.stream, &other.stream)
    }

    pub(crate) fn into_stream(self) -> Arc<Stream> {
        self.stream
    }

    address_methods!(self => self.stream);
    readiness_methods!(self => self.stream);
    reading_methods!(self => self.stream);
    writing_methods!(self => self.stream);
    option_methods!(self => self.stream);

    operation_methods!(self => self.stream);

    /// The numbers of the connection at this moment, such as its round trip and what it has
    /// retransmitted (Linux: `TCP_INFO`); those of its end once it is over.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` if the stack has ended before the connection.
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub async fn info(&self) -> io::Result<TcpInfo> {
        Ok(self.stream.info().await?)
    }

    /// Makes dropping the stream reset the connection.
    ///
    /// # Errors
    ///
    /// None.
    pub fn set_zero_linger(&self) -> io::Result<()> {
        self.set_linger(Some(Duration::ZERO))
    }

    /// As [`readable`](Self::readable); only the last caller is woken.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        wait::poll_ready(&self.stream.reads(), cx).map(Ok)
    }

    /// As [`writable`](Self::writable); only the last caller is woken.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        wait::poll_ready(&self.stream.writes(), cx).map(Ok)
    }

    /// Takes the next piece of received bytes, at most `max` of them, without a copy; an empty one
    /// is the end of the stream.
    ///
    /// # Errors
    ///
    /// The error of the connection.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready loses nothing.
    pub async fn recv_bytes(&self, max: usize) -> io::Result<Bytes> {
        wait::retry(&self.stream.reads(), || self.stream.try_recv_bytes(max)).await
    }

    /// As [`recv_bytes`](Self::recv_bytes), if there is something to read.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if no bytes are available; the error of the connection, once.
    pub fn try_recv_bytes(&self, max: usize) -> io::Result<Bytes> {
        Ok(self.stream.try_recv_bytes(max)?)
    }

    /// Writes all of `data`, without a copy.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` after the write half was shut down; the error of the connection.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the first part of `data` may have been written. Use
    /// [`write_bytes`](Self::write_bytes) where that matters.
    pub async fn send_bytes(&self, mut data: Bytes) -> io::Result<()> {
        while data.has_remaining() {
            self.write_bytes(&mut data).await?;
        }
        Ok(())
    }

    /// Writes as much as there is room for, without a copy, removes it from the front of `data` and
    /// returns the number of bytes.
    ///
    /// # Errors
    ///
    /// As [`send_bytes`](Self::send_bytes).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready has written nothing.
    pub async fn write_bytes(&self, data: &mut Bytes) -> io::Result<usize> {
        wait::retry(&self.stream.writes(), || self.stream.try_send_bytes(data)).await
    }

    /// Shuts the write half down, for handles that are shared: the peer sees the end of the stream
    /// after all written bytes. A second call has no effect.
    ///
    /// # Errors
    ///
    /// `NotConnected` if the connection has ended.
    pub fn shutdown_write(&self) -> io::Result<()> {
        Self::shut_down(&self.stream, Shutdown::Write)
    }

    /// Splits the stream into a read half and a write half, which borrow it.
    pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        (ReadHalf(self), WriteHalf(self))
    }

    /// Splits the stream into a read half and a write half. Dropping the write half shuts it down:
    /// the peer sees the end of the stream.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        let read = OwnedReadHalf { whole: Self::from_stream(self.stream.clone()) };
        (read, OwnedWriteHalf { whole: self, shuts_down: true })
    }

    /// Shuts one half down, or both. Writing that may not fail is what
    /// [`AsyncWriteExt::shutdown`](https://docs.rs/tokio/1/tokio/io/trait.AsyncWriteExt.html#method.shutdown)
    /// is for.
    ///
    /// # Errors
    ///
    /// `NotConnected` if the connection is over.
    pub(crate) fn shut_down(stream: &Stream, how: Shutdown) -> io::Result<()> {
        let is_over = stream.is_over();
        if matches!(how, Shutdown::Read | Shutdown::Both) {
            stream.shutdown_recv();
        }
        if matches!(how, Shutdown::Write | Shutdown::Both) {
            // A stream that has ended by itself has nothing left to shut down.
            stream.shutdown_send().map_err(|_| io::Error::from(Error::Closed))?;
        }
        if is_over { Err(Error::Closed.into()) } else { Ok(()) }
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

impl From<blocking::TcpStream> for TcpStream {
    fn from(stream: blocking::TcpStream) -> Self {
        Self::from_stream(stream.into_stream())
    }
}

implements!(read TcpStream, self => self.stream);
implements!(write TcpStream, self => self.stream);
