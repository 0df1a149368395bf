//! A connection's queues, as the stack serves them.

use super::{RINGS_AT_MAX, StreamQueue};
use crate::doorbell::Bell;
use crate::error::Error;
use crate::memory::Charge;
use crate::queue::bytes::ByteQueue;
use crate::queue::failure::End;
use crate::queue::failure::Failure;
use crate::queue::failure::is_lasting;
use crate::queue::sides::Received;
use crate::queue::sides::RecvSide;
use crate::queue::sides::SendSide;
use crate::queue::sides::Unread;
use crate::sync::Mutex;
use crate::tcp;
use bytes::Bytes;
use std::net::SocketAddr;
use std::task::Waker;

impl StreamQueue {
    pub(crate) fn new(
        bell: Bell,
        (local, peer): (SocketAddr, SocketAddr),
        (recv_limit, send_limit): (usize, usize),
        options: tcp::Options,
        charge: Charge,
    ) -> Self {
        Self {
            bell,
            local,
            peer,
            recv: Mutex::new(RecvSide::new(recv_limit, charge.sibling())),
            send: Mutex::new(SendSide::new(send_limit, charge)),
            failure: Failure::default(),
            options: Mutex::new(options),
        }
    }

    pub(crate) fn bell(&self) -> &Bell {
        &self.bell
    }

    /// What the reader has left of at most `limit` bytes. If reading can make room for a window that
    /// is `worth` to be announced, the reader rings once it has.
    pub(crate) fn recv_unread(&self, limit: usize, worth: usize) -> Unread {
        let mut recv = self.recv.lock();
        let (len, held) = (recv.data.len(), recv.data.held());
        recv.limit = limit;
        let rings_at = limit.checked_sub(worth);
        recv.rings_at = rings_at.filter(|at| held > *at).map(|at| at.min(RINGS_AT_MAX) as u32);
        let has_made_room = std::mem::take(&mut recv.has_made_room);
        Unread { len, held, has_made_room }
    }

    /// Appends received bytes and collects the wakers of readers.
    pub(crate) fn push_received(&self, data: Received<'_>, wakes: &mut Vec<Waker>) {
        let mut recv = self.recv.lock();
        match data {
            Received::Copy(data) => recv.data.push_slice(data),
            // What keeps more alive than there is room for is copied.
            Received::Kept(chunk, kept)
                if kept > chunk.len() && recv.data.held() + kept > recv.limit =>
            {
                recv.data.push(Bytes::copy_from_slice(&chunk));
            }
            Received::Kept(chunk, kept) => recv.data.push_kept(chunk, kept),
        }
        recv.recount();
        recv.readiness.renew();
        recv.waiters.wake(wakes);
    }

    /// Puts bytes that were taken but not delivered back in front.
    pub(crate) fn unread(&self, chunk: Bytes, wakes: &mut Vec<Waker>) {
        let mut recv = self.recv.lock();
        recv.data.unread(chunk);
        recv.recount();
        recv.readiness.renew();
        recv.waiters.wake(wakes);
    }

    /// Bytes received and not read, and bytes written and not taken.
    pub(crate) fn queued(&self) -> (usize, usize) {
        (self.recv.lock().data.len(), self.send.lock().data.len())
    }

    /// Memory that both sides hold, in bytes.
    pub(crate) fn held(&self) -> usize {
        self.recv.lock().data.held() + self.send.lock().data.held()
    }

    pub(crate) fn has_unread(&self) -> bool {
        !self.recv.lock().data.is_empty()
    }

    /// Ends the receive side.
    pub(crate) fn finish_recv(&self, end: Result<(), Error>, wakes: &mut Vec<Waker>) {
        let mut recv = self.recv.lock();
        if recv.end.is_none() {
            recv.end = Some(end);
            recv.readiness.renew();
            recv.waiters.wake(wakes);
        }
    }

    /// Takes queued bytes, at most `max`, and collects writers to wake.
    pub(crate) fn take_to_send(&self, max: usize, wakes: &mut Vec<Waker>) -> Option<Bytes> {
        let mut send = self.send.lock();
        let chunk = send.data.pop(max)?;
        send.recount();
        send.readiness.renew();
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

    /// Ends both directions: reads return the queued bytes and then `received`; bytes queued for
    /// sending are dropped.
    pub(crate) fn finish(&self, received: Result<(), Error>, end: End, wakes: &mut Vec<Waker>) {
        if let Some(error) = end.failure().filter(|error| !is_lasting(*error)) {
            self.failure.set(error);
        }
        self.finish_recv(received, wakes);
        self.finish_send(end, wakes);
    }

    fn finish_send(&self, end: End, wakes: &mut Vec<Waker>) {
        let mut send = self.send.lock();
        if send.ended.is_none() {
            send.ended = Some(end);
            send.data = ByteQueue::default();
            send.recount();
            send.readiness.renew();
            send.waiters.wake(wakes);
        }
    }
}
