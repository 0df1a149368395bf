//! What all layers need: the time, the configuration, the sockets, and the lists of those to be
//! served and woken.

use crate::config::Config;
use crate::deadlines::Deadlines;
use crate::doorbell::Doorbell;
use crate::error::Error;
use crate::id::SocketId;
use crate::random::Random;
use crate::socket_ids::{SocketIds, Transport};
use crate::sync::Arc;
use crate::time::Instant;
use std::collections::VecDeque;
use std::task::Waker;

/// The state that the layers share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) now: Instant,
    pub(crate) config: Config,
    pub(crate) random: Random,
    pub(crate) sockets: SocketIds,
    /// Where the handles of new sockets ring.
    pub(crate) doorbell: Arc<Doorbell>,
    /// Sockets to be served, each once, in turn.
    pub(crate) run_queue: VecDeque<SocketId>,
    pub(crate) deadlines: Deadlines,
    /// Woken at the end of the round: one wake-up for however much has come.
    pub(crate) wakes: Vec<Waker>,
    pub(crate) is_shut_down: bool,
    pub(crate) at_work: AtWork,
    /// Where a test wants a panic.
    #[cfg(test)]
    pub(crate) trap: Option<&'static str>,
}

impl Context {
    pub(crate) fn new(
        config: Config,
        random: Random,
        doorbell: Arc<Doorbell>,
        now: Instant,
    ) -> Self {
        Self {
            now,
            random,
            sockets: SocketIds::new(config.sockets_max),
            config,
            doorbell,
            run_queue: VecDeque::new(),
            deadlines: Deadlines::default(),
            wakes: Vec::new(),
            is_shut_down: false,
            at_work: AtWork::default(),
            #[cfg(test)]
            trap: None,
        }
    }

    /// Puts a socket into the run queue, if it is not there yet.
    pub(crate) fn mark(&mut self, id: SocketId) {
        if self.sockets.enqueue(id) {
            self.run_queue.push_back(id);
        }
    }

    /// The next socket of the run queue, and whose it is.
    pub(crate) fn next_to_serve(&mut self) -> Option<(SocketId, Option<Transport>)> {
        let id = self.run_queue.pop_front()?;
        Some((id, self.sockets.dequeue(id)))
    }

    /// # Errors
    ///
    /// [`Error::StackGone`] once the stack is being shut down.
    pub(crate) fn check_running(&self) -> Result<(), Error> {
        if self.is_shut_down { Err(Error::StackGone) } else { Ok(()) }
    }

    /// Panics if the test has set a trap of this name, once.
    #[cfg(test)]
    pub(crate) fn spring(&mut self, trap: &'static str) {
        if self.trap == Some(trap) {
            self.trap = None;
            panic!("as the test wants: {trap}");
        }
    }
}

/// What is being worked on.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct AtWork {
    /// A packet that has come in, which ends with the panic.
    pub(crate) is_packet: bool,
    /// A socket whose state cannot be trusted after a panic.
    pub(crate) socket: Option<SocketId>,
    /// The socket is a datagram's, which was taken from its queue and ends alone.
    pub(crate) is_sending: bool,
    /// A table whose state cannot be trusted after a panic.
    pub(crate) part: Option<Part>,
}

/// What is thrown away if it panics.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    Fragments,
    Neighbours,
}

impl AtWork {
    pub(crate) fn packet() -> Self {
        Self { is_packet: true, ..Self::default() }
    }
}
