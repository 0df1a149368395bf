//! Waiting for a queue, in a task or in a thread.

use crate::readiness::{Interest, Seen};
use netcore::queue::WaitKey;
use std::cell::RefCell;
use std::future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

/// One side of a queue that can be waited for.
pub(crate) trait Waitable {
    /// Whether it is worth trying; if not, `waker` is woken when that may have changed.
    fn poll(&self, key: &mut WaitKey, waker: &Waker) -> Poll<()>;

    /// The same for a caller that may have [cleared](crate::readiness) the readiness, where that is
    /// possible.
    fn poll_ready(&self, key: &mut WaitKey, waker: &Waker) -> Poll<()> {
        self.poll(key, waker)
    }

    fn forget(&self, key: &WaitKey);
}

/// A registration that is removed when it is dropped.
struct Registration<'a, W: Waitable> {
    side: &'a W,
    key: WaitKey,
    is_registered: bool,
}

impl<'a, W: Waitable> Registration<'a, W> {
    fn new(side: &'a W) -> Self {
        Self { side, key: WaitKey::default(), is_registered: false }
    }

    fn poll(&mut self, waker: &Waker) -> Poll<()> {
        let ready = self.side.poll(&mut self.key, waker);
        self.is_registered |= ready.is_pending();
        ready
    }

    fn poll_ready(&mut self, waker: &Waker) -> Poll<()> {
        let ready = self.side.poll_ready(&mut self.key, waker);
        self.is_registered |= ready.is_pending();
        ready
    }
}

impl<W: Waitable> Drop for Registration<'_, W> {
    fn drop(&mut self) {
        if self.is_registered {
            self.side.forget(&self.key);
        }
    }
}

/// Waits until the side is ready, as far as its readiness was not cleared.
pub(crate) async fn ready<W: Waitable>(side: &W) {
    let mut registration = Registration::new(side);
    future::poll_fn(|cx| cooperate(cx, |cx| registration.poll_ready(cx.waker()))).await;
}

/// Yields to other tasks once, on any runtime.
pub(crate) async fn yield_now() {
    let mut has_yielded = false;
    future::poll_fn(|cx| match std::mem::replace(&mut has_yielded, true) {
        true => Poll::Ready(()),
        false => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}

/// Waits until `readiness` has something that answers `interest`.
pub(crate) async fn ready_for<R: Waitable, W: Waitable>(
    interest: Interest,
    reads: &R,
    writes: &W,
    readiness: impl Fn() -> Seen,
) -> Seen {
    loop {
        let (mut readable, mut writable) = (pin!(ready(reads)), pin!(ready(writes)));
        future::poll_fn(|cx| {
            let is_ready = interest.is_readable() && readable.as_mut().poll(cx).is_ready()
                || interest.is_writable() && writable.as_mut().poll(cx).is_ready();
            if is_ready { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        // Another task may have been faster.
        let seen = readiness();
        let ready = interest.answers(seen.ready);
        if !ready.is_empty() {
            return Seen { ready, ..seen };
        }
    }
}

/// Tries until the answer is something else than "would block".
pub(crate) async fn retry<W: Waitable, T>(
    side: &W,
    mut attempt: impl FnMut() -> Result<T, netcore::Error>,
) -> io::Result<T> {
    let mut registration = Registration::new(side);
    let attempts = |cx: &mut Context<'_>| loop {
        match attempt() {
            Err(netcore::Error::WouldBlock) => match registration.poll(cx.waker()) {
                Poll::Ready(()) => {}
                Poll::Pending => return Poll::Pending,
            },
            result => return Poll::Ready(result.map_err(io::Error::from)),
        }
    };
    let mut attempts = attempts;
    future::poll_fn(|cx| cooperate(cx, &mut attempts)).await
}

/// The same for the `poll_*` methods, of which only the last caller is woken.
pub(crate) fn poll_retry<W: Waitable, T>(
    side: &W,
    cx: &mut Context<'_>,
    mut attempt: impl FnMut() -> Result<T, netcore::Error>,
) -> Poll<io::Result<T>> {
    cooperate(cx, |cx| {
        loop {
            match attempt() {
                Err(netcore::Error::WouldBlock) => {
                    if side.poll(&mut WaitKey::poll(), cx.waker()).is_pending() {
                        return Poll::Pending;
                    }
                }
                result => return Poll::Ready(result.map_err(io::Error::from)),
            }
        }
    })
}

pub(crate) fn poll_ready<W: Waitable>(side: &W, cx: &mut Context<'_>) -> Poll<()> {
    cooperate(cx, |cx| side.poll_ready(&mut WaitKey::poll(), cx.waker()))
}

/// Spends one unit of the task's budget, as tokio's own sockets do, so that a stream that always
/// has data does not keep a task from ever yielding.
fn cooperate<T>(
    cx: &mut Context<'_>,
    operation: impl FnOnce(&mut Context<'_>) -> Poll<T>,
) -> Poll<T> {
    match tokio::task::coop::poll_proceed(cx) {
        Poll::Pending => Poll::Pending,
        Poll::Ready(budget) => {
            let result = operation(cx);
            if result.is_ready() {
                budget.made_progress();
            }
            result
        }
    }
}

/// Blocks the thread and tries until the answer is something else than "would block", or the
/// deadline has passed.
pub(crate) fn block<W: Waitable, T>(
    side: &W,
    deadline: Option<Instant>,
    mut attempt: impl FnMut() -> Result<T, netcore::Error>,
) -> io::Result<T> {
    let first = attempt();
    if !matches!(first, Err(netcore::Error::WouldBlock)) {
        return first.map_err(io::Error::from);
    }
    Parker::with(|parker, waker| {
        let mut registration = Registration::new(side);
        loop {
            while registration.poll(waker).is_pending() {
                if !parker.park(deadline) {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
            match attempt() {
                Err(netcore::Error::WouldBlock) => {}
                result => return result.map_err(io::Error::from),
            }
        }
    })
}

/// Blocks the thread until the future is done, or the deadline has passed.
pub(crate) fn block_on<F: Future>(future: F, deadline: Option<Instant>) -> Option<F::Output> {
    let mut future = pin!(future);
    Parker::with(|parker, waker| {
        let mut cx = Context::from_waker(waker);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return Some(output);
            }
            if !parker.park(deadline) {
                return None;
            }
        }
    })
}

/// As [`block_on`], for a future that needs tokio's timers: on the thread's runtime if it has one,
/// and else on one that is made for this call.
///
/// # Errors
///
/// `TimedOut` after the deadline; a failure to make a runtime.
pub(crate) fn block_on_with_time<F: Future>(
    future: F,
    deadline: Option<Instant>,
) -> io::Result<F::Output> {
    let late = || io::Error::from(netcore::Error::TimedOut);
    if tokio::runtime::Handle::try_current().is_ok() {
        return block_on(future, deadline).ok_or_else(late);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(async {
        match deadline {
            None => Ok(future.await),
            Some(at) => tokio::time::timeout_at(at.into(), future).await.map_err(|_| late()),
        }
    })
}

/// Wakes a thread.
struct Parker {
    thread: Thread,
    is_notified: AtomicBool,
}

thread_local! {
    /// Kept, because a thread that blocks once does so again.
    static PARKER: RefCell<Option<(Arc<Parker>, Waker)>> = const { RefCell::new(None) };
}

impl Parker {
    fn with<R>(f: impl FnOnce(&Self, &Waker) -> R) -> R {
        let kept = PARKER.with(|kept| kept.take());
        let (parker, waker) = kept.unwrap_or_else(|| {
            let parker =
                Arc::new(Self { thread: thread::current(), is_notified: AtomicBool::new(false) });
            (parker.clone(), Waker::from(parker))
        });
        let result = f(&parker, &waker);
        PARKER.with(|kept| kept.replace(Some((parker, waker))));
        result
    }

    /// Sleeps until woken; returns `false` if the deadline passed first.
    fn park(&self, deadline: Option<Instant>) -> bool {
        while !self.is_notified.swap(false, Ordering::Acquire) {
            match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => thread::park(),
                Some(left) if left.is_zero() => return false,
                Some(left) => thread::park_timeout(left),
            }
        }
        true
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_notified.store(true, Ordering::Release);
        self.thread.unpark();
    }
}
