//! `tokio::net` and our asynchronous sockets, through tokio's traits and through those of
//! futures-io.

use super::{ListenerFace, Reply, Stream, StreamFace, UdpFace};
use futures::FutureExt;
use netstack::netsocket::{self, KeepAlive};
use socket2::{SockRef, TcpKeepalive};
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::ReadBuf;
use tokio_util::compat::Compat;

/// A stream whose traits need `&mut self`; locked while it is polled.
struct Polled<S>(Mutex<S>);

impl<S> Polled<S> {
    fn new(stream: S) -> Self {
        Self(Mutex::new(stream))
    }

    fn lock(&self) -> MutexGuard<'_, S> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

mod through_tokio {
    use super::*;
    use tokio::io::{AsyncRead, AsyncWrite};

    pub(super) fn read<S: AsyncRead + Unpin>(
        stream: &mut S,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(Pin::new(stream).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }

    pub(super) fn write<S: AsyncWrite + Unpin>(
        stream: &mut S,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(stream).poll_write(cx, buf)
    }

    pub(super) fn close<S: AsyncWrite + Unpin>(
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(stream).poll_shutdown(cx)
    }
}

mod through_futures {
    use super::*;
    use futures::{AsyncRead, AsyncWrite};

    pub(super) fn read<S: AsyncRead + Unpin>(
        stream: &mut S,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(stream).poll_read(cx, buf)
    }

    pub(super) fn write<S: AsyncWrite + Unpin>(
        stream: &mut S,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(stream).poll_write(cx, buf)
    }

    pub(super) fn close<S: AsyncWrite + Unpin>(
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(stream).poll_close(cx)
    }
}

/// The options that tokio leaves to socket2.
trait Patience {
    fn keepalive(&self) -> io::Result<Option<KeepAlive>>;
    fn set_keepalive(&self, keepalive: KeepAlive) -> io::Result<()>;
    fn user_timeout(&self) -> io::Result<Option<Duration>>;
    fn set_user_timeout(&self, timeout: Duration) -> io::Result<()>;
}

impl Patience for tokio::net::TcpStream {
    fn keepalive(&self) -> io::Result<Option<KeepAlive>> {
        let socket = SockRef::from(self);
        Ok(match socket.keepalive()? {
            true => Some(KeepAlive {
                idle: socket.tcp_keepalive_time()?,
                interval: socket.tcp_keepalive_interval()?,
                count: socket.tcp_keepalive_retries()?,
            }),
            false => None,
        })
    }

    fn set_keepalive(&self, keepalive: KeepAlive) -> io::Result<()> {
        let KeepAlive { idle, interval, count } = keepalive;
        let times = TcpKeepalive::new().with_time(idle).with_interval(interval);
        SockRef::from(self).set_tcp_keepalive(&times.with_retries(count))
    }

    fn user_timeout(&self) -> io::Result<Option<Duration>> {
        SockRef::from(self).tcp_user_timeout()
    }

    fn set_user_timeout(&self, timeout: Duration) -> io::Result<()> {
        SockRef::from(self).set_tcp_user_timeout(Some(timeout))
    }
}

impl Patience for netsocket::TcpStream {
    fn keepalive(&self) -> io::Result<Option<KeepAlive>> {
        self.keepalive()
    }

    fn set_keepalive(&self, keepalive: KeepAlive) -> io::Result<()> {
        self.set_keepalive(Some(keepalive))
    }

    fn user_timeout(&self) -> io::Result<Option<Duration>> {
        self.user_timeout()
    }

    fn set_user_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.set_user_timeout(Some(timeout))
    }
}

/// The stream itself, or the one inside a futures-io adapter.
trait Whole {
    type Stream;

    fn whole(&self) -> &Self::Stream;
}

macro_rules! is_whole {
    ($($stream:ty),*) => {$(
        impl Whole for $stream {
            type Stream = Self;

            fn whole(&self) -> &Self {
                self
            }
        }
    )*};
}

is_whole!(tokio::net::TcpStream, netsocket::TcpStream);

impl<S> Whole for Compat<S> {
    type Stream = S;

    fn whole(&self) -> &S {
        self.get_ref()
    }
}

macro_rules! stream_face {
    ($name:ident, $stream:ty, $through:ident) => {
        pub(crate) struct $name(Polled<$stream>);

        impl $name {
            pub(crate) fn stream(stream: $stream) -> Stream {
                Stream::new(Self(Polled::new(stream)))
            }
        }

        impl StreamFace for $name {
            fn read<'a>(&'a self, buf: &'a mut [u8]) -> Reply<'a, usize> {
                Box::pin(poll_fn(|cx| $through::read(&mut *self.0.lock(), cx, buf)))
            }

            fn write<'a>(&'a self, buf: &'a [u8]) -> Reply<'a, usize> {
                Box::pin(poll_fn(|cx| $through::write(&mut *self.0.lock(), cx, buf)))
            }

            fn peek<'a>(&'a self, buf: &'a mut [u8]) -> Reply<'a, usize> {
                Box::pin(poll_fn(|cx| self.0.lock().whole().poll_peek(cx, &mut ReadBuf::new(buf))))
            }

            fn shutdown(&self, how: Shutdown) -> Reply<'_, ()> {
                assert_eq!(how, Shutdown::Write, "the traits have no other");
                Box::pin(poll_fn(|cx| $through::close(&mut *self.0.lock(), cx)))
            }

            fn readable(&self) -> Reply<'_, ()> {
                Box::pin(poll_fn(|cx| self.0.lock().whole().poll_read_ready(cx)))
            }

            fn writable(&self) -> Reply<'_, ()> {
                Box::pin(poll_fn(|cx| self.0.lock().whole().poll_write_ready(cx)))
            }

            fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
                self.0.lock().whole().try_read(buf)
            }

            fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
                self.0.lock().whole().try_write(buf)
            }

            fn try_peek(&self, buf: &mut [u8]) -> io::Result<usize> {
                self.peek(buf).now_or_never().unwrap_or(Err(ErrorKind::WouldBlock.into()))
            }

            fn try_read_vectored(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                self.0.lock().whole().try_read_vectored(bufs)
            }

            fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
                self.0.lock().whole().try_write_vectored(bufs)
            }

            fn local_addr(&self) -> io::Result<SocketAddr> {
                self.0.lock().whole().local_addr()
            }

            fn peer_addr(&self) -> io::Result<SocketAddr> {
                self.0.lock().whole().peer_addr()
            }

            fn nodelay(&self) -> io::Result<bool> {
                self.0.lock().whole().nodelay()
            }

            fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
                self.0.lock().whole().set_nodelay(nodelay)
            }

            fn ttl(&self) -> io::Result<u32> {
                self.0.lock().whole().ttl()
            }

            fn set_ttl(&self, ttl: u32) -> io::Result<()> {
                self.0.lock().whole().set_ttl(ttl)
            }

            fn linger(&self) -> io::Result<Option<Duration>> {
                self.0.lock().whole().linger()
            }

            fn set_zero_linger(&self) -> io::Result<()> {
                self.0.lock().whole().set_zero_linger()
            }

            fn keepalive(&self) -> io::Result<Option<KeepAlive>> {
                Patience::keepalive(self.0.lock().whole())
            }

            fn set_keepalive(&self, keepalive: KeepAlive) -> io::Result<()> {
                Patience::set_keepalive(self.0.lock().whole(), keepalive)
            }

            fn user_timeout(&self) -> io::Result<Option<Duration>> {
                Patience::user_timeout(self.0.lock().whole())
            }

            fn set_user_timeout(&self, timeout: Duration) -> io::Result<()> {
                Patience::set_user_timeout(self.0.lock().whole(), timeout)
            }

            fn take_error(&self) -> io::Result<Option<io::Error>> {
                self.0.lock().whole().take_error()
            }

            fn set_read_timeout(&self, _timeout: Option<Duration>) -> io::Result<()> {
                panic!("asynchronous streams have no timeouts")
            }

            fn set_write_timeout(&self, _timeout: Option<Duration>) -> io::Result<()> {
                panic!("asynchronous streams have no timeouts")
            }
        }
    };
}

stream_face!(KernelTokio, tokio::net::TcpStream, through_tokio);
stream_face!(KernelFutures, Compat<tokio::net::TcpStream>, through_futures);
stream_face!(OurTokio, netsocket::TcpStream, through_tokio);
stream_face!(OurFutures, netsocket::TcpStream, through_futures);

macro_rules! listener_face {
    ($name:ident, $listener:ty, $stream:ty) => {
        /// A listener, and a function that wraps its connections for a face.
        pub(crate) struct $name(pub(crate) $listener, pub(crate) fn($stream) -> Stream);

        impl ListenerFace for $name {
            fn accept(&self) -> Reply<'_, (Stream, SocketAddr)> {
                Box::pin(async {
                    let (stream, peer) = self.0.accept().await?;
                    Ok((self.1(stream), peer))
                })
            }

            fn local_addr(&self) -> io::Result<SocketAddr> {
                self.0.local_addr()
            }

            fn ttl(&self) -> io::Result<u32> {
                self.0.ttl()
            }

            fn set_ttl(&self, ttl: u32) -> io::Result<()> {
                self.0.set_ttl(ttl)
            }
        }
    };
}

listener_face!(KernelListener, tokio::net::TcpListener, tokio::net::TcpStream);
listener_face!(OurListener, netsocket::TcpListener, netsocket::TcpStream);

macro_rules! udp_face {
    ($name:ident, $socket:ty) => {
        pub(crate) struct $name(pub(crate) $socket);

        impl UdpFace for $name {
            fn connect(&self, peer: SocketAddr) -> Reply<'_, ()> {
                Box::pin(self.0.connect(peer))
            }

            fn send<'a>(&'a self, buf: &'a [u8]) -> Reply<'a, usize> {
                Box::pin(self.0.send(buf))
            }

            fn send_to<'a>(&'a self, buf: &'a [u8], to: SocketAddr) -> Reply<'a, usize> {
                Box::pin(self.0.send_to(buf, to))
            }

            fn recv<'a>(&'a self, buf: &'a mut [u8]) -> Reply<'a, usize> {
                Box::pin(self.0.recv(buf))
            }

            fn recv_from<'a>(&'a self, buf: &'a mut [u8]) -> Reply<'a, (usize, SocketAddr)> {
                Box::pin(self.0.recv_from(buf))
            }

            fn peek_from<'a>(&'a self, buf: &'a mut [u8]) -> Reply<'a, (usize, SocketAddr)> {
                Box::pin(self.0.peek_from(buf))
            }

            fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
                self.0.try_recv_from(buf)
            }

            fn local_addr(&self) -> io::Result<SocketAddr> {
                self.0.local_addr()
            }

            fn peer_addr(&self) -> io::Result<SocketAddr> {
                self.0.peer_addr()
            }

            fn ttl(&self) -> io::Result<u32> {
                self.0.ttl()
            }

            fn set_ttl(&self, ttl: u32) -> io::Result<()> {
                self.0.set_ttl(ttl)
            }

            fn take_error(&self) -> io::Result<Option<io::Error>> {
                self.0.take_error()
            }

            fn broadcast(&self) -> io::Result<bool> {
                self.0.broadcast()
            }

            fn multicast_loop_v4(&self) -> io::Result<bool> {
                self.0.multicast_loop_v4()
            }

            fn multicast_ttl_v4(&self) -> io::Result<u32> {
                self.0.multicast_ttl_v4()
            }
        }
    };
}

udp_face!(KernelUdp, tokio::net::UdpSocket);
udp_face!(OurUdp, netsocket::UdpSocket);
