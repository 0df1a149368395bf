//! `std::net` and our blocking sockets. Each call that may wait is made on a thread of its own.

use super::{ListenerFace, Reply, Stream, StreamFace, UdpFace};
use netstack::netsocket::{KeepAlive, blocking as ours};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{self, Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Makes a call that may wait.
fn call<T, F>(call: F) -> Reply<'static, T>
where
    T: Send + 'static,
    F: FnOnce() -> io::Result<T> + Send + 'static,
{
    Box::pin(async { tokio::task::spawn_blocking(call).await.map_err(io::Error::other)? })
}

/// Makes a call that fills a buffer.
fn fill<'a, T, F>(buf: &'a mut [u8], fill: F) -> Reply<'a, T>
where
    T: Send + 'static,
    F: FnOnce(&mut [u8]) -> io::Result<T> + Send + 'static,
{
    let mut filled = vec![0; buf.len()];
    Box::pin(async move {
        let (result, filled) = call(move || Ok((fill(&mut filled)?, filled))).await?;
        buf.copy_from_slice(&filled);
        Ok(result)
    })
}

macro_rules! faces {
    ($stream_face:ident, $stream:ty, $listener_face:ident, $listener:ty, $udp_face:ident, $udp:ty) => {
        pub(crate) struct $stream_face(Arc<$stream>);

        impl $stream_face {
            pub(crate) fn stream(stream: $stream) -> Stream {
                Stream::new(Self(Arc::new(stream)))
            }

            fn at_once<T>(&self, call: impl FnOnce(&$stream) -> io::Result<T>) -> io::Result<T> {
                self.0.set_nonblocking(true)?;
                let result = call(&self.0);
                self.0.set_nonblocking(false)?;
                result
            }
        }

        impl StreamFace for $stream_face {
            fn read<'a>(&'a self, buf: &'a mut [u8]) -> Reply<'a, usize> {
                let stream = self.0.clone();
                fill(buf, move |buf| (&*stream).read(buf))
            }

            fn write<'a>(&'a self, buf: &'a [u8]) -> Reply<'a, usize> {
                let (stream, data) = (self.0.clone(), buf.to_vec());
                call(move || (&*stream).write(&data))
            }

            fn peek<'a>(&'a self, buf: &'a mut [u8]) -> Reply<'a, usize> {
                let stream = self.0.clone();
                fill(buf, move |buf| stream.peek(buf))
            }

            fn shutdown(&self, how: Shutdown) -> Reply<'_, ()> {
                let result = self.0.shutdown(how);
                Box::pin(async { result })
            }

            fn readable(&self) -> Reply<'_, ()> {
                panic!("blocking streams have no readiness")
            }

            fn writable(&self) -> Reply<'_, ()> {
                panic!("blocking streams have no readiness")
            }

            fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
                self.at_once(|mut stream| stream.read(buf))
            }

            fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
                self.at_once(|mut stream| stream.write(buf))
            }

            fn try_peek(&self, buf: &mut [u8]) -> io::Result<usize> {
                self.at_once(|stream| stream.peek(buf))
            }

            fn try_read_vectored(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                self.at_once(|mut stream| stream.read_vectored(bufs))
            }

            fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
                self.at_once(|mut stream| stream.write_vectored(bufs))
            }

            fn local_addr(&self) -> io::Result<SocketAddr> {
                self.0.local_addr()
            }

            fn peer_addr(&self) -> io::Result<SocketAddr> {
                self.0.peer_addr()
            }

            fn nodelay(&self) -> io::Result<bool> {
                self.0.nodelay()
            }

            fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
                self.0.set_nodelay(nodelay)
            }

            fn ttl(&self) -> io::Result<u32> {
                self.0.ttl()
            }

            fn set_ttl(&self, ttl: u32) -> io::Result<()> {
                self.0.set_ttl(ttl)
            }

            fn linger(&self) -> io::Result<Option<Duration>> {
                panic!("std has it in no release")
            }

            fn set_zero_linger(&self) -> io::Result<()> {
                panic!("std has it in no release")
            }

            fn keepalive(&self) -> io::Result<Option<KeepAlive>> {
                panic!("std does not have it")
            }

            fn set_keepalive(&self, _keepalive: KeepAlive) -> io::Result<()> {
                panic!("std does not have it")
            }

            fn user_timeout(&self) -> io::Result<Option<Duration>> {
                panic!("std does not have it")
            }

            fn set_user_timeout(&self, _timeout: Duration) -> io::Result<()> {
                panic!("std does not have it")
            }

            fn take_error(&self) -> io::Result<Option<io::Error>> {
                self.0.take_error()
            }

            fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
                self.0.set_read_timeout(timeout)
            }

            fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
                self.0.set_write_timeout(timeout)
            }
        }

        pub(crate) struct $listener_face(Arc<$listener>);

        impl $listener_face {
            pub(crate) fn new(listener: $listener) -> Self {
                Self(Arc::new(listener))
            }
        }

        impl ListenerFace for $listener_face {
            fn accept(&self) -> Reply<'_, (Stream, SocketAddr)> {
                let listener = self.0.clone();
                call(move || {
                    let (stream, peer) = listener.accept()?;
                    Ok(($stream_face::stream(stream), peer))
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

        pub(crate) struct $udp_face(Arc<$udp>);

        impl $udp_face {
            pub(crate) fn new(socket: $udp) -> Self {
                Self(Arc::new(socket))
            }
        }

        impl UdpFace for $udp_face {
            fn connect(&self, peer: SocketAddr) -> Reply<'_, ()> {
                let socket = self.0.clone();
                call(move || socket.connect(peer))
            }

            fn send<'a>(&'a self, buf: &'a [u8]) -> Reply<'a, usize> {
                let (socket, data) = (self.0.clone(), buf.to_vec());
                call(move || socket.send(&data))
            }

            fn send_to<'a>(&'a self, buf: &'a [u8], to: SocketAddr) -> Reply<'a, usize> {
                let (socket, data) = (self.0.clone(), buf.to_vec());
                call(move || socket.send_to(&data, to))
            }

            fn recv<'a>(&'a self, buf: &'a mut [u8]) -> Reply<'a, usize> {
                let socket = self.0.clone();
                fill(buf, move |buf| socket.recv(buf))
            }

            fn recv_from<'a>(&'a self, buf: &'a mut [u8]) -> Reply<'a, (usize, SocketAddr)> {
                let socket = self.0.clone();
                fill(buf, move |buf| socket.recv_from(buf))
            }

            fn peek_from<'a>(&'a self, buf: &'a mut [u8]) -> Reply<'a, (usize, SocketAddr)> {
                let socket = self.0.clone();
                fill(buf, move |buf| socket.peek_from(buf))
            }

            fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
                self.0.set_nonblocking(true)?;
                let result = self.0.recv_from(buf);
                self.0.set_nonblocking(false)?;
                result
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

faces!(
    KernelSyncStream,
    net::TcpStream,
    KernelSyncListener,
    net::TcpListener,
    KernelSyncUdp,
    net::UdpSocket
);
faces!(
    OurSyncStream,
    ours::TcpStream,
    OurSyncListener,
    ours::TcpListener,
    OurSyncUdp,
    ours::UdpSocket
);
