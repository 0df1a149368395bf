//! Async TCP connections.

use crate::blocking;
use crate::split::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
use crate::stream::Stream;
use crate::stream_io::implements;
use crate::wait;
use bytes::{Buf, BufMut, Bytes};
use netcore::Error;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::ReadBuf;

/// A TCP connection, with the methods of `tokio::net::TcpStream`.
///
/// Read and write it through tokio's [`AsyncRead`](tokio::io::AsyncRead) and
/// [`AsyncWrite`](tokio::io::AsyncWrite), or those of futures-io with the feature of that name. Dropping it closes the connection: what was written is still sent, in
/// the background; with received bytes unread the peer is reset instead, so that it knows.
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

    pub(crate) fn into_stream(self) -> Arc<Stream> {
        self.stream
    }

    /// This end's address.
    ///
    /// # Errors
    ///
    /// None; as everywhere in this crate the result is `tokio::net`'s.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.stream.local_addr())
    }

    /// The other end's address.
    ///
    /// # Errors
    ///
    /// None.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.stream.peer_addr())
    }

    /// Why the connection failed, if it did. Unlike the kernel's, the answer stays.
    ///
    /// # Errors
    ///
    /// None.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(self.stream.take_error())
    }

    /// Waits until there is something to read: bytes, the end of the stream, or an error.
    ///
    /// # Errors
    ///
    /// None: an error is found by reading.
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub async fn readable(&self) -> io::Result<()> {
        wait::ready(&self.stream.reads()).await;
        Ok(())
    }

    /// Waits until something can be written, or writing fails.
    ///
    /// # Errors
    ///
    /// None: an error is found by writing.
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub async fn writable(&self) -> io::Result<()> {
        wait::ready(&self.stream.writes()).await;
        Ok(())
    }

    /// As [`readable`](Self::readable); only the last task that asked is woken.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        wait::poll_ready(&self.stream.reads(), cx).map(Ok)
    }

    /// As [`writable`](Self::writable); only the last task that asked is woken.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        wait::poll_ready(&self.stream.writes(), cx).map(Ok)
    }

    /// Reads what is there; 0 bytes are the end of the stream, or an empty `buf`.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if nothing is there; why the connection ended.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.stream.try_recv(buf)?)
    }

    /// As [`try_read`](Self::try_read), into several buffers in turn.
    ///
    /// # Errors
    ///
    /// As [`try_read`](Self::try_read).
    pub fn try_read_vectored(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        Ok(self.stream.try_recv_vectored(bufs)?)
    }

    /// As [`try_read`](Self::try_read), into the free room of `buf`.
    ///
    /// # Errors
    ///
    /// As [`try_read`](Self::try_read).
    pub fn try_read_buf<B: BufMut>(&self, buf: &mut B) -> io::Result<usize> {
        let room = buf.remaining_mut();
        let chunk = self.stream.try_recv_bytes(room)?;
        let n = chunk.len();
        buf.put(chunk);
        Ok(n)
    }

    /// Writes what there is room for and returns how much that was.
    ///
    /// # Errors
    ///
    /// `WouldBlock` without room; `BrokenPipe` after the write half was shut down; why the
    /// connection ended.
    pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        Ok(self.stream.try_send(buf)?)
    }

    /// As [`try_write`](Self::try_write), from several buffers in turn.
    ///
    /// # Errors
    ///
    /// As [`try_write`](Self::try_write).
    pub fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(self.stream.try_send_vectored(bufs)?)
    }

    /// Copies received bytes into `buf` and leaves them to be read; returns how many, 0 at the end
    /// of the stream.
    ///
    /// # Errors
    ///
    /// Why the connection ended.
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        wait::retry(&self.stream.reads(), || self.stream.try_peek(buf)).await
    }

    /// As [`peek`](Self::peek); only the last task that asked is woken.
    pub fn poll_peek(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        wait::poll_retry(&self.stream.reads(), cx, || {
            let n = self.stream.try_peek(buf.initialize_unfilled())?;
            buf.advance(n);
            Ok(n)
        })
    }

    /// Takes the next piece of received bytes, at most `max` of them, without a copy; an empty one
    /// is the end of the stream.
    ///
    /// # Errors
    ///
    /// Why the connection ended.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready loses nothing.
    pub async fn recv_bytes(&self, max: usize) -> io::Result<Bytes> {
        wait::retry(&self.stream.reads(), || self.stream.try_recv_bytes(max)).await
    }

    /// Writes all of `data`, without a copy.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` after the write half was shut down; why the connection ended.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the first part of `data` may have been written. Whoever cannot
    /// afford that calls [`write_bytes`](Self::write_bytes).
    pub async fn send_bytes(&self, mut data: Bytes) -> io::Result<()> {
        while data.has_remaining() {
            self.write_bytes(&mut data).await?;
        }
        Ok(())
    }

    /// Writes what there is room for, without a copy, takes that off the front of `data` and
    /// returns how much it was.
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

    /// Whether small segments are sent at once. Off at first, as on the kernel.
    ///
    /// # Errors
    ///
    /// None.
    pub fn nodelay(&self) -> io::Result<bool> {
        Ok(self.stream.options().nodelay)
    }

    /// Sends small segments at once, or gathers them while data is in flight (RFC 896).
    ///
    /// # Errors
    ///
    /// None.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.stream.set_option(|options| options.nodelay = nodelay);
        Ok(())
    }

    /// The time to live or hop limit of what is sent.
    ///
    /// # Errors
    ///
    /// None.
    pub fn ttl(&self) -> io::Result<u32> {
        Ok(self.stream.ttl())
    }

    /// Sets the time to live or hop limit of what is sent, from 1 to 255.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for any other value.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.stream.set_ttl(ttl)
    }

    /// How dropping the stream behaves; see [`set_linger`](Self::set_linger).
    ///
    /// # Errors
    ///
    /// None.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        Ok(self.stream.options().linger)
    }

    /// Zero makes dropping the stream reset the connection; anything else sends what was written,
    /// in the background. Dropping never blocks.
    ///
    /// # Errors
    ///
    /// None.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.stream.set_option(|options| options.linger = linger);
        Ok(())
    }

    /// Splits the stream into a half that reads and one that writes, which borrow it.
    pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        (ReadHalf(self), WriteHalf(self))
    }

    /// Splits the stream into a half that reads and one that writes. Dropping the write half shuts
    /// it down: the peer sees the end of the stream.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        let read = OwnedReadHalf { stream: self.stream.clone() };
        (read, OwnedWriteHalf { stream: self.stream, shuts_down: true })
    }

    /// Shuts one half down, or both. Writing that may not fail is what
    /// [`AsyncWriteExt::shutdown`](https://docs.rs/tokio/1/tokio/io/trait.AsyncWriteExt.html#method.shutdown)
    /// is for.
    ///
    /// # Errors
    ///
    /// `NotConnected` if the connection has ended.
    pub(crate) fn shut_down(stream: &Stream, how: Shutdown) -> io::Result<()> {
        if matches!(how, Shutdown::Read | Shutdown::Both) {
            stream.shutdown_recv();
        }
        if matches!(how, Shutdown::Write | Shutdown::Both) {
            // A stream that has ended by itself has nothing left to shut down.
            stream.shutdown_send().map_err(|_| io::Error::from(Error::Closed))?;
        }
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

impl From<blocking::TcpStream> for TcpStream {
    fn from(stream: blocking::TcpStream) -> Self {
        Self::from_stream(stream.into_stream())
    }
}

implements!(read TcpStream, self => self.stream);
implements!(write TcpStream, self => self.stream);
