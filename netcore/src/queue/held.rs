//! A SYN that a listener holds, and its handle.

use super::waiters::{WaitKey, Waiters};
use crate::command::tcp::Refusal;
use crate::doorbell::{Bell, Events};
use crate::error::Error;
use crate::id::SocketId;
use crate::sync::Mutex;
use std::net::SocketAddr;
use std::task::{Poll, Waker};

/// The state between a held SYN and its handle: whether its sender still waits for an answer.
///
/// It is answered with [`Command::Admit`](crate::tcp::Command::Admit), which takes time and can
/// fail. For the implementation of handles; no method blocks.
#[derive(Debug)]
pub struct HeldSyn {
    bell: Bell,
    /// Its key among the half-open connections of its listener.
    ticket: u64,
    local: SocketAddr,
    peer: SocketAddr,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    refusal: Option<Refusal>,
    ended: Option<Error>,
    waiters: Waiters,
}

/// Handles.
impl HeldSyn {
    /// The id of the SYN; an admitted connection keeps it.
    pub fn id(&self) -> SocketId {
        self.bell.id()
    }

    /// The destination address of the SYN.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// The address of the peer.
    pub fn peer_address(&self) -> SocketAddr {
        self.peer
    }

    /// Refuses the connection.
    ///
    /// # Errors
    ///
    /// [`Error::Reset`] if the peer has given up, [`Error::TimedOut`] if it was held for too long,
    /// [`Error::Aborted`] if it was evicted or its listener has ended, [`Error::Closed`] if it was
    /// admitted or refused before.
    pub fn refuse(&self, how: Refusal) -> Result<(), Error> {
        let mut state = self.state.lock();
        if let Some(reason) = state.ended {
            return Err(reason);
        }
        if state.refusal.is_some() {
            return Err(Error::Closed);
        }
        state.refusal = Some(how);
        drop(state);
        self.bell.ring(Events::CLOSE);
        Ok(())
    }

    /// Refuses with a reset, unless the SYN was admitted or refused before.
    pub fn close(&self) {
        // An error means that the SYN is no longer held.
        let _ = self.refuse(Refusal::Reset);
    }

    /// The reason why the SYN is no longer held, as an error of [`refuse`](Self::refuse); `None`
    /// while it is held.
    pub fn end(&self) -> Option<Error> {
        self.state.lock().ended
    }

    /// As [`end`](Self::end); if the SYN is still held, `waker` is registered and woken when that
    /// has changed.
    pub fn poll_ended(&self, key: &mut WaitKey, waker: &Waker) -> Poll<Error> {
        let mut state = self.state.lock();
        match state.ended {
            Some(reason) => Poll::Ready(reason),
            None => {
                state.waiters.register(key, waker);
                Poll::Pending
            }
        }
    }

    /// Removes a waiter.
    pub fn forget(&self, key: &WaitKey) {
        self.state.lock().waiters.remove(key);
    }
}

/// The stack.
impl HeldSyn {
    /// `addresses` are the local and the peer's.
    pub(crate) fn new(bell: Bell, ticket: u64, addresses: (SocketAddr, SocketAddr)) -> Self {
        Self { bell, ticket, local: addresses.0, peer: addresses.1, state: Mutex::default() }
    }

    pub(crate) fn bell(&self) -> &Bell {
        &self.bell
    }

    pub(crate) fn ticket(&self) -> u64 {
        self.ticket
    }

    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.state.lock().refusal
    }

    pub(crate) fn finish(&self, reason: Error, wakes: &mut Vec<Waker>) {
        let mut state = self.state.lock();
        state.ended.get_or_insert(reason);
        state.waiters.wake(wakes);
    }
}
