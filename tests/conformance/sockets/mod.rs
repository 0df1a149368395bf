//! The socket traits that the cases are written against.
//!
//! Every call of a face is made through that face: a read of the futures-io one is
//! `futures_io::AsyncRead::poll_read`. Methods that a face does not have (no trait of futures-io
//! peeks) are the stream's own.

mod asynchronous;
mod blocking;
mod unconnected;

pub(crate) use asynchronous::{
    KernelFutures, KernelListener, KernelTokio, KernelUdp, OurFutures, OurListener, OurTokio,
    OurUdp,
};
pub(crate) use blocking::{
    KernelSyncListener, KernelSyncStream, KernelSyncUdp, OurSyncListener, OurSyncStream, OurSyncUdp,
};
pub(crate) use unconnected::TcpSocket;

use futures::future::BoxFuture;
use netstack::netsocket::KeepAlive;
use std::fmt;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

pub(crate) type Reply<'a, T> = BoxFuture<'a, io::Result<T>>;

/// A TCP connection of some backend and face. Methods that a face does not have panic: a case
/// names the faces it is for.
pub(crate) trait StreamFace: Send + Sync {
    fn read<'a>(&'a self, buf: &'a mut [u8]) -> Reply<'a, usize>;
    fn write<'a>(&'a self, buf: &'a [u8]) -> Reply<'a, usize>;
    fn peek<'a>(&'a self, buf: &'a mut [u8]) -> Reply<'a, usize>;
    fn shutdown(&self, how: Shutdown) -> Reply<'_, ()>;
    fn readable(&self) -> Reply<'_, ()>;
    fn writable(&self) -> Reply<'_, ()>;
    fn try_read(&self, buf: &mut [u8]) -> io::Result<usize>;
    fn try_write(&self, buf: &[u8]) -> io::Result<usize>;
    fn try_peek(&self, buf: &mut [u8]) -> io::Result<usize>;
    fn try_read_vectored(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize>;
    fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize>;
    fn local_addr(&self) -> io::Result<SocketAddr>;
    fn peer_addr(&self) -> io::Result<SocketAddr>;
    fn nodelay(&self) -> io::Result<bool>;
    fn set_nodelay(&self, nodelay: bool) -> io::Result<()>;
    fn ttl(&self) -> io::Result<u32>;
    fn set_ttl(&self, ttl: u32) -> io::Result<()>;
    fn linger(&self) -> io::Result<Option<Duration>>;
    fn set_zero_linger(&self) -> io::Result<()>;
    fn keepalive(&self) -> io::Result<Option<KeepAlive>>;
    fn set_keepalive(&self, keepalive: KeepAlive) -> io::Result<()>;
    fn user_timeout(&self) -> io::Result<Option<Duration>>;
    fn set_user_timeout(&self, timeout: Duration) -> io::Result<()>;
    fn take_error(&self) -> io::Result<Option<io::Error>>;
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()>;
    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()>;
}

/// A listener of some backend and face.
pub(crate) trait ListenerFace: Send + Sync {
    fn accept(&self) -> Reply<'_, (Stream, SocketAddr)>;
    fn local_addr(&self) -> io::Result<SocketAddr>;
    fn ttl(&self) -> io::Result<u32>;
    fn set_ttl(&self, ttl: u32) -> io::Result<()>;
}

/// A UDP socket of some backend and face.
pub(crate) trait UdpFace: Send + Sync {
    fn connect(&self, peer: SocketAddr) -> Reply<'_, ()>;
    fn send<'a>(&'a self, buf: &'a [u8]) -> Reply<'a, usize>;
    fn send_to<'a>(&'a self, buf: &'a [u8], to: SocketAddr) -> Reply<'a, usize>;
    fn recv<'a>(&'a self, buf: &'a mut [u8]) -> Reply<'a, usize>;
    fn recv_from<'a>(&'a self, buf: &'a mut [u8]) -> Reply<'a, (usize, SocketAddr)>;
    fn peek_from<'a>(&'a self, buf: &'a mut [u8]) -> Reply<'a, (usize, SocketAddr)>;
    fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)>;
    fn local_addr(&self) -> io::Result<SocketAddr>;
    fn peer_addr(&self) -> io::Result<SocketAddr>;
    fn ttl(&self) -> io::Result<u32>;
    fn set_ttl(&self, ttl: u32) -> io::Result<()>;
    fn take_error(&self) -> io::Result<Option<io::Error>>;
    fn broadcast(&self) -> io::Result<bool>;
    fn multicast_loop_v4(&self) -> io::Result<bool>;
    fn multicast_ttl_v4(&self) -> io::Result<u32>;
}

/// A TCP connection. It closes when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Stream(Arc<dyn StreamFace>);

impl Stream {
    pub(crate) fn new(face: impl StreamFace + 'static) -> Self {
        Self(Arc::new(face))
    }

    pub(crate) async fn write_all(&self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            match self.write(data).await? {
                0 => return Err(ErrorKind::WriteZero.into()),
                n => data = &data[n..],
            }
        }
        Ok(())
    }

    /// Reads this many bytes, or fewer if the stream ends before.
    pub(crate) async fn read_up_to(&self, count: usize) -> io::Result<Vec<u8>> {
        let (mut data, mut filled) = (vec![0; count], 0);
        while filled < count {
            match self.read(&mut data[filled..]).await? {
                0 => break,
                n => filled += n,
            }
        }
        data.truncate(filled);
        Ok(data)
    }

    pub(crate) async fn read_to_end(&self) -> io::Result<Vec<u8>> {
        let (mut data, mut buf) = (Vec::new(), vec![0; 64 * 1024]);
        loop {
            match self.read(&mut buf).await? {
                0 => return Ok(data),
                n => data.extend_from_slice(&buf[..n]),
            }
        }
    }
}

impl std::ops::Deref for Stream {
    type Target = dyn StreamFace;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("peer_addr", &self.peer_addr()).finish()
    }
}

pub(crate) type Listener = Box<dyn ListenerFace>;
pub(crate) type Udp = Box<dyn UdpFace>;

/// The kind of the error, for comparing.
pub(crate) fn kind<T>(result: io::Result<T>) -> Result<T, ErrorKind> {
    result.map_err(|error| error.kind())
}
