//! The stack that a server shows.

use netsocket::Net;
use netsocket::netcore::control::{Command, Response};
use netsocket::netcore::{Error, HasChannel, Network, SocketKind};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// A stack that a [`Server`](crate::netlink::Server) shows and changes: one of this process, or one
/// that is reached in another way.
pub trait Subject: Send + Sync + 'static {
    /// The name of its link, as `ip` shows it.
    fn interface(&self) -> &str;

    /// Has it do or report something; `None` if the command has no answer but that it is done.
    ///
    /// # Cancel safety
    ///
    /// The command may have been sent; if so, it takes effect.
    fn ask(
        &self,
        command: Command,
    ) -> impl Future<Output = Result<Option<Response>, Refusal>> + Send;

    /// Waits until its network has another [revision](Network::revision) than was seen.
    ///
    /// # Errors
    ///
    /// It is gone.
    fn changed(&self, seen: u64) -> impl Future<Output = Result<Arc<Network>, Refusal>> + Send;

    /// The inodes of the descriptors of its sockets, by which `ss -p` finds their processes; nothing
    /// for those without a descriptor.
    fn inodes(&self) -> Inodes {
        Inodes::new()
    }
}

/// The inodes of descriptors, by the sockets that they stand for.
pub type Inodes = HashMap<Ends, u32>;

/// What distinguishes a socket from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ends {
    /// Its kind.
    pub kind: SocketKind,
    /// Its local address.
    pub local: SocketAddr,
    /// Its peer, if it has one.
    pub peer: Option<SocketAddr>,
}

/// Why a [`Subject`] has not done something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The error of the stack, if it is one.
    pub error: Option<Error>,
    /// What has failed, and why.
    pub message: String,
}

impl Refusal {
    /// One that is not the stack's.
    pub fn new(message: impl Into<String>) -> Self {
        Self { error: None, message: message.into() }
    }

    /// An answer to another command.
    pub(crate) fn unexpected() -> Self {
        Self::new("the stack has answered another command")
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error: Some(error), message: error.to_string() }
    }
}

/// A stack of this process.
#[derive(Debug, Clone)]
pub struct Own {
    net: Net,
    interface: String,
}

impl Own {
    /// The stack of this handle, whose link is shown under this name.
    pub fn new(net: &Net, interface: impl Into<String>) -> Self {
        Self { net: net.clone(), interface: interface.into() }
    }
}

impl Subject for Own {
    fn interface(&self) -> &str {
        &self.interface
    }

    async fn ask(&self, command: Command) -> Result<Option<Response>, Refusal> {
        let (response, _) = self.net.command_channel().call(None, command).await?;
        Ok(response.try_into().ok())
    }

    async fn changed(&self, seen: u64) -> Result<Arc<Network>, Refusal> {
        let mut watch = self.net.watch_network();
        Ok(watch.wait_for(|network| network.revision != seen).await?)
    }
}
