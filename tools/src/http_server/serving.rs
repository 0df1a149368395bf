//! The connections of clients.

use super::site::Site;
use anyhow::Result;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use netstack::netsocket::{KeepAlive, TcpListener, TcpStream};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// How long a handshake of TLS may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the head of a request may take, and a connection be idle.
const HEAD: Duration = Duration::from_secs(30);
/// A client that is gone without a word makes room for another.
const KEEP_ALIVE: KeepAlive =
    KeepAlive { idle: Duration::from_secs(60), interval: Duration::from_secs(10), count: 6 };

/// Serves clients until the stack is gone, so many at a time.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    site: Arc<Site>,
    clients_max: usize,
) -> Result<()> {
    let permits = Arc::new(Semaphore::new(clients_max));
    loop {
        let permit = permits.clone().acquire_owned().await?;
        let (stream, peer) = listener.accept().await?;
        let (tls, site) = (tls.clone(), site.clone());
        tokio::spawn(async move {
            if let Err(error) = client(stream, tls, site).await {
                tracing::debug!(%peer, %error, "a client");
            }
            drop(permit);
        });
    }
}

async fn client(stream: TcpStream, tls: Option<TlsAcceptor>, site: Arc<Site>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_keepalive(Some(KEEP_ALIVE))?;
    match tls {
        Some(tls) => http(timeout(HANDSHAKE, tls.accept(stream)).await??, site).await,
        None => http(stream, site).await,
    }
}

async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    site: Arc<Site>,
) -> io::Result<()> {
    let answer = service_fn(move |request: Request<Incoming>| {
        let site = site.clone();
        async move { site.answer(request).await }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), answer)
        .await
        .map_err(io::Error::other)
}
