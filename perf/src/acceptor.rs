//! How a server takes connections, by what its tests run over.

use crate::channel::Channel;
use crate::cookie::{self, Cookie};
use crate::failure::Failure;
use crate::scheme::Scheme;
use crate::shared::Shared;
use netsocket::{Net, TcpListener, TcpStream};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// How a server takes connections.
#[derive(Clone)]
pub enum Acceptor {
    /// Over TCP, as iperf3; tests of UDP, too.
    Tcp,
    /// Over TLS, with this certificate.
    Tls(TlsAcceptor),
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "Tcp",
            Self::Tls(_) => "Tls",
        })
    }
}

/// A server's port.
#[derive(Debug)]
pub(crate) struct Listener {
    acceptor: Acceptor,
    listener: TcpListener,
}

/// A connection that has said which test it is of.
pub(crate) struct Arrival {
    /// When it came among all.
    pub(crate) place: u64,
    pub(crate) cookie: Cookie,
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
    pub(crate) channel: Channel,
    /// One of [`PENDING_MAX`].
    pub(crate) permit: OwnedSemaphorePermit,
}

/// The most connections that have not said yet which test they are of, or that are being
/// told that there is another one.
pub(crate) const PENDING_MAX: usize = 256;

impl Listener {
    pub(crate) async fn bind(
        net: &Net,
        address: SocketAddr,
        acceptor: Acceptor,
    ) -> io::Result<Self> {
        Ok(Self { acceptor, listener: net.tcp_listen(address).await? })
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What streams run over.
    pub(crate) fn scheme(&self) -> Scheme {
        match &self.acceptor {
            Acceptor::Tcp => Scheme::Tcp,
            Acceptor::Tls(_) => Scheme::Tls,
        }
    }

    /// Takes connections, and waits for their cookies.
    pub(crate) async fn accept_all(&self, to: mpsc::Sender<Arrival>) -> io::Result<()> {
        let permits = Arc::new(Semaphore::new(PENDING_MAX));
        let mut tasks = JoinSet::new();
        for place in 0.. {
            let (stream, peer) = self.listener.accept().await?;
            let peer = canonical(peer);
            while tasks.try_join_next().is_some() {}
            // One too many is closed, and the others have ten seconds.
            let Ok(permit) = permits.clone().try_acquire_owned() else { continue };
            let (to, acceptor) = (to.clone(), self.acceptor.clone());
            tasks.spawn(async move {
                let Ok(local) = stream.local_addr().map(canonical) else { return };
                if let Ok((channel, cookie)) = begin(stream, acceptor).await {
                    // The server may have ended.
                    let _ = to.send(Arrival { place, cookie, local, peer, channel, permit }).await;
                }
            });
        }
        Ok(())
    }
}

/// Learns which test a connection is of.
async fn begin(stream: TcpStream, acceptor: Acceptor) -> Result<(Channel, Cookie), Failure> {
    let mut stream = Shared(Arc::new(stream));
    match acceptor {
        Acceptor::Tcp => {
            let cookie = Cookie::read(&mut stream).await?;
            Ok((Channel::Tcp(stream), cookie))
        }
        Acceptor::Tls(acceptor) => {
            let under = stream.0.clone();
            // The last message of a handshake is short.
            under.set_nodelay(true).map_err(Failure::io("a handshake"))?;
            let handshake = timeout(cookie::PATIENCE, acceptor.accept(stream)).await;
            let handshake = handshake.map_err(|_| Failure::Silent("its handshake"))?;
            let mut stream = handshake.map_err(Failure::io("a handshake"))?;
            let cookie = Cookie::read(&mut stream).await?;
            Ok((Channel::tls(stream.into(), under), cookie))
        }
    }
}

/// An address without the form in which sockets for both families have IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
