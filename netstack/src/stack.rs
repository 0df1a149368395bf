//! A running stack.

use crate::control_socket::ServedControl;
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
    name: String,
    net: Net,
    stop: Option<oneshot::Sender<Duration>>,
    running: Ending,
    /// The ending of a client that failed before the stack ended.
    clients: Ending,
    /// Sends DHCPRELEASE when the stack is shut down.
    dhcp_release: Option<Arc<dhcp::Release>>,
    #[cfg(any(feature = "capture", feature = "sim"))]
    taps: Option<crate::tap::Taps>,
    /// Removes the file of the control socket at the end.
    _control: ServedControl,
}

impl Stack {
    pub(crate) fn new(
        net: Net,
        stop: oneshot::Sender<Duration>,
        running: Ending,
        clients: Ending,
        dhcp_release: Option<Arc<dhcp::Release>>,
        control: ServedControl,
    ) -> Self {
        Self {
            name: String::new(),
            net,
            stop: Some(stop),
            running,
            clients,
            dhcp_release,
            _control: control,
            #[cfg(any(feature = "capture", feature = "sim"))]
            taps: None,
        }
    }

    pub(crate) fn with_name(self, name: String) -> Self {
        Self { name, ..self }
    }

    /// Its [name](crate::Builder::name).
    pub fn name(&self) -> &str {
        &self.name
    }

    #[cfg(any(feature = "capture", feature = "sim"))]
    pub(crate) fn with_taps(mut self, taps: crate::tap::Taps) -> Self {
        self.taps = Some(taps);
        self
    }

    /// Where those attach who want to learn of each frame.
    #[cfg(any(feature = "capture", feature = "sim"))]
    pub(crate) fn taps(&self) -> &crate::tap::Taps {
        self.taps.as_ref().expect("a stack is made with its taps")
    }

    /// Where sockets come from. Cheap to clone and to hand on; it does not keep the stack running.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// Shuts the stack down gracefully: it accepts nothing new, sends everything written, and
    /// closes every connection. Whatever is left at the deadline is aborted. A connection is
    /// finished only when its peer has closed it, too: an idle one whose peer keeps its side open
    /// delays the shutdown until the deadline.
    ///
    /// When this returns, every pending operation is resolved and everything sent is delivered, on
    /// a switch also through its uplinks, as far as devices can tell: a TUN or TAP stays open for
    /// 100 ms more, so that programs on the host read what came over it. A DHCP lease is released
    /// unless [`dhcp::Config::release`](crate::dhcp::Config::release) is off.
    ///
    /// # Errors
    ///
    /// The error of the device, if that ended the stack before.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the shutdown continues in the background.
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

    /// Waits until the stack ends by itself, because its device does, or until a client
    /// ([`Builder::dhcp`](crate::Builder::dhcp), [`Builder::slaac`](crate::Builder::slaac)) has
    /// failed: the stack then keeps running with its current configuration. May be called any
    /// number of times, with the same result.
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
    /// The error of the device, or that it was removed or panicked; none if it ended normally, as a
    /// pipe does when its other end is dropped. The error of the client.
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
