//! The proxy's HTTP: CONNECT, and requests with a whole URL.

use crate::side::{Side, Stream};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1 as client;
use hyper::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

type Body = BoxBody<Bytes, hyper::Error>;

/// How long the head of a request may take, and a connection be idle.
const HEAD: Duration = Duration::from_secs(30);
/// The most bytes of a head.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Headers of a connection, not of what it carries (RFC 9110 section 7.6.1).
const OF_CONNECTION: [&str; 8] = [
    "connection",
    "proxy-connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "proxy-authorization",
    "proxy-authenticate",
];

/// Serves a client to the end of its connection.
pub(crate) async fn serve(stream: Stream, outside: Side) -> io::Result<()> {
    let tunnel = Arc::new(Mutex::new(None));
    let answer = service_fn(|request| answer(request, &outside, &tunnel));
    server::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), answer)
        .with_upgrades()
        .await
        .map_err(io::Error::other)?;
    let tunnel = tunnel.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((client, server)) = tunnel {
        let client = client.await.map_err(io::Error::other)?;
        let parts = client.downcast::<TokioIo<Stream>>().map_err(|_| io::ErrorKind::Other)?;
        parts.io.into_inner().carry(server, &parts.read_buf).await;
    }
    Ok(())
}

/// A CONNECT that was answered: the client's connection, once that has been read, and the server's.
type Tunnel = Arc<Mutex<Option<(OnUpgrade, Stream)>>>;

async fn answer(
    request: Request<Incoming>,
    outside: &Side,
    tunnel: &Tunnel,
) -> Result<Response<Body>, Infallible> {
    Ok(match *request.method() {
        Method::CONNECT => connect(request, outside, tunnel).await,
        _ => forward(request, outside).await,
    })
}

/// Answers a CONNECT once the other end is there; the connection is the client's from then on.
async fn connect(request: Request<Incoming>, outside: &Side, tunnel: &Tunnel) -> Response<Body> {
    let authority = request.uri().authority().filter(|it| it.port_u16().is_some());
    let Some(target) = authority.map(ToString::to_string) else {
        return refused(StatusCode::BAD_REQUEST, "CONNECT needs a host and a port".into());
    };
    let server = match outside.connect(&target).await {
        Ok(server) => server,
        Err(error) => return unreached(&target, &error),
    };
    let client = hyper::upgrade::on(request);
    *tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some((client, server));
    Response::new(text(String::new()))
}

/// Passes a request on.
async fn forward(mut request: Request<Incoming>, outside: &Side) -> Response<Body> {
    let uri = request.uri().clone();
    let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        let reason = "this is a proxy: a request has a whole URL, which begins with http://";
        return refused(StatusCode::BAD_REQUEST, reason.into());
    };
    let host = authority.as_str().rsplit('@').next().unwrap_or_default().to_owned();
    let target = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
    let server = match outside.connect(&target).await {
        Ok(server) => server,
        Err(error) => return unreached(&target, &error),
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let (Ok(path), Ok(host)) = (path.parse::<Uri>(), HeaderValue::from_str(&host)) else {
        return refused(StatusCode::BAD_REQUEST, "a URL that cannot be passed on".into());
    };
    *request.uri_mut() = path;
    strip(request.headers_mut());
    // That of the URL, whatever the client says (RFC 9112 section 3.2.2).
    request.headers_mut().insert(HOST, host);
    match exchange(server, request).await {
        Ok(mut response) => {
            strip(response.headers_mut());
            response.map(BodyExt::boxed)
        }
        Err(error) => refused(StatusCode::BAD_GATEWAY, format!("{target}: {error}")),
    }
}

async fn exchange(
    server: Stream,
    request: Request<Incoming>,
) -> Result<Response<Incoming>, hyper::Error> {
    let (mut sender, connection) = client::handshake(TokioIo::new(server)).await?;
    // It ends with the body of the response.
    tokio::spawn(connection);
    sender.send_request(request).await
}

/// Removes what is of a connection.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in OF_CONNECTION {
        headers.remove(name);
    }
    headers.remove(UPGRADE);
}

fn unreached(target: &str, error: &io::Error) -> Response<Body> {
    let status = match error.kind() {
        io::ErrorKind::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::BAD_GATEWAY,
    };
    refused(status, format!("{target}: {error}"))
}

fn refused(status: StatusCode, reason: String) -> Response<Body> {
    let mut response = Response::new(text(reason + "\n"));
    *response.status_mut() = status;
    response
}

fn text(text: String) -> Body {
    Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_a_connection_are_not_passed_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "x-hop, close"),
            ("x-hop", "1"),
            ("proxy-authorization", "secret"),
            ("upgrade", "h2c"),
            ("accept", "*/*"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }

        strip(&mut headers);

        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
    }
}
