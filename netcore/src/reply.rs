//! The two ends of a request: the stack answers, the requester waits.

use crate::command::outcome::{Answer, Undelivered};
use crate::doorbell::Doorbell;
use crate::error::Error;
use crate::id::SocketId;
use crate::isolation::wake;
use crate::sync::{Arc, Mutex};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// The two ends of a request to a socket, or to make one.
pub(crate) fn pair(handle: Option<SocketId>, doorbell: Arc<Doorbell>) -> (Responder, Reply) {
    let slot = Arc::new(Mutex::new(Slot::Waiting { waker: None, parked_on: None }));
    let responder = Responder { slot: slot.clone(), answered: false };
    (responder, Reply { slot, handle, doorbell })
}

/// Where an answer is handed over.
#[derive(Debug)]
enum Slot {
    Waiting {
        waker: Option<Waker>,
        parked_on: Option<SocketId>,
    },
    Answered(Answer),
    /// The stack dropped the request.
    Unanswered,
    /// The requester is gone, or has its answer.
    Done,
}

/// The stack's end of a request.
#[derive(Debug)]
pub(crate) struct Responder {
    slot: Arc<Mutex<Slot>>,
    answered: bool,
}

impl Responder {
    /// Hands the answer over, or back if nobody waits for it any more.
    pub(crate) fn answer(mut self, answer: Answer) -> Result<(), Answer> {
        self.answered = true;
        let mut slot = self.slot.lock();
        if let Slot::Waiting { waker, .. } = &mut *slot {
            let waker = waker.take();
            *slot = Slot::Answered(answer);
            drop(slot);
            if let Some(waker) = waker {
                wake(waker);
            }
            Ok(())
        } else {
            Err(answer)
        }
    }

    /// Says on which socket the request waits: the socket is rung for if the requester gives up.
    /// Returns `false` if that has happened already; nobody rings then.
    pub(crate) fn park_on(&self, id: SocketId) -> bool {
        match &mut *self.slot.lock() {
            Slot::Waiting { parked_on, .. } => {
                *parked_on = Some(id);
                true
            }
            _ => false,
        }
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        matches!(&*self.slot.lock(), Slot::Done)
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        let before = {
            let mut slot = self.slot.lock();
            match &*slot {
                Slot::Waiting { .. } => std::mem::replace(&mut *slot, Slot::Unanswered),
                _ => return,
            }
        };
        if let Slot::Waiting { waker: Some(waker), .. } = before {
            wake(waker);
        }
    }
}

/// The requester's end of a request. Dropping it gives an answer that already came back to the
/// stack, and withdraws a request that the stack still holds.
pub(crate) struct Reply {
    slot: Arc<Mutex<Slot>>,
    handle: Option<SocketId>,
    doorbell: Arc<Doorbell>,
}

impl Future for Reply {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = self.slot.lock();
        match std::mem::replace(&mut *slot, Slot::Done) {
            Slot::Answered(answer) => Poll::Ready(answer),
            // A stack that goes on has dropped it in a panic.
            Slot::Unanswered if !self.doorbell.is_closed() => Poll::Ready(Err(Error::Aborted)),
            Slot::Unanswered | Slot::Done => Poll::Ready(Err(self.doorbell.stop_reason().error())),
            // A stack that is gone may have missed the request: see `Netstack`'s `Drop`.
            Slot::Waiting { .. } if self.doorbell.is_closed() => {
                Poll::Ready(Err(self.doorbell.stop_reason().error()))
            }
            Slot::Waiting { parked_on, .. } => {
                *slot = Slot::Waiting { waker: Some(cx.waker().clone()), parked_on };
                Poll::Pending
            }
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let before = std::mem::replace(&mut *self.slot.lock(), Slot::Done);
        match before {
            Slot::Answered(Ok((response, queue))) => {
                let handle = self.handle;
                self.doorbell.give_back(Undelivered { handle, response, queue });
            }
            Slot::Waiting { parked_on: Some(id), .. } => self.doorbell.ring(id),
            _ => {}
        }
    }
}

/// Hands an answer over; returns it if nobody waits for it.
pub(crate) fn undelivered(
    handle: Option<SocketId>,
    responder: Option<Responder>,
    answer: Answer,
) -> Option<Undelivered> {
    let answer = match responder {
        Some(responder) => responder.answer(answer).err()?,
        None => answer,
    };
    let (response, queue) = answer.ok()?;
    Some(Undelivered { handle, response, queue })
}
