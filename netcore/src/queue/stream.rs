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
    failure: Mutex<Failure>,
}

/// Why the connection ended, unless it was by closing.
///
/// As on Linux, whoever reads or writes first is told, or whoever asks for the error; after that reads
/// give the end of the stream, and writes [`Error::Ended`].
#[derive(Debug, Default)]
struct Failure {
    reason: Option<Error>,
    is_told: bool,
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
    /// No further bytes will come: the stream has ended, or the connection has failed.
    end: Option<End>,
    /// The handle wants no more: reads give the queued bytes, then the end of the stream.
    shutdown: bool,
    waiters: Waiters,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Closed,
    Failed,
}

#[derive(Debug)]
struct SendSide {
    data: ByteQueue,
    limit: usize,
    /// Bytes promised to writers that are still copying.
    reserved: usize,
    /// The write half was shut down: a FIN follows the queued bytes.
    fin: bool,
    /// The connection takes no more bytes.
    is_closed: bool,
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
    /// [`Error::WouldBlock`] if nothing is there yet; after all bytes received before were read, why
    /// the connection failed, unless somebody was told already.
    pub fn try_recv(&self, buf: &mut [u8]) -> Result<usize, Error> {
        let mut recv = self.recv.lock();
        if buf.is_empty() {
            return Ok(0);
        }
        self.check_recv(&recv)?;
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
        self.check_recv(&recv)?;
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
        self.check_recv(&recv)?;
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
    /// [`shutdown_send`](Self::shutdown_send); why the connection failed, unless somebody was told
    /// already, and [`Error::Ended`] then.
    pub fn try_send(&self, data: &[u8]) -> Result<usize, Error> {
        let mut send = self.send.lock();
        self.check_send(&send)?;
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
        self.check_send(&send)?;
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
        if send.is_over() || send.credit().is_ok() {
            return Poll::Ready(());
        }
        send.waiters.register(key, waker);
        Poll::Pending
    }

    /// As [`poll_readable`](Self::poll_readable), but after [`clear_readable`](Self::clear_readable)
    /// only once more has come.
    pub fn poll_readable_event(&self, key: &mut WaitKey, waker: &Waker) -> Poll<()> {
        let mut recv = self.recv.lock();
        if recv.is_ready() && (recv.is_closed() || !recv.waiters.is_cleared()) {
            return Poll::Ready(());
        }
        recv.waiters.register(key, waker);
        Poll::Pending
    }

    /// As [`poll_writable`](Self::poll_writable), but after [`clear_writable`](Self::clear_writable)
    /// only once there is more room.
    pub fn poll_writable_event(&self, key: &mut WaitKey, waker: &Waker) -> Poll<()> {
        let mut send = self.send.lock();
        if send.is_over() || send.credit().is_ok() && !send.waiters.is_cleared() {
            return Poll::Ready(());
        }
        send.waiters.register(key, waker);
        Poll::Pending
    }

    /// How often something has made the stream readable; for [`clear_readable`](Self::clear_readable).
    pub fn readable_events(&self) -> u64 {
        self.recv.lock().waiters.events()
    }

    /// How often something has made the stream writable; for [`clear_writable`](Self::clear_writable).
    pub fn writable_events(&self) -> u64 {
        self.send.lock().waiters.events()
    }

    /// What is there to be read is of no use to the caller: the stream is not readable until more
    /// comes, unless it has since there were `events`.
    pub fn clear_readable(&self, events: u64) {
        self.recv.lock().waiters.clear(events);
    }

    /// The same for the room to write.
    pub fn clear_writable(&self, events: u64) {
        self.send.lock().waiters.clear(events);
    }

    /// How the receive side stands.
    pub fn recv_state(&self) -> SideState {
        let recv = self.recv.lock();
        let is_closed = recv.is_closed();
        let is_ready = recv.is_ready() && (is_closed || !recv.waiters.is_cleared());
        SideState { is_ready, is_closed }
    }

    /// How the send side stands.
    pub fn send_state(&self) -> SideState {
        let send = self.send.lock();
        let is_closed = send.is_over();
        let has_room = send.credit().is_ok() && !send.waiters.is_cleared();
        SideState { is_ready: is_closed || has_room, is_closed }
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
    /// [`Error::Closed`] if the connection has ended.
    pub fn shutdown_send(&self) -> Result<(), Error> {
        let mut wakes = Vec::new();
        let mut send = self.send.lock();
        if send.is_closed {
            return Err(Error::Closed);
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

    /// Whether the connection has failed, and nobody was told so far.
    pub fn has_error(&self) -> bool {
        self.failure.lock().is_news()
    }

    /// Takes why the connection failed, unless somebody was told already.
    pub fn take_error(&self) -> Option<Error> {
        self.failure.lock().tell()
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

    /// `Ok` if there are bytes, or the end of the stream.
    fn check_recv(&self, recv: &RecvSide) -> Result<(), Error> {
        match recv.end {
            _ if !recv.data.is_empty() || recv.shutdown => Ok(()),
            None => Err(Error::WouldBlock),
            Some(End::Closed) => Ok(()),
            Some(End::Failed) => self.failure.lock().tell().map_or(Ok(()), Err),
        }
    }

    fn check_send(&self, send: &SendSide) -> Result<(), Error> {
        if send.fin {
            return Err(Error::Shutdown);
        }
        match send.is_closed {
            true => Err(self.failure.lock().tell().unwrap_or(Error::Ended)),
            false => Ok(()),
        }
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
                is_closed: false,
                waiters: Waiters::default(),
            }),
            options: Mutex::new(options),
            failure: Mutex::default(),
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

    /// No further bytes will come: the peer has closed, or the connection has failed.
    pub(crate) fn finish_recv(&self, end: Result<(), Error>, wakes: &mut Vec<Waker>) {
        let mut recv = self.recv.lock();
        if recv.end.is_none() {
            recv.end = Some(match end {
                Ok(()) => End::Closed,
                Err(reason) => {
                    self.failure.lock().set(reason);
                    End::Failed
                }
            });
            recv.waiters.wake(wakes);
        }
    }

    /// Takes queued bytes, at most `max`, and collects writers to wake.
    pub(crate) fn take_to_send(&self, max: usize, wakes: &mut Vec<Waker>) -> Option<Bytes> {
        let mut send = self.send.lock();
        let chunk = send.data.pop(max)?;
        // Half of the credit at once, for the same reason as in `after_pop`.
        let is_waited_for = !send.waiters.is_empty() || send.waiters.is_cleared();
        if is_waited_for && send.data.len() + send.reserved <= send.limit / 2 {
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
        if !send.is_closed {
            send.is_closed = true;
            if reason != Error::Shutdown {
                self.failure.lock().set(reason);
            }
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
        !self.data.is_empty() || self.is_closed()
    }

    fn is_closed(&self) -> bool {
        self.end.is_some() || self.shutdown
    }
}

impl Failure {
    fn set(&mut self, reason: Error) {
        self.reason.get_or_insert(reason);
    }

    fn is_news(&self) -> bool {
        self.reason.is_some() && !self.is_told
    }

    /// What to say of it, now and never again; only that the stack is gone is said each time.
    fn tell(&mut self) -> Option<Error> {
        let is_news = self.is_news() || self.reason.is_some_and(Error::is_stack_gone);
        self.is_told = true;
        self.reason.filter(|_| is_news)
    }
}

impl SendSide {
    /// Nothing can be written any more.
    fn is_over(&self) -> bool {
        self.is_closed || self.fin
    }

    fn credit(&self) -> Result<usize, Error> {
        match self.limit.saturating_sub(self.data.len() + self.reserved) {
            0 => Err(Error::WouldBlock),
            credit => Ok(credit),
        }
    }
}
