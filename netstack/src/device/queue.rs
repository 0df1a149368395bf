//! A queue of an interface, before and after its registration with a runtime.

use super::interface::Interface;
use super::receiver::Receiver;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, Ready};

/// One descriptor of an interface.
pub(super) struct Queue {
    interface: State,
    /// The pending wait for the next packet.
    waiting: Option<Waiting>,
    /// Rounds until a read without a readiness event of the runtime.
    look_in: u8,
    /// The last read ended with `WouldBlock`, and the next one would.
    is_drained: bool,
}

type Waiting = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

enum State {
    Open(Interface),
    Attached(Arc<AsyncFd<Interface>>),
    Gone,
}

/// Rounds between two reads without a readiness event: a stack that is never idle keeps the runtime
/// from polling for events.
const LOOK_EVERY: u8 = 8;

impl Queue {
    pub(super) fn new(interface: Interface) -> Self {
        Self { interface: State::Open(interface), waiting: None, look_in: 0, is_drained: false }
    }

    pub(super) fn interface(&self) -> Option<&Interface> {
        match &self.interface {
            State::Open(interface) => Some(interface),
            State::Attached(fd) => Some(fd.get_ref()),
            State::Gone => None,
        }
    }

    pub(super) fn attach(&mut self) -> io::Result<()> {
        if let State::Open(interface) = std::mem::replace(&mut self.interface, State::Gone) {
            // SAFETY: the interface owns its open descriptor, and neither closes nor replaces it
            // while `AsyncFd` has it.
            #[expect(unsafe_code, reason = "AsyncFd wants a descriptor that stays open")]
            let attached = unsafe { AsyncFd::register(interface) }?;
            self.interface = State::Attached(Arc::new(attached));
        }
        Ok(())
    }

    /// Makes the next read not wait for a readiness event.
    pub(super) fn look(&mut self) {
        self.look_in = 0;
    }

    /// A round has ended.
    pub(super) fn end_round(&mut self) {
        self.look_in = self.look_in.saturating_sub(1);
    }

    /// Reads a batch, if there is reason to expect one.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is none; the interface's.
    pub(super) fn read(&mut self, receiver: &mut Receiver) -> io::Result<()> {
        if std::mem::take(&mut self.is_drained) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let before = receiver.frames.len();
        let read = match &self.interface {
            State::Open(interface) => receiver.read(interface),
            State::Attached(fd) if self.look_in == 0 => {
                self.look_in = LOOK_EVERY;
                receiver.read(fd.get_ref())
            }
            State::Attached(fd) => {
                fd.try_io(Interest::READABLE, |interface| receiver.read(interface))
            }
            State::Gone => Err(io::ErrorKind::NotConnected.into()),
        };
        if read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            // Without frames the caller learns of it now.
            self.is_drained = receiver.frames.len() > before;
        }
        read
    }

    /// Reads a batch after a readiness event. Only a failed read makes tokio wait for the next one;
    /// the frames that it has read are kept.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is none; the interface's.
    pub(super) fn read_ready(&mut self, receiver: &mut Receiver) -> io::Result<()> {
        match &self.interface {
            State::Attached(fd) => {
                fd.try_io(Interest::READABLE, |interface| receiver.read(interface))
            }
            State::Open(_) | State::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Waits until there may be a packet.
    ///
    /// # Errors
    ///
    /// `NotConnected` if the interface was deleted.
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let State::Attached(fd) = &self.interface else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(wait(fd.clone())));
        let waited = waiting.as_mut().poll(cx);
        if waited.is_ready() {
            self.waiting = None;
        }
        waited
    }

    /// Waits until there may be room for a packet.
    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let State::Attached(fd) = &self.interface else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        fd.poll_write_ready(cx).map_ok(|mut guard| guard.clear_ready())
    }
}

/// Waits for a packet or for the deletion of the interface, which is an error event of the
/// descriptor: `AsyncFd::poll_read_ready` does not wait for those.
async fn wait(fd: Arc<AsyncFd<Interface>>) -> io::Result<()> {
    let mut guard = fd.ready(Interest::READABLE | Interest::ERROR).await?;
    if guard.ready().is_error() {
        if fd.get_ref().is_deleted() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        guard.clear_ready_matching(Ready::ERROR);
    }
    guard.retain_ready();
    Ok(())
}
