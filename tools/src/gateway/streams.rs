//! TCP connections of guests, on sockets of this machine.

use super::lan::Destination;
use super::service::Gateway;
use netstack::netsocket::PendingListener;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpStream;

/// Serves the SYNs of guests until the stack is gone.
pub(super) async fn serve(gateway: Arc<Gateway>, listener: PendingListener) -> io::Result<()> {
    loop {
        let pending = listener.next().await?;
        let Some(permit) = gateway.connections.take(canonical(pending.peer_addr()).ip()) else {
            // If the guest has given up meanwhile, nobody is to be told.
            let _ = pending.refuse();
            continue;
        };
        let gateway = gateway.clone();
        tokio::spawn(async move {
            let dialled = canonical(pending.local_addr());
            proxy::carry_pending(pending, dial(&gateway, dialled)).await;
            drop(permit);
        });
    }
}

async fn dial(gateway: &Gateway, dialled: SocketAddr) -> io::Result<TcpStream> {
    match gateway.lan.destination(dialled) {
        Destination::Machine(target) => TcpStream::connect(target).await,
        Destination::Names => gateway.names.connect().await,
        Destination::Closed => Err(io::ErrorKind::ConnectionRefused.into()),
        Destination::Unreachable => Err(io::ErrorKind::HostUnreachable.into()),
    }
}

/// An address without the form in which sockets for both families have IPv4.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(IpAddr::to_canonical(&address.ip()), address.port())
}
