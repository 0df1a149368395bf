//! ipstack, with windows of a mebibyte.

use crate::OnTun;
use anyhow::{Result, anyhow};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

pub(crate) async fn run(tun: &OnTun) -> Result<()> {
    let mut config = ipstack::IpStackConfig::default();
    config.mtu(tun.mtu).map_err(|error| anyhow!("{error}"))?;
    let mut tcp = ipstack::TcpConfig::default();
    tcp.max_unacked_bytes = 1 << 20;
    config.with_tcp_config(tcp);
    let mut stack = ipstack::IpStack::new(config, TunIo(tun.open()?));
    loop {
        let accepted = stack.accept().await.map_err(|error| anyhow!("{error}"))?;
        match accepted {
            ipstack::IpStackStream::Tcp(stream) => drop(tokio::spawn(protocol::serve(stream))),
            ipstack::IpStackStream::Udp(flow) => drop(tokio::spawn(echo(flow))),
            _ => {}
        }
    }
}

/// Echoes the datagrams of a flow; each read and each write is one.
async fn echo(mut flow: ipstack::IpStackUdpStream) {
    let mut datagram = [0; 2048];
    while let Ok(n @ 1..) = flow.read(&mut datagram).await {
        if flow.write_all(&datagram[..n]).await.is_err() {
            break;
        }
    }
}

/// A TUN as ipstack wants it: each read and each write is a packet.
struct TunIo(tun_rs::AsyncDevice);

impl AsyncRead for TunIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let n = ready!(self.0.poll_recv(cx, buf.initialize_unfilled()))?;
        buf.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TunIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_send(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
