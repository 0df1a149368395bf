//! The bytes between a TCP connection and its handle.

mod info;
mod served;

use super::copies::COPY_BYTES_MAX;
use super::failure::{End, Failure, is_lasting};
use super::readiness::{SideState, Tick};
use super::sides::{RecvSide, SendSide, parts};
use super::waiters::WaitKey;
use crate::doorbell::{Bell, Events};
use crate::error::Error;
use crate::id::SocketId;
use crate::sync::{Mutex, MutexGuard};
use crate::tcp;
use bytes::Bytes;
use std::io::{IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::task::{Poll, Waker};

/// The queues between a TCP connection and its handle: received bytes, and bytes to send.
///
/// Each side has its own lock and its own waiters, so a parked reader never holds up a writer. The
/// stack fills the receive side up to a bound and leaves the rest to TCP's window. The send side
/// accepts bytes up to a bound as well, its *credit*; accepted bytes are sent even if the handle is
/// dropped.
///
/// For the implementation of handles; no method blocks.
#[derive(Debug)]
pub struct StreamQueue {
    bell: Bell,
    local: SocketAddr,
    peer: SocketAddr,
    recv: Mutex<RecvSide>,
    send: Mutex<SendSide>,
    /// Locked last.
    failure: Failure,
    options: Mutex<tcp::Options>,
}

/// Smaller pieces are gathered, under the lock.
const COPY_MIN: usize = 4 * 1024;
/// A reader that has this much unread, in bytes, rings once it has less.
const RINGS_AT_MAX: usize = u32::MAX as usize;

/// Handles.
impl StreamQueue {
    /// The id of the connection's socket.
    pub fn id(&self) -> SocketId {
        self.bell.id()
    }

    /// The local address.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// The peer's address.
    pub fn peer_address(&self) -> SocketAddr {
        self.peer
    }

    /// Moves received bytes into `buf` and returns how many; 0 is the end of the stream, or an
    /// empty `buf`.
    ///
    /// # Errors
    ///
    /// [`Error::WouldBlock`] if there are no bytes yet; otherwise the error that ended the
    /// connection, after all bytes received before. It is returned once, by the first call on
    /// either side that can report it; later reads return the end of the stream.
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

    /// As [`try_recv`](Self::try_recv), into several buffers in turn.
    ///
    /// # Errors
    ///
    /// As [`try_recv`](Self::try_recv).
    pub fn try_recv_vectored(&self, bufs: &mut [IoSliceMut<'_>]) -> Result<usize, Error> {
        let mut recv = self.recv.lock();
        if bufs.iter().all(|buf| buf.is_empty()) {
            return Ok(0);
        }
        self.check_recv(&recv)?;
        let n = bufs.iter_mut().map(|buf| recv.data.read(buf)).sum();
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

    /// Whether [`try_recv`](Self::try_recv) returns something other than [`Error::WouldBlock`]; if
    /// not, `waker` is registered and woken when that may have changed.
    pub fn poll_readable(&self, key: &mut WaitKey, waker: &Waker) -> Poll<()> {
        let mut recv = self.recv.lock();
        if recv.is_ready() {
            return Poll::Ready(());
        }
        recv.waiters.register(key, waker);
        Poll::Pending
    }

    /// As [`poll_readable`](Self::poll_readable), for a caller that may
    /// [clear](Self::clear_readable) the readiness: waits for a change after that.
    pub fn poll_read_ready(&self, key: &mut WaitKey, waker: &Waker) -> Poll<()> {
        let mut recv = self.recv.lock();
        let state = recv.state();
        if state.is_ready || state.is_closed {
            return Poll::Ready(());
        }
        recv.waiters.register(key, waker);
        Poll::Pending
    }

    /// Clears the read readiness seen in a [state](Self::recv_state), unless the side has changed
    /// since. A closed side stays ready.
    pub fn clear_readable(&self, seen: Tick) {
        self.recv.lock().readiness.clear(seen);
    }

    /// Queues a copy of as much of `data` as there is credit for; returns the number of bytes.
    ///
    /// # Errors
    ///
    /// [`Error::WouldBlock`] without credit; the error that ended the connection, once as with
    /// [`try_recv`](Self::try_recv), and then [`Error::Ended`]; [`Error::Shutdown`] after
    /// [`shutdown_send`](Self::shutdown_send).
    pub fn try_send(&self, data: &[u8]) -> Result<usize, Error> {
        let mut send = self.send.lock();
        self.check_send(&send)?;
        if data.is_empty() {
            return Ok(0);
        }
        let n = send.credit()?.min(data.len());
        if n < COPY_MIN {
            send.data.push_slice(&data[..n]);
        } else {
            send = self.push_copies(send, n, std::iter::once(&data[..n]));
        }
        send.recount();
        drop(send);
        self.bell.ring(Events::SEND);
        Ok(n)
    }

    /// As [`try_send`](Self::try_send), from several buffers in turn.
    ///
    /// # Errors
    ///
    /// As [`try_send`](Self::try_send).
    pub fn try_send_vectored(&self, bufs: &[IoSlice<'_>]) -> Result<usize, Error> {
        let mut send = self.send.lock();
        self.check_send(&send)?;
        let len: usize = bufs.iter().map(|buf| buf.len()).sum();
        if len == 0 {
            return Ok(0);
        }
        let n = send.credit()?.min(len);
        if n < COPY_MIN {
            parts(bufs, n).for_each(|part| send.data.push_slice(part));
        } else {
            send = self.push_copies(send, n, parts(bufs, n));
        }
        send.recount();
        drop(send);
        self.bell.ring(Events::SEND);
        Ok(n)
    }

    /// Queues a copy of `parts`, of `n` bytes. It is made without holding the lock.
    fn push_copies<'a>(
        &self,
        mut send: MutexGuard<'_, SendSide>,
        n: usize,
        mut parts: impl Iterator<Item = &'a [u8]>,
    ) -> MutexGuard<'_, SendSide> {
        let copies = send.charge.copies().clone();
        send.reserved += n;
        drop(send);
        let (mut part, mut rest): (&[u8], usize) = (&[], n);
        let mut next = || {
            let len = rest.min(COPY_BYTES_MAX);
            rest -= len;
            copies.make(len, |buffer| {
                while buffer.len() < len {
                    if part.is_empty() {
                        part = parts.next().expect("n bytes");
                    }
                    let (now, later) = part.split_at(part.len().min(len - buffer.len()));
                    buffer.extend_from_slice(now);
                    part = later;
                }
            })
        };
        let (first, held) = next();
        let others: Vec<_> = (1..n.div_ceil(COPY_BYTES_MAX)).map(|_| next()).collect();
        let mut send = self.send.lock();
        send.reserved -= n;
        send.data.push_kept(first, held);
        others.into_iter().for_each(|(copy, held)| send.data.push_kept(copy, held));
        send
    }

    /// Queues as much of `data` as there is credit for, without a copy, and splits it off the
    /// front; returns the number of bytes.
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
        send.recount();
        drop(send);
        self.bell.ring(Events::SEND);
        Ok(n)
    }

    /// Whether [`try_send`](Self::try_send) returns something other than [`Error::WouldBlock`]; if
    /// not, `waker` is registered and woken when that may have changed.
    pub fn poll_writable(&self, key: &mut WaitKey, waker: &Waker) -> Poll<()> {
        let mut send = self.send.lock();
        if send.is_closed() || send.credit().is_ok() {
            return Poll::Ready(());
        }
        send.waiters.register(key, waker);
        Poll::Pending
    }

    /// As [`poll_writable`](Self::poll_writable), for a caller that may
    /// [clear](Self::clear_writable) the readiness: waits for a change after that.
    pub fn poll_write_ready(&self, key: &mut WaitKey, waker: &Waker) -> Poll<()> {
        let mut send = self.send.lock();
        let state = send.state();
        if state.is_ready || state.is_closed {
            return Poll::Ready(());
        }
        send.waiters.register(key, waker);
        Poll::Pending
    }

    /// Clears the write readiness seen in a [state](Self::send_state), unless the side has changed
    /// since. A closed side stays ready.
    pub fn clear_writable(&self, seen: Tick) {
        self.send.lock().readiness.clear(seen);
    }

    /// The state of the receive side.
    pub fn recv_state(&self) -> SideState {
        self.recv.lock().state()
    }

    /// The state of the send side.
    pub fn send_state(&self) -> SideState {
        self.send.lock().state()
    }

    /// Removes a waiter of the receive side.
    pub fn forget_reader(&self, key: &WaitKey) {
        self.recv.lock().waiters.remove(key);
    }

    /// Removes a waiter of the send side.
    pub fn forget_writer(&self, key: &WaitKey) {
        self.send.lock().waiters.remove(key);
    }

    /// Shuts the write half down: the peer sees the end of the stream after all queued bytes. A
    /// second call has no effect.
    ///
    /// # Errors
    ///
    /// The error that ended the connection, if any; [`Error::Shutdown`] if it was closed in order.
    pub fn shutdown_send(&self) -> Result<(), Error> {
        let mut wakes = Vec::new();
        let mut send = self.send.lock();
        if let Some(end) = send.ended {
            return Err(end.failure().unwrap_or(Error::Shutdown));
        }
        if !send.fin {
            send.fin = true;
            send.readiness.renew();
            send.waiters.wake(&mut wakes);
            drop(send);
            self.bell.ring(Events::SEND);
        }
        wakes.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// Shuts the read half down: bytes already received can still be read, then every read, pending
    /// ones included, returns the end of the stream. Sends nothing to the peer.
    pub fn shutdown_recv(&self) {
        let mut wakes = Vec::new();
        let mut recv = self.recv.lock();
        recv.shutdown = true;
        recv.readiness.renew();
        recv.waiters.wake(&mut wakes);
        drop(recv);
        wakes.into_iter().for_each(Waker::wake);
    }

    /// The error that ended the connection, if any, reported or not.
    pub fn error(&self) -> Option<Error> {
        self.send.lock().ended?.failure()
    }

    /// Takes the pending error: the one that ended the connection, unless a call has reported it.
    /// [`Error::StackGone`] stays pending.
    pub fn take_error(&self) -> Option<Error> {
        self.failure.take().or_else(|| self.lasting_error())
    }

    /// Whether there is an error to [take](Self::take_error).
    pub fn has_error(&self) -> bool {
        self.failure.is_some() || self.lasting_error().is_some()
    }

    /// Whether the connection has ended in both directions, in order or by an error.
    pub fn is_over(&self) -> bool {
        self.send.lock().ended.is_some()
    }

    fn lasting_error(&self) -> Option<Error> {
        self.error().filter(|reason| is_lasting(*reason))
    }

    /// A copy of the options as last set.
    pub fn options(&self) -> tcp::Options {
        self.options.lock().clone()
    }

    /// Changes options; they apply before the next segment is sent.
    pub fn set_options(&self, change: impl FnOnce(&mut tcp::Options)) {
        change(&mut self.options.lock());
        self.bell.ring(Events::OPTIONS);
    }

    /// Closes the connection: the stack sends the queued bytes and closes in the background; with
    /// received bytes unread it resets instead (RFC 2525 section 2.17).
    pub fn close(&self) {
        self.bell.ring(Events::CLOSE);
    }

    /// Resets the connection; queued bytes are not sent.
    pub fn abort(&self) {
        self.bell.ring(Events::ABORT);
    }

    /// `Ok` if there are bytes, or the end of the stream.
    fn check_recv(&self, recv: &RecvSide) -> Result<(), Error> {
        if !recv.data.is_empty() {
            return Ok(());
        }
        match recv.end {
            Some(Err(reason)) if is_lasting(reason) && !recv.shutdown => Err(reason),
            Some(Err(_)) => self.failure.take().map_or(Ok(()), Err),
            None if !recv.shutdown => Err(Error::WouldBlock),
            _ => Ok(()),
        }
    }

    /// `Ok` if bytes may be queued.
    fn check_send(&self, send: &SendSide) -> Result<(), Error> {
        match send.ended {
            None if !send.fin => Ok(()),
            Some(End::Failed(reason)) if is_lasting(reason) && !send.fin => Err(reason),
            Some(_) if !send.fin => Err(self.failure.take().unwrap_or(Error::Ended)),
            _ => Err(self.failure.take().unwrap_or(Error::Shutdown)),
        }
    }

    fn after_pop(&self, mut recv: MutexGuard<'_, RecvSide>) {
        recv.recount();
        // Not at one byte: each ring is a wake-up of the stack.
        if recv.rings_at.is_some_and(|held| recv.data.held() <= held as usize) {
            recv.rings_at = None;
            recv.has_made_room = true;
            drop(recv);
            self.bell.ring(Events::RECV_ROOM);
        }
    }
}
