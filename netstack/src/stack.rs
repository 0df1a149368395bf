//! A running stack.

use crate::dhcp;
use crate::ending::Ending;
use netcore::{Channel, HasChannel};
use netsocket::Net;
use std::future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::oneshot;

/// A running stack. Dropping it stops the stack at once; every pending operation fails then.
#[derive(Debug)]
#[must_use = "dropping it stops the stack"]
pub struct Stack {
    net: Net,
    stop: Option<oneshot::Sender<Duration>>,
    running: Ending,
    /// Tells of a client that has ended before the stack.
    clients: Ending,
    /// Sends DHCPRELEASE when the stack is shut down.
    dhcp_release: Option<Arc<dhcp::Release>>,
}

impl Stack {
    pub(crate) fn new(
        net: Net,
        stop: oneshot::Sender<Duration>,
        running: Ending,
        clients: Ending,
        dhcp_release: Option<Arc<dhcp::Release>>,
    ) -> Self {
        Self { net, stop: Some(stop), running, clients, dhcp_release }
    }

    /// Where sockets come from. Cheap to clone and to hand on; it does not keep the stack running.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// Stops the stack in good order: nothing new is taken, everything written is sent, every
    /// connection closed; what is not done by the deadline is cut off. A connection is done when its
    /// peer has closed it, too: one that is idle, and whose peer keeps its side open, holds the
    /// shutdown until the deadline. Every pending operation is
    /// resolved when this returns, and what was sent is delivered, on a switch also through its uplinks,
    /// as far as devices can see to it: a TUN or TAP stays for 100 ms more, so that programs on the host
    /// read what came over it. An address of a DHCP server is given back, unless
    /// [`dhcp::Config::release`](crate::dhcp::Config::release) says otherwise.
    ///
    /// # Errors
    ///
    /// What the device failed with, if that ended the stack before.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the stack goes on shutting down by itself.
    pub async fn shutdown(mut self, deadline: Duration) -> io::Result<()> {
        if let Some(stop) = self.stop.take() {
            if let Some(dhcp_release) = &self.dhcp_release {
                dhcp_release.send();
            }
            // Fails if the stack has ended already.
            let _ = stop.send(deadline);
        }
        self.running.wait().await
    }

    /// As [`shutdown`](Self::shutdown), blocking the thread.
    ///
    /// # Errors
    ///
    /// As [`shutdown`](Self::shutdown).
    pub fn shutdown_blocking(self, deadline: Duration) -> io::Result<()> {
        pollster::block_on(self.shutdown(deadline))
    }

    /// Waits until the stack ends by itself, because its device does, or until a client that was to
    /// provide for it has ended ([`Builder::dhcp`](crate::Builder::dhcp),
    /// [`Builder::slaac`](crate::Builder::slaac)): the stack then runs on with what it has. May be
    /// called as often as one likes, and says the same again.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// # use std::time::Duration;
    /// # let (stack, _far) = netstack::pair()?;
    /// # let stop_signal = async { Ok(()) };
    /// tokio::select! {
    ///     ended = stack.ended() => ended,
    ///     // A signal, such as tokio::signal::ctrl_c().
    ///     signal = stop_signal => {
    ///         stack.shutdown(Duration::from_secs(1)).await?;
    ///         signal
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// What the device failed with, or that it was removed or panicked; none if it ended in good
    /// order, as a pipe does whose other end is gone. What has ended the client.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn ended(&self) -> io::Result<()> {
        let mut running = pin!(self.running.wait());
        let mut client = pin!(self.clients.failed());
        future::poll_fn(|cx| match running.as_mut().poll(cx) {
            Poll::Ready(ended) => Poll::Ready(ended),
            Poll::Pending => client.as_mut().poll(cx).map(Err),
        })
        .await
    }
}

impl HasChannel for Stack {
    fn command_channel(&self) -> Channel {
        self.net.command_channel()
    }
}
