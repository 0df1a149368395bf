//! Where clients come from.

use crate::side::Stream;
use std::io;
use std::net::{IpAddr, SocketAddr};

/// A listener of either side.
#[derive(Debug)]
pub enum Listener {
    /// Of this machine.
    Machine(tokio::net::TcpListener),
    /// Of a stack.
    Stack(netsocket::TcpListener),
}

/// A client, its address and the one that it has dialled.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: Stream,
    pub(crate) peer: SocketAddr,
    pub(crate) local: IpAddr,
}

impl Listener {
    /// Where it listens.
    ///
    /// # Errors
    ///
    /// That of the system's call.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Machine(listener) => listener.local_addr(),
            Self::Stack(listener) => listener.local_addr(),
        }
    }

    pub(crate) async fn accept(&self) -> io::Result<Client> {
        let (stream, peer, local) = match self {
            Self::Machine(listener) => {
                let (stream, peer) = listener.accept().await?;
                let local = stream.local_addr()?;
                (Stream::Machine(stream), peer, local)
            }
            Self::Stack(listener) => {
                let (stream, peer) = listener.accept().await?;
                let local = stream.local_addr()?;
                (Stream::Stack(stream), peer, local)
            }
        };
        stream.set_nodelay()?;
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        Ok(Client { stream, peer, local: local.ip().to_canonical() })
    }
}
