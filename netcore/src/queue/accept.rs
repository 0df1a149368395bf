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

/// What a TCP listener and its handle share: connections whose handshake is done, or the SYNs that
/// it [holds](crate::tcp::OnSyn::Hold), oldest first.
///
/// A connection leaves the queue only into the hands of a caller, so giving up waiting loses none.
/// This type is for those who build handles. All methods return at once.
#[derive(Debug)]
pub struct AcceptQueue {
    bell: Bell,
    local: SocketAddr,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    connections: VecDeque<Arc<StreamQueue>>,
    /// By ticket, so that one that has ended makes room wherever it stands.
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

    /// Takes the oldest connection. It is the caller's to [close](StreamQueue::close).
    ///
    /// # Errors
    ///
    /// [`Error::WouldBlock`] if none waits; otherwise why the listener ended.
    pub fn try_accept(&self) -> Result<Arc<StreamQueue>, Error> {
        let mut state = self.state.lock();
        match (state.connections.pop_front(), state.closed) {
            (Some(connection), _) => Ok(connection),
            (None, Some(reason)) => Err(reason),
            (None, None) => Err(Error::WouldBlock),
        }
    }

    /// Takes the oldest SYN that is held. It is the caller's to admit or
    /// [refuse](HeldSyn::refuse).
    ///
    /// # Errors
    ///
    /// [`Error::WouldBlock`] if none waits; otherwise why the listener ended.
    pub fn try_held(&self) -> Result<Arc<HeldSyn>, Error> {
        let mut state = self.state.lock();
        match (state.held.pop_first(), state.closed) {
            (Some((_, held)), _) => Ok(held),
            (None, Some(reason)) => Err(reason),
            (None, None) => Err(Error::WouldBlock),
        }
    }

    /// Whether [`try_accept`](Self::try_accept) or [`try_held`](Self::try_held) would give
    /// something else than [`Error::WouldBlock`]; if not, `waker` is kept and woken when that may have changed.
    pub fn poll_acceptable(&self, key: &mut WaitKey, waker: &Waker) -> Poll<()> {
        let mut state = self.state.lock();
        if !state.connections.is_empty() || !state.held.is_empty() || state.closed.is_some() {
            return Poll::Ready(());
        }
        state.waiters.register(key, waker);
        Poll::Pending
    }

    /// Forgets a waiter.
    pub fn forget(&self, key: &WaitKey) {
        self.state.lock().waiters.remove(key);
    }

    /// Ends the listener: connections still queued are reset, new ones refused.
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

    /// Adds a SYN that is held, or puts one back that was taken but never reached anybody.
    pub(crate) fn hold(&self, held: Arc<HeldSyn>, wakes: &mut Vec<Waker>) {
        let mut state = self.state.lock();
        state.held.insert(held.ticket(), held);
        state.waiters.wake(wakes);
    }

    /// Takes a SYN out that is not held any more.
    pub(crate) fn forget_held(&self, ticket: u64) {
        self.state.lock().held.remove(&ticket);
    }

    pub(crate) fn push(&self, connection: Arc<StreamQueue>, wakes: &mut Vec<Waker>) {
        let mut state = self.state.lock();
        state.connections.push_back(connection);
        state.waiters.wake(wakes);
    }

    /// Puts a connection that was taken but never reached anybody back in front.
    pub(crate) fn unaccept(&self, connection: Arc<StreamQueue>, wakes: &mut Vec<Waker>) {
        let mut state = self.state.lock();
        state.connections.push_front(connection);
        state.waiters.wake(wakes);
    }

    /// Ends the queue and hands out what nobody accepted.
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
