//! The protocol between handles and a stack, checked with loom in every interleaving.
//!
//! Each model has handles on some threads and the stack on another, and loom runs it once for each
//! interleaving of their locks and atomics that could make a difference. A lost wake-up shows as a
//! deadlock; the rest is asserted when all threads are done.
//!
//! Flume's channel is not loom's: an operation on it is one atomic step, and must not block.

mod accept;
mod doorbell;
mod reply;
mod stack;
mod stream;

use crate::channel::{BufferBytes, Channel, Request};
use crate::config::Entropy;
use crate::doorbell::{Bell, Doorbell, Events};
use crate::id::SocketId;
use crate::memory::{Charge, Memory};
use crate::network::{Network, Publisher};
use crate::queue::StreamQueue;
use crate::sync::Arc;
use crate::tcp;
use crate::tcp::reservation::TcpPorts;
use std::net::SocketAddr;

/// The part of a stack that handles see.
struct Core {
    doorbell: Arc<Doorbell>,
    sender: flume::Sender<Request>,
    requests: flume::Receiver<Request>,
}

impl Core {
    fn new() -> Self {
        let (sender, requests) = flume::unbounded();
        Self { doorbell: Arc::new(Doorbell::new(sender.clone())), sender, requests }
    }

    /// A channel to the stack, whose network never changes.
    fn channel(&self) -> Channel {
        let (_, network) =
            Publisher::new(Network::blank(1500), self.doorbell.stop_reason().clone());
        let tcp_ports = Arc::new(TcpPorts::new(Entropy::Seed(1)));
        Channel::new(
            self.sender.clone(),
            self.doorbell.clone(),
            network,
            BufferBytes { recv: 1, send: 1 },
            tcp_ports,
        )
    }

    fn bell(&self) -> Bell {
        Bell::new(SocketId::default(), self.doorbell.clone())
    }

    /// A connection whose two queues hold up to `limit` bytes each.
    fn stream(&self, limit: usize) -> Arc<StreamQueue> {
        let options = tcp::Options::default();
        let charge = Charge::new(Memory::new(usize::MAX));
        Arc::new(StreamQueue::new(self.bell(), addresses(), (limit, limit), options, charge))
    }

    /// The events that the stack would take now; `None` without a ring.
    fn take_events(&self, bell: &Bell) -> Option<Events> {
        let mut rung = Vec::new();
        self.doorbell.take_ready(&mut rung);
        assert!(rung.len() <= 1, "a socket is in the list at most once");
        rung.pop().map(|_| bell.take())
    }
}

fn addresses() -> (SocketAddr, SocketAddr) {
    (SocketAddr::from(([10, 0, 0, 1], 1000)), SocketAddr::from(([10, 0, 0, 2], 80)))
}

/// Runs a closure on a thread of the model with a call stack large enough for a whole netstack:
/// loom's default is 32 KiB.
pub(crate) fn with_a_large_stack(run: impl FnOnce() + Send + 'static) {
    const STACK_WORDS: usize = 16 * 1024;
    let thread = loom::thread::Builder::new().stack_size(STACK_WORDS).spawn(run);
    thread.expect("a model has few threads").join().expect("no panic");
}
