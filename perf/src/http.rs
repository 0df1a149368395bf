//! HTTP/1.1 by hyper. The control connection is one that is upgraded; a stream is a POST or a GET whose body
//! lasts as long, and each request of the other modes is a POST with a response of its own. Whoever has no
//! test may GET bytes and POST some.

use crate::channel::Channel;
use crate::cookie::{self, Cookie};
use crate::pattern;
use crate::shared::Shared;
use bytes::Bytes;
use http_body_util::{BodyExt, Either, Empty, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self as client, SendRequest};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue, UPGRADE};
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use netsocket::TcpStream;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// What the control connection is upgraded to.
const PROTOCOL: HeaderValue = HeaderValue::from_static("netstack-perf");
/// How many blocks may wait for hyper.
const WAITING_MAX: usize = 2;
/// The size of a piece of what anyone may GET.
const PIECE_BYTES: usize = 64 * 1024;

/// The pieces of a body, as they are written.
pub(crate) struct Pieces(mpsc::Receiver<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// So many bytes that say where they stand.
pub(crate) struct Counted {
    at: u64,
    end: u64,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let len = (self.end - self.at).min(PIECE_BYTES as u64);
        if len == 0 {
            return Poll::Ready(None);
        }
        let piece = pattern::bytes(self.at, len as usize);
        self.at += len;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end - self.at)
    }
}

/// A message of HTTP at either end: bytes until the body ends, in each direction.
pub(crate) struct Message {
    pub(crate) to: Option<mpsc::Sender<Bytes>>,
    pub(crate) from: Incoming,
    /// Of the last piece that was received.
    left: Bytes,
    pub(crate) under: Arc<TcpStream>,
}

impl Message {
    fn new(to: Option<mpsc::Sender<Bytes>>, from: Incoming, under: Arc<TcpStream>) -> Self {
        Self { to, from, left: Bytes::new(), under }
    }

    pub(crate) async fn write_bytes(&mut self, data: &mut Bytes) -> io::Result<usize> {
        let ended = || io::Error::from(io::ErrorKind::BrokenPipe);
        let room = self.to.as_ref().ok_or_else(ended)?.reserve().await.map_err(|_| ended())?;
        let len = data.len();
        room.send(std::mem::take(data));
        Ok(len)
    }

    pub(crate) async fn recv_bytes(&mut self, max: usize) -> io::Result<Bytes> {
        next(&mut self.from, &mut self.left, max).await
    }
}

/// A client's connection of requests.
pub(crate) struct Asking {
    sender: SendRequest<Full<Bytes>>,
    head: Head,
    /// The body of the response.
    from: Option<Incoming>,
    left: Bytes,
    pub(crate) under: Arc<TcpStream>,
    /// If there is one request alone, the task of its connection.
    only: Option<JoinHandle<()>>,
}

/// What all requests of a test have in common.
#[derive(Clone)]
pub(crate) struct Head {
    pub(crate) authority: String,
    pub(crate) cookie: Cookie,
}

impl Head {
    fn request<B>(&self, method: Method, body: B) -> io::Result<Request<B>> {
        let request = Request::builder().method(method).uri(format!("/{}", self.cookie.text()));
        request.header(HOST, &self.authority).body(body).map_err(io::Error::other)
    }
}

impl Asking {
    /// Begins HTTP on a connection, for one request or for many.
    pub(crate) async fn begin(stream: Shared, head: Head, is_only: bool) -> io::Result<Self> {
        let under = stream.0.clone();
        let io = TokioIo::new(Passive(stream));
        let (sender, connection) = client::handshake(io).await.map_err(io::Error::other)?;
        let driver = tokio::spawn(async move {
            // A request that fails has the reason.
            let _ = connection.await;
        });
        let only = is_only.then_some(driver);
        Ok(Self { sender, head, from: None, left: Bytes::new(), under, only })
    }

    /// Sends a request, and waits for the head of its response.
    pub(crate) async fn ask(&mut self, body: Bytes) -> io::Result<()> {
        let mut request = self.head.request(Method::POST, Full::new(body))?;
        if self.only.is_some() {
            request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        self.sender.ready().await.map_err(io::Error::other)?;
        let response = self.sender.send_request(request).await.map_err(io::Error::other)?;
        self.from = Some(checked(response)?.into_body());
        Ok(())
    }

    /// The next piece of the response. After that of the only request comes the end of the connection, as the
    /// server closes first and the ports of this end are free again.
    pub(crate) async fn recv_bytes(&mut self, max: usize) -> io::Result<Bytes> {
        if let Some(from) = &mut self.from {
            let piece = next(from, &mut self.left, max).await?;
            if !piece.is_empty() {
                return Ok(piece);
            }
            self.from = None;
        }
        if let Some(driver) = &mut self.only {
            let _ = driver.await;
            self.only = None;
            return self.under.recv_bytes(max).await;
        }
        Ok(Bytes::new())
    }
}

/// Opens a stream that this end sends, or receives.
pub(crate) async fn stream(stream: Shared, head: &Head, sends: bool) -> io::Result<Channel> {
    let under = stream.0.clone();
    let handshake = client::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let (to, method, body) = match sends {
        true => {
            let (to, pieces) = mpsc::channel(WAITING_MAX);
            (Some(to), Method::POST, Either::Left(Pieces(pieces)))
        }
        false => (None, Method::GET, Either::Right(Empty::new())),
    };
    let request = head.request(method, body)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    Ok(Channel::Message(Box::new(Message::new(to, checked(response)?.into_body(), under))))
}

/// Opens a control connection.
pub(crate) async fn upgrade(stream: Shared, head: &Head) -> io::Result<Channel> {
    let under = stream.0.clone();
    let handshake = client::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(io::Error::other)?;
    tokio::spawn(connection.with_upgrades());
    let request = Request::get("/")
        .header(HOST, &head.authority)
        .header(CONNECTION, "upgrade")
        .header(UPGRADE, PROTOCOL)
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let what = format!("{} instead of {PROTOCOL:?}", response.status());
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(io::Error::other)?;
    Ok(Channel::over(TokioIo::new(upgraded), under))
}

/// What a server hands on: a channel of the test with this cookie.
pub(crate) type Begun = (Channel, Cookie);

/// Serves the requests of a connection; whoever takes the channels returns whether there was room.
pub(crate) async fn serve<F>(stream: TcpStream, begun: F)
where
    F: Fn(Begun) -> bool + Clone + Send + 'static,
{
    let stream = Shared(Arc::new(stream));
    let under = stream.0.clone();
    // A head and its body are several writes.
    let _ = under.set_nodelay(true);
    let answer = service_fn(move |request| answer(request, under.clone(), begun.clone()));
    // A client that has left is no failure.
    let _ = server::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(cookie::PATIENCE)
        .serve_connection(TokioIo::new(stream), answer)
        .with_upgrades()
        .await;
}

type Answer = Either<Pieces, Either<Counted, Full<Bytes>>>;

async fn answer<F>(
    mut request: Request<Incoming>,
    under: Arc<TcpStream>,
    begun: F,
) -> Result<Response<Answer>, hyper::Error>
where
    F: Fn(Begun) -> bool + Send + 'static,
{
    if request.headers().get(UPGRADE) == Some(&PROTOCOL) {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(timeout(cookie::PATIENCE, async move {
            let Ok(upgraded) = upgrade.await else { return };
            let mut io = TokioIo::new(upgraded);
            if let Ok(cookie) = Cookie::read(&mut io).await {
                begun((Channel::over(io, under), cookie));
            }
        }));
        let mut response = text(StatusCode::SWITCHING_PROTOCOLS, String::new());
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        response.headers_mut().insert(UPGRADE, PROTOCOL);
        return Ok(response);
    }
    if let Some(cookie) = request.uri().path().strip_prefix('/').and_then(Cookie::of_text) {
        let (to, pieces) = mpsc::channel(WAITING_MAX);
        let message = Message::new(Some(to), request.into_body(), under);
        return Ok(match begun((Channel::Message(Box::new(message)), cookie)) {
            true => Response::new(Either::Left(Pieces(pieces))),
            false => text(StatusCode::SERVICE_UNAVAILABLE, "too many at a time\n".into()),
        });
    }
    let stores = matches!(*request.method(), Method::POST | Method::PUT);
    // curl puts the name of a file behind the path.
    if request.uri().path() != "/" && !stores {
        return Ok(text(StatusCode::NOT_FOUND, "GET /?bytes=N, or POST / some\n".into()));
    }
    match *request.method() {
        Method::GET | Method::HEAD => {
            let bytes = request.uri().query().and_then(|query| query.strip_prefix("bytes="));
            Ok(match bytes.and_then(|bytes| bytes.parse().ok()) {
                Some(end) => Response::new(Either::Right(Either::Left(Counted { at: 0, end }))),
                None => text(StatusCode::BAD_REQUEST, "GET /?bytes=N, or POST / some\n".into()),
            })
        }
        Method::POST | Method::PUT => {
            let start = Instant::now();
            let (mut body, mut bytes) = (request.into_body(), 0);
            while let Some(frame) = body.frame().await {
                bytes += frame?.data_ref().map_or(0, |data| data.len() as u64);
            }
            let seconds = start.elapsed().as_secs_f64();
            let counted = serde_json::json!({ "bytes": bytes, "seconds": seconds });
            let mut response = text(StatusCode::OK, format!("{counted}\n"));
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
            Ok(response)
        }
        _ => Ok(text(StatusCode::METHOD_NOT_ALLOWED, "GET or POST\n".into())),
    }
}

fn text(status: StatusCode, text: String) -> Response<Answer> {
    let mut response = Response::new(Either::Right(Either::Right(Full::from(text))));
    *response.status_mut() = status;
    response
}

fn checked(response: Response<Incoming>) -> io::Result<Response<Incoming>> {
    match response.status() {
        StatusCode::OK => Ok(response),
        status => Err(io::Error::new(io::ErrorKind::InvalidData, status.to_string())),
    }
}

/// The next piece of a body, of at most `max` bytes.
async fn next(from: &mut Incoming, left: &mut Bytes, max: usize) -> io::Result<Bytes> {
    while left.is_empty() {
        match from.frame().await {
            None => return Ok(Bytes::new()),
            Some(frame) => {
                let frame = frame.map_err(io::Error::other)?;
                *left = frame.into_data().unwrap_or_default();
            }
        }
    }
    Ok(left.split_to(max.min(left.len())))
}

/// A connection whose end is left to the other end.
struct Passive(Shared);

impl AsyncRead for Passive {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Passive {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    /// Does nothing, as of the connection.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
