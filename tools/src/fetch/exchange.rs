//! A request on a connection of its own, and its answer.

use super::Args;
use super::url::{Header, Url};
use anyhow::{Error, anyhow};
use cli::Stop;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, COOKIE, HOST, HeaderValue, LOCATION, RANGE, USER_AGENT};
use hyper::http::response::Parts;
use hyper::{Request, Response, StatusCode, Uri};
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

const UNSUPPORTED: u8 = 1;
const NO_ADDRESS: u8 = 6;
const NO_CONNECTION: u8 = 7;
const PART: u8 = 18;
const HTTP_STATUS: u8 = 22;
const NOT_WRITTEN: u8 = 23;
const LATE: u8 = 28;
const NO_TLS: u8 = 35;
const TOO_MANY: u8 = 47;
const NO_ANSWER: u8 = 52;
const NOT_RECEIVED: u8 = 56;
const NOT_TRUSTED: u8 = 60;
pub(super) const NO_ROOTS: u8 = 77;

type Result<T> = std::result::Result<T, Failure>;

/// Fetches a page, and writes it.
pub(super) async fn fetch(net: &Net, args: &Args, mut tls: Option<TlsConnector>) -> Result<()> {
    let addressed = args.network.addressed(net, args.timeout).await;
    addressed.map_err(|error| fail(LATE, error))?;
    let (mut asked, mut redirects) = (Asked::first(args), 0);
    let (answer, about) = loop {
        let started = Instant::now();
        let (answer, peer, connected) = ask(net, &asked, args, &mut tls).await?;
        match redirection(&answer, &asked.url).filter(|_| args.location) {
            Some(_) if redirects == args.max_redirs => {
                let error = anyhow!("{}: more than {redirects} redirections", args.url.uri);
                return Err(fail(TOO_MANY, error));
            }
            Some(url) => {
                let url = url.map_err(|error| fail(UNSUPPORTED, anyhow!(error)))?;
                tracing::info!(uri = %url.uri, "redirected");
                redirects += 1;
                asked.go_on(url);
            }
            None => break (answer, About { started, peer, connected, redirects }),
        }
    };
    let uri = &asked.url.uri;
    let status = answer.status();
    if args.fail && status.as_u16() >= 400 {
        return Err(fail(HTTP_STATUS, anyhow!("{uri}: {status}")));
    }
    let (head, body) = answer.into_parts();
    let bytes = match &args.output {
        Some(path) => {
            let failed =
                |error: io::Error| fail(NOT_WRITTEN, anyhow!("{}: {error}", path.display()));
            let file = tokio::fs::File::create(path).await.map_err(failed)?;
            write(args, uri, body, file, failed).await?
        }
        None => {
            let failed = |error| fail(NOT_WRITTEN, Stop::Output(error));
            write(args, uri, body, tokio::io::stdout(), failed).await?
        }
    };
    tracing::info!(bytes, "received");
    if args.json {
        cli::println!("{}", about.json(uri, &head, bytes));
    }
    Ok(())
}

/// What is asked for next.
struct Asked {
    url: Url,
    headers: Vec<Header>,
}

impl Asked {
    fn first(args: &Args) -> Self {
        Self { url: args.url.clone(), headers: args.headers.clone() }
    }

    /// Asks for the page at another place; another server is told no secret of this one's.
    fn go_on(&mut self, url: Url) {
        let place = |url: &Url| (url.host.to_lowercase(), url.port, url.is_https);
        if place(&url) != place(&self.url) {
            self.headers.retain(|(name, _)| *name != AUTHORIZATION && *name != COOKIE);
        }
        self.url = url;
    }
}

/// Where an answer leads to instead (RFC 9110 section 15.4).
fn redirection(
    answer: &Response<Incoming>,
    from: &Url,
) -> Option<std::result::Result<Url, String>> {
    use StatusCode as Status;
    let leads = [
        Status::MOVED_PERMANENTLY,
        Status::FOUND,
        Status::SEE_OTHER,
        Status::TEMPORARY_REDIRECT,
        Status::PERMANENT_REDIRECT,
    ];
    let location = answer.headers().get(LOCATION).filter(|_| leads.contains(&answer.status()))?;
    Some(from.join(&String::from_utf8_lossy(location.as_bytes())))
}

/// Asks on a connection of its own; returns the answer, the server's address, and how long that
/// connection took.
async fn ask(
    net: &Net,
    asked: &Asked,
    args: &Args,
    tls: &mut Option<TlsConnector>,
) -> Result<(Response<Incoming>, SocketAddr, Duration)> {
    let started = Instant::now();
    let (url, patience) = (&asked.url, args.timeout);
    let (host, port) = (&url.host, url.port);
    let addresses = match host.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => {
            let step = format!("looking up {host}");
            let servers = net.control().network().name_servers.clone();
            tracing::info!(%host, ?servers, "looking up");
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
    if !url.is_https {
        return Ok((exchange(args, asked, stream).await?, peer, connected));
    }
    let tls = match tls {
        Some(tls) => tls,
        // A redirection that leads from HTTP to HTTPS.
        None => tls.insert(args.trust.connector().map_err(|error| fail(NO_ROOTS, error))?),
    };
    let stream = handshake(tls, host, patience, stream).await?;
    Ok((exchange(args, asked, stream).await?, peer, connected))
}

async fn handshake(
    tls: &TlsConnector,
    host: &str,
    patience: Duration,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(|error| fail(NO_TLS, error))?;
    let step = format!("TLS with {host}");
    let begun = within(patience, &step, tls.connect(name, stream), NO_TLS).await;
    let stream = begun.map_err(|mut failure| {
        let cause = failure.error.root_cause().to_string();
        if failure.status == NO_TLS && cause.contains("certificate") {
            failure.status = NOT_TRUSTED;
        }
        failure
    })?;
    let session = stream.get_ref().1;
    let (version, suite) = (session.protocol_version(), session.negotiated_cipher_suite());
    let suite = suite.map(|suite| suite.suite());
    tracing::info!(?version, ?suite, "TLS");
    Ok(stream)
}

/// Requests the page on a connection.
async fn exchange<S>(args: &Args, asked: &Asked, stream: S) -> Result<Response<Incoming>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let uri = &asked.url.uri;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| fail(NOT_RECEIVED, error))?;
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
    for (name, value) in asked.headers.clone() {
        request.headers_mut().insert(name, value);
    }
    let step = format!("asking for {uri}");
    let answer = match timeout(args.timeout, sender.send_request(request)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            let status = if error.is_incomplete_message() { NO_ANSWER } else { NOT_RECEIVED };
            return Err(fail(status, Error::from(error).context(step)));
        }
        Err(_) => return Err(late(&step, args.timeout)),
    };
    tracing::info!(status = %answer.status(), headers = ?answer.headers(), "answered");
    Ok(answer)
}

/// Writes the page piece by piece; returns its length.
async fn write(
    args: &Args,
    uri: &Uri,
    mut body: Incoming,
    mut to: impl AsyncWrite + Unpin,
    failed: impl Fn(io::Error) -> Failure,
) -> Result<u64> {
    let (mut bytes, step) = (0, format!("receiving {uri}"));
    loop {
        let frame = match timeout(args.timeout, body.frame()).await {
            Ok(None) => break,
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => {
                let status = if is_early_end(&error) { PART } else { NOT_RECEIVED };
                return Err(fail(status, Error::from(error).context(step)));
            }
            Err(_) => return Err(late(&step, args.timeout)),
        };
        if let Ok(piece) = frame.into_data() {
            to.write_all(&piece).await.map_err(&failed)?;
            bytes += piece.len() as u64;
        }
    }
    to.flush().await.map_err(&failed)?;
    Ok(bytes)
}

/// Whether the connection has ended in good order before the page has.
fn is_early_end(error: &hyper::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref().map(io::Error::kind);
        if kind.is_some_and(|kind| kind == io::ErrorKind::UnexpectedEof) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// What a script may want to know of a transfer, besides the head of the answer.
struct About {
    /// The moment of the last request.
    started: Instant,
    peer: SocketAddr,
    connected: Duration,
    redirects: usize,
}

impl About {
    fn json(&self, uri: &Uri, head: &Parts, bytes: u64) -> serde_json::Value {
        let headers: serde_json::Map<_, _> = head
            .headers
            .iter()
            .map(|(name, value)| {
                (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned().into())
            })
            .collect();
        json!({"url": uri.to_string(), "status": head.status.as_u16(), "headers": headers,
            "bytes": bytes, "remote": self.peer, "redirects": self.redirects,
            "connect_ms": self.connected.as_secs_f64() * 1e3,
            "time_ms": self.started.elapsed().as_secs_f64() * 1e3})
    }
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
        Err(_) => Err(late(step, patience)),
    }
}

fn late(step: &str, patience: Duration) -> Failure {
    fail(LATE, anyhow!("{step}: timed out after {patience:?}"))
}

fn fail(status: u8, error: impl Into<Error>) -> Failure {
    Failure { status, error: error.into() }
}
