//! hickory's questions over the stack's own sockets.
//!
//! No task is left behind: a question and its answer have a socket of their own, which lives as long
//! as the future that waits for the answer. For UDP that is as the protocol wants it, a fresh port
//! for each question (RFC 5452 section 9.2); TCP is asked only when an answer was cut short.

use super::failures::Failures;
use crate::{Net, TcpStream, UdpSocket};
use async_trait::async_trait;
use futures_io::{AsyncRead, AsyncWrite};
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use hickory_net::NetError;
use hickory_net::runtime::{DnsTcpStream, DnsUdpSocket, RuntimeProvider, Spawn, Time};
use hickory_net::tcp::TcpClientStream;
use hickory_net::udp::UdpClientStream;
use hickory_net::xfer::{DnsHandle, DnsMultiplexer, DnsRequestSender, FirstAnswer, Protocol};
use hickory_resolver::config::ConnectionConfig;
use hickory_resolver::proto::op::{DnsRequest, DnsResponse, Query, ResponseCode};
use hickory_resolver::{ConnectionProvider, PoolContext};
use netcore::tcp::Options;
use std::future::{self, Future};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::ReadBuf;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// Makes what a [`Server`] is asked over.
#[derive(Debug, Clone)]
pub(super) struct Servers {
    sockets: Sockets,
    failures: Failures,
}

impl Servers {
    pub(super) fn new(net: Net) -> Self {
        Self { sockets: Sockets { net }, failures: Failures::default() }
    }

    /// Why they could not be asked.
    pub(super) fn failures(&self) -> &Failures {
        &self.failures
    }
}

/// A name server, over one of its protocols.
#[derive(Debug, Clone)]
pub(super) struct Server {
    sockets: Sockets,
    address: SocketAddr,
    protocol: Protocol,
    timeout: Duration,
    failures: Failures,
}

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
            protocol: config.protocol.to_protocol(),
            timeout: context.options.timeout,
            failures: self.failures.clone(),
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
        let Self { sockets, address, timeout, .. } = self.clone();
        let query = request.queries.first().cloned();
        if self.protocol == Protocol::Udp {
            return UdpClientStream::builder(address, sockets)
                .with_timeout(Some(timeout))
                // The stack's choice cannot be predicted.
                .with_os_port_selection(true)
                .build()
                .send_message(request)
                .map(move |answer| server.usable(query.as_ref(), answer))
                .boxed();
        }
        let asking = Clock::timeout(timeout, ask_over_tcp(sockets, address, timeout, request));
        stream::once(async move {
            let answer = asking.await.unwrap_or(Err(NetError::Timeout));
            server.usable(query.as_ref(), answer)
        })
        .boxed()
    }
}

impl Server {
    /// Makes a failure of the network of what says nothing about the name: the server has failed, or
    /// what it sent cannot be read. Only after such a failure hickory goes on to the other servers.
    fn usable(
        &self,
        query: Option<&Query>,
        answer: Result<DnsResponse, NetError>,
    ) -> Result<DnsResponse, NetError> {
        let (error, is_answer) = match answer {
            Ok(answer) => match answer.metadata.response_code {
                ResponseCode::NoError | ResponseCode::NXDomain => return Ok(answer),
                code => (Arc::new(io::Error::other(format!("it has answered \"{code}\""))), true),
            },
            Err(NetError::Proto(error)) => {
                let message = format!("its answer cannot be read: {error}");
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

async fn ask_over_tcp(
    sockets: Sockets,
    server: SocketAddr,
    timeout: Duration,
    request: DnsRequest,
) -> Result<DnsResponse, NetError> {
    let (connecting, sender) = TcpClientStream::new(server, None, Some(timeout), sockets);
    let mut connection = DnsMultiplexer::new(connecting.await?, sender).with_timeout(timeout);
    let mut answer = connection.send_message(request).first_answer();
    // The connection says nothing; it only has to be driven until the answer is there.
    future::poll_fn(|cx| {
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
    .await
}

/// The stack's sockets, and tokio's clock.
#[derive(Debug, Clone)]
pub(super) struct Sockets {
    net: Net,
}

impl RuntimeProvider for Sockets {
    type Handle = NoTasks;
    type Timer = Clock;
    type Udp = Udp;
    type Tcp = Tcp;

    fn create_handle(&self) -> NoTasks {
        NoTasks
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        _local: Option<SocketAddr>,
        _timeout: Option<Duration>,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Tcp>>>> {
        let net = self.net.clone();
        let options = Options { nodelay: true, ..Options::default() };
        Box::pin(async move { Ok(Tcp(net.tcp_connect_with(server, options).await?)) })
    }

    fn bind_udp(
        &self,
        local: SocketAddr,
        server: SocketAddr,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Udp>>>> {
        let net = self.net.clone();
        Box::pin(async move {
            let socket = net.udp_bind(local).await?;
            // Then nobody else's datagrams arrive, and a server that is not there shows at once.
            socket.connect(server).await?;
            Ok(Udp(socket))
        })
    }
}

/// hickory asks for it, and has no use for it: [`Server`] drives its sockets itself.
#[derive(Debug, Clone)]
pub(super) struct NoTasks;

impl Spawn for NoTasks {
    fn spawn_bg(&mut self, future: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(future);
    }
}

/// A socket for one question.
#[derive(Debug)]
pub(super) struct Udp(UdpSocket);

#[async_trait]
impl DnsUdpSocket for Udp {
    type Time = Clock;

    fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let mut buf = ReadBuf::new(buf);
        self.0.poll_recv_from(cx, &mut buf).map_ok(|from| (buf.filled().len(), from))
    }

    fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        buf: &[u8],
        target: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        self.0.poll_send_to(cx, buf, target)
    }
}

/// A stream with the traits of futures-io, whatever features are on.
#[derive(Debug)]
pub(super) struct Tcp(TcpStream);

impl DnsTcpStream for Tcp {
    type Time = Clock;
}

impl AsyncRead for Tcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        let read = tokio::io::AsyncRead::poll_read(Pin::new(&mut self.0), cx, &mut buf);
        read.map_ok(|()| buf.filled().len())
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        tokio::io::AsyncWrite::poll_write(Pin::new(&mut self.0), cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        tokio::io::AsyncWrite::poll_flush(Pin::new(&mut self.0), cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        tokio::io::AsyncWrite::poll_shutdown(Pin::new(&mut self.0), cx)
    }
}

/// tokio's clock.
#[derive(Debug)]
pub(super) struct Clock;

#[async_trait]
impl Time for Clock {
    async fn delay_for(duration: Duration) {
        Delay::new(duration).await;
    }

    async fn timeout<F: Future + Send + 'static>(
        duration: Duration,
        future: F,
    ) -> io::Result<F::Output> {
        let mut future = Box::pin(future);
        let mut delay = Delay::new(duration);
        future::poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            Pin::new(&mut delay).poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
        })
        .await
    }
}

/// Waits some time, in a task that ends with it. tokio's own `Sleep` panics when it is polled after
/// its runtime is gone, and that may happen here: who asks what is being asked already, perhaps on
/// another runtime, waits for that answer. A wait whose runtime is gone is over.
struct Delay(Option<JoinHandle<()>>);

impl Delay {
    fn new(duration: Duration) -> Self {
        let runtime = Handle::try_current().ok();
        Self(runtime.map(|runtime| runtime.spawn(tokio::time::sleep(duration))))
    }
}

impl Future for Delay {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Some(task) => Pin::new(task).poll(cx).map(|_| ()),
            None => Poll::Ready(()),
        }
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}
