//! Sockets whose last descriptor is closed, and that still have their port.

use netsocket::Net;
use rustix::io::Errno;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// The end of a socket whose last descriptor is closed.
#[derive(Debug)]
pub struct Closing(watch::Receiver<bool>);

/// How long a closed connection may have its port, to send what was written to it. A connection of
/// the kernel's has its own for longer, too.
const SENDING: Duration = Duration::from_secs(1);

impl Closing {
    /// `has_ended` becomes true, or is dropped, once nothing of the socket is left.
    pub(crate) fn new(has_ended: &watch::Sender<bool>) -> Self {
        Self(has_ended.subscribe())
    }

    async fn ended(mut self) {
        // An error is the end, too.
        let _ = self.0.wait_for(|has_ended| *has_ended).await;
    }
}

/// Waits until sockets that the program has closed have given their ports up, after a bind has
/// failed with `EADDRINUSE`: the program finds the port of a listener free when `close` returns, and
/// here the task that serves the listener learns of that a moment later.
///
/// # Errors
///
/// `ENETDOWN` if the stack is gone.
///
/// # Cancel safety
///
/// Changes nothing.
pub async fn released(net: &Net, closing: Vec<Closing>) -> Result<(), Errno> {
    let all_ended = async {
        for socket in closing {
            socket.ended().await;
        }
    };
    // Otherwise the port is in use.
    let _ = timeout(SENDING, all_ended).await;
    net.control().synchronize().await.map_err(|_| Errno::NETDOWN)
}
