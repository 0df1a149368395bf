//! A request on a connection of its own, and its answer.

use super::Args;
use anyhow::{Error, anyhow};
use cli::Stop;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue, RANGE, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use netstack::Net;
use netstack::netsocket::TcpStream;
use serde_json::json;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

/// Why there is no page.
#[derive(Debug)]
pub(super) struct Failure {
    /// The exit status, as curl's.
    pub(super) status: u8,
    pub(super) error: Error,
}

const NO_ADDRESS: u8 = 6;
const NO_CONNECTION: u8 = 7;
const PART: u8 = 18;
const HTTP_STATUS: u8 = 22;
const NOT_WRITTEN: u8 = 23;
const LATE: u8 = 28;
const NO_TLS: u8 = 35;
const NOT_RECEIVED: u8 = 56;
const NOT_TRUSTED: u8 = 60;

type Result<T> = std::result::Result<T, Failure>;

/// Fetches a page, and writes it.
pub(super) async fn fetch(net: &Net, args: &Args, tls: Option<TlsConnector>) -> Result<()> {
    let started = Instant::now();
    let (url, patience) = (&args.url, args.timeout);
    let (host, port) = (&url.host, url.port);
    let addresses = match host.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => {
            let step = format!("looking up {host}");
            let found = within(patience, &step, net.resolver().lookup_ip(host), NO_ADDRESS).await?;
            found.into_iter().map(|address| SocketAddr::new(address, port)).collect()
        }
    };
    let step = format!("connecting to {host}:{port}");
    tracing::info!(%host, ?addresses, "connecting");
    let connecting = net.tcp_connect(&addresses[..]);
    let stream = within(patience, &step, connecting, NO_CONNECTION).await?;
    let _ = stream.set_nodelay(true);
    let peer = stream.peer_addr().map_err(|error| fail(NO_CONNECTION, error))?;
    let connected = started.elapsed();
    tracing::info!(%peer, "connected");
    let (http, bytes) = match tls {
        Some(tls) => exchange(args, handshake(tls, args, stream).await?).await?,
        None => exchange(args, stream).await?,
    };
    if args.json {
        cli::println!("{}", about(args, &http, bytes, peer, [connected, started.elapsed()]));
    }
    Ok(())
}

async fn handshake(
    tls: TlsConnector,
    args: &Args,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>> {
    let host = &args.url.host;
    let name = ServerName::try_from(host.clone()).map_err(|error| fail(NO_TLS, error))?;
    let step = format!("TLS with {host}");
    within(args.timeout, &step, tls.connect(name, stream), NO_TLS).await.map_err(|mut failure| {
        let cause = failure.error.root_cause().to_string();
        if failure.status == NO_TLS && cause.contains("certificate") {
            failure.status = NOT_TRUSTED;
        }
        failure
    })
}

/// Requests the page, and writes it; returns its head and its length.
async fn exchange<S>(args: &Args, stream: S) -> Result<(hyper::http::response::Parts, u64)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (patience, uri) = (args.timeout, &args.url.uri);
    let broken = |error: hyper::Error| fail(NOT_RECEIVED, error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let mut request = Request::get(path)
        .header(HOST, authority.rsplit('@').next().unwrap_or(authority))
        .header(USER_AGENT, concat!("netstack-fetch/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|error| fail(NOT_RECEIVED, error))?;
    if let Some(range) = args.range.as_deref().and_then(|range| HeaderValue::from_str(range).ok()) {
        request.headers_mut().insert(RANGE, range);
    }
    for (name, value) in args.headers.clone() {
        request.headers_mut().insert(name, value);
    }
    let step = format!("asking for {uri}");
    let response = within(patience, &step, sender.send_request(request), NOT_RECEIVED).await?;
    tracing::info!(status = %response.status(), "answered");
    let status = response.status();
    if args.fail && status.as_u16() >= 400 {
        return Err(fail(HTTP_STATUS, anyhow!("{uri}: {status}")));
    }
    let (head, body) = response.into_parts();
    let response = Response::from_parts(head.clone(), body);
    let bytes = match &args.output {
        Some(path) => {
            let failed =
                |error: io::Error| fail(NOT_WRITTEN, anyhow!("{}: {error}", path.display()));
            let file = tokio::fs::File::create(path).await.map_err(failed)?;
            write(args, response, file, failed).await?
        }
        None => {
            let failed = |error| fail(NOT_WRITTEN, Stop::Output(error));
            write(args, response, tokio::io::stdout(), failed).await?
        }
    };
    Ok((head, bytes))
}

/// Writes the page piece by piece; returns its length.
async fn write(
    args: &Args,
    mut response: Response<Incoming>,
    mut to: impl AsyncWrite + Unpin,
    failed: impl Fn(io::Error) -> Failure,
) -> Result<u64> {
    let (mut bytes, step) = (0, format!("receiving {}", args.url.uri));
    loop {
        let next = async { response.frame().await.transpose() };
        let Some(frame) = within(args.timeout, &step, next, PART).await? else { break };
        if let Ok(piece) = frame.into_data() {
            to.write_all(&piece).await.map_err(&failed)?;
            bytes += piece.len() as u64;
        }
    }
    to.flush().await.map_err(&failed)?;
    Ok(bytes)
}

/// What a script may want to know of a transfer.
fn about(
    args: &Args,
    head: &hyper::http::response::Parts,
    bytes: u64,
    peer: SocketAddr,
    [connected, all]: [Duration; 2],
) -> serde_json::Value {
    let headers: serde_json::Map<_, _> = head
        .headers
        .iter()
        .map(|(name, value)| {
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned().into())
        })
        .collect();
    json!({"url": args.url.uri.to_string(), "status": head.status.as_u16(), "headers": headers,
        "bytes": bytes, "remote": peer, "connect_ms": connected.as_secs_f64() * 1e3,
        "time_ms": all.as_secs_f64() * 1e3})
}

/// Waits for a step, and names it if it fails.
async fn within<T, E: Into<Error>>(
    patience: Duration,
    step: &str,
    doing: impl Future<Output = std::result::Result<T, E>>,
    status: u8,
) -> Result<T> {
    match timeout(patience, doing).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(fail(status, error.into().context(step.to_owned()))),
        Err(_) => Err(fail(LATE, anyhow!("{step}: timed out after {patience:?}"))),
    }
}

fn fail(status: u8, error: impl Into<Error>) -> Failure {
    Failure { status, error: error.into() }
}
