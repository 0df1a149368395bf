//! Every method and bound of the blocking sockets.

use super::blocking_sockets::*;
use crate::Seen;
use std::fmt::Debug;
use std::io::{self, BufRead, BufReader, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::time::Duration;

/// Notes a call and its result.
macro_rules! note {
    ($seen:ident, $kind:ty: $call:expr) => {{
        let value: $kind = $call;
        $seen.push(format!("{}: {value:?}", stringify!($call)));
    }};
}

fn is_socket<T: Debug + Send + Sync + Unpin + 'static>() {}
fn reads_and_writes<T: Read + Write>() {}
fn iterates<T: Iterator<Item = io::Result<TcpStream>>>() {}

/// The bounds of all types; nothing to see at run time.
fn bounds() {
    is_socket::<TcpStream>();
    is_socket::<TcpListener>();
    is_socket::<UdpSocket>();
    reads_and_writes::<TcpStream>();
    reads_and_writes::<&'static TcpStream>();
    iterates::<Incoming<'static>>();
}

/// The kernel rounds to its ticks, of which this is a multiple.
const TIMEOUT: Option<Duration> = Some(Duration::from_millis(40));

/// On Linux a timeout shows as `WouldBlock`, elsewhere as `TimedOut`; std leaves both open.
fn kind<T>(result: io::Result<T>) -> Result<T, ErrorKind> {
    result.map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => ErrorKind::TimedOut,
        kind => kind,
    })
}

pub(super) fn listener(
    listener: &TcpListener,
    connect: impl Fn() -> io::Result<TcpStream>,
) -> io::Result<Seen> {
    bounds();
    let mut seen = Seen::new();
    note!(seen, u32: listener.ttl()?);
    note!(seen, (): listener.set_ttl(32)?);
    note!(seen, u32: listener.ttl()?);
    note!(seen, Option<io::Error>: listener.take_error()?);
    let clone: TcpListener = listener.try_clone()?;
    note!(seen, bool: clone.local_addr()? == listener.local_addr()?);
    note!(seen, (): clone.set_nonblocking(true)?);
    note!(seen, Result<(), ErrorKind>: kind(clone.accept().map(drop)));
    note!(seen, (): clone.set_nonblocking(false)?);
    let client = connect()?;
    let mut incoming: Incoming<'_> = listener.incoming();
    let server = incoming.next().expect("it has no end")?;
    note!(seen, bool: server.peer_addr()? == client.local_addr()?);
    Ok(seen)
}

pub(super) fn streams(mut client: TcpStream, mut server: TcpStream) -> io::Result<Seen> {
    let mut seen = Seen::new();
    let mut buf = [0; 16];
    options(&client, &mut seen)?;
    note!(seen, bool: client.local_addr()? == server.peer_addr()?);
    note!(seen, bool: client.peer_addr()? == server.local_addr()?);

    note!(seen, (): server.set_read_timeout(TIMEOUT)?);
    note!(seen, Option<Duration>: server.read_timeout()?);
    note!(seen, Result<usize, ErrorKind>: kind(server.read(&mut buf)));
    note!(seen, Result<usize, ErrorKind>: kind(server.peek(&mut buf)));
    note!(seen, (): server.set_read_timeout(None)?);
    note!(seen, (): client.set_write_timeout(TIMEOUT)?);
    note!(seen, Option<Duration>: client.write_timeout()?);
    note!(seen, Result<(), ErrorKind>: kind(client.set_read_timeout(Some(Duration::ZERO))));
    note!(seen, Result<(), ErrorKind>: kind(client.set_write_timeout(Some(Duration::ZERO))));

    let clone: TcpStream = client.try_clone()?;
    note!(seen, usize: (&clone).write(b"a line\n")?);
    note!(seen, usize: client.write_vectored(&[IoSlice::new(b"an"), IoSlice::new(b"other\n")])?);
    client.flush()?;
    let mut lines = BufReader::new(&server).lines();
    note!(seen, Option<String>: lines.next().transpose()?);
    note!(seen, Option<String>: lines.next().transpose()?);
    drop(lines);
    server.write_all(b"xyz")?;
    while client.peek(&mut buf)? < 3 {}
    let (mut one, mut two) = ([0; 1], [0; 2]);
    let mut bufs = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
    note!(seen, usize: client.read_vectored(&mut bufs)?);

    note!(seen, (): client.set_nonblocking(true)?);
    note!(seen, Result<usize, ErrorKind>: kind(client.read(&mut buf)));
    note!(seen, (): client.set_nonblocking(false)?);
    note!(seen, (): client.shutdown(Shutdown::Write)?);
    note!(seen, Result<usize, ErrorKind>: kind((&clone).write(b"x")));
    note!(seen, usize: server.read(&mut buf)?);
    note!(seen, (): server.shutdown(Shutdown::Read)?);
    note!(seen, usize: server.read(&mut buf)?);
    note!(seen, usize: server.write(b"bye")?);
    note!(seen, (): server.shutdown(Shutdown::Both)?);
    let mut rest = String::new();
    note!(seen, usize: client.read_to_string(&mut rest)?);
    seen.push(rest);
    note!(seen, Option<io::Error>: client.take_error()?);
    Ok(seen)
}

fn options(stream: &TcpStream, seen: &mut Seen) -> io::Result<()> {
    note!(seen, bool: stream.nodelay()?);
    note!(seen, (): stream.set_nodelay(true)?);
    note!(seen, bool: stream.nodelay()?);
    note!(seen, u32: stream.ttl()?);
    note!(seen, (): stream.set_ttl(65)?);
    note!(seen, u32: stream.ttl()?);
    note!(seen, Result<(), ErrorKind>: kind(stream.set_ttl(0)));
    note!(seen, Result<(), ErrorKind>: kind(stream.set_ttl(256)));
    note!(seen, Option<io::Error>: stream.take_error()?);
    Ok(())
}

pub(super) fn datagrams(socket: &UdpSocket, peer: &UdpSocket) -> io::Result<Seen> {
    let mut seen = Seen::new();
    let (here, there): (SocketAddr, SocketAddr) = (socket.local_addr()?, peer.local_addr()?);
    let mut buf = [0; 16];
    datagram_options(socket, &mut seen)?;
    note!(seen, Result<(), ErrorKind>: kind(socket.peer_addr().map(drop)));
    note!(seen, (): peer.set_read_timeout(TIMEOUT)?);
    note!(seen, Option<Duration>: peer.read_timeout()?);
    note!(seen, (): peer.set_write_timeout(TIMEOUT)?);
    note!(seen, Option<Duration>: peer.write_timeout()?);
    note!(seen, Result<usize, ErrorKind>: kind(peer.recv(&mut buf)));
    note!(seen, (): peer.set_read_timeout(None)?);
    note!(seen, (): peer.set_nonblocking(true)?);
    note!(seen, Result<usize, ErrorKind>: kind(peer.recv(&mut buf)));
    note!(seen, (): peer.set_nonblocking(false)?);

    note!(seen, usize: socket.send_to(b"one", there)?);
    note!(seen, (usize, bool): peer.peek_from(&mut buf).map(|(n, from)| (n, from == here))?);
    note!(seen, (usize, bool): peer.recv_from(&mut buf[..2]).map(|(n, from)| (n, from == here))?);
    note!(seen, (): socket.connect(there)?);
    note!(seen, (): peer.connect(here)?);
    note!(seen, bool: socket.peer_addr()? == there);
    let clone: UdpSocket = socket.try_clone()?;
    note!(seen, usize: clone.send(b"two")?);
    note!(seen, usize: peer.peek(&mut buf)?);
    note!(seen, usize: peer.recv(&mut buf)?);
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
    note!(seen, bool: socket.multicast_loop_v4()?);
    note!(seen, (): socket.set_multicast_loop_v4(false)?);
    note!(seen, bool: socket.multicast_loop_v4()?);
    note!(seen, u32: socket.multicast_ttl_v4()?);
    note!(seen, (): socket.set_multicast_ttl_v4(3)?);
    note!(seen, u32: socket.multicast_ttl_v4()?);
    let _: fn(&UdpSocket) -> io::Result<bool> = UdpSocket::multicast_loop_v6;
    let _: fn(&UdpSocket, bool) -> io::Result<()> = UdpSocket::set_multicast_loop_v6;
    let (group, own) = (Ipv4Addr::new(224, 0, 0, 200), Ipv4Addr::LOCALHOST);
    note!(seen, Result<(), ErrorKind>: kind(socket.join_multicast_v4(&own, &own)));
    note!(seen, Result<(), ErrorKind>: kind(socket.leave_multicast_v4(&group, &own)));
    note!(seen, Result<(), ErrorKind>: kind(socket.join_multicast_v4(&group, &own)));
    note!(seen, Result<(), ErrorKind>: kind(socket.join_multicast_v4(&group, &own)));
    note!(seen, Result<(), ErrorKind>: kind(socket.leave_multicast_v4(&group, &own)));
    let _: fn(&UdpSocket, &Ipv6Addr, u32) -> io::Result<()> = UdpSocket::join_multicast_v6;
    let _: fn(&UdpSocket, &Ipv6Addr, u32) -> io::Result<()> = UdpSocket::leave_multicast_v6;
    Ok(())
}
