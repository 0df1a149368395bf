//! Futures that are kept while other things happen, as an executor keeps them.

use bytes::Bytes;
use netstack::netsocket::TcpStream;
use std::fmt;
use std::io::Result;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

pub(crate) struct Waiting {
    pub(crate) at: PendingCall,
    future: Pin<Box<dyn Future<Output = Outcome>>>,
    woken: Arc<Woken>,
}

/// A pending call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PendingCall {
    /// The connection from this address.
    Connecting(SocketAddr),
    Accepting,
    /// An end of the connection from this address.
    Reading(SocketAddr, usize),
    Writing(SocketAddr, usize),
    /// The UDP socket with this address.
    Receiving(SocketAddr),
}

/// The outcome of an operation.
pub(crate) enum Outcome {
    Connected(Result<TcpStream>),
    Accepted(Result<(TcpStream, SocketAddr)>),
    /// Bytes, and the length requested.
    Read(Result<Bytes>, usize),
    Peeked(Result<Bytes>, usize),
    /// How many bytes were taken, of how many.
    Wrote(Result<usize>, usize),
    Ready,
    Received(Result<(Bytes, SocketAddr)>),
}

impl Waiting {
    pub(crate) fn new(at: PendingCall, future: impl Future<Output = Outcome> + 'static) -> Self {
        // The first poll is like one after a wake-up.
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        Self { at, future: Box::pin(future), woken }
    }

    /// Polls the future, which must not be ready unless its waker was woken.
    pub(crate) fn look(&mut self) -> Option<Outcome> {
        let was_woken = self.woken.0.swap(false, Ordering::Relaxed);
        let waker = Waker::from(self.woken.clone());
        match self.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => None,
            Poll::Ready(outcome) => {
                // Writers are woken when half of the room is free, not with the first byte.
                let may_be_early = matches!(self.at, PendingCall::Writing(..));
                assert!(was_woken || may_be_early, "ready without a wake-up: {:?}", self.at);
                Some(outcome)
            }
        }
    }

    pub(crate) async fn finish(self) -> Outcome {
        self.future.await
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("at", &self.at).finish_non_exhaustive()
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
