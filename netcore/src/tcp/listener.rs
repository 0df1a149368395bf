//! TCP listeners.

use crate::command::tcp::{OnSyn, Options};
use crate::id::SocketId;
use crate::queue::AcceptQueue;
use crate::reply::Responder;
use crate::sync::Arc;
use std::collections::{BTreeMap, VecDeque};

/// A TCP listener: a rule for SYNs, and the queue of what came of them.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) queue: Arc<AcceptQueue>,
    pub(crate) port: u16,
    /// What each connection starts with.
    pub(crate) options: Options,
    pub(crate) backlog_max: usize,
    pub(crate) on_syn: OnSyn,
    pub(crate) half_open: HalfOpen,
    /// Accept commands that wait.
    pub(crate) parked: VecDeque<Responder>,
}

impl Listener {
    /// Whether the accept queue has no room. SYNs are dropped then, and so is the last step of
    /// handshakes under way, so that the peer tries again (Linux does the same). SYNs that are held
    /// have the bounds of half-open connections.
    pub(crate) fn is_full(&self) -> bool {
        self.on_syn == OnSyn::Answer && self.queue.len() >= self.backlog_max
    }
}

/// The connections whose handshake is under way, and SYNs that are held, oldest first.
#[derive(Debug, Default)]
pub(crate) struct HalfOpen {
    connections: BTreeMap<u64, SocketId>,
    last_ticket: u64,
}

impl HalfOpen {
    /// The ticket that the next one gets.
    pub(crate) fn next_ticket(&self) -> u64 {
        self.last_ticket + 1
    }

    /// Adds a connection; the ticket takes it out again.
    pub(crate) fn insert(&mut self, id: SocketId) -> u64 {
        self.last_ticket += 1;
        self.connections.insert(self.last_ticket, id);
        self.last_ticket
    }

    pub(crate) fn remove(&mut self, ticket: u64) {
        self.connections.remove(&ticket);
    }

    pub(crate) fn oldest(&self) -> Option<SocketId> {
        self.connections.first_key_value().map(|(_, id)| *id)
    }

    pub(crate) fn len(&self) -> usize {
        self.connections.len()
    }

    pub(crate) fn ids(&self) -> Vec<SocketId> {
        self.connections.values().copied().collect()
    }
}
