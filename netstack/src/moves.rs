//! Signs that the stack may be on another link now.

use crate::clock::{Clock, Jumps};
use netcore::{Error, Network, NetworkWatch};
use netsocket::Net;
use std::future;
use std::pin::pin;
use std::task::Poll;

/// Waits for such signs: that the link has come up, or that the machine was suspended.
#[derive(Debug)]
pub(crate) struct Moves {
    watch: NetworkWatch,
    is_running: bool,
    jumps: Jumps,
}

impl Moves {
    pub(crate) fn new(net: &Net, clock: &Clock) -> Self {
        let mut watch = net.watch_network();
        let is_running = is_running(&watch.current());
        Self { watch, is_running, jumps: clock.jumps() }
    }

    /// Waits for the next one. Dropping the future loses none.
    ///
    /// # Errors
    ///
    /// If the stack is gone.
    pub(crate) async fn next(&mut self) -> Result<(), Error> {
        let Self { watch, is_running, jumps } = self;
        loop {
            let mut jumped = pin!(jumps.next());
            let mut changed = pin!(watch.changed());
            let network = future::poll_fn(|cx| match jumped.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Ok(None)),
                Poll::Pending => changed.as_mut().poll(cx).map(|changed| changed.map(Some)),
            })
            .await?;
            let Some(network) = network else { return Ok(()) };
            let was_running = std::mem::replace(is_running, self::is_running(&network));
            if *is_running && !was_running {
                return Ok(());
            }
        }
    }
}

/// Whether the link is up and has a carrier.
pub(crate) fn is_running(network: &Network) -> bool {
    network.link.is_up && network.link.has_carrier
}
