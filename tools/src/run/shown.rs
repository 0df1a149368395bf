//! The stack as netlink shows it to the program.

use crate::run::supervisor::Supervisor;
use netfd::netlink::{Inodes, Own, Refusal, Subject};
use netstack::Net;
use netstack::netsocket::netcore::Network;
use netstack::netsocket::netcore::control::{Command, Response};
use std::sync::{Arc, OnceLock, Weak};

/// The stack of this process, with the descriptors of the program's sockets.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    own: Own,
    /// Has the descriptors; made after this.
    supervisor: Arc<OnceLock<Weak<Supervisor>>>,
}

impl Shown {
    pub(crate) fn new(net: &Net, interface: &str) -> Self {
        Self { own: Own::new(net, interface), supervisor: Arc::default() }
    }

    /// The program's sockets are here.
    pub(crate) fn has(&self, supervisor: &Arc<Supervisor>) {
        self.supervisor.get_or_init(|| Arc::downgrade(supervisor));
    }
}

impl Subject for Shown {
    fn interface(&self) -> &str {
        self.own.interface()
    }

    async fn ask(&self, command: Command) -> Result<Option<Response>, Refusal> {
        self.own.ask(command).await
    }

    async fn changed(&self, seen: u64) -> Result<Arc<Network>, Refusal> {
        self.own.changed(seen).await
    }

    fn inodes(&self) -> Inodes {
        let supervisor = self.supervisor.get().and_then(Weak::upgrade);
        supervisor.map_or_else(Inodes::new, |supervisor| supervisor.inodes())
    }
}
