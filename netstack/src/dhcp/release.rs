//! DHCPRELEASE: giving the address back (RFC 2131 section 4.4.6).

use netsocket::UdpSocket;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The DHCPRELEASE for the lease that the client has, if it has one.
#[derive(Debug, Default)]
pub(crate) struct Release(Mutex<Option<Message>>);

/// The socket to send from, the server's address, and the message.
pub(super) type Message = (Arc<UdpSocket>, SocketAddr, Vec<u8>);

impl Release {
    /// Queues the message. A stack that is shutting down still sends what is queued.
    pub(crate) fn send(&self) {
        if let Some((socket, server, message)) = self.lock().take() {
            tracing::info!(%server, "gives the address back");
            if let Err(error) = socket.try_send_to(&message, server) {
                tracing::debug!(%error, "the address was not given back");
            }
        }
    }

    /// Replaces the message.
    pub(super) fn set(&self, message: Option<Message>) {
        *self.lock() = message;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Message>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
