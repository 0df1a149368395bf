//! The sockets of a stack.

use super::{Addresses, Seen};
use netstack::netsocket::{self, Net};
use std::io;

#[path = "async_surface.rs"]
mod async_surface;
#[path = "blocking_surface.rs"]
mod blocking_surface;

/// What `async_surface.rs` means.
mod sockets {
    pub(super) use netstack::netsocket::{
        Interest, OwnedReadHalf, OwnedWriteHalf, ReadHalf, Ready, ReuniteError, TcpListener,
        TcpSocket, TcpStream, UdpSocket, WriteHalf,
    };
}

/// What `blocking_surface.rs` means.
mod blocking_sockets {
    pub(super) use netstack::netsocket::blocking::{Incoming, TcpListener, TcpStream, UdpSocket};
}

pub(crate) async fn asynchronous(near: &Net, far: &Net, addresses: Addresses) -> io::Result<Seen> {
    let v4 = far.tcp_socket_v4();
    let mut seen = async_surface::socket(&v4, addresses.server)?;
    let listener = v4.listen(16).await?;
    let server = listener.local_addr()?;
    let socket = near.tcp_socket_v4();
    socket.bind(addresses.client)?;
    let client = socket.connect(server).await?;
    let (accepted, of_listener) = async_surface::listener(&listener).await?;
    seen.extend(of_listener);
    seen.extend(async_surface::streams(client, accepted).await?);
    let udp = near.udp_bind(addresses.client).await?;
    let peer = far.udp_bind(addresses.server).await?;
    seen.extend(async_surface::datagrams(&udp, &peer).await?);
    Ok(seen)
}

pub(crate) fn blocking(
    near: &netsocket::blocking::Net,
    far: &netsocket::blocking::Net,
    addresses: Addresses,
) -> io::Result<Seen> {
    let listener = far.tcp_listen(addresses.server)?;
    let server = listener.local_addr()?;
    let client = near.tcp_connect(server)?;
    let accepted = listener.accept()?.0;
    let mut seen = blocking_surface::listener(&listener, || near.tcp_connect(server))?;
    seen.extend(blocking_surface::streams(client, accepted)?);
    let udp = near.udp_bind(addresses.client)?;
    let peer = far.udp_bind(addresses.server)?;
    seen.extend(blocking_surface::datagrams(&udp, &peer)?);
    Ok(seen)
}
