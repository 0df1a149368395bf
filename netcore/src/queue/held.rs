//! A SYN that a listener holds, and its handle.

use super::waiters::{WaitKey, Waiters};
use crate::command::tcp::Refusal;
use crate::doorbell::{Bell, Events};
use crate::error::Error;
use crate::id::SocketId;
use crate::sync::Mutex;
use std::net::SocketAddr;
use std::task::{Poll, Waker};

/// What a held SYN and its handle share: whether its sender still waits for an answer.
///
/// It is answered with [`Command::Admit`](crate::tcp::Command::Admit), which takes time and can
/// fail. This type is for those who build handles. All methods return at once.
#[derive(Debug)]
pub struct HeldSyn {
    bell: Bell,
    /// Its place among the half-open connections of its listener.
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
    /// The id of the SYN, which the connection keeps that is made of it.
    pub fn id(&self) -> SocketId {
        self.bell.id()
    }

    /// The address that the peer has dialled.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// The address of the peer.
    pub fn peer_address(&self) -> SocketAddr {
        self.peer
    }

    /// Turns the peer away.
    ///
    /// # Errors
    ///
    /// Why there is nobody left to be turned away: [`Error::Reset`] if the peer has given up,
    /// [`Error::TimedOut`] if it was held for too long, [`Error::Aborted`] if it made room for
    /// others or its listener has ended, [`Error::Closed`] if it was admitted or refused before.
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

    /// Ends the attempt with a reset, unless something else was decided before.
    pub fn close(&self) {
        // There is nothing left to be ended otherwise.
        let _ = self.refuse(Refusal::Reset);
    }

    /// Why the SYN is not held any more, in the words of [`refuse`](Self::refuse), if it is not.
    pub fn end(&self) -> Option<Error> {
        self.state.lock().ended
    }

    /// As [`end`](Self::end); if the SYN is still held, `waker` is kept and woken when that has changed.
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

    /// Forgets a waiter.
    pub fn forget(&self, key: &WaitKey) {
        self.state.lock().waiters.remove(key);
    }
}

/// The stack.
impl HeldSyn {
    /// `ends` are the local one and that of the peer.
    pub(crate) fn new(bell: Bell, ticket: u64, ends: (SocketAddr, SocketAddr)) -> Self {
        Self { bell, ticket, local: ends.0, peer: ends.1, state: Mutex::default() }
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
