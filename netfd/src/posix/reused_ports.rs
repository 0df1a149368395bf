//! Ports that several listeners share (`SO_REUSEPORT`).

use crate::backlog::Incoming;
use netsocket::TcpSocket;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The ports of a stack that TCP sockets share: those that have `SO_REUSEPORT` before they are bound to the
/// same address. Clones share them.
///
/// Each connection is for one of those that listen, in turns.
#[derive(Debug, Clone, Default)]
pub struct ReusedPorts(Arc<Mutex<HashMap<Place, Weak<ReusedPort>>>>);

/// An address, and whether it is IPv6's alone.
pub(crate) type Place = (SocketAddr, bool);

/// A port that is shared, until the last of its sockets is closed.
#[derive(Debug)]
pub(crate) struct ReusedPort {
    local: SocketAddr,
    /// Has the port until the first of them listens.
    bound: Mutex<Option<TcpSocket>>,
    /// What those that listen have.
    incoming: tokio::sync::Mutex<Weak<Incoming>>,
}

impl ReusedPorts {
    /// Joins those who have this address, or is the first, with the socket that is made so.
    pub(crate) fn bind(
        &self,
        (local, only_v6): Place,
        make: impl FnOnce() -> io::Result<TcpSocket>,
    ) -> io::Result<Arc<ReusedPort>> {
        let mut ports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ports.retain(|_, port| port.strong_count() > 0);
        if let Some(port) = ports.get(&(local, only_v6)).and_then(Weak::upgrade) {
            return Ok(port);
        }
        let socket = make()?;
        let local = socket.local_addr()?;
        let (bound, incoming) = (Mutex::new(Some(socket)), tokio::sync::Mutex::default());
        let port = Arc::new(ReusedPort { local, bound, incoming });
        ports.insert((local, only_v6), Arc::downgrade(&port));
        Ok(port)
    }
}

impl ReusedPort {
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// The socket that has the port, for the first who asks.
    pub(crate) fn take(&self) -> Option<TcpSocket> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Listens, or joins those that do. Where the socket that had the port is gone, with the listener that
    /// it became, another is made.
    pub(crate) async fn listen(
        &self,
        backlog: u32,
        make: impl FnOnce() -> io::Result<TcpSocket>,
    ) -> io::Result<Arc<Incoming>> {
        let mut incoming = self.incoming.lock().await;
        if let Some(same) = incoming.upgrade() {
            return Ok(same);
        }
        let socket = match self.take() {
            Some(bound) => bound,
            None => {
                let socket = make()?;
                socket.bind(self.local)?;
                socket
            }
        };
        let new = Arc::new(Incoming::new(socket.listen(backlog).await?));
        *incoming = Arc::downgrade(&new);
        Ok(new)
    }
}
