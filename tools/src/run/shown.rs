//! The stack that netlink shows to the program.

use crate::run::joined::Joined;
use crate::run::supervisor::Supervisor;
use netfd::netlink::{Inodes, Own, Refusal, Subject};
use netstack::Net;
use netstack::netsocket::netcore::Network;
use netstack::netsocket::netcore::control::{Command, Response};
use std::sync::{Arc, OnceLock, Weak};

/// The stack that is shown.
#[derive(Debug, Clone)]
pub(crate) enum Shown {
    /// That of this process, with the descriptors of the program's sockets.
    Own {
        own: Own,
        /// Has the descriptors; made after this.
        supervisor: Arc<OnceLock<Weak<Supervisor>>>,
    },
    /// Another's.
    Joined(Joined),
}

impl Shown {
    pub(crate) fn new(net: &Net, interface: &str) -> Self {
        Self::Own { own: Own::new(net, interface), supervisor: Arc::default() }
    }

    /// The program's sockets are here.
    pub(crate) fn has(&self, program: &Arc<Supervisor>) {
        if let Self::Own { supervisor, .. } = self {
            supervisor.get_or_init(|| Arc::downgrade(program));
        }
    }
}

impl Subject for Shown {
    fn interface(&self) -> &str {
        match self {
            Self::Own { own, .. } => own.interface(),
            Self::Joined(joined) => joined.interface(),
        }
    }

    async fn ask(&self, command: Command) -> Result<Option<Response>, Refusal> {
        match self {
            Self::Own { own, .. } => own.ask(command).await,
            Self::Joined(joined) => joined.ask(command).await,
        }
    }

    async fn changed(&self, seen: u64) -> Result<Arc<Network>, Refusal> {
        match self {
            Self::Own { own, .. } => own.changed(seen).await,
            Self::Joined(joined) => joined.changed(seen).await,
        }
    }

    fn inodes(&self) -> Inodes {
        let supervisor = match self {
            Self::Own { supervisor, .. } => supervisor.get().and_then(Weak::upgrade),
            Self::Joined(_) => None,
        };
        supervisor.map_or_else(Inodes::new, |supervisor| supervisor.inodes())
    }
}
