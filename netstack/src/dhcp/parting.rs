//! The last message to a server.

use netsocket::UdpSocket;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is to be said to the server when the stack is shut down.
#[derive(Debug, Default)]
pub(crate) struct Parting(Mutex<Option<Message>>);

/// A message, whom it is for, and what sends it.
pub(super) type Message = (Arc<UdpSocket>, SocketAddr, Vec<u8>);

impl Parting {
    /// Says it. A stack that is shut down sends what is queued before.
    pub(crate) fn say(&self) {
        if let Some((socket, server, message)) = self.lock().take() {
            tracing::info!(%server, "gives the address back");
            if let Err(error) = socket.try_send_to(&message, server) {
                tracing::debug!(%error, "the address was not given back");
            }
        }
    }

    /// What is to be said from now on.
    pub(super) fn set(&self, message: Option<Message>) {
        *self.lock() = message;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Message>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
