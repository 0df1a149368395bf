//! Every method and bound of the async sockets.

use super::sockets::*;
use crate::Seen;
use std::fmt::Debug;
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// Notes a call and its result.
macro_rules! note {
    ($seen:ident, $kind:ty: $call:expr) => {{
        let value: $kind = $call;
        $seen.push(format!("{}: {value:?}", stringify!($call)));
    }};
}

fn is_socket<T: Debug + Send + Sync + Unpin + 'static>() {}
fn reads<T: AsyncRead + Debug + Send + Sync + Unpin>() {}
fn writes<T: AsyncWrite + Debug + Send + Sync + Unpin>() {}
fn is_error<T: std::error::Error + Send + Sync + 'static>() {}

/// The bounds of all types; nothing to see at run time.
fn bounds() {
    is_socket::<TcpStream>();
    is_socket::<TcpListener>();
    is_socket::<TcpSocket>();
    is_socket::<UdpSocket>();
    is_socket::<Interest>();
    is_socket::<Ready>();
    reads::<TcpStream>();
    writes::<TcpStream>();
    reads::<ReadHalf<'static>>();
    writes::<WriteHalf<'static>>();
    reads::<OwnedReadHalf>();
    writes::<OwnedWriteHalf>();
    is_error::<ReuniteError>();
}

fn kind<T>(result: io::Result<T>) -> Result<T, ErrorKind> {
    result.map_err(|error| error.kind())
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

pub(super) fn socket(socket: &TcpSocket, local: SocketAddr) -> io::Result<Seen> {
    bounds();
    let mut seen = Seen::new();
    note!(seen, (): socket.set_reuseaddr(true)?);
    note!(seen, bool: socket.reuseaddr()?);
    note!(seen, bool: socket.keepalive()?);
    note!(seen, (): socket.set_keepalive(true)?);
    note!(seen, bool: socket.keepalive()?);
    note!(seen, bool: socket.nodelay()?);
    note!(seen, (): socket.set_nodelay(true)?);
    note!(seen, bool: socket.nodelay()?);
    note!(seen, Option<Duration>: socket.linger()?);
    note!(seen, (): socket.set_zero_linger()?);
    note!(seen, Option<Duration>: socket.linger()?);
    #[allow(deprecated, reason = "tokio blocks in drop then; a stack does not")]
    socket.set_linger(None)?;
    note!(seen, Option<Duration>: socket.linger()?);
    note!(seen, u32: socket.tos_v4()?);
    note!(seen, (): socket.set_tos_v4(0x10)?);
    note!(seen, u32: socket.tos_v4()?);
    let _: fn(&TcpSocket) -> io::Result<u32> = TcpSocket::tclass_v6;
    let _: fn(&TcpSocket, u32) -> io::Result<()> = TcpSocket::set_tclass_v6;
    let _: u32 = socket.recv_buffer_size()?;
    let _: u32 = socket.send_buffer_size()?;
    note!(seen, (): socket.set_recv_buffer_size(65536)?);
    note!(seen, (): socket.set_send_buffer_size(65536)?);
    // The kernel doubles the value set.
    note!(seen, bool: socket.recv_buffer_size()? >= 65536);
    note!(seen, bool: socket.send_buffer_size()? >= 65536);
    note!(seen, SocketAddr: socket.local_addr()?);
    note!(seen, (): socket.bind(local)?);
    note!(seen, Result<(), ErrorKind>: kind(socket.bind(local)));
    note!(seen, Option<io::Error>: socket.take_error()?);
    Ok(seen)
}

pub(super) async fn listener(listener: &TcpListener) -> io::Result<(TcpStream, Seen)> {
    let mut seen = Seen::new();
    note!(seen, u32: listener.ttl()?);
    note!(seen, (): listener.set_ttl(32)?);
    note!(seen, u32: listener.ttl()?);
    let accepted: (TcpStream, SocketAddr) = poll_fn(|cx| listener.poll_accept(cx)).await?;
    note!(seen, bool: accepted.0.peer_addr()? == accepted.1);
    Ok((accepted.0, seen))
}

pub(super) async fn streams(mut client: TcpStream, mut server: TcpStream) -> io::Result<Seen> {
    let mut seen = Seen::new();
    options(&client, &mut seen)?;
    note!(seen, bool: client.local_addr()? == server.peer_addr()?);
    note!(seen, bool: client.peer_addr()? == server.local_addr()?);

    // Nothing has arrived yet.
    let mut buf = [0; 16];
    note!(seen, Result<usize, ErrorKind>: kind(server.try_read(&mut buf)));
    note!(seen, bool: server.poll_read_ready(&mut cx()).is_ready());
    note!(seen, bool: client.poll_write_ready(&mut cx()).is_ready());
    note!(seen, bool: server.poll_peek(&mut cx(), &mut ReadBuf::new(&mut buf)).is_ready());

    // Writing and reading, one direction each.
    note!(seen, (): client.writable().await?);
    note!(seen, usize: client.try_write(b"abcd")?);
    note!(seen, usize: client.try_write_vectored(&[IoSlice::new(b"ef"), IoSlice::new(b"gh")])?);
    note!(seen, usize: client.try_io(Interest::WRITABLE, || client.try_write(b"ij"))?);
    note!(seen, usize: client.async_io(Interest::WRITABLE, || client.try_write(b"kl")).await?);
    client.write_all(b"mn").await?;
    client.flush().await?;
    wait_for(&server, 14).await?;
    note!(seen, (): server.readable().await?);
    let ready: Ready = server.ready(Interest::READABLE | Interest::WRITABLE).await?;
    note!(seen, (bool, bool): (ready.is_readable(), ready.is_read_closed()));
    note!(seen, usize: server.peek(&mut buf[..3]).await?);
    note!(seen, usize: server.try_read(&mut buf[..4])?);
    let (mut one, mut two) = ([0; 1], [0; 2]);
    let mut bufs = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
    note!(seen, usize: server.try_read_vectored(&mut bufs)?);
    seen.push(format!("{one:?} {two:?}"));
    let mut rest = Vec::with_capacity(64);
    note!(seen, usize: server.try_read_buf(&mut rest)?);
    seen.push(format!("{rest:?}"));

    // Halves.
    {
        let (read, mut write): (ReadHalf<'_>, WriteHalf<'_>) = client.split();
        note!(seen, bool: read.local_addr()? == write.local_addr()?);
        note!(seen, bool: read.peer_addr()? == write.peer_addr()?);
        let _: &TcpStream = read.as_ref();
        let _: &TcpStream = write.as_ref();
        note!(seen, Result<usize, ErrorKind>: kind(read.try_read(&mut buf)));
        note!(seen, Result<usize, ErrorKind>: kind(read.try_read_buf(&mut rest)));
        note!(seen, Result<usize, ErrorKind>: kind(read.try_read_vectored(&mut [IoSliceMut::new(&mut buf)])));
        note!(seen, (): write.writable().await?);
        note!(seen, bool: write.ready(Interest::WRITABLE).await?.is_writable());
        note!(seen, usize: write.try_write(b"halves")?);
        note!(seen, usize: write.try_write_vectored(&[IoSlice::new(b"!")])?);
        write.flush().await?;
    }
    wait_for(&server, 7).await?;
    #[allow(unused_mut, reason = "tokio's halves want it to peek")]
    let (mut read, mut write): (OwnedReadHalf, OwnedWriteHalf) = server.into_split();
    let _: &TcpStream = read.as_ref();
    let _: &TcpStream = write.as_ref();
    note!(seen, bool: read.local_addr()? == write.local_addr()?);
    note!(seen, bool: read.peer_addr()? == write.peer_addr()?);
    note!(seen, (): read.readable().await?);
    note!(seen, bool: read.ready(Interest::READABLE).await?.is_readable());
    note!(seen, usize: read.peek(&mut buf).await?);
    note!(seen, Poll<usize>: read.poll_peek(&mut cx(), &mut ReadBuf::new(&mut buf)).map(Result::unwrap));
    note!(seen, usize: read.try_read(&mut buf[..1])?);
    note!(seen, usize: read.try_read_vectored(&mut [IoSliceMut::new(&mut buf[..2])])?);
    note!(seen, usize: read.try_read_buf(&mut rest)?);
    note!(seen, usize: write.try_write(b"x")?);
    note!(seen, usize: write.try_write_vectored(&[IoSlice::new(b"y")])?);
    note!(seen, (): write.writable().await?);
    note!(seen, bool: write.ready(Interest::WRITABLE).await?.is_writable());
    write.write_all(b"z").await?;
    server = read.reunite(write).map_err(io::Error::other)?;
    let mut three = [0; 3];
    note!(seen, usize: client.read_exact(&mut three).await?);

    // Half-close, in both directions.
    note!(seen, (): client.shutdown().await?);
    note!(seen, Result<usize, ErrorKind>: kind(client.try_write(b"x")));
    note!(seen, usize: server.read(&mut buf).await?);
    note!(seen, bool: server.ready(Interest::READABLE).await?.is_readable());
    note!(seen, usize: server.peek(&mut buf).await?);
    let (other, forgotten) = server.into_split();
    note!(seen, (): forgotten.forget());
    drop(other);
    note!(seen, usize: client.read(&mut buf).await?);
    note!(seen, Option<io::Error>: client.take_error()?);
    Ok(seen)
}

fn options(stream: &TcpStream, seen: &mut Seen) -> io::Result<()> {
    note!(seen, bool: stream.nodelay()?);
    note!(seen, (): stream.set_nodelay(true)?);
    note!(seen, bool: stream.nodelay()?);
    note!(seen, (): stream.set_quickack(true)?);
    note!(seen, bool: stream.quickack()?);
    note!(seen, u32: stream.ttl()?);
    note!(seen, (): stream.set_ttl(65)?);
    note!(seen, u32: stream.ttl()?);
    note!(seen, Result<(), ErrorKind>: kind(stream.set_ttl(0)));
    note!(seen, Result<(), ErrorKind>: kind(stream.set_ttl(256)));
    note!(seen, Option<Duration>: stream.linger()?);
    note!(seen, (): stream.set_zero_linger()?);
    note!(seen, Option<Duration>: stream.linger()?);
    #[allow(deprecated, reason = "tokio blocks in drop then; a stack does not")]
    stream.set_linger(None)?;
    note!(seen, Option<Duration>: stream.linger()?);
    note!(seen, Option<io::Error>: stream.take_error()?);
    Ok(())
}

/// Waits until this many bytes have arrived.
async fn wait_for(stream: &TcpStream, bytes: usize) -> io::Result<()> {
    let mut buf = [0; 64];
    while stream.peek(&mut buf).await? < bytes {
        tokio::task::yield_now().await;
    }
    Ok(())
}

pub(super) async fn datagrams(socket: &UdpSocket, peer: &UdpSocket) -> io::Result<Seen> {
    let mut seen = Seen::new();
    let (here, there): (SocketAddr, SocketAddr) = (socket.local_addr()?, peer.local_addr()?);
    datagram_options(socket, &mut seen)?;
    let mut buf = [0; 16];
    note!(seen, Result<(), ErrorKind>: kind(socket.peer_addr().map(drop)));
    note!(seen, bool: socket.poll_recv_ready(&mut cx()).is_ready());
    note!(seen, (): socket.writable().await?);
    note!(seen, bool: socket.poll_send_ready(&mut cx()).is_ready());
    note!(seen, Result<usize, ErrorKind>: kind(peer.try_recv(&mut buf)));
    note!(seen, Result<(), ErrorKind>: kind(peer.try_recv_from(&mut buf).map(drop)));
    note!(seen, Result<usize, ErrorKind>: kind(peer.try_peek(&mut buf)));
    note!(seen, Result<(), ErrorKind>: kind(peer.try_peek_from(&mut buf).map(drop)));
    note!(seen, Result<(), ErrorKind>: kind(peer.try_peek_sender().map(drop)));
    note!(seen, Result<usize, ErrorKind>: kind(peer.try_recv_buf(&mut Vec::with_capacity(8))));

    // To a given address.
    note!(seen, usize: socket.send_to(b"one", there).await?);
    note!(seen, usize: socket.try_send_to(b"two", there)?);
    note!(seen, usize: poll_fn(|cx| socket.poll_send_to(cx, b"three", there)).await?);
    note!(seen, (): peer.readable().await?);
    note!(seen, bool: peer.ready(Interest::READABLE).await?.is_readable());
    note!(seen, bool: peer.peek_sender().await? == here);
    note!(seen, bool: poll_fn(|cx| peer.poll_peek_sender(cx)).await? == here);
    note!(seen, usize: peer.peek_from(&mut buf).await?.0);
    let mut filled = ReadBuf::new(&mut buf);
    note!(seen, bool: poll_fn(|cx| peer.poll_peek_from(cx, &mut filled)).await? == here);
    note!(seen, (usize, bool): peer.recv_from(&mut buf[..2]).await.map(|(n, a)| (n, a == here))?);
    let mut filled = ReadBuf::new(&mut buf);
    note!(seen, bool: poll_fn(|cx| peer.poll_recv_from(cx, &mut filled)).await? == here);
    seen.push(format!("{:?}", filled.filled()));
    let mut rest = Vec::with_capacity(16);
    note!(seen, (usize, bool): peer.recv_buf_from(&mut rest).await.map(|(n, a)| (n, a == here))?);
    note!(seen, Result<(), ErrorKind>: kind(peer.try_recv_buf_from(&mut rest).map(drop)));

    // To a peer.
    note!(seen, (): socket.connect(there).await?);
    note!(seen, (): peer.connect(here).await?);
    note!(seen, bool: socket.peer_addr()? == there);
    note!(seen, usize: socket.send(b"four").await?);
    note!(seen, usize: socket.try_send(b"five")?);
    note!(seen, usize: poll_fn(|cx| socket.poll_send(cx, b"six")).await?);
    note!(seen, usize: socket.try_io(Interest::WRITABLE, || socket.try_send(b"seven"))?);
    note!(seen, usize: socket.async_io(Interest::WRITABLE, || socket.try_send(b"")).await?);
    note!(seen, usize: peer.peek(&mut buf).await?);
    let mut filled = ReadBuf::new(&mut buf);
    note!(seen, (): poll_fn(|cx| peer.poll_peek(cx, &mut filled)).await?);
    note!(seen, usize: peer.recv(&mut buf).await?);
    let mut filled = ReadBuf::new(&mut buf);
    note!(seen, (): poll_fn(|cx| peer.poll_recv(cx, &mut filled)).await?);
    note!(seen, usize: peer.recv_buf(&mut rest).await?);
    seen.push(format!("{rest:?}"));
    note!(seen, usize: peer.recv(&mut buf).await?);
    note!(seen, usize: peer.recv(&mut buf).await?);
    note!(seen, Option<io::Error>: peer.take_error()?);
    Ok(seen)
}

fn datagram_options(socket: &UdpSocket, seen: &mut Seen) -> io::Result<()> {
    note!(seen, bool: socket.broadcast()?);
    note!(seen, (): socket.set_broadcast(true)?);
    note!(seen, bool: socket.broadcast()?);
    note!(seen, u32: socket.ttl()?);
    note!(seen, (): socket.set_ttl(65)?);
    note!(seen, u32: socket.ttl()?);
    note!(seen, u32: socket.tos_v4()?);
    note!(seen, (): socket.set_tos_v4(0x10)?);
    note!(seen, u32: socket.tos_v4()?);
    let _: fn(&UdpSocket) -> io::Result<u32> = UdpSocket::tclass_v6;
    let _: fn(&UdpSocket, u32) -> io::Result<()> = UdpSocket::set_tclass_v6;
    note!(seen, bool: socket.multicast_loop_v4()?);
    note!(seen, (): socket.set_multicast_loop_v4(false)?);
    note!(seen, bool: socket.multicast_loop_v4()?);
    note!(seen, u32: socket.multicast_ttl_v4()?);
    note!(seen, (): socket.set_multicast_ttl_v4(3)?);
    note!(seen, u32: socket.multicast_ttl_v4()?);
    let _: fn(&UdpSocket) -> io::Result<bool> = UdpSocket::multicast_loop_v6;
    let _: fn(&UdpSocket, bool) -> io::Result<()> = UdpSocket::set_multicast_loop_v6;
    let (group, own) = (Ipv4Addr::new(224, 0, 0, 200), Ipv4Addr::LOCALHOST);
    note!(seen, Result<(), ErrorKind>: kind(socket.join_multicast_v4(own, own)));
    note!(seen, Result<(), ErrorKind>: kind(socket.leave_multicast_v4(group, own)));
    note!(seen, Result<(), ErrorKind>: kind(socket.join_multicast_v4(group, own)));
    note!(seen, Result<(), ErrorKind>: kind(socket.join_multicast_v4(group, own)));
    note!(seen, Result<(), ErrorKind>: kind(socket.leave_multicast_v4(group, own)));
    let _: fn(&UdpSocket, &Ipv6Addr, u32) -> io::Result<()> = UdpSocket::join_multicast_v6;
    let _: fn(&UdpSocket, &Ipv6Addr, u32) -> io::Result<()> = UdpSocket::leave_multicast_v6;
    Ok(())
}
