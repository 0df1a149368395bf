//! The datagrams between a UDP, ping or raw socket and its handle.

use super::waiters::{WaitKey, Waiters};
use crate::doorbell::{Bell, Events};
use crate::error::Error;
use crate::id::SocketId;
use crate::sockets::datagram::Kind;
use crate::sync::Mutex;
use bytes::Bytes;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::task::{Poll, Waker};

/// One datagram on its way in or out.
#[derive(Clone, PartialEq, Eq, derive_more::Debug)]
pub struct Datagram {
    /// Where it came from, or goes to. Ping sockets keep the echo's sequence number in the port;
    /// raw sockets leave the port 0.
    pub peer: SocketAddr,
    /// The stack's own address that it came to; on the way out `None` lets the stack choose.
    pub local: Option<IpAddr>,
    /// The time to live or hop limit that it arrived with; on the way out `None` means the
    /// socket's own.
    pub hop_limit: Option<u8>,
    /// The payload; for raw sockets the whole IP packet.
    #[debug("{} bytes", payload.len())]
    pub payload: Bytes,
}

/// What a datagram socket and its handle share.
///
/// Received datagrams are dropped, newest first, when the queue is full, as on every kernel;
/// outgoing ones wait for room. This type is for those who build handles. All methods return at
/// once.
#[derive(Debug)]
pub struct DatagramQueue {
    bell: Bell,
    local: SocketAddr,
    kind: Kind,
    recv: Mutex<RecvSide>,
    send: Mutex<SendSide>,
}

#[derive(Debug)]
struct RecvSide {
    queue: Bounded,
    /// Only datagrams from here are taken.
    peer: Option<SocketAddr>,
    /// An error that the network reported; told once.
    error: Option<Error>,
    closed: Option<Error>,
    waiters: Waiters,
}

#[derive(Debug)]
struct SendSide {
    queue: Bounded,
    /// The time to live of datagrams that do not bring their own.
    hop_limit: Option<u8>,
    /// What is larger than the link's MTU is refused instead of sent in fragments.
    dont_fragment: bool,
    closed: Option<Error>,
    waiters: Waiters,
}

/// Datagrams up to a number of bytes.
#[derive(Debug)]
struct Bounded {
    datagrams: VecDeque<Datagram>,
    bytes: usize,
    bytes_max: usize,
}

/// What one queued datagram costs besides its payload, for the bound on the queue's bytes: without
/// it a flood of empty datagrams would cost memory and count for nothing.
const OVERHEAD: usize = size_of::<Datagram>();

/// How many datagrams an idle queue keeps room for.
const IDLE_CAPACITY: usize = 16;

/// Handles.
impl DatagramQueue {
    /// The id of the socket.
    pub fn id(&self) -> SocketId {
        self.bell.id()
    }

    /// The address that the socket is bound to.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Whether datagrams can be sent to `peer` at all.
    ///
    /// # Errors
    ///
    /// [`Error::ZeroPort`], [`Error::UnspecifiedAddress`] or [`Error::WrongFamily`].
    pub fn check_peer(&self, peer: SocketAddr) -> Result<(), Error> {
        self.kind.check_peer(peer)
    }

    /// Takes the oldest received datagram.
    ///
    /// # Errors
    ///
    /// [`Error::WouldBlock`] if there is none; an error that the network reported for something
    /// sent earlier, once; why the socket ended.
    pub fn try_recv(&self) -> Result<Datagram, Error> {
        let mut recv = self.recv.lock();
        recv.check()?;
        Ok(recv.queue.pop().expect("check found a datagram"))
    }

    /// Shows the oldest received datagram to `look` and leaves it queued.
    ///
    /// # Errors
    ///
    /// As [`try_recv`](Self::try_recv).
    pub fn try_peek<R>(&self, look: impl FnOnce(&Datagram) -> R) -> Result<R, Error> {
        let mut recv = self.recv.lock();
        recv.check()?;
        Ok(look(recv.queue.datagrams.front().expect("check found a datagram")))
    }

    /// Whether [`try_recv`](Self::try_recv) would give something else than
    /// [`Error::WouldBlock`]; if not, `waker` is kept and woken when that may have changed.
    pub fn poll_readable(&self, key: &mut WaitKey, waker: &Waker) -> Poll<()> {
        let mut recv = self.recv.lock();
        if !recv.queue.is_empty() || recv.error.is_some() || recv.closed.is_some() {
            return Poll::Ready(());
        }
        recv.waiters.register(key, waker);
        Poll::Pending
    }

    /// Queues a datagram to be sent.
    ///
    /// # Errors
    ///
    /// [`Error::MessageTooLarge`], [`Error::ZeroPort`], [`Error::UnspecifiedAddress`] or
    /// [`Error::WrongFamily`] if it can never be sent; [`Error::WouldBlock`] without room; an error
    /// that the network reported for something sent earlier, once; why the socket ended. Nothing
    /// is queued then.
    pub fn try_send(&self, datagram: Datagram) -> Result<(), Error> {
        if datagram.payload.len() > self.kind.payload_max() {
            return Err(Error::MessageTooLarge);
        }
        self.kind.check_peer(datagram.peer)?;
        let mut send = self.send.lock();
        if let Some(reason) = send.closed {
            return Err(reason);
        }
        if let Some(error) = self.recv.lock().error.take() {
            return Err(error);
        }
        if !send.queue.has_room(datagram.payload.len()) {
            return Err(Error::WouldBlock);
        }
        send.queue.push(datagram);
        drop(send);
        self.bell.ring(Events::SEND);
        Ok(())
    }

    /// Whether a datagram of `len` bytes can be queued now; if not, `waker` is kept and woken when
    /// that may have changed.
    pub fn poll_writable(&self, len: usize, key: &mut WaitKey, waker: &Waker) -> Poll<()> {
        let mut send = self.send.lock();
        if send.closed.is_some() || send.queue.has_room(len.min(self.kind.payload_max())) {
            return Poll::Ready(());
        }
        send.waiters.register(key, waker);
        Poll::Pending
    }

    /// Forgets a waiter of the receive side.
    pub fn forget_reader(&self, key: &WaitKey) {
        self.recv.lock().waiters.remove(key);
    }

    /// Forgets a waiter of the send side.
    pub fn forget_writer(&self, key: &WaitKey) {
        self.send.lock().waiters.remove(key);
    }

    /// Takes the error that the network reported for something sent earlier, if any.
    pub fn take_error(&self) -> Option<Error> {
        self.recv.lock().error.take()
    }

    /// Whom the socket is connected to.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.recv.lock().peer
    }

    /// Connects the socket: only datagrams from `peer` are received, and errors that concern it are
    /// told. Received datagrams from others that are still queued are dropped.
    pub fn set_peer(&self, peer: Option<SocketAddr>) {
        let mut recv = self.recv.lock();
        recv.peer = peer;
        if let Some(peer) = peer {
            recv.queue.retain(|datagram| datagram.peer == peer);
        }
    }

    /// The time to live or hop limit of outgoing datagrams; `None` is 64.
    pub fn hop_limit(&self) -> Option<u8> {
        self.send.lock().hop_limit
    }

    /// Sets the time to live or hop limit of all datagrams not yet sent.
    pub fn set_hop_limit(&self, hop_limit: Option<u8>) {
        self.send.lock().hop_limit = hop_limit;
    }

    /// Whether UDP datagrams larger than the link's MTU are refused instead of sent in fragments.
    pub fn dont_fragment(&self) -> bool {
        self.send.lock().dont_fragment
    }

    /// Sets whether UDP datagrams that are larger than the link's MTU are refused instead of sent
    /// in fragments. The next call then fails with [`Error::MessageTooLarge`]. Off at first.
    pub fn set_dont_fragment(&self, dont_fragment: bool) {
        self.send.lock().dont_fragment = dont_fragment;
    }

    /// Gives the socket up to the stack, which sends what is queued and closes it.
    pub fn close(&self) {
        self.bell.ring(Events::CLOSE);
    }
}

/// The stack.
impl DatagramQueue {
    pub(crate) fn new(bell: Bell, local: SocketAddr, kind: Kind, bytes_max: usize) -> Self {
        // One datagram of the largest size must always fit.
        let bytes_max = bytes_max.max(kind.payload_max() + OVERHEAD);
        Self {
            bell,
            local,
            kind,
            recv: Mutex::new(RecvSide {
                queue: Bounded::new(bytes_max),
                peer: None,
                error: None,
                closed: None,
                waiters: Waiters::default(),
            }),
            send: Mutex::new(SendSide {
                queue: Bounded::new(bytes_max),
                hop_limit: None,
                dont_fragment: false,
                closed: None,
                waiters: Waiters::default(),
            }),
        }
    }

    pub(crate) fn bell(&self) -> &Bell {
        &self.bell
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Appends a received datagram and collects whom to wake.
    pub(crate) fn push_received(&self, datagram: Datagram, wakes: &mut Vec<Waker>) -> Pushed {
        let mut recv = self.recv.lock();
        if recv.peer.is_some_and(|peer| peer != datagram.peer) {
            return Pushed::Stranger;
        }
        if !recv.queue.has_room(datagram.payload.len()) {
            return Pushed::Full;
        }
        recv.queue.push(datagram);
        recv.waiters.wake(wakes);
        Pushed::Taken
    }

    /// Puts a datagram that was taken but never reached anybody back in front.
    pub(crate) fn unread(&self, datagram: Datagram, wakes: &mut Vec<Waker>) {
        let mut recv = self.recv.lock();
        recv.queue.bytes += OVERHEAD + datagram.payload.len();
        recv.queue.datagrams.push_front(datagram);
        recv.waiters.wake(wakes);
    }

    /// Bytes received and not read, and bytes written and not sent, with their overhead.
    pub(crate) fn queued(&self) -> (usize, usize) {
        (self.recv.lock().queue.bytes, self.send.lock().queue.bytes)
    }

    pub(crate) fn set_error(&self, error: Error, wakes: &mut Vec<Waker>) {
        let mut recv = self.recv.lock();
        recv.error = Some(error);
        recv.waiters.wake(wakes);
    }

    /// Takes the oldest datagram to send and collects writers to wake.
    pub(crate) fn take_to_send(&self, wakes: &mut Vec<Waker>) -> Option<Datagram> {
        let mut send = self.send.lock();
        let mut datagram = send.queue.pop()?;
        datagram.hop_limit = datagram.hop_limit.or(send.hop_limit);
        send.waiters.wake(wakes);
        Some(datagram)
    }

    /// The socket is gone.
    pub(crate) fn finish(&self, reason: Error, wakes: &mut Vec<Waker>) {
        let mut recv = self.recv.lock();
        recv.closed = Some(reason);
        recv.waiters.wake(wakes);
        drop(recv);
        let mut send = self.send.lock();
        send.closed = Some(reason);
        send.waiters.wake(wakes);
    }
}

/// What became of a received datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    Taken,
    /// There was no room.
    Full,
    /// It came from somebody else than the socket's peer.
    Stranger,
}

impl RecvSide {
    /// `Ok` if there is a datagram.
    fn check(&mut self) -> Result<(), Error> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        if !self.queue.is_empty() {
            return Ok(());
        }
        Err(self.closed.unwrap_or(Error::WouldBlock))
    }
}

impl Bounded {
    fn new(bytes_max: usize) -> Self {
        Self { datagrams: VecDeque::new(), bytes: 0, bytes_max }
    }

    fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    fn has_room(&self, len: usize) -> bool {
        self.bytes + OVERHEAD + len <= self.bytes_max
    }

    fn push(&mut self, datagram: Datagram) {
        self.bytes += OVERHEAD + datagram.payload.len();
        self.datagrams.push_back(datagram);
    }

    fn pop(&mut self) -> Option<Datagram> {
        let datagram = self.datagrams.pop_front()?;
        self.bytes -= OVERHEAD + datagram.payload.len();
        if self.is_empty() && self.datagrams.capacity() > IDLE_CAPACITY {
            // An idle socket gives the room of its last burst back.
            self.datagrams = VecDeque::new();
        }
        Some(datagram)
    }

    fn retain(&mut self, keep: impl Fn(&Datagram) -> bool) {
        self.datagrams.retain(|datagram| keep(datagram));
        self.bytes = self.datagrams.iter().map(|d| OVERHEAD + d.payload.len()).sum();
    }
}
