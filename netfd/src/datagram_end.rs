//! The far end of a UDP socket's pair.

use crate::datagrams::Datagrams;
use crate::far::{Far, Watch};
use netsocket::UdpSocket;
use std::sync::Arc;

/// The far end of a UDP socket's pair, of [`datagram_pair`](crate::datagram_pair).
#[derive(Debug)]
pub struct DatagramEnd {
    far: Far,
    key: u64,
}

impl DatagramEnd {
    pub(crate) fn new(far: Far, key: u64) -> Self {
        Self { far, key }
    }

    /// The [key](crate::key) of the near end.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// Waits until the last copy of the near end is closed, or both of its halves are shut down.
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub async fn closed(&self) {
        self.far.hung_up().await;
    }

    /// Without a socket of UDP.
    pub(crate) fn into_far(self) -> Far {
        self.far
    }

    pub(crate) fn watch(&self) -> Watch {
        self.far.watch()
    }

    /// Attaches a socket, whose datagrams [`Datagrams::serve`] carries. What the program has sent
    /// before is sent now.
    pub fn attach(self, socket: Arc<UdpSocket>) -> Arc<Datagrams> {
        Arc::new(Datagrams::new(self.far, self.key, socket))
    }
}
