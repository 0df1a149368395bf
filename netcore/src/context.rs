//! The state that all layers share: time, configuration, sockets, run queue and wakers.

use crate::config::Config;
use crate::deadlines::Deadlines;
use crate::doorbell::Doorbell;
use crate::error::Error;
use crate::id::SocketId;
use crate::memory::Memory;
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
    /// That of all connections.
    pub(crate) memory: Arc<Memory>,
    /// That of all datagram sockets.
    pub(crate) datagram_memory: Arc<Memory>,
    pub(crate) sockets: SocketIds,
    /// The doorbell for the handles of new sockets.
    pub(crate) doorbell: Arc<Doorbell>,
    /// Sockets to serve, each at most once, in order.
    pub(crate) run_queue: VecDeque<SocketId>,
    pub(crate) deadlines: Deadlines,
    /// Wakers to wake at the end of the round, once for all that was received.
    pub(crate) wakes: Vec<Waker>,
    pub(crate) is_shut_down: bool,
    pub(crate) at_work: AtWork,
    /// The trap at which a test triggers a panic.
    #[cfg(test)]
    pub(crate) trap: Option<&'static str>,
}

/// What connections may hold if nothing is configured.
const MEMORY_BYTES: usize = 1 << 30;

/// The most room that an empty list of sockets to serve keeps. Once all connections had something to
/// do at the same time, which for most of them happens once, such a list is larger.
pub(crate) const IDLE_LIST_LEN_MAX: usize = 1024;

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
            memory: Memory::new(config.tcp.memory_bytes_max.unwrap_or(MEMORY_BYTES)),
            datagram_memory: Memory::new(config.datagram.memory_bytes_max.unwrap_or(MEMORY_BYTES)),
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

    /// The next socket of the run queue, and its layer.
    pub(crate) fn next_to_serve(&mut self) -> Option<(SocketId, Option<Transport>)> {
        let id = self.run_queue.pop_front()?;
        if self.run_queue.is_empty() && self.run_queue.capacity() > IDLE_LIST_LEN_MAX {
            self.run_queue = VecDeque::new();
        }
        Some((id, self.sockets.dequeue(id)))
    }

    /// # Errors
    ///
    /// [`Error::StackGone`] once the stack is being shut down.
    pub(crate) fn check_running(&self) -> Result<(), Error> {
        if self.is_shut_down { Err(Error::StackGone) } else { Ok(()) }
    }

    /// Panics once if a test has set a trap of this name.
    #[cfg(test)]
    pub(crate) fn spring(&mut self, trap: &'static str) {
        if self.trap == Some(trap) {
            self.trap = None;
            panic!("trap of a test: {trap}");
        }
    }
}

/// The item in work, which a panic ends.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct AtWork {
    /// A received packet, which is dropped.
    pub(crate) is_packet: bool,
    /// A socket whose state is unknown after a panic.
    pub(crate) socket: Option<SocketId>,
    /// A datagram of that socket, taken from its queue, which alone is dropped.
    pub(crate) is_sending: bool,
    /// A table whose state is unknown after a panic.
    pub(crate) part: Option<Part>,
}

/// A table that is cleared after a panic.
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
