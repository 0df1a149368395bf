//! The connections between a TCP listener and its handle.

use super::held::HeldSyn;
use super::stream::StreamQueue;
use super::waiters::{WaitKey, Waiters};
use crate::doorbell::{Bell, Events};
use crate::error::Error;
use crate::id::SocketId;
use crate::sync::{Arc, Mutex};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::task::{Poll, Waker};

/// The queue between a TCP listener and its handle: established connections, or
/// [held](crate::tcp::OnSyn::Hold) SYNs, oldest first.
///
/// A connection leaves the queue only as the return value of a call, so a cancelled wait loses
/// none. For the implementation of handles; no method blocks.
#[derive(Debug)]
pub struct AcceptQueue {
    bell: Bell,
    local: SocketAddr,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    connections: VecDeque<Arc<StreamQueue>>,
    /// By ticket, so that an ended one is removed from any position.
    held: BTreeMap<u64, Arc<HeldSyn>>,
    closed: Option<Error>,
    waiters: Waiters,
}

/// Handles.
impl AcceptQueue {
    /// The id of the listener's socket.
    pub fn id(&self) -> SocketId {
        self.bell.id()
    }

    /// The address that the listener listens on.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Takes the oldest connection. The caller must [close](StreamQueue::close) it.
    ///
    /// # Errors
    ///
    /// [`Error::WouldBlock`] if none waits; otherwise the error that ended the listener.
    pub fn try_accept(&self) -> Result<Arc<StreamQueue>, Error> {
        let mut state = self.state.lock();
        match (state.connections.pop_front(), state.closed) {
            (Some(connection), _) => Ok(connection),
            (None, Some(reason)) => Err(reason),
            (None, None) => Err(Error::WouldBlock),
        }
    }

    /// Takes the oldest held SYN. The caller must admit or [refuse](HeldSyn::refuse) it.
    ///
    /// # Errors
    ///
    /// [`Error::WouldBlock`] if none waits; otherwise the error that ended the listener.
    pub fn try_held(&self) -> Result<Arc<HeldSyn>, Error> {
        let mut state = self.state.lock();
        match (state.held.pop_first(), state.closed) {
            (Some((_, held)), _) => Ok(held),
            (None, Some(reason)) => Err(reason),
            (None, None) => Err(Error::WouldBlock),
        }
    }

    /// Whether [`try_accept`](Self::try_accept) or [`try_held`](Self::try_held) returns something
    /// other than [`Error::WouldBlock`]; if not, `waker` is registered and woken when that may have
    /// changed.
    pub fn poll_acceptable(&self, key: &mut WaitKey, waker: &Waker) -> Poll<()> {
        let mut state = self.state.lock();
        if !state.connections.is_empty() || !state.held.is_empty() || state.closed.is_some() {
            return Poll::Ready(());
        }
        state.waiters.register(key, waker);
        Poll::Pending
    }

    /// Removes a waiter.
    pub fn forget(&self, key: &WaitKey) {
        self.state.lock().waiters.remove(key);
    }

    /// Closes the listener: queued connections are reset, new ones refused.
    pub fn close(&self) {
        self.bell.ring(Events::CLOSE);
    }
}

/// The stack.
impl AcceptQueue {
    pub(crate) fn new(bell: Bell, local: SocketAddr) -> Self {
        Self { bell, local, state: Mutex::default() }
    }

    pub(crate) fn bell(&self) -> &Bell {
        &self.bell
    }

    pub(crate) fn len(&self) -> usize {
        let state = self.state.lock();
        state.connections.len() + state.held.len()
    }

    /// Adds a held SYN, or puts back one that was taken but not delivered.
    pub(crate) fn hold(&self, held: Arc<HeldSyn>, wakes: &mut Vec<Waker>) {
        let mut state = self.state.lock();
        state.held.insert(held.ticket(), held);
        state.waiters.wake(wakes);
    }

    /// Removes a SYN that is no longer held.
    pub(crate) fn forget_held(&self, ticket: u64) {
        self.state.lock().held.remove(&ticket);
    }

    pub(crate) fn push(&self, connection: Arc<StreamQueue>, wakes: &mut Vec<Waker>) {
        let mut state = self.state.lock();
        state.connections.push_back(connection);
        state.waiters.wake(wakes);
    }

    /// Puts a connection that was taken but not delivered back in front.
    pub(crate) fn unaccept(&self, connection: Arc<StreamQueue>, wakes: &mut Vec<Waker>) {
        let mut state = self.state.lock();
        state.connections.push_front(connection);
        state.waiters.wake(wakes);
    }

    /// Ends the queue and returns the connections not accepted.
    pub(crate) fn finish(
        &self,
        reason: Error,
        wakes: &mut Vec<Waker>,
    ) -> VecDeque<Arc<StreamQueue>> {
        let mut state = self.state.lock();
        state.closed = Some(reason);
        state.waiters.wake(wakes);
        state.held.clear();
        std::mem::take(&mut state.connections)
    }
}
