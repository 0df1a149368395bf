//! The datagrams between a UDP, ping or raw socket and its handle.

use super::waiters::{WaitKey, Waiters};
use crate::addressing::this_host;
use crate::config::Config;
use crate::doorbell::{Bell, Events};
use crate::error::Error;
use crate::id::SocketId;
use crate::link::FRAME_BUFFER_BYTES;
use crate::sockets::datagram::Kind;
use crate::sync::Mutex;
use crate::udp::Options;
use bytes::Bytes;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::task::{Poll, Waker};

/// One datagram on its way in or out.
#[derive(Clone, PartialEq, Eq, derive_more::Debug)]
pub struct Datagram {
    /// Where it came from, or goes to. Ping sockets keep the echo's sequence number in the port;
    /// raw sockets leave the port 0.
    pub peer: SocketAddr,
    /// The stack's own address and port that it came to; of ping sockets the port is the echo's
    /// identifier, of raw ones 0. On the way out `None` lets the stack choose the address, and port
    /// 0 stands for the socket's; a socket that intercepts has none and needs both.
    pub local: Option<SocketAddr>,
    /// The time to live or hop limit that it arrived with; on the way out `None` means the
    /// socket's own.
    pub hop_limit: Option<u8>,
    /// For ping sockets, on the way in: what `peer` said of the request with this sequence number,
    /// instead of a reply. `None` of everything else.
    pub error: Option<Error>,
    /// The payload; for raw sockets the whole IP packet.
    #[debug("{} bytes", payload.len())]
    pub payload: Bytes,
}

impl Datagram {
    /// One that goes to `peer` from the address, and with the hop limit, that the stack chooses.
    pub fn new(peer: SocketAddr, payload: Bytes) -> Self {
        Self { peer, local: None, hop_limit: None, error: None, payload }
    }
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
    /// The socket's address while it is connected, if it is bound to all.
    local: Option<IpAddr>,
    /// The multicast groups that the socket is in.
    groups: Vec<IpAddr>,
    groups_max: usize,
    /// An error that the network reported; told once.
    error: Option<Error>,
    closed: Option<Error>,
    waiters: Waiters,
}

#[derive(Debug)]
struct SendSide {
    queue: Bounded,
    options: Options,
    closed: Option<Error>,
    waiters: Waiters,
}

/// Datagrams up to a number of bytes.
#[derive(Debug)]
struct Bounded {
    datagrams: VecDeque<Queued>,
    bytes: usize,
    bytes_max: usize,
}

/// A datagram, and what is counted for it.
#[derive(Debug)]
struct Queued {
    datagram: Datagram,
    bytes: usize,
}

/// What one queued datagram costs besides its payload, for the bound on the queue's bytes: its
/// place, of which a growing queue has up to two for each datagram, and the allocation of the
/// payload with its reference count.
const OVERHEAD: usize = 2 * size_of::<Queued>() + PAYLOAD_OVERHEAD;
const PAYLOAD_OVERHEAD: usize = 48;

/// How many datagrams an idle queue keeps room for.
const IDLE_CAPACITY: usize = 16;

/// Handles.
impl DatagramQueue {
    /// The id of the socket.
    pub fn id(&self) -> SocketId {
        self.bell.id()
    }

    /// The address that the socket is bound to, or has while it is connected.
    pub fn local_address(&self) -> SocketAddr {
        let connected = self.recv.lock().local;
        SocketAddr::new(connected.unwrap_or(self.local.ip()), self.local.port())
    }

    /// The address that the socket is bound to, connected or not.
    pub fn bound_address(&self) -> SocketAddr {
        self.local
    }

    /// Whom datagrams to `peer` reach: `0.0.0.0` and `::` stand for this host, as on Linux.
    pub fn reached_peer(&self, peer: SocketAddr) -> SocketAddr {
        match self.kind {
            Kind::Raw { .. } => peer,
            _ => SocketAddr::new(this_host(peer.ip(), self.local.ip()), peer.port()),
        }
    }

    /// Whether datagrams can be sent to `peer` at all.
    ///
    /// # Errors
    ///
    /// [`Error::ZeroPort`] or [`Error::WrongFamily`].
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
        Ok(recv.queue.pop().expect("check found a datagram").datagram)
    }

    /// Shows the oldest received datagram to `look` and leaves it queued.
    ///
    /// # Errors
    ///
    /// As [`try_recv`](Self::try_recv).
    pub fn try_peek<R>(&self, look: impl FnOnce(&Datagram) -> R) -> Result<R, Error> {
        let mut recv = self.recv.lock();
        recv.check()?;
        Ok(look(&recv.queue.datagrams.front().expect("check found a datagram").datagram))
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

    /// As [`poll_readable`](Self::poll_readable), but after [`clear_readable`](Self::clear_readable)
    /// only once more has come.
    pub fn poll_readable_event(&self, key: &mut WaitKey, waker: &Waker) -> Poll<()> {
        let mut recv = self.recv.lock();
        if recv.is_ready() && (recv.closed.is_some() || !recv.waiters.is_cleared()) {
            return Poll::Ready(());
        }
        recv.waiters.register(key, waker);
        Poll::Pending
    }

    /// As [`poll_writable`](Self::poll_writable), but after [`clear_writable`](Self::clear_writable)
    /// only once there is more room.
    pub fn poll_writable_event(&self, len: usize, key: &mut WaitKey, waker: &Waker) -> Poll<()> {
        let mut send = self.send.lock();
        let has_room = send.queue.has_room(len.min(self.kind.payload_max()));
        if send.closed.is_some() || has_room && !send.waiters.is_cleared() {
            return Poll::Ready(());
        }
        send.waiters.register(key, waker);
        Poll::Pending
    }

    /// How often something has made the socket readable; for [`clear_readable`](Self::clear_readable).
    pub fn readable_events(&self) -> u64 {
        self.recv.lock().waiters.events()
    }

    /// How often something has made the socket writable; for [`clear_writable`](Self::clear_writable).
    pub fn writable_events(&self) -> u64 {
        self.send.lock().waiters.events()
    }

    /// What is there to be received is of no use to the caller: the socket is not readable until more
    /// comes, unless it has since there were `events`.
    pub fn clear_readable(&self, events: u64) {
        self.recv.lock().waiters.clear(events);
    }

    /// The same for the room to send.
    pub fn clear_writable(&self, events: u64) {
        self.send.lock().waiters.clear(events);
    }

    /// Queues a datagram to be sent.
    ///
    /// # Errors
    ///
    /// [`Error::MessageTooLarge`], [`Error::ZeroPort`], [`Error::WrongFamily`] or [`Error::BroadcastForbidden`] if it can never be sent;
    /// [`Error::AddressNotAvailable`] if it is to leave from a port that is not the socket's;
    /// [`Error::WouldBlock`] without room; an error
    /// that the network reported for something sent earlier, once; why the socket ended. Nothing
    /// is queued then.
    pub fn try_send(&self, mut datagram: Datagram) -> Result<(), Error> {
        datagram.peer = self.reached_peer(datagram.peer);
        if datagram.payload.len() > self.kind.payload_max() {
            return Err(Error::MessageTooLarge);
        }
        self.kind.check_peer(datagram.peer)?;
        self.kind.check_local(datagram.local)?;
        let mut send = self.send.lock();
        if let Some(reason) = send.closed {
            return Err(reason);
        }
        if datagram.peer.ip().to_canonical() == Ipv4Addr::BROADCAST && !send.options.broadcast {
            return Err(Error::BroadcastForbidden);
        }
        if let Some(error) = self.recv.lock().error.take() {
            return Err(error);
        }
        let len = datagram.payload.len();
        if !send.queue.has_room(len) {
            return Err(Error::WouldBlock);
        }
        send.queue.push(datagram, len);
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

    /// Whether [`try_recv`](Self::try_recv) would give something else than
    /// [`Error::WouldBlock`], as far as [`clear_readable`](Self::clear_readable) lets it.
    pub fn is_readable(&self) -> bool {
        let recv = self.recv.lock();
        recv.is_ready() && (recv.closed.is_some() || !recv.waiters.is_cleared())
    }

    /// Whether a datagram of `len` bytes can be queued now, or sending fails.
    pub fn is_writable(&self, len: usize) -> bool {
        let send = self.send.lock();
        let has_room = send.queue.has_room(len.min(self.kind.payload_max()));
        send.closed.is_some() || has_room && !send.waiters.is_cleared()
    }

    /// Whether the network has reported an error that nobody was told so far.
    pub fn has_error(&self) -> bool {
        self.recv.lock().error.is_some()
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
    /// told. What is queued already stays, as on Linux. `local` is the address of the stack's that
    /// the socket has from now on, if it was bound to all of them.
    pub fn connect(&self, peer: SocketAddr, local: Option<IpAddr>) {
        self.connect_to(Some(peer), local);
    }

    /// Connects the socket without an address of its own, or ends that.
    pub fn set_peer(&self, peer: Option<SocketAddr>) {
        self.connect_to(peer, None);
    }

    fn connect_to(&self, peer: Option<SocketAddr>, local: Option<IpAddr>) {
        let mut recv = self.recv.lock();
        recv.peer = peer;
        recv.local = local;
    }

    /// The options as last set.
    pub fn options(&self) -> Options {
        self.send.lock().options
    }

    /// Changes options, for all datagrams not yet sent.
    pub fn set_options(&self, change: impl FnOnce(&mut Options)) {
        change(&mut self.send.lock().options);
    }

    /// Takes the socket into a multicast group: it receives what is sent to the group and the
    /// socket's port.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if `group` is no group; [`Error::AddressInUse`] if the socket is in it;
    /// [`Error::LimitReached`] at
    /// [`Config::groups_per_socket_max`](crate::Config::groups_per_socket_max).
    pub fn join(&self, group: IpAddr) -> Result<(), Error> {
        if !group.is_multicast() {
            return Err(Error::Malformed);
        }
        let mut recv = self.recv.lock();
        if recv.groups.contains(&group) {
            return Err(Error::AddressInUse);
        }
        if recv.groups.len() >= recv.groups_max {
            return Err(Error::LimitReached);
        }
        recv.groups.push(group);
        drop(recv);
        self.bell.ring(Events::OPTIONS);
        Ok(())
    }

    /// Takes the socket out of a multicast group.
    ///
    /// # Errors
    ///
    /// [`Error::AddressNotAvailable`] if it is not in it.
    pub fn leave(&self, group: IpAddr) -> Result<(), Error> {
        let mut recv = self.recv.lock();
        let at = recv.groups.iter().position(|known| *known == group);
        recv.groups.swap_remove(at.ok_or(Error::AddressNotAvailable)?);
        drop(recv);
        self.bell.ring(Events::OPTIONS);
        Ok(())
    }

    /// Gives the socket up to the stack, which sends what is queued and closes it.
    pub fn close(&self) {
        self.bell.ring(Events::CLOSE);
    }
}

/// The stack.
impl DatagramQueue {
    pub(crate) fn new(bell: Bell, local: SocketAddr, kind: Kind, config: &Config) -> Self {
        // One datagram of the largest size must always fit.
        let bytes_max = config.datagram_queue_bytes.max(FRAME_BUFFER_BYTES + OVERHEAD);
        Self {
            bell,
            local,
            kind,
            recv: Mutex::new(RecvSide {
                queue: Bounded::new(bytes_max),
                peer: None,
                local: None,
                groups: Vec::new(),
                groups_max: config.groups_per_socket_max,
                error: None,
                closed: None,
                waiters: Waiters::default(),
            }),
            send: Mutex::new(SendSide {
                queue: Bounded::new(bytes_max),
                options: Options::default(),
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

    /// Appends a received datagram, whose payload keeps `kept` bytes alive, and collects whom to
    /// wake.
    pub(crate) fn push_received(
        &self,
        datagram: Datagram,
        kept: usize,
        wakes: &mut Vec<Waker>,
    ) -> Pushed {
        let mut recv = self.recv.lock();
        if recv.peer.is_some_and(|peer| peer != datagram.peer) {
            return Pushed::Stranger;
        }
        if !recv.queue.has_room(kept) {
            return Pushed::Full;
        }
        recv.queue.push(datagram, kept);
        recv.waiters.wake(wakes);
        Pushed::Taken
    }

    /// Puts a datagram that was taken but never reached anybody back in front.
    pub(crate) fn unread(&self, datagram: Datagram, wakes: &mut Vec<Waker>) {
        let mut recv = self.recv.lock();
        let bytes = OVERHEAD + datagram.payload.len();
        recv.queue.bytes += bytes;
        recv.queue.datagrams.push_front(Queued { datagram, bytes });
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

    /// Takes the oldest datagram to send, with the options for it, and collects writers to wake.
    pub(crate) fn take_to_send(&self, wakes: &mut Vec<Waker>) -> Option<(Datagram, Options)> {
        let mut send = self.send.lock();
        let datagram = send.queue.pop()?.datagram;
        send.waiters.wake(wakes);
        Some((datagram, send.options))
    }

    /// The multicast groups that the socket is in.
    pub(crate) fn groups(&self) -> Vec<IpAddr> {
        self.recv.lock().groups.clone()
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
    fn is_ready(&self) -> bool {
        !self.queue.is_empty() || self.error.is_some() || self.closed.is_some()
    }

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

    fn has_room(&self, kept: usize) -> bool {
        self.bytes + OVERHEAD + kept <= self.bytes_max
    }

    /// Appends a datagram whose payload keeps `kept` bytes alive.
    fn push(&mut self, datagram: Datagram, kept: usize) {
        let bytes = OVERHEAD + kept;
        self.bytes += bytes;
        self.datagrams.push_back(Queued { datagram, bytes });
    }

    fn pop(&mut self) -> Option<Queued> {
        let queued = self.datagrams.pop_front()?;
        self.bytes -= queued.bytes;
        if self.is_empty() && self.datagrams.capacity() > IDLE_CAPACITY {
            // An idle socket gives the room of its last burst back.
            self.datagrams = VecDeque::new();
        }
        Some(queued)
    }
}
