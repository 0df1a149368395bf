//! A side of the proxy: a stack, or this machine.

use crate::carry;
use netsocket::Net;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional};
use tokio::time::timeout;

/// How long the way to a server may take.
const CONNECT: Duration = Duration::from_secs(30);

/// A side of the proxy.
#[derive(Debug, Clone)]
pub enum Side {
    /// The sockets of this machine, and its names.
    Machine,
    /// Those of a stack.
    Stack(Net),
}

/// A connection at either side.
#[derive(Debug)]
pub(crate) enum Stream {
    Machine(tokio::net::TcpStream),
    Stack(netsocket::TcpStream),
}

/// A UDP socket at either side.
#[derive(Debug)]
pub(crate) enum Datagrams {
    Machine(tokio::net::UdpSocket),
    Stack(netsocket::UdpSocket),
}

impl Side {
    /// Connects to an address or a name with a port.
    pub(crate) async fn connect(&self, target: &str) -> io::Result<Stream> {
        let connecting = async {
            match self {
                Self::Machine => tokio::net::TcpStream::connect(target).await.map(Stream::Machine),
                Self::Stack(net) => net.tcp_connect(target).await.map(Stream::Stack),
            }
        };
        let stream = timeout(CONNECT, connecting).await??;
        stream.set_nodelay()?;
        Ok(stream)
    }

    /// A socket for datagrams on an address of this side.
    pub(crate) async fn datagrams(&self, address: IpAddr) -> io::Result<Datagrams> {
        Ok(match self {
            Self::Machine => {
                let socket = tokio::net::UdpSocket::bind((address, 0)).await?;
                // Before that an attempt to send would say that there is no room.
                socket.writable().await?;
                Datagrams::Machine(socket)
            }
            Self::Stack(net) => Datagrams::Stack(net.udp_bind((address, 0)).await?),
        })
    }

    /// A socket for the datagrams of a family.
    pub(crate) async fn datagrams_of(&self, is_ipv4: bool) -> io::Result<Datagrams> {
        let any: IpAddr = match is_ipv4 {
            true => Ipv4Addr::UNSPECIFIED.into(),
            false => Ipv6Addr::UNSPECIFIED.into(),
        };
        self.datagrams(any).await
    }

    /// The address of a name, the first that there is.
    pub(crate) async fn resolve(&self, name: &str, port: u16) -> io::Result<SocketAddr> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        match self {
            Self::Machine => {
                let found = timeout(CONNECT, tokio::net::lookup_host((name, port))).await??;
                found.into_iter().next().ok_or_else(missing)
            }
            Self::Stack(net) => {
                let found = net.resolver().lookup_ip(name).await.map_err(io::Error::other)?;
                Ok(SocketAddr::new(found.into_iter().next().ok_or_else(missing)?, port))
            }
        }
    }
}

impl Stream {
    pub(crate) fn set_nodelay(&self) -> io::Result<()> {
        match self {
            Self::Machine(stream) => stream.set_nodelay(true),
            Self::Stack(stream) => stream.set_nodelay(true),
        }
    }

    /// The next byte, which is still the next one afterwards; none at the end.
    pub(crate) async fn peek(&self) -> io::Result<Option<u8>> {
        let mut first = [0];
        let len = match self {
            Self::Machine(stream) => stream.peek(&mut first).await?,
            Self::Stack(stream) => stream.peek(&mut first).await?,
        };
        Ok((len > 0).then_some(first[0]))
    }

    /// Carries bytes both ways to the end of both, behind those that have come from the client already.
    pub(crate) async fn carry(self, mut server: Self, early: &[u8]) {
        // The end of a connection is its clients' affair.
        if server.write_all(early).await.is_err() {
            return;
        }
        match (self, server) {
            (Self::Stack(stack), Self::Machine(machine))
            | (Self::Machine(machine), Self::Stack(stack)) => carry(stack, machine).await,
            (mut client, mut server) => {
                let _ = copy_bidirectional(&mut client, &mut server).await;
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Machine(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Stack(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Machine(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Stack(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Machine(stream) => Pin::new(stream).poll_flush(cx),
            Self::Stack(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Machine(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Stack(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl Datagrams {
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Machine(socket) => socket.local_addr(),
            Self::Stack(socket) => socket.local_addr(),
        }
    }

    /// Sends a datagram, unless there is no room for it: then it is lost, as on any link.
    pub(crate) fn send(&self, datagram: &[u8], to: SocketAddr) {
        let _ = match self {
            Self::Machine(socket) => socket.try_send_to(datagram, to),
            Self::Stack(socket) => socket.try_send_to(datagram, to),
        };
    }

    pub(crate) async fn receive(&self, into: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let received = match self {
            Self::Machine(socket) => socket.recv_from(into).await,
            Self::Stack(socket) => socket.recv_from(into).await,
        };
        received.map(|(len, from)| (len, SocketAddr::new(from.ip().to_canonical(), from.port())))
    }
}
