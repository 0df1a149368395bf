//! Queries to name servers, and workarounds for servers that do not follow the standards.
//!
//! No task is left behind: a query has a socket of its own, which lives as long as the future that
//! waits for the answer. For UDP that is required, a fresh port for each query (RFC 5452 section
//! 9.2); TCP is used only after a truncated answer.
//!
//! hickory sends EDNS (RFC 6891) with each query and retransmits it unchanged. Here a failed query
//! is repeated without EDNS: immediately after an error, and in parallel after a silence.

use super::failures::Failures;
use super::sockets::{Clock, Delay, Sockets};
use crate::Net;
use futures_util::future::{Either, select};
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use hickory_net::NetError;
use hickory_net::runtime::Time;
use hickory_net::tcp::TcpClientStream;
use hickory_net::udp::UdpClientStream;
use hickory_net::xfer::{DnsHandle, DnsMultiplexer, DnsRequestSender, FirstAnswer};
use hickory_resolver::config::ConnectionConfig;
use hickory_resolver::proto::op::{DnsRequest, DnsResponse, Message, Query, ResponseCode};
use hickory_resolver::{ConnectionProvider, PoolContext};
use std::collections::HashMap;
use std::fmt;
use std::future::{self, Future};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;
use tokio::time::Instant;

/// Makes the connections of [`Server`]s.
#[derive(Debug, Clone)]
pub(super) struct Servers {
    sockets: Sockets,
    failures: Failures,
    plain: Plain,
}

impl Servers {
    pub(super) fn new(net: Net) -> Self {
        Self { sockets: Sockets::new(net), failures: Failures::default(), plain: Plain::default() }
    }

    /// The causes of failed queries.
    pub(super) fn failures(&self) -> &Failures {
        &self.failures
    }
}

/// Servers that answer only queries without EDNS, and until when that is assumed: the cause may
/// have been lost packets. Bounded by the number of servers.
#[derive(Debug, Clone, Default)]
struct Plain(Arc<Mutex<HashMap<SocketAddr, Instant>>>);

/// How long a server is queried without EDNS before EDNS is tried again.
const PLAIN: Duration = Duration::from_secs(600);

impl Plain {
    fn has(&self, server: SocketAddr) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&server).is_some_and(|until| Instant::now() < *until)
    }

    fn note(&self, server: SocketAddr) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(server, Instant::now() + PLAIN);
    }
}

/// A name server.
#[derive(Debug, Clone)]
pub(super) struct Server {
    sockets: Sockets,
    address: SocketAddr,
    timeout: Duration,
    failures: Failures,
    plain: Plain,
}

/// An answer that says nothing about the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Useless(pub(super) ResponseCode);

impl fmt::Display for Useless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ResponseCode::NoError => {
                f.write_str("the server is not authoritative and does not recurse")
            }
            code => write!(f, "the server answered \"{code}\""),
        }
    }
}

impl std::error::Error for Useless {}

impl ConnectionProvider for Servers {
    type Conn = Server;
    type FutureConn = future::Ready<Result<Server, NetError>>;
    type RuntimeProvider = Sockets;

    fn new_connection(
        &self,
        ip: IpAddr,
        config: &ConnectionConfig,
        context: &PoolContext,
    ) -> Result<Self::FutureConn, NetError> {
        Ok(future::ready(Ok(Server {
            sockets: self.sockets.clone(),
            address: SocketAddr::new(ip, config.port),
            timeout: context.options.timeout,
            failures: self.failures.clone(),
            plain: self.plain.clone(),
        })))
    }

    fn runtime_provider(&self) -> &Sockets {
        &self.sockets
    }
}

impl DnsHandle for Server {
    type Response = BoxStream<'static, Result<DnsResponse, NetError>>;
    type Runtime = Sockets;

    fn send(&self, request: DnsRequest) -> Self::Response {
        let server = self.clone();
        stream::once(async move {
            let query = request.queries.first().cloned();
            let answer = server.ask(request).await;
            server.usable(query.as_ref(), answer)
        })
        .boxed()
    }
}

impl Server {
    /// Queries with EDNS and, unless that is answered, without; only without if the server is known
    /// not to answer queries with EDNS (RFC 6891 section 6.2.2).
    async fn ask(&self, request: DnsRequest) -> Result<DnsResponse, NetError> {
        let deadline = Instant::now() + self.timeout;
        let plain = without_edns(request.clone());
        if request.edns.is_none() || self.plain.has(self.address) {
            return self.ask_for_all(plain, deadline).await;
        }
        let with_edns = Box::pin(self.ask_for_all(request, deadline));
        // For a slow server, or after a lost packet, both queries are sent in the end.
        match select(with_edns, Delay::new(self.timeout / 3)).await {
            Either::Left((answer, _)) if !may_be_about_edns(&answer) => answer,
            Either::Left((answer, _)) => {
                let second = self.ask_for_all(plain, deadline).await;
                self.better(answer, second)
            }
            Either::Right(((), with_edns)) => {
                let plain = Box::pin(self.ask_for_all(plain, deadline));
                match select(with_edns, plain).await {
                    Either::Left((answer, _)) if is_about_name(&answer) => answer,
                    Either::Left((answer, plain)) => self.better(answer, plain.await),
                    Either::Right((answer, _)) if is_about_name(&answer) => {
                        self.plain.note(self.address);
                        answer
                    }
                    Either::Right((answer, with_edns)) => self.better(with_edns.await, answer),
                }
            }
        }
    }

    /// The answer to use of those to a question with EDNS and to one without.
    fn better(
        &self,
        with_edns: Result<DnsResponse, NetError>,
        plain: Result<DnsResponse, NetError>,
    ) -> Result<DnsResponse, NetError> {
        if is_about_name(&with_edns) || !is_about_name(&plain) {
            return with_edns;
        }
        self.plain.note(self.address);
        plain
    }

    /// Queries over UDP, and again over TCP if the answer was truncated (RFC 7766 section 5).
    async fn ask_for_all(
        &self,
        request: DnsRequest,
        deadline: Instant,
    ) -> Result<DnsResponse, NetError> {
        let left = || deadline.saturating_duration_since(Instant::now());
        let answer = UdpClientStream::builder(self.address, self.sockets.clone())
            .with_timeout(Some(left()))
            // The stack's choice cannot be predicted.
            .with_os_port_selection(true)
            .build()
            .send_message(request.clone())
            .first_answer()
            .await?;
        if !answer.truncation || !is_about_name_in(&answer) {
            return Ok(answer);
        }
        let query = request.queries.first().cloned();
        let part: Vec<_> = query.iter().flat_map(|query| part_of(&answer, query)).collect();
        // A server that does not answer over TCP must not delay the use of the partial answer.
        let limit = if part.is_empty() { left() } else { left() / 2 };
        let asking = ask_over_tcp(self.sockets.clone(), self.address, limit, request);
        let reason = match Clock::timeout(limit, asking).await {
            Ok(Ok(whole)) if !whole.truncation => return Ok(whole),
            Ok(Ok(_)) => io::Error::new(io::ErrorKind::InvalidData, "truncated as well"),
            Ok(Err(NetError::Io(error))) => io::Error::new(error.kind(), error),
            Err(_) | Ok(Err(NetError::Timeout)) => io::ErrorKind::TimedOut.into(),
            Ok(Err(error)) => io::Error::other(error),
        };
        if let (Some(query), false) = (&query, part.is_empty()) {
            self.failures.keep(query, part);
        }
        let message = format!("the answer was truncated, and over TCP: {reason}");
        Err(NetError::Io(Arc::new(io::Error::new(reason.kind(), message))))
    }

    /// Turns an answer that says nothing about the name, or is malformed, into a network error.
    /// Only after such an error hickory queries the other servers.
    fn usable(
        &self,
        query: Option<&Query>,
        answer: Result<DnsResponse, NetError>,
    ) -> Result<DnsResponse, NetError> {
        let (error, is_answer) = match answer {
            Ok(answer) if is_about_name_in(&answer) => return Ok(answer),
            Ok(answer) => {
                let code = answer.metadata.response_code;
                (Arc::new(io::Error::other(Useless(code))), true)
            }
            Err(NetError::Proto(error)) => {
                let message = format!("the answer is malformed: {error}");
                (Arc::new(io::Error::new(io::ErrorKind::InvalidData, message)), true)
            }
            Err(NetError::Io(error)) => (error, false),
            Err(error) => return Err(error),
        };
        if let Some(query) = query {
            self.failures.note(query, &error, is_answer);
        }
        Err(NetError::Io(error))
    }
}

/// The same question under another identifier.
fn without_edns(request: DnsRequest) -> DnsRequest {
    let original = request.original_query().cloned();
    let (mut message, mut options) = request.into_parts();
    options.use_edns = false;
    message.edns = None;
    message.metadata.id = Message::query().metadata.id;
    DnsRequest::new(message, options).with_original_query(original)
}

/// Whether an answer is about the name, and not only about its server.
fn is_about_name(answer: &Result<DnsResponse, NetError>) -> bool {
    answer.as_ref().is_ok_and(is_about_name_in)
}

fn is_about_name_in(answer: &DnsResponse) -> bool {
    match answer.metadata.response_code {
        ResponseCode::NXDomain => true,
        // An empty answer of a server that is neither authoritative nor recursive is not a negative
        // one; glibc queries the next server as well.
        ResponseCode::NoError => {
            !answer.answers.is_empty()
                || answer.metadata.authoritative
                || answer.metadata.recursion_available
                || answer.metadata.truncation
                || !answer.additionals.is_empty()
        }
        _ => false,
    }
}

/// Whether the query may be answered without EDNS.
fn may_be_about_edns(answer: &Result<DnsResponse, NetError>) -> bool {
    match answer {
        Ok(answer) => match answer.metadata.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => false,
            ResponseCode::FormErr | ResponseCode::NotImp | ResponseCode::BADVERS => true,
            // A server that sends EDNS can parse it.
            _ => answer.edns.is_none(),
        },
        Err(error) => matches!(error, NetError::Proto(_)),
    }
}

/// The records of an answer that match the query.
fn part_of<'a>(
    answer: &'a DnsResponse,
    query: &'a Query,
) -> impl Iterator<Item = hickory_resolver::proto::rr::Record> + 'a {
    let is_wanted =
        |record: &&hickory_resolver::proto::rr::Record| record.record_type() == query.query_type();
    answer.answers.iter().filter(is_wanted).cloned()
}

async fn ask_over_tcp(
    sockets: Sockets,
    server: SocketAddr,
    timeout: Duration,
    request: DnsRequest,
) -> Result<DnsResponse, NetError> {
    let queries = request.queries.clone();
    let (connecting, sender) = TcpClientStream::new(server, None, Some(timeout), sockets);
    let mut connection = DnsMultiplexer::new(connecting.await?, sender).with_timeout(timeout);
    let mut answer = connection.send_message(request).first_answer();
    // The connection itself has no output; it only has to be polled until the answer arrives.
    let answer = future::poll_fn(|cx| {
        let driven = Pin::new(&mut connection).poll_next(cx);
        match (Pin::new(&mut answer).poll(cx), driven) {
            (Poll::Ready(answer), _) => Poll::Ready(answer),
            (Poll::Pending, Poll::Ready(None)) => {
                Poll::Ready(Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()))
            }
            (Poll::Pending, Poll::Ready(Some(Err(error)))) => Poll::Ready(Err(error)),
            (Poll::Pending, _) => Poll::Pending,
        }
    })
    .await?;
    // hickory checks this over UDP only.
    match answer.queries == queries {
        true => Ok(answer),
        false => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "the answer does not match the query")
                .into())
        }
    }
}
