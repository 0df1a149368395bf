//! Queues between a port and its holder.

use netcore::isolation::wake;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// An item that may share its buffer with others.
pub(super) trait Compact {
    /// Makes it hold nothing but itself, if it is small beside its buffer.
    fn compact(&mut self);
}

/// A bounded queue. Items beyond the bound are dropped; a push never waits.
///
/// The first few items are kept as they are, for a receiver that keeps up. Those behind them are
/// copied: one small frame that is never read must not keep a buffer that held many.
#[derive(Debug)]
pub(super) struct Queue<T> {
    items_max: usize,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    /// How many items found no room.
    refused: u64,
    is_closed: bool,
    receiver: Option<Waker>,
    /// Whether the receiver has delivered everything, if it tracks delivery.
    is_delivered: Option<bool>,
    /// Tasks that wait for delivery.
    waiting: Vec<Waker>,
}

/// This many items are kept uncopied.
const PROMPT_MAX: usize = 16;

/// The result of a push: the number of items taken, or that the queue is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    Taken(usize),
    Closed,
}

impl<T: Compact> Queue<T> {
    pub(super) fn new(items_max: usize) -> Self {
        let state = State {
            items: VecDeque::new(),
            refused: 0,
            is_closed: false,
            receiver: None,
            is_delivered: None,
            waiting: Vec::new(),
        };
        Self { items_max, state: Mutex::new(state) }
    }

    /// Moves as many of `items` as fit, and drops the rest.
    pub(super) fn push(&self, items: &mut Vec<T>) -> Pushed {
        let mut state = self.lock();
        if state.is_closed {
            drop(state);
            items.clear();
            return Pushed::Closed;
        }
        let taken = items.len().min(self.items_max.saturating_sub(state.items.len()));
        let prompt = PROMPT_MAX.saturating_sub(state.items.len()).min(taken);
        items[prompt..taken].iter_mut().for_each(Compact::compact);
        state.items.extend(items.drain(..taken));
        if taken > 0 && state.is_delivered.is_some() {
            state.is_delivered = Some(false);
        }
        state.refused += items.len() as u64;
        let receiver = state.receiver.take_if(|_| taken > 0);
        drop(state);
        items.clear();
        if let Some(receiver) = receiver {
            wake(receiver);
        }
        Pushed::Taken(taken)
    }

    pub(super) fn pop(&self) -> Option<T> {
        self.lock().items.pop_front()
    }

    /// Swaps the queued items with `into`, which must be empty.
    pub(super) fn take(&self, into: &mut VecDeque<T>) {
        std::mem::swap(&mut self.lock().items, into);
    }

    /// Waits until there is something: `true`, or until there will never be: `false`.
    pub(super) fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut state = self.lock();
        if !state.items.is_empty() {
            return Poll::Ready(true);
        }
        if state.is_closed {
            return Poll::Ready(false);
        }
        state.receiver = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Waits until the queue is closed, even if it has items.
    pub(super) fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.is_closed {
            return Poll::Ready(());
        }
        state.receiver = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(super) fn refused(&self) -> u64 {
        self.lock().refused
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Accepts no more items. Queued ones can still be received.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        let mut wakers = std::mem::take(&mut state.waiting);
        wakers.extend(state.receiver.take());
        drop(state);
        wakers.into_iter().for_each(wake);
    }

    /// Starts tracking delivery: the receiver calls [`set_delivered`](Self::set_delivered).
    pub(super) fn track_delivery(&self) {
        self.lock().is_delivered.get_or_insert(true);
    }

    /// Whether a task waits for delivery. Called by an idle receiver, after
    /// [`poll_receive`](Self::poll_receive).
    pub(super) fn is_delivery_awaited(&self) -> bool {
        !self.lock().waiting.is_empty()
    }

    /// Marks everything taken out so far as delivered.
    pub(super) fn set_delivered(&self) {
        let mut state = self.lock();
        if !state.items.is_empty() {
            return;
        }
        state.is_delivered = Some(true);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(wake);
    }

    /// Waits until everything pushed is delivered; ready at once if delivery is not tracked.
    pub(super) fn poll_delivered(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.is_closed || state.is_delivered != Some(false) {
            return Poll::Ready(());
        }
        if !state.waiting.iter().any(|known| known.will_wake(cx.waker())) {
            state.waiting.push(cx.waker().clone());
        }
        let receiver = state.receiver.take();
        drop(state);
        if let Some(receiver) = receiver {
            wake(receiver);
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
