//! The bytes between a TCP connection and its handle.

use super::bytes::ByteQueue;
use super::waiters::{WaitKey, Waiters};
use crate::doorbell::{Bell, Events};
use crate::error::Error;
use crate::id::SocketId;
use crate::sync::{Mutex, MutexGuard};
use crate::tcp;
use bytes::Bytes;
use std::net::SocketAddr;
use std::task::{Poll, Waker};

/// What a TCP connection and its handle share: received bytes one way, bytes to send the other.
///
/// Each side has its own lock and its own waiters, so a parked reader never holds up a writer.
/// The stack fills the receive side up to a bound and leaves the rest to TCP's window. The send
/// side takes bytes up to a bound as well, its *credit*; what it took will be sent even if the
/// handle goes away.
///
/// This type is for those who build handles. All methods return at once.
#[derive(Debug)]
pub struct StreamQueue {
    bell: Bell,
    local: SocketAddr,
    peer: SocketAddr,
    recv: Mutex<RecvSide>,
    send: Mutex<SendSide>,
    options: Mutex<tcp::Options>,
}

/// How one side of a stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SideState {
    /// A `try_*` call would give something else than [`Error::WouldBlock`].
    pub is_ready: bool,
    /// No more comes, or can be sent, besides what is queued.
    pub is_closed: bool,
}

#[derive(Debug)]
struct RecvSide {
    data: ByteQueue,
    limit: usize,
    /// The stack holds back received bytes until there is room.
    stalled: bool,
    /// No further bytes will come: end of stream, or the reason.
    end: Option<Result<(), Error>>,
    /// The handle wants no more: reads give the queued bytes, then the end of the stream.
    shutdown: bool,
    waiters: Waiters,
}

#[derive(Debug)]
struct SendSide {
    data: ByteQueue,
    limit: usize,
    /// Bytes promised to writers that are still copying.
    reserved: usize,
    /// The write half was shut down: a FIN follows the queued bytes.
    fin: bool,
    /// The connection takes no more bytes, and why.
    closed: Option<Error>,
    waiters: Waiters,
}

/// Copies larger than this are made without holding the lock.
const COPY_UNLOCKED: usize = 16 * 1024;

/// Handles.
impl StreamQueue {
    /// The id of the connection's socket.
    pub fn id(&self) -> SocketId {
        self.bell.id()
    }

    /// This end's address.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// The other end's address.
    pub fn peer_address(&self) -> SocketAddr {
        self.peer
    }

    /// Moves received bytes into `buf` and returns how many; 0 is the end of the stream, or an
    /// empty `buf`.
    ///
    /// # Errors
    ///
    /// [`Error::WouldBlock`] if nothing is there yet; otherwise why the connection ended, after
    /// all bytes received before were read, and again on every later call.
    pub fn try_recv(&self, buf: &mut [u8]) -> Result<usize, Error> {
        let mut recv = self.recv.lock();
        if buf.is_empty() {
            return Ok(0);
        }
        recv.check()?;
        let n = recv.data.read(buf);
        self.after_pop(recv);
        Ok(n)
    }

    /// Takes the next chunk of received bytes, at most `max` of them, without a copy; an empty one
    /// is the end of the stream.
    ///
    /// # Errors
    ///
    /// As [`try_recv`](Self::try_recv).
    pub fn try_recv_bytes(&self, max: usize) -> Result<Bytes, Error> {
        let mut recv = self.recv.lock();
        if max == 0 {
            return Ok(Bytes::new());
        }
        recv.check()?;
        let chunk = recv.data.pop(max).unwrap_or_default();
        self.after_pop(recv);
        Ok(chunk)
    }

    /// Copies received bytes into `buf` and leaves them to be read; returns how many, 0 at the end
    /// of the stream.
    ///
    /// # Errors
    ///
    /// As [`try_recv`](Self::try_recv).
    pub fn try_peek(&self, buf: &mut [u8]) -> Result<usize, Error> {
        let recv = self.recv.lock();
        recv.check()?;
        Ok(recv.data.peek(buf))
    }

    /// Whether [`try_recv`](Self::try_recv) would give something else than
    /// [`Error::WouldBlock`]; if not, `waker` is kept and woken when that may have changed.
    pub fn poll_readable(&self, key: &mut WaitKey, waker: &Waker) -> Poll<()> {
        let mut recv = self.recv.lock();
        if recv.is_ready() {
            return Poll::Ready(());
        }
        recv.waiters.register(key, waker);
        Poll::Pending
    }

    /// Queues a copy of as much of `data` as there is credit for and returns how much that was.
    ///
    /// # Errors
    ///
    /// [`Error::WouldBlock`] without credit; [`Error::Shutdown`] after
    /// [`shutdown_send`](Self::shutdown_send); otherwise why the connection ended.
    pub fn try_send(&self, data: &[u8]) -> Result<usize, Error> {
        let mut send = self.send.lock();
        send.check()?;
        if data.is_empty() {
            return Ok(0);
        }
        let n = send.credit()?.min(data.len());
        if n <= COPY_UNLOCKED {
            send.data.push_slice(&data[..n]);
        } else {
            send.reserved += n;
            drop(send);
            let copy = Bytes::copy_from_slice(&data[..n]);
            send = self.send.lock();
            send.reserved -= n;
            send.data.push(copy);
        }
        drop(send);
        self.bell.ring(Events::SEND);
        Ok(n)
    }

    /// Queues as much of `data` as there is credit for, without a copy, takes that off its front
    /// and returns how much it was.
    ///
    /// # Errors
    ///
    /// As [`try_send`](Self::try_send).
    pub fn try_send_bytes(&self, data: &mut Bytes) -> Result<usize, Error> {
        let mut send = self.send.lock();
        send.check()?;
        if data.is_empty() {
            return Ok(0);
        }
        let n = send.credit()?.min(data.len());
        send.data.push(data.split_to(n));
        drop(send);
        self.bell.ring(Events::SEND);
        Ok(n)
    }

    /// Whether [`try_send`](Self::try_send) would give something else than
    /// [`Error::WouldBlock`]; if not, `waker` is kept and woken when that may have changed.
    pub fn poll_writable(&self, key: &mut WaitKey, waker: &Waker) -> Poll<()> {
        let mut send = self.send.lock();
        if send.check().is_err() || send.credit().is_ok() {
            return Poll::Ready(());
        }
        send.waiters.register(key, waker);
        Poll::Pending
    }

    /// How the receive side stands.
    pub fn recv_state(&self) -> SideState {
        let recv = self.recv.lock();
        SideState { is_ready: recv.is_ready(), is_closed: recv.end.is_some() || recv.shutdown }
    }

    /// How the send side stands.
    pub fn send_state(&self) -> SideState {
        let send = self.send.lock();
        let is_closed = send.check().is_err();
        SideState { is_ready: is_closed || send.credit().is_ok(), is_closed }
    }

    /// Forgets a waiter of the receive side.
    pub fn forget_reader(&self, key: &WaitKey) {
        self.recv.lock().waiters.remove(key);
    }

    /// Forgets a waiter of the send side.
    pub fn forget_writer(&self, key: &WaitKey) {
        self.send.lock().waiters.remove(key);
    }

    /// Shuts the write half down: the peer sees the end of the stream after all queued bytes.
    /// Doing so again changes nothing.
    ///
    /// # Errors
    ///
    /// Why the connection ended, if it did.
    pub fn shutdown_send(&self) -> Result<(), Error> {
        let mut wakes = Vec::new();
        let mut send = self.send.lock();
        if let Some(reason) = send.closed {
            return Err(reason);
        }
        if !send.fin {
            send.fin = true;
            send.waiters.wake(&mut wakes);
            drop(send);
            self.bell.ring(Events::SEND);
        }
        wakes.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// Shuts the read half down: bytes already received may still be read, then every read gives
    /// the end of the stream, pending ones included. Nothing is sent to the peer because of it.
    pub fn shutdown_recv(&self) {
        let mut wakes = Vec::new();
        let mut recv = self.recv.lock();
        recv.shutdown = true;
        recv.waiters.wake(&mut wakes);
        drop(recv);
        wakes.into_iter().for_each(Waker::wake);
    }

    /// Why the connection ended, if it failed.
    pub fn error(&self) -> Option<Error> {
        self.send.lock().closed.filter(|reason| *reason != Error::Shutdown)
    }

    /// A copy of the options as last set.
    pub fn options(&self) -> tcp::Options {
        self.options.lock().clone()
    }

    /// Changes options; the stack follows before it sends the next segment.
    pub fn set_options(&self, change: impl FnOnce(&mut tcp::Options)) {
        change(&mut self.options.lock());
        self.bell.ring(Events::OPTIONS);
    }

    /// Gives the connection up to the stack, which sends what is queued and closes in the
    /// background; with received bytes unread it resets instead (RFC 2525 section 2.17).
    pub fn close(&self) {
        self.bell.ring(Events::CLOSE);
    }

    /// Gives the connection up with a reset; what is queued is not sent.
    pub fn abort(&self) {
        self.bell.ring(Events::ABORT);
    }

    fn after_pop(&self, mut recv: MutexGuard<'_, RecvSide>) {
        // Half empty, not one byte: each time costs the stack a wake-up.
        if recv.stalled && recv.data.held() <= recv.limit / 2 {
            recv.stalled = false;
            drop(recv);
            self.bell.ring(Events::RECV_ROOM);
        }
    }
}

/// The stack.
impl StreamQueue {
    pub(crate) fn new(
        bell: Bell,
        (local, peer): (SocketAddr, SocketAddr),
        (recv_limit, send_limit): (usize, usize),
        options: tcp::Options,
    ) -> Self {
        Self {
            bell,
            local,
            peer,
            recv: Mutex::new(RecvSide {
                data: ByteQueue::default(),
                limit: recv_limit,
                stalled: false,
                end: None,
                shutdown: false,
                waiters: Waiters::default(),
            }),
            send: Mutex::new(SendSide {
                data: ByteQueue::default(),
                limit: send_limit,
                reserved: 0,
                fin: false,
                closed: None,
                waiters: Waiters::default(),
            }),
            options: Mutex::new(options),
        }
    }

    pub(crate) fn bell(&self) -> &Bell {
        &self.bell
    }

    /// How many received bytes may be pushed now. Without room the queue is marked stalled, and
    /// the reader rings once it has made some.
    pub(crate) fn recv_room(&self) -> usize {
        let mut recv = self.recv.lock();
        let room = recv.limit.saturating_sub(recv.data.held());
        recv.stalled = room == 0;
        room
    }

    /// Appends received bytes and collects whom to wake.
    pub(crate) fn push_received(&self, data: Received<'_>, wakes: &mut Vec<Waker>) {
        let mut recv = self.recv.lock();
        match data {
            Received::Copy(data) => recv.data.push_slice(data),
            Received::Kept(chunk, kept) => recv.data.push_kept(chunk, kept),
        }
        recv.waiters.wake(wakes);
    }

    /// Puts bytes that were taken but never reached anybody back in front.
    pub(crate) fn unread(&self, chunk: Bytes, wakes: &mut Vec<Waker>) {
        let mut recv = self.recv.lock();
        recv.data.unread(chunk);
        recv.waiters.wake(wakes);
    }

    /// Bytes received and not read, and bytes written and not taken.
    pub(crate) fn queued(&self) -> (usize, usize) {
        (self.recv.lock().data.len(), self.send.lock().data.len())
    }

    pub(crate) fn has_unread(&self) -> bool {
        !self.recv.lock().data.is_empty()
    }

    /// No further bytes will come.
    pub(crate) fn finish_recv(&self, end: Result<(), Error>, wakes: &mut Vec<Waker>) {
        let mut recv = self.recv.lock();
        if recv.end.is_none() {
            recv.end = Some(end);
            recv.waiters.wake(wakes);
        }
    }

    /// Takes queued bytes, at most `max`, and collects writers to wake.
    pub(crate) fn take_to_send(&self, max: usize, wakes: &mut Vec<Waker>) -> Option<Bytes> {
        let mut send = self.send.lock();
        let chunk = send.data.pop(max)?;
        // Half of the credit at once, for the same reason as in `after_pop`.
        if !send.waiters.is_empty() && send.data.len() + send.reserved <= send.limit / 2 {
            send.waiters.wake(wakes);
        }
        Some(chunk)
    }

    /// Whether the write half was shut down and all its bytes were taken.
    pub(crate) fn is_send_finished(&self) -> bool {
        let send = self.send.lock();
        send.fin && send.data.is_empty() && send.reserved == 0
    }

    /// The connection takes no more bytes; what is queued is dropped.
    pub(crate) fn finish_send(&self, reason: Error, wakes: &mut Vec<Waker>) {
        let mut send = self.send.lock();
        if send.closed.is_none() {
            send.closed = Some(reason);
            send.data = ByteQueue::default();
            send.waiters.wake(wakes);
        }
    }
}

/// Received bytes on their way into a queue.
pub(crate) enum Received<'a> {
    /// To be copied.
    Copy(&'a [u8]),
    /// To be kept as they are, and the size of what that keeps alive.
    Kept(Bytes, usize),
}

impl RecvSide {
    fn is_ready(&self) -> bool {
        !self.data.is_empty() || self.end.is_some() || self.shutdown
    }

    /// `Ok` if there are bytes, or the end of the stream.
    fn check(&self) -> Result<(), Error> {
        if !self.data.is_empty() {
            return Ok(());
        }
        match self.end {
            Some(end) if !self.shutdown => end,
            None if !self.shutdown => Err(Error::WouldBlock),
            _ => Ok(()),
        }
    }
}

impl SendSide {
    fn check(&self) -> Result<(), Error> {
        match self.closed {
            _ if self.fin => Err(Error::Shutdown),
            Some(reason) => Err(reason),
            None => Ok(()),
        }
    }

    fn credit(&self) -> Result<usize, Error> {
        match self.limit.saturating_sub(self.data.len() + self.reserved) {
            0 => Err(Error::WouldBlock),
            credit => Ok(credit),
        }
    }
}
