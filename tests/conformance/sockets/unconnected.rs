//! TCP sockets that neither listen nor are connected yet.

use super::{KernelListener, KernelTokio, Listener, OurListener, OurTokio, Stream};
use netstack::netsocket;
use std::io;
use std::net::SocketAddr;

/// A socket of either.
pub(crate) enum TcpSocket {
    Kernel(tokio::net::TcpSocket),
    Ours(Box<netsocket::TcpSocket>),
}

impl TcpSocket {
    pub(crate) fn bind(&self, local: SocketAddr) -> io::Result<()> {
        match self {
            Self::Kernel(socket) => socket.bind(local),
            Self::Ours(socket) => socket.bind(local),
        }
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Kernel(socket) => socket.local_addr(),
            Self::Ours(socket) => socket.local_addr(),
        }
    }

    pub(crate) async fn listen(self) -> io::Result<Listener> {
        Ok(match self {
            Self::Kernel(socket) => {
                Box::new(KernelListener(socket.listen(16)?, KernelTokio::stream))
            }
            Self::Ours(socket) => Box::new(OurListener(socket.listen(16).await?, OurTokio::stream)),
        })
    }

    pub(crate) async fn connect(self, remote: SocketAddr) -> io::Result<Stream> {
        Ok(match self {
            Self::Kernel(socket) => KernelTokio::stream(socket.connect(remote).await?),
            Self::Ours(socket) => OurTokio::stream(socket.connect(remote).await?),
        })
    }
}
