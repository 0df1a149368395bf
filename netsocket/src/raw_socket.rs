//! Whole IP packets.

use crate::datagram_socket::Socket;
use crate::wait;
use bytes::Bytes;
use netcore::queue::{Datagram, DatagramQueue};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// Receives all IP packets of one protocol that arrive at the stack, and sends packets of it.
///
/// Packets are whole, with their IP header. The stack still processes its own protocols (TCP, UDP,
/// ICMP): the socket gets copies.
pub struct RawSocket {
    socket: Socket,
}

impl RawSocket {
    pub(crate) fn new(queue: Arc<DatagramQueue>) -> Self {
        Self { socket: Socket::new(queue) }
    }

    /// Sends a packet, once there is room for it. Its length and the IPv4 header checksum are
    /// filled in; everything else goes out as given.
    ///
    /// # Errors
    ///
    /// An error that came of an earlier packet, once: `InvalidInput` if it was not a packet of the
    /// socket's version and protocol, `NetworkUnreachable` without a route. `BrokenPipe` if the
    /// stack is gone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready has sent nothing.
    pub async fn send(&self, packet: &[u8]) -> io::Result<()> {
        let nobody = SocketAddr::new(self.socket.local_addr().ip(), 0);
        let packet = Datagram::new(nobody, Bytes::copy_from_slice(packet));
        wait::retry(&self.socket.writes(packet.payload.len()), || {
            self.socket.try_send(packet.clone())
        })
        .await
    }

    /// Receives a packet.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready loses no packet.
    pub async fn recv(&self) -> io::Result<Bytes> {
        wait::retry(&self.socket.reads(), || Ok(self.socket.try_recv()?.payload)).await
    }
}

impl fmt::Debug for RawSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawSocket").finish_non_exhaustive()
    }
}
