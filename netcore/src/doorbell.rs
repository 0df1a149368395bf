//! Notification of a stack by its handles about socket events.
//!
//! Reads, writes and closes do not go through the command channel: it may be full, and a close must
//! not be lost. A handle changes the queue that it shares with its socket, then rings. A socket is
//! in the list of ready sockets at most once, so the list is bounded by the number of sockets, and
//! ringing neither blocks nor fails.

use crate::channel::Request;
use crate::command::Command;
use crate::command::outcome::{Answer, Undelivered};
use crate::id::SocketId;
use crate::owner::SharedOwner;
use crate::reply;
use crate::stop::StopReason;
use crate::sync::{Arc, AtomicBool, AtomicU32, Mutex, Ordering};
use std::fmt;

/// The doorbell of a stack, shared with all of its handles.
pub(crate) struct Doorbell {
    ready: Mutex<Vec<SocketId>>,
    undelivered: Mutex<Vec<Undelivered>>,
    /// Set while the stack's driver waits for a command; the one that clears it sends the wake-up.
    asleep: AtomicBool,
    closed: AtomicBool,
    stop_reason: StopReason,
    requests: flume::Sender<Request>,
}

impl Doorbell {
    /// The doorbell of a stack with this command channel.
    pub(crate) fn new(requests: flume::Sender<Request>) -> Self {
        Self {
            ready: Mutex::default(),
            undelivered: Mutex::default(),
            asleep: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            stop_reason: StopReason::default(),
            requests,
        }
    }

    /// Adds `id` to the ready list and wakes the stack if it sleeps.
    pub(crate) fn ring(&self, id: SocketId) {
        self.ready.lock().push(id);
        self.wake();
    }

    /// Returns an undelivered answer to the stack.
    pub(crate) fn give_back(&self, undelivered: Undelivered) {
        if !self.is_closed() {
            self.undelivered.lock().push(undelivered);
            self.wake();
        }
    }

    /// Swaps the list of ready sockets with `into`, which must be empty.
    pub(crate) fn take_ready(&self, into: &mut Vec<SocketId>) {
        std::mem::swap(&mut *self.ready.lock(), into);
    }

    pub(crate) fn take_undelivered(&self) -> Vec<Undelivered> {
        std::mem::take(&mut *self.undelivered.lock())
    }

    /// Marks the driver as about to wait for a command.
    ///
    /// Returns `false` if there is work already; the driver must not wait then. No wake-up is lost
    /// because of the order of the two steps here and in [`ring`](Self::ring): either this sees the
    /// socket in the list, or the ringing handle sees `asleep`.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        let idle = self.ready.lock().is_empty() && self.undelivered.lock().is_empty();
        if !idle {
            self.asleep.store(false, Ordering::SeqCst);
        }
        idle
    }

    pub(crate) fn wake_up(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    pub(crate) fn stop_reason(&self) -> &StopReason {
        &self.stop_reason
    }

    fn wake(&self) {
        if self.asleep.swap(false, Ordering::SeqCst) {
            // A full channel wakes the driver as well: it handles its sockets before it waits again.
            let _ = self.requests.try_send(Request::wake());
        }
    }

    /// Sends a command to the stack and waits for its answer.
    pub(crate) async fn call(
        self: &Arc<Self>,
        handle: Option<SocketId>,
        command: Command,
        owner: Option<SharedOwner>,
    ) -> Answer {
        let (responder, reply) = reply::pair(handle, self.clone());
        let request = Request { handle, command, responder: Some(responder), owner };
        self.requests.send_async(request).await.map_err(|_| self.stop_reason().error())?;
        reply.await
    }
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorbell").field("asleep", &self.asleep).finish_non_exhaustive()
    }
}

/// Events of a handle for its socket, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Events(u32);

impl Events {
    /// There are bytes or datagrams to send, or the write half was shut down.
    pub(crate) const SEND: Self = Self(1);
    /// The receive queue was full and has room again.
    pub(crate) const RECV_ROOM: Self = Self(1 << 1);
    /// The handle was dropped.
    pub(crate) const CLOSE: Self = Self(1 << 2);
    /// The connection is to be reset.
    pub(crate) const ABORT: Self = Self(1 << 3);
    /// An option was changed.
    pub(crate) const OPTIONS: Self = Self(1 << 4);

    pub(crate) fn contains(self, event: Self) -> bool {
        self.0 & event.0 != 0
    }
}

/// The bell of one socket: collects events and rings once for all of them.
#[derive(Debug)]
pub(crate) struct Bell {
    id: SocketId,
    events: AtomicU32,
    doorbell: Arc<Doorbell>,
}

impl Bell {
    pub(crate) fn new(id: SocketId, doorbell: Arc<Doorbell>) -> Self {
        Self { id, events: AtomicU32::new(0), doorbell }
    }

    pub(crate) fn id(&self) -> SocketId {
        self.id
    }

    /// Sends a command for its socket and waits for the answer.
    pub(crate) async fn call(&self, command: Command) -> Answer {
        self.doorbell.call(Some(self.id), command, None).await
    }

    pub(crate) fn ring(&self, event: Events) {
        if self.events.fetch_or(event.0, Ordering::AcqRel) == 0 {
            self.doorbell.ring(self.id);
        }
    }

    /// Takes the pending events. Later events ring again.
    pub(crate) fn take(&self) -> Events {
        Events(self.events.swap(0, Ordering::AcqRel))
    }
}
