//! A running stack.

use crate::dhcp;
use netcore::{Channel, HasChannel};
use netsocket::Net;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A running stack. Dropping it stops the stack at once; every pending operation fails then.
#[derive(Debug)]
#[must_use = "dropping it stops the stack"]
pub struct Stack {
    net: Net,
    stop: Option<oneshot::Sender<Duration>>,
    running: Running,
    /// What is said to a DHCP server when the stack is shut down.
    parting: Option<Arc<dhcp::Parting>>,
}

/// What runs it.
#[derive(Debug)]
pub(crate) enum Running {
    Task(JoinHandle<io::Result<()>>),
    Thread(oneshot::Receiver<io::Result<()>>),
}

impl Stack {
    pub(crate) fn new(net: Net, stop: oneshot::Sender<Duration>, running: Running) -> Self {
        Self { net, stop: Some(stop), running, parting: None }
    }

    pub(crate) fn set_parting(&mut self, parting: Option<Arc<dhcp::Parting>>) {
        self.parting = parting;
    }

    /// Where sockets come from. Cheap to clone and to hand on; it does not keep the stack running.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// Stops the stack in good order: nothing new is taken, everything written is sent, every
    /// connection closed; what is not done by the deadline is cut off. Every pending operation is
    /// resolved when this returns. An address of a DHCP server is given back, unless
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
            if let Some(parting) = &self.parting {
                parting.say();
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

    /// Waits until the stack ends by itself, because its device does.
    ///
    /// # Errors
    ///
    /// What the device failed with; none if it ended in good order.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the stack is stopped.
    pub async fn ended(mut self) -> io::Result<()> {
        let ended = self.running.wait().await;
        drop(self.stop.take());
        ended
    }
}

impl Running {
    async fn wait(&mut self) -> io::Result<()> {
        match self {
            Self::Task(task) => task.await.unwrap_or_else(|failure| Err(io::Error::other(failure))),
            Self::Thread(outcome) => {
                outcome.await.unwrap_or_else(|_| Err(io::Error::other("the stack panicked")))
            }
        }
    }
}

impl HasChannel for Stack {
    fn command_channel(&self) -> Channel {
        self.net.command_channel()
    }
}
