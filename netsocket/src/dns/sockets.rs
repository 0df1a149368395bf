//! The stack's own sockets and tokio's clock, as hickory wants them.

use super::mending;
use crate::{Net, TcpStream, UdpSocket};
use async_trait::async_trait;
use futures_io::{AsyncRead, AsyncWrite};
use hickory_net::runtime::{DnsTcpStream, DnsUdpSocket, RuntimeProvider, Spawn, Time};
use netcore::tcp::Options;
use std::future::{self, Future};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::ReadBuf;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// The stack's sockets, and tokio's clock.
#[derive(Debug, Clone)]
pub(super) struct Sockets {
    net: Net,
}

impl Sockets {
    pub(super) fn new(net: Net) -> Self {
        Self { net }
    }
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
            // Connected: no other host's datagrams are received, and a closed port is reported at
            // once.
            socket.connect(server).await?;
            Ok(Udp { socket, question: Mutex::default() })
        })
    }
}

/// Required by hickory, and unused: [`Server`](super::servers::Server) drives its sockets itself.
#[derive(Debug, Clone)]
pub(super) struct NoTasks;

impl Spawn for NoTasks {
    fn spawn_bg(&mut self, future: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(future);
    }
}

/// A socket for one question.
#[derive(Debug)]
pub(super) struct Udp {
    socket: UdpSocket,
    /// The message that was sent last.
    question: Mutex<Vec<u8>>,
}

#[async_trait]
impl DnsUdpSocket for Udp {
    type Time = Clock;

    fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let mut filled = ReadBuf::new(buf);
        let received = self.socket.poll_recv_from(cx, &mut filled);
        let len = filled.filled().len();
        received.map_ok(|from| {
            let question = self.question.lock().unwrap_or_else(PoisonError::into_inner);
            (mending::mend(&question, buf, len), from)
        })
    }

    fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        buf: &[u8],
        target: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        buf.clone_into(&mut self.question.lock().unwrap_or_else(PoisonError::into_inner));
        self.socket.poll_send_to(cx, buf, target)
    }
}

/// A stream with the traits of futures-io, independent of features.
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

/// A sleep in a task of its own. tokio's `Sleep` panics when it is polled after its runtime has
/// shut down, and that may happen here: lookups share pending queries, perhaps across runtimes. A
/// sleep whose runtime has shut down is ready.
pub(super) struct Delay(Option<JoinHandle<()>>);

impl Delay {
    pub(super) fn new(duration: Duration) -> Self {
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
