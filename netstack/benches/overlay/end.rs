//! One end of the network: the kernel's VXLAN and sockets, or this stack.

use super::ip;
use anyhow::Result;
use netstack::link::LinkUrl;
use netstack::{Builder, Stack};
use std::fmt;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Kernel,
    Ours,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Kernel { "kernel" } else { "ours" })
    }
}

/// An end that is up.
pub(crate) struct End {
    runtime: Runtime,
    /// `None` is the kernel.
    stack: Option<Stack>,
}

/// The time of each measurement.
const SECONDS: Duration = Duration::from_secs(2);
/// As much is written and read at a time.
const CHUNK_BYTES: usize = 128 * 1024;
/// The first byte of a connection: which side sends.
const CLIENT_SENDS: u8 = b'u';
const SERVER_SENDS: u8 = b'd';

impl End {
    pub(crate) fn new(kind: Kind, own: &str, far: &str, address: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let stack = match kind {
            Kind::Kernel => {
                let vxlan = format!("id 42 remote {far} local {own} dev v0 dstport 4789");
                ip(&format!("link add vx0 type vxlan {vxlan}"))?;
                ip(&format!("address add {address} dev vx0"))?;
                ip("link set vx0 up")?;
                None
            }
            Kind::Ours => {
                let url: LinkUrl = format!("vxlan:///remote={far}/bind={own}/vni=42").parse()?;
                let _inside = runtime.enter();
                Some(Builder::new().address(address.parse()?).spawn(url.open()?)?)
            }
        };
        Ok(Self { runtime, stack })
    }

    /// Serves until the process is killed.
    pub(crate) fn serve(&self, address: &str, is_serving: impl FnOnce()) -> Result<()> {
        self.runtime.block_on(async {
            match &self.stack {
                Some(stack) => {
                    let listener = stack.net().tcp_listen(address).await?;
                    is_serving();
                    loop {
                        tokio::spawn(answer(listener.accept().await?.0));
                    }
                }
                None => {
                    let listener = TcpListener::bind(address).await?;
                    is_serving();
                    loop {
                        tokio::spawn(answer(listener.accept().await?.0));
                    }
                }
            }
        })
    }

    /// The goodput to the server and from it, in Gbit/s.
    pub(crate) fn measure(&self, server: &str) -> Result<[f64; 2]> {
        let (net, server) =
            (self.stack.as_ref().map(|stack| stack.net().clone()), server.to_owned());
        // As a task: on the thread of `block_on` each wake-up would be one of another thread.
        let measuring = self.runtime.spawn(async move {
            Ok::<_, std::io::Error>(match net {
                Some(net) => [
                    up(net.tcp_connect(server.clone()).await?).await?,
                    down(net.tcp_connect(server).await?).await?,
                ],
                None => [
                    up(TcpStream::connect(&server).await?).await?,
                    down(TcpStream::connect(&server).await?).await?,
                ],
            })
        });
        Ok(self.runtime.block_on(measuring)??)
    }
}

/// The server's part of a connection.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    if stream.read_u8().await? == SERVER_SENDS {
        loop {
            stream.write_all(&chunk).await?;
        }
    }
    let mut bytes = 0;
    loop {
        match stream.read(&mut chunk).await? {
            0 => break,
            len => bytes += len as u64,
        }
    }
    stream.write_u64(bytes).await?;
    stream.shutdown().await
}

async fn up(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<f64> {
    stream.write_u8(CLIENT_SENDS).await?;
    let (chunk, start) = (vec![0; CHUNK_BYTES], Instant::now());
    while start.elapsed() < SECONDS {
        stream.write_all(&chunk).await?;
    }
    stream.shutdown().await?;
    let bytes = stream.read_u64().await?;
    Ok(gigabits(bytes, start.elapsed()))
}

async fn down(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<f64> {
    stream.write_u8(SERVER_SENDS).await?;
    let (mut chunk, mut bytes, start) = (vec![0; CHUNK_BYTES], 0, Instant::now());
    while start.elapsed() < SECONDS {
        bytes += stream.read(&mut chunk).await? as u64;
    }
    Ok(gigabits(bytes, start.elapsed()))
}

fn gigabits(bytes: u64, time: Duration) -> f64 {
    bytes as f64 * 8.0 / 1e9 / time.as_secs_f64()
}
