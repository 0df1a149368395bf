//! The kernel's sockets.

use super::{Addresses, Seen};
use std::io;

#[path = "async_surface.rs"]
mod async_surface;
#[path = "blocking_surface.rs"]
mod blocking_surface;

/// What `async_surface.rs` means.
mod sockets {
    pub(super) use tokio::io::{Interest, Ready};
    pub(super) use tokio::net::tcp::{
        OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, WriteHalf,
    };
    pub(super) use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
}

/// What `blocking_surface.rs` means.
mod blocking_sockets {
    pub(super) use std::net::{Incoming, TcpListener, TcpStream, UdpSocket};
}

pub(crate) async fn asynchronous(addresses: Addresses) -> io::Result<Seen> {
    use sockets::*;
    let (v4, loopback) = (TcpSocket::new_v4()?, addresses.server);
    let mut seen = async_surface::socket(&v4, loopback)?;
    let listener = v4.listen(16)?;
    let server = listener.local_addr()?;
    let socket = TcpSocket::new_v4()?;
    socket.bind(addresses.client)?;
    let client: TcpStream = socket.connect(server).await?;
    let (accepted, of_listener) = async_surface::listener(&listener).await?;
    seen.extend(of_listener);
    seen.extend(async_surface::streams(client, accepted).await?);
    let udp = UdpSocket::bind(addresses.client).await?;
    let peer = UdpSocket::bind(addresses.server).await?;
    seen.extend(async_surface::datagrams(&udp, &peer).await?);
    Ok(seen)
}

pub(crate) fn blocking(addresses: Addresses) -> io::Result<Seen> {
    use blocking_sockets::*;
    let listener = TcpListener::bind(addresses.server)?;
    let server = listener.local_addr()?;
    let client = TcpStream::connect(server)?;
    let accepted = listener.accept()?.0;
    let mut seen = blocking_surface::listener(&listener, || TcpStream::connect(server))?;
    seen.extend(blocking_surface::streams(client, accepted)?);
    let udp = UdpSocket::bind(addresses.client)?;
    let peer = UdpSocket::bind(addresses.server)?;
    seen.extend(blocking_surface::datagrams(&udp, &peer)?);
    Ok(seen)
}
