//! HTTP over the stack's connections, with hyper.
//!
//! A [`TcpStream`] implements hyper's [`Read`] and [`Write`]: hyper's servers and clients take it as
//! it is, with no `TokioIo` around it. For the pooling client of hyper-util there is a
//! [`Connector`]:
//!
//! ```
//! # fn client(stack: &impl netcore::HasChannel) {
//! use hyper_util::client::legacy::Client;
//! use hyper_util::rt::TokioExecutor;
//! use netsocket::{Net, hyper::Connector};
//!
//! let connector = Connector::new(Net::new(stack));
//! let client: Client<_, String> = Client::builder(TokioExecutor::new()).build(connector);
//! let response = client.get("http://10.0.0.2/".parse().unwrap());
//! # }
//! ```

use crate::{Net, TcpStream};
use ::hyper::Uri;
use ::hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::connect::{Connected, Connection};
use netcore::tcp::Options;
use std::error::Error;
use std::future::{self, Ready};
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tower_service::Service;

/// Opens connections on a stack for hyper-util's client.
///
/// The port is the URI's, or 443 for `https` and 80 for everything else. For TLS wrap the
/// connector, as hyper-rustls does.
#[derive(Debug, Clone)]
pub struct Connector<R = NoResolver> {
    net: Net,
    /// The stack's own, if none is given.
    resolver: Option<R>,
    options: Options,
}

/// The default: only the stack's own resolver, which needs the feature `dns`.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoResolver;

/// A connection that is being opened.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

impl Connector {
    /// Connects as [`Net::tcp_connect`] does: to hosts that are IP addresses, and with the feature
    /// `dns` to host names.
    pub fn new(net: Net) -> Self {
        Self::make(net, None)
    }
}

impl<R> Connector<R> {
    /// Connects to the addresses that `resolver` finds for a host name, in their order. IP
    /// addresses are not passed to it.
    ///
    /// hyper-util has [`GaiResolver`](hyper_util::client::legacy::connect::dns::GaiResolver), which
    /// uses the kernel's resolver.
    pub fn with_resolver(net: Net, resolver: R) -> Self {
        Self::make(net, Some(resolver))
    }

    fn make(net: Net, resolver: Option<R>) -> Self {
        // A request goes out in several small writes.
        Self { net, resolver, options: Options { nodelay: true, ..Options::default() } }
    }

    /// Sets the socket options of new connections. The default is that of [`Net::tcp_connect`] with
    /// `nodelay`.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }
}

impl<R> Service<Uri> for Connector<R>
where
    R: Service<Name, Response: Iterator<Item = SocketAddr>, Future: Send + 'static>,
    R::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = TcpStream;
    type Error = io::Error;
    type Future = Connecting;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.resolver {
            Some(resolver) => resolver.poll_ready(cx).map_err(io::Error::other),
            None => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, uri: Uri) -> Connecting {
        let Some(host) = uri.host() else {
            return Box::pin(future::ready(Err(invalid(format!("{uri} has no host")))));
        };
        // An IPv6 address stands in brackets.
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_https = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let (net, options) = (self.net.clone(), self.options.clone());
        if let Ok(address) = host.parse::<IpAddr>() {
            return Box::pin(async move { net.tcp_connect_with((address, port), options).await });
        }
        let Some(resolver) = &mut self.resolver else {
            let host = host.to_owned();
            return Box::pin(async move { net.tcp_connect_with((host, port), options).await });
        };
        let Ok(name) = host.parse() else {
            return Box::pin(future::ready(Err(invalid(format!("{host} is not a name")))));
        };
        let resolving = resolver.call(name);
        Box::pin(async move {
            let found = resolving.await.map_err(io::Error::other)?;
            let addresses: Vec<SocketAddr> =
                found.map(|address| SocketAddr::new(address.ip(), port)).collect();
            net.tcp_connect_with(&addresses[..], options).await
        })
    }
}

impl Service<Name> for NoResolver {
    type Response = std::iter::Empty<SocketAddr>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let message = format!(
            "{name} is not an IP address: host names need Connector::with_resolver or the feature \
             \"dns\""
        );
        future::ready(Err(invalid(message)))
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

impl Connection for TcpStream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for TcpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // hyper's buffer is not initialized, and need not be: the bytes come in a piece.
        let piece = ready!(self.stream().poll_read_bytes(cx, buf.remaining()))?;
        buf.put_slice(&piece);
        Poll::Ready(Ok(()))
    }
}

impl Write for TcpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Does nothing: written bytes are sent without a flush.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown()
    }
}
