//! Request and reply: the stack answers, the requester waits.

use crate::command::outcome::{Answer, Undelivered};
use crate::doorbell::Doorbell;
use crate::error::Error;
use crate::id::SocketId;
use crate::isolation::wake;
use crate::sync::{Arc, Mutex};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Creates the two ends of a request: for the stack and for the requester.
pub(crate) fn pair(handle: Option<SocketId>, doorbell: Arc<Doorbell>) -> (Responder, Reply) {
    let slot = Arc::new(Mutex::new(Slot::Waiting { waker: None, parked_on: None }));
    let responder = Responder { slot: slot.clone(), answered: false };
    (responder, Reply { slot, handle, doorbell })
}

/// The slot through which an answer is delivered.
#[derive(Debug)]
enum Slot {
    Waiting {
        waker: Option<Waker>,
        parked_on: Option<SocketId>,
    },
    Answered(Answer),
    /// The stack dropped the request.
    Unanswered,
    /// The requester was dropped, or has its answer.
    Done,
}

/// The stack's end of a request.
#[derive(Debug)]
pub(crate) struct Responder {
    slot: Arc<Mutex<Slot>>,
    answered: bool,
}

impl Responder {
    /// Delivers the answer; returns it if the requester is gone.
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

    /// Sets the socket on which the request waits: its bell rings if the requester is dropped.
    /// Returns `false` if that has happened already, without a ring.
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

/// The requester's end of a request. Dropping it returns an answer already delivered to the stack,
/// and withdraws a pending request.
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
            // A running stack drops a request only in a panic.
            Slot::Unanswered if !self.doorbell.is_closed() => Poll::Ready(Err(Error::Aborted)),
            Slot::Unanswered | Slot::Done => Poll::Ready(Err(self.doorbell.stop_reason().error())),
            // A dropped stack may have missed the request: see `Netstack`'s `Drop`.
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

/// Delivers an answer; returns it if the requester is gone.
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
