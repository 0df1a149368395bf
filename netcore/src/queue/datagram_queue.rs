//! The datagrams between a UDP, ping or raw socket and its handle.

use super::bounded::{Bounded, OVERHEAD};
use super::datagram::Datagram;
use super::peer::{Connected, is_wildcard};
use super::readiness::{Readiness, SideState, Tick};
use super::waiters::{WaitKey, Waiters};
use crate::config::Config;
use crate::datagram::socket::Kind;
use crate::doorbell::{Bell, Events};
use crate::error::Error;
use crate::id::SocketId;
use crate::ip::addressing::this_host;
use crate::link::FRAME_BUFFER_BYTES;
use crate::memory::{Charge, Memory};
use crate::sync::Mutex;
use crate::udp::Options;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Poll, Waker};

/// The queue between a datagram socket and its handle.
///
/// Received datagrams are dropped, newest first, when the queue is full, as on every kernel;
/// outgoing ones wait for room. For the implementation of handles; no method blocks.
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
    connected: Connected,
    /// The multicast groups that the socket is in.
    groups: Vec<IpAddr>,
    groups_max: usize,
    /// The pending error, reported by ICMP; returned once.
    error: Option<Error>,
    closed: Option<Error>,
    readiness: Readiness,
    waiters: Waiters,
}

#[derive(Debug)]
struct SendSide {
    queue: Bounded,
    options: Options,
    closed: Option<Error>,
    readiness: Readiness,
    waiters: Waiters,
}

/// Handles.
impl DatagramQueue {
    /// The id of the socket.
    pub fn id(&self) -> SocketId {
        self.bell.id()
    }

    /// The local address of the socket: the one that it is bound to, or, for a wildcard, the source
    /// address while it is connected.
    pub fn local_address(&self) -> SocketAddr {
        self.recv.lock().connected.local_address(self.local)
    }

    /// Checks that `peer` is a valid destination of this socket.
    ///
    /// # Errors
    ///
    /// [`Error::ZeroPort`] or [`Error::WrongFamily`].
    pub fn check_peer(&self, peer: SocketAddr) -> Result<(), Error> {
        let source = self.recv.lock().connected.source;
        self.kind.check_peer(self.resolved(peer, source))
    }

    /// Takes the oldest received datagram.
    ///
    /// # Errors
    ///
    /// [`Error::WouldBlock`] if there is none; the pending ICMP error of an earlier datagram, once;
    /// the error that ended the socket.
    pub fn try_recv(&self) -> Result<Datagram, Error> {
        let mut recv = self.recv.lock();
        recv.check()?;
        Ok(recv.queue.pop().expect("check found a datagram").datagram)
    }

    /// Calls `look` with the oldest received datagram, which stays queued.
    ///
    /// # Errors
    ///
    /// As [`try_recv`](Self::try_recv).
    pub fn try_peek<R>(&self, look: impl FnOnce(&Datagram) -> R) -> Result<R, Error> {
        let mut recv = self.recv.lock();
        recv.check()?;
        Ok(look(recv.queue.front().expect("check found a datagram")))
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

    /// Queues a datagram to be sent.
    ///
    /// # Errors
    ///
    /// [`Error::MessageTooLarge`], [`Error::ZeroPort`], [`Error::WrongFamily`] or
    /// [`Error::BroadcastForbidden`] if it can never be sent; [`Error::AddressNotAvailable`] if its
    /// source port is not the socket's; [`Error::WouldBlock`] without room; the pending ICMP error
    /// of an earlier datagram, once; the error that ended the socket. Nothing is queued then.
    pub fn try_send(&self, mut datagram: Datagram) -> Result<(), Error> {
        if datagram.payload.len() > self.kind.payload_max() {
            return Err(Error::MessageTooLarge);
        }
        let mut send = self.send.lock();
        let mut recv = self.recv.lock();
        if let (None, Some(source)) = (datagram.local, recv.connected.source) {
            // Fixed now: a later connect does not redirect queued datagrams.
            datagram.local = Some(SocketAddr::new(source, 0));
        }
        let local = datagram.local.map(|local| local.ip());
        datagram.peer = self.resolved(datagram.peer, local);
        self.kind.check_peer(datagram.peer)?;
        self.kind.check_local(datagram.local)?;
        if let Some(reason) = send.closed {
            return Err(reason);
        }
        if datagram.peer.ip().to_canonical() == Ipv4Addr::BROADCAST && !send.options.broadcast {
            return Err(Error::BroadcastForbidden);
        }
        if let Some(error) = recv.error.take() {
            return Err(error);
        }
        drop(recv);
        let len = datagram.payload.len();
        if !send.queue.has_room(len) {
            // There may be room for a smaller datagram, which must not count as readiness at once.
            let seen = send.readiness.tick();
            send.readiness.clear(seen);
            return Err(Error::WouldBlock);
        }
        send.queue.push(datagram, len);
        drop(send);
        self.bell.ring(Events::SEND);
        Ok(())
    }

    /// Whether a datagram of `len` bytes can be queued now; if not, `waker` is registered and woken
    /// when that may have changed.
    pub fn poll_writable(&self, len: usize, key: &mut WaitKey, waker: &Waker) -> Poll<()> {
        let mut send = self.send.lock();
        if send.closed.is_some() || send.queue.has_room(len.min(self.kind.payload_max())) {
            return Poll::Ready(());
        }
        send.waiters.register(key, waker);
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

    /// As [`poll_writable`](Self::poll_writable) for an empty datagram, for a caller that may clear
    /// the readiness, by a failed [send](Self::try_send) or [explicitly](Self::clear_writable):
    /// waits for a change after that.
    pub fn poll_write_ready(&self, key: &mut WaitKey, waker: &Waker) -> Poll<()> {
        let mut send = self.send.lock();
        let state = send.state();
        if state.is_ready || state.is_closed {
            return Poll::Ready(());
        }
        send.waiters.register(key, waker);
        Poll::Pending
    }

    /// Clears the read readiness seen in a [state](Self::recv_state), unless the side has changed
    /// since.
    pub fn clear_readable(&self, seen: Tick) {
        self.recv.lock().readiness.clear(seen);
    }

    /// Clears the write readiness seen in a [state](Self::send_state), unless the side has changed
    /// since.
    pub fn clear_writable(&self, seen: Tick) {
        self.send.lock().readiness.clear(seen);
    }

    /// The state of the receive side.
    pub fn recv_state(&self) -> SideState {
        self.recv.lock().state()
    }

    /// The state of the send side, for an empty datagram.
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

    /// Takes the pending ICMP error of an earlier datagram, if any.
    pub fn take_error(&self) -> Option<Error> {
        self.recv.lock().error.take()
    }

    /// Whether [`take_error`](Self::take_error) would return an error.
    pub fn has_error(&self) -> bool {
        self.recv.lock().error.is_some()
    }

    /// The peer that the socket is connected to.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.recv.lock().connected.peer
    }

    /// Sets the peer; the source address is chosen for each datagram. Queued datagrams stay queued.
    /// [`Connect`](crate::udp::Command::Connect) also checks that there is a route to the peer.
    pub fn set_peer(&self, peer: Option<SocketAddr>) {
        self.connect(peer, None);
        self.bell.ring(Events::OPTIONS);
    }

    /// The options as last set.
    pub fn options(&self) -> Options {
        self.send.lock().options
    }

    /// Changes options, for all datagrams not yet sent.
    pub fn set_options(&self, change: impl FnOnce(&mut Options)) {
        let mut send = self.send.lock();
        let before = send.options.reuse();
        change(&mut send.options);
        let is_other = send.options.reuse() != before;
        drop(send);
        if is_other {
            self.bell.ring(Events::OPTIONS);
        }
    }

    /// Joins a multicast group: the socket receives datagrams to the group and its own port.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if `group` is not a multicast address; [`Error::AddressInUse`] if the
    /// socket is a member already; [`Error::LimitReached`] at
    /// [`DatagramConfig::groups_per_socket_max`](crate::DatagramConfig::groups_per_socket_max).
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

    /// Leaves a multicast group.
    ///
    /// # Errors
    ///
    /// [`Error::AddressNotAvailable`] if the socket is not a member.
    pub fn leave(&self, group: IpAddr) -> Result<(), Error> {
        let mut recv = self.recv.lock();
        let at = recv.groups.iter().position(|known| *known == group);
        recv.groups.swap_remove(at.ok_or(Error::AddressNotAvailable)?);
        drop(recv);
        self.bell.ring(Events::OPTIONS);
        Ok(())
    }

    /// Closes the handle's side: the stack sends the queued datagrams and removes the socket.
    pub fn close(&self) {
        self.bell.ring(Events::CLOSE);
    }
}

/// The stack.
impl DatagramQueue {
    pub(crate) fn new(
        bell: Bell,
        local: SocketAddr,
        kind: Kind,
        (config, memory): (&Config, &Arc<Memory>),
    ) -> Self {
        // One datagram of the largest size must always fit.
        let bytes_max = config.datagram.queue_bytes.max(FRAME_BUFFER_BYTES + OVERHEAD);
        Self {
            bell,
            local,
            kind,
            recv: Mutex::new(RecvSide {
                queue: Bounded::new(bytes_max, Charge::new(memory.clone())),
                connected: Connected::default(),
                groups: Vec::new(),
                groups_max: config.datagram.groups_per_socket_max,
                error: None,
                closed: None,
                readiness: Readiness::default(),
                waiters: Waiters::default(),
            }),
            send: Mutex::new(SendSide {
                queue: Bounded::new(bytes_max, Charge::new(memory.clone())),
                options: Options::default(),
                closed: None,
                readiness: Readiness::default(),
                waiters: Waiters::default(),
            }),
        }
    }

    /// The same with these options.
    pub(crate) fn with_options(self, options: Options) -> Self {
        self.send.lock().options = options;
        self
    }

    /// The address that the socket was bound to.
    pub(crate) fn bound_address(&self) -> SocketAddr {
        self.local
    }

    /// The source address since the socket was connected, if it is bound to a wildcard.
    pub(crate) fn source(&self) -> Option<IpAddr> {
        self.recv.lock().connected.source
    }

    /// Connects the socket, or disconnects it; its source is chosen for each datagram without one.
    pub(crate) fn connect(&self, peer: Option<SocketAddr>, source: Option<IpAddr>) {
        self.recv.lock().connected = Connected { peer, source };
    }

    /// The destination that `peer` means; the unspecified address stands for this host.
    #[inline]
    pub(crate) fn resolved(&self, peer: SocketAddr, source: Option<IpAddr>) -> SocketAddr {
        if !is_wildcard(peer) {
            return peer;
        }
        let bound = self.local.ip().to_canonical();
        let is_one = !bound.is_unspecified() && !bound.is_multicast();
        let own = source.filter(|source| !source.to_canonical().is_unspecified());
        let own = own.or(is_one.then_some(bound));
        SocketAddr::new(this_host(peer.ip(), own), peer.port())
    }

    pub(crate) fn bell(&self) -> &Bell {
        &self.bell
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Appends a received datagram, whose payload keeps `kept` bytes alive, and collects the wakers
    /// of readers.
    pub(crate) fn push_received(
        &self,
        datagram: Datagram,
        kept: usize,
        wakes: &mut Vec<Waker>,
    ) -> Pushed {
        let mut recv = self.recv.lock();
        if !recv.connected.accepts(self.local, &datagram) {
            return Pushed::Stranger;
        }
        if !recv.queue.has_room(kept) {
            return Pushed::Full;
        }
        recv.queue.push(datagram, kept);
        recv.readiness.renew();
        recv.waiters.wake(wakes);
        Pushed::Taken
    }

    /// Puts a datagram that was taken but not delivered back in front.
    pub(crate) fn unread(&self, datagram: Datagram, wakes: &mut Vec<Waker>) {
        let mut recv = self.recv.lock();
        recv.queue.unread(datagram);
        recv.readiness.renew();
        recv.waiters.wake(wakes);
    }

    /// Bytes received and not read, and bytes written and not sent, with their overhead.
    pub(crate) fn queued(&self) -> (usize, usize) {
        (self.recv.lock().queue.bytes, self.send.lock().queue.bytes)
    }

    pub(crate) fn set_error(&self, error: Error, wakes: &mut Vec<Waker>) {
        let mut recv = self.recv.lock();
        recv.error = Some(error);
        recv.readiness.renew();
        recv.waiters.wake(wakes);
    }

    /// Takes the oldest datagram to send, with the options for it, and collects writers to wake.
    pub(crate) fn take_to_send(&self, wakes: &mut Vec<Waker>) -> Option<(Datagram, Options)> {
        let mut send = self.send.lock();
        let datagram = send.queue.pop()?.datagram;
        send.readiness.renew();
        send.waiters.wake(wakes);
        Some((datagram, send.options))
    }

    /// The multicast groups that the socket is in.
    pub(crate) fn groups(&self) -> Vec<IpAddr> {
        self.recv.lock().groups.clone()
    }

    /// Ends the queue: the socket is gone.
    pub(crate) fn finish(&self, reason: Error, wakes: &mut Vec<Waker>) {
        let mut recv = self.recv.lock();
        recv.closed = Some(reason);
        recv.readiness.renew();
        recv.waiters.wake(wakes);
        drop(recv);
        let mut send = self.send.lock();
        send.closed = Some(reason);
        send.readiness.renew();
        send.waiters.wake(wakes);
    }
}

/// The fate of a received datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    Taken,
    /// The queue is full.
    Full,
    /// It is not from the socket's peer.
    Stranger,
}

impl RecvSide {
    fn is_ready(&self) -> bool {
        !self.queue.is_empty() || self.error.is_some() || self.closed.is_some()
    }

    fn state(&self) -> SideState {
        SideState {
            is_ready: self.is_ready() && !self.readiness.is_cleared(),
            is_closed: self.closed.is_some(),
            tick: self.readiness.tick(),
        }
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

impl SendSide {
    fn state(&self) -> SideState {
        let is_ready = self.closed.is_some() || self.queue.has_room(0);
        SideState {
            is_ready: is_ready && !self.readiness.is_cleared(),
            is_closed: self.closed.is_some(),
            tick: self.readiness.tick(),
        }
    }
}
