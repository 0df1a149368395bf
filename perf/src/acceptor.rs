//! How a server takes connections, by what its tests run over.

use crate::channel::Channel;
use crate::cookie::{self, Cookie};
use crate::failure::Failure;
use crate::http;
use crate::quic;
use crate::scheme::Scheme;
use crate::shared::Shared;
use netsocket::{Net, TcpListener, TcpStream};
use quinn::Endpoint;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// How a server takes connections.
#[derive(Clone)]
pub enum Acceptor {
    /// Over TCP, as iperf3; tests of UDP, too.
    Tcp,
    /// Over TLS, with this certificate.
    Tls(TlsAcceptor),
    /// Over QUIC, with this certificate.
    Quic(Arc<ServerConfig>),
    /// Over HTTP; whoever has no test may GET `/?bytes=N`, and POST to `/`.
    Http,
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "Tcp",
            Self::Tls(_) => "Tls",
            Self::Quic(_) => "Quic",
            Self::Http => "Http",
        })
    }
}

/// A server's port.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener, Acceptor),
    Quic(Endpoint),
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

/// The most connections of QUIC or HTTP, each of which may have some streams or requests.
const CONNECTIONS_MAX: usize = 1024;
/// How long clients may take to see that the server ends.
const FAREWELL: Duration = Duration::from_secs(1);

impl Listener {
    pub(crate) async fn bind(
        net: &Net,
        address: SocketAddr,
        acceptor: Acceptor,
    ) -> io::Result<Self> {
        match acceptor {
            Acceptor::Quic(tls) => {
                let config = quic::server(&tls)?;
                Ok(Self::Quic(quic::endpoint(net, address, Some(config)).await?))
            }
            acceptor => Ok(Self::Tcp(net.tcp_listen(address).await?, acceptor)),
        }
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(listener, _) => listener.local_addr(),
            Self::Quic(endpoint) => endpoint.local_addr(),
        }
    }

    /// What streams run over.
    pub(crate) fn scheme(&self) -> Scheme {
        match self {
            Self::Tcp(_, Acceptor::Tls(_)) => Scheme::Tls,
            Self::Tcp(_, Acceptor::Http) => Scheme::Http,
            Self::Tcp(..) => Scheme::Tcp,
            Self::Quic(_) => Scheme::Quic,
        }
    }

    /// Takes connections, and waits for their cookies.
    pub(crate) async fn accept_all(&self, to: mpsc::Sender<Arrival>) -> io::Result<()> {
        match self {
            Self::Tcp(listener, Acceptor::Http) => accept_http(listener, to).await,
            Self::Tcp(listener, acceptor) => accept_tcp(listener, acceptor, to).await,
            Self::Quic(endpoint) => accept_quic(endpoint, to).await,
        }
    }

    /// Waits until clients have seen the end of their test.
    pub(crate) async fn settle(&self) {
        if let Self::Quic(endpoint) = self {
            let _ = timeout(FAREWELL, endpoint.wait_idle()).await;
        }
    }
}

async fn accept_tcp(
    listener: &TcpListener,
    acceptor: &Acceptor,
    to: mpsc::Sender<Arrival>,
) -> io::Result<()> {
    let permits = Arc::new(Semaphore::new(PENDING_MAX));
    let mut tasks = JoinSet::new();
    for place in 0.. {
        let (stream, peer) = listener.accept().await?;
        let peer = canonical(peer);
        while tasks.try_join_next().is_some() {}
        // One too many is closed, and the others have ten seconds.
        let Ok(permit) = permits.clone().try_acquire_owned() else { continue };
        let (to, acceptor) = (to.clone(), acceptor.clone());
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

async fn accept_http(listener: &TcpListener, to: mpsc::Sender<Arrival>) -> io::Result<()> {
    let permits = Arc::new(Semaphore::new(PENDING_MAX));
    let mut connections = JoinSet::new();
    for place in 0.. {
        let (stream, peer) = listener.accept().await?;
        let peer = canonical(peer);
        while connections.try_join_next().is_some() {}
        // One too many is closed.
        if connections.len() == CONNECTIONS_MAX {
            continue;
        }
        let Ok(local) = stream.local_addr().map(canonical) else { continue };
        let (to, permits) = (to.clone(), permits.clone());
        connections.spawn(http::serve(stream, move |(channel, cookie)| {
            let Ok(permit) = permits.clone().try_acquire_owned() else { return false };
            // There is room for as many as there are permits.
            to.try_send(Arrival { place, cookie, local, peer, channel, permit }).is_ok()
        }));
    }
    Ok(())
}

async fn accept_quic(endpoint: &Endpoint, to: mpsc::Sender<Arrival>) -> io::Result<()> {
    let permits = Arc::new(Semaphore::new(PENDING_MAX));
    let places = Arc::new(AtomicU64::new(0));
    let mut connections = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        while connections.try_join_next().is_some() {}
        if connections.len() == CONNECTIONS_MAX {
            incoming.refuse();
            continue;
        }
        let (to, endpoint) = (to.clone(), endpoint.clone());
        let (permits, places) = (permits.clone(), places.clone());
        connections.spawn(async move {
            // A connection that fails has no more streams.
            let _ = streams_of(incoming, &endpoint, &to, &permits, &places).await;
        });
    }
    Err(io::ErrorKind::NotConnected.into())
}

/// Takes the streams of a connection, to its end.
async fn streams_of(
    incoming: quinn::Incoming,
    endpoint: &Endpoint,
    to: &mpsc::Sender<Arrival>,
    permits: &Arc<Semaphore>,
    places: &AtomicU64,
) -> io::Result<()> {
    // The first one may take as long as a cookie.
    let first = async {
        let connection = incoming.await?;
        let stream = connection.accept_bi().await?;
        io::Result::Ok((connection, stream))
    };
    let (connection, mut stream) = timeout(cookie::PATIENCE, first).await??;
    let peer = canonical(connection.remote_address());
    let local = quic::local_addr(endpoint, &connection)?;
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        if let Ok(permit) = permits.clone().try_acquire_owned() {
            let place = places.fetch_add(1, Ordering::Relaxed);
            let (to, (send, mut recv)) = (to.clone(), stream);
            tasks.spawn(async move {
                if let Ok(cookie) = Cookie::read(&mut recv).await {
                    let channel = Channel::Quic(send, recv);
                    // The server may have ended.
                    let _ = to.send(Arrival { place, cookie, local, peer, channel, permit }).await;
                }
            });
        }
        stream = connection.accept_bi().await?;
    }
}

/// Learns which test a connection is of.
async fn begin(stream: TcpStream, acceptor: Acceptor) -> Result<(Channel, Cookie), Failure> {
    let mut stream = Shared(Arc::new(stream));
    match acceptor {
        // Of the others nothing begins here.
        Acceptor::Tcp | Acceptor::Quic(_) | Acceptor::Http => {
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
            Ok((Channel::over(stream, under), cookie))
        }
    }
}

/// An address without the form in which sockets for both families have IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
