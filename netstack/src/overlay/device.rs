//! The device of an overlay network.

use super::config::{Encapsulation, OverlayConfig};
use super::forwarding::Forwarding;
use super::local::LocalAddresses;
use super::receiver::Receiver;
use super::sender::Sender;
use super::sockets::{BatchSocket, Sockets, interface_index, scoped, send_now};
use crate::device::Device;
use crate::frame_layout::{ETHERNET_HEADER, Layout, complete_partial};
use netcore::{Frame, Link, LinkCapabilities, Medium, Offload, Slot};
use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::Interest;
use tokio::net::UdpSocket as TokioSocket;
use tokio::time::Instant;

/// A device that carries Ethernet frames in UDP datagrams of the kernel.
///
/// A frame to a known address goes to the peer that was its source last; others go to the group and
/// to each fixed peer. What cannot be sent is lost, as on a wire, and counted.
pub struct OverlayDevice {
    forwarding: Forwarding,
    sockets: State,
    own_address: SocketAddr,
    /// Own datagrams come back from the group.
    hears_itself: bool,
    mtu: usize,
    local: LocalAddresses,
    receiver: Receiver,
    sender: Sender,
    /// The frame that is written.
    frame: Box<[u8]>,
    /// The time of this round, once it was asked for.
    now: Option<Instant>,
    /// The next read does not wait for an event of the runtime.
    looks: bool,
    counters: OverlayCounters,
}

enum State {
    Open(Sockets),
    Attached { own: BatchSocket<TokioSocket>, group: Option<BatchSocket<TokioSocket>> },
    Gone,
}

/// Datagrams that an [`OverlayDevice`] has dropped. Clones count the same.
#[derive(Debug, Clone, Default)]
pub struct OverlayCounters(Arc<CountersInner>);

#[derive(Debug, Default)]
pub(super) struct CountersInner {
    outgoing: AtomicU64,
    pub(super) dropped_incoming: AtomicU64,
}

impl OverlayCounters {
    /// Datagrams that the kernel refused to send.
    pub fn dropped_outgoing(&self) -> u64 {
        self.0.outgoing.load(Ordering::Relaxed)
    }

    /// Datagrams with another network's header, or with no frame behind it.
    pub fn dropped_incoming(&self) -> u64 {
        self.0.dropped_incoming.load(Ordering::Relaxed)
    }
}

/// The largest frame that a stack gives to be cut: a packet of 65,535 bytes behind a header with a
/// VLAN tag.
const FRAME_BYTES_MAX: usize = 18 + PACKET_BYTES_MAX;
const PACKET_BYTES_MAX: usize = 65_535;

impl OverlayDevice {
    /// Opens the sockets.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a configuration that names nobody, mixes families or is out of range;
    /// `AddrInUse` if somebody has the port; `NotFound` for an interface that does not exist, or a
    /// group that no route leads to; the kernel's.
    pub fn open(config: &OverlayConfig) -> io::Result<Self> {
        config.check()?;
        let interface = interface_index(config)?;
        let mut config = config.clone();
        config.remotes.iter_mut().for_each(|remote| *remote = scoped(*remote, interface));
        let forwarding = Forwarding::new(&config);
        let sockets = Sockets::open(&config, interface, forwarding.all())?;
        let fitting = config.mtu_inside(sockets.path_mtu);
        let frame_bytes = fitting + ETHERNET_HEADER;
        Ok(Self {
            own_address: sockets.own.socket.local_addr()?,
            hears_itself: config.encapsulation == Encapsulation::Vxvde && config.group.is_some(),
            mtu: config.mtu.unwrap_or(fitting),
            local: LocalAddresses::default(),
            receiver: Receiver::new(),
            sender: Sender::new(forwarding.header().len() + frame_bytes),
            frame: vec![0; FRAME_BYTES_MAX].into_boxed_slice(),
            now: None,
            looks: false,
            counters: OverlayCounters::default(),
            sockets: State::Open(sockets),
            forwarding,
        })
    }

    /// The same for packets of at most `mtu` bytes inside.
    #[must_use]
    pub fn with_mtu_max(mut self, mtu: usize) -> Self {
        self.mtu = self.mtu.min(mtu);
        self
    }

    /// The address of the socket that sends.
    pub fn local_addr(&self) -> SocketAddr {
        self.own_address
    }

    /// What it has dropped.
    pub fn counters(&self) -> OverlayCounters {
        self.counters.clone()
    }

    /// Reads a batch from each socket; `WouldBlock` if there was nothing.
    fn read(&mut self, waits_for_event: bool) -> io::Result<()> {
        let Self { sockets, forwarding, receiver, local, counters, .. } = self;
        let State::Attached { own, group } = sockets else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let (own_address, hears_itself) = (self.own_address, self.hears_itself);
        let mut is_own = |from: SocketAddr, now| {
            hears_itself && from.port() == own_address.port() && local.contains(from, now)
        };
        let mut outcome = Err(io::ErrorKind::WouldBlock.into());
        for it in [Some(&*own), group.as_ref()].into_iter().flatten() {
            let (receiver, forwarding) = (&mut *receiver, &mut *forwarding);
            let mut read =
                || receiver.read(&it.socket, &it.state, forwarding, &counters.0, &mut is_own);
            let read = match waits_for_event {
                true => it.socket.try_io(Interest::READABLE, &mut read),
                false => read(),
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => outcome = read,
            }
        }
        outcome
    }

    /// Sends what waits, as far as there is room.
    fn send_waiting(&mut self) {
        let State::Attached { own, .. } = &self.sockets else { return };
        let mut lost = 0;
        let (sender, all) = (&mut self.sender, self.forwarding.all());
        // Without room it goes on waiting.
        let _ = own
            .socket
            .try_io(Interest::WRITABLE, || sender.send(&own.socket, &own.state, all, &mut lost));
        if lost > 0 {
            self.counters.0.outgoing.fetch_add(lost, Ordering::Relaxed);
        }
    }

    /// Waits until nothing waits any more.
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.sender.is_empty() {
            let State::Attached { own, .. } = &self.sockets else { break };
            ready!(own.socket.poll_send_ready(cx))?;
            self.send_waiting();
        }
        Poll::Ready(Ok(()))
    }

    /// Adds the frame in the first `len` bytes.
    fn push(&mut self, len: usize, offload: Offload) {
        let State::Attached { own, .. } = &self.sockets else { return };
        let now = *self.now.get_or_insert_with(Instant::now);
        let (forwarding, sender) = (&self.forwarding, &mut self.sender);
        let frame = &mut self.frame[..len];
        let to = forwarding.destination(frame, now);
        let mut push = |piece: &[u8]| sender.push(&own.state, to, forwarding.header(), piece);
        match (offload.segment_bytes, offload.checksum) {
            (Some(segment_bytes), _) => {
                if let Some(layout) = Layout::of(frame) {
                    layout.cut_into(frame, segment_bytes.into(), push);
                }
            }
            (None, Some(partial)) => {
                complete_partial(frame, partial);
                push(frame);
            }
            (None, None) => push(frame),
        }
    }
}

impl fmt::Debug for OverlayDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OverlayDevice")
            .field("local_addr", &self.own_address)
            .field("mtu", &self.mtu)
            .finish_non_exhaustive()
    }
}

impl Link for OverlayDevice {
    type Slot<'a> = OverlaySlot<'a>;

    fn capabilities(&self) -> LinkCapabilities {
        LinkCapabilities::new(Medium::Ethernet, self.mtu).with_offload(Some(PACKET_BYTES_MAX))
    }

    fn receive(&mut self) -> Option<Frame> {
        if self.receiver.frames.is_empty() {
            let waits_for_event = !std::mem::take(&mut self.looks);
            // `poll_receive` meets an error again.
            let _ = self.read(waits_for_event);
        }
        self.receiver.frames.pop_front()
    }

    fn transmit(&mut self) -> Option<OverlaySlot<'_>> {
        if !self.sender.has_room() {
            self.send_waiting();
        }
        self.sender.has_room().then_some(OverlaySlot(self))
    }
}

impl Device for OverlayDevice {
    fn attach(&mut self) -> io::Result<()> {
        if let State::Open(sockets) = std::mem::replace(&mut self.sockets, State::Gone) {
            let attach = |it: BatchSocket<UdpSocket>| -> io::Result<BatchSocket<TokioSocket>> {
                Ok(BatchSocket { socket: TokioSocket::from_std(it.socket)?, state: it.state })
            };
            let group = sockets.group.map(attach).transpose()?;
            self.sockets = State::Attached { own: attach(sockets.own)?, group };
        }
        Ok(())
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nobody waits for room without a further frame, but these are to be sent.
        let _ = self.poll_sent(cx)?;
        loop {
            if !self.receiver.frames.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let State::Attached { own, group } = &self.sockets else {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            };
            let mut has_any = own.socket.poll_recv_ready(cx)?.is_ready();
            if let Some(group) = group {
                has_any |= group.socket.poll_recv_ready(cx)?.is_ready();
            }
            if !has_any {
                return Poll::Pending;
            }
            match self.read(true) {
                Err(error) if !is_transient(&error) => return Poll::Ready(Err(error)),
                _ => {}
            }
        }
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_sent(cx)
    }

    fn poll_delivered(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_sent(cx).map(drop)
    }

    fn flush(&mut self) {
        self.now = None;
        if !self.sender.is_empty() {
            self.send_waiting();
        }
    }

    fn look(&mut self) {
        self.looks = true;
    }
}

/// Errors of a read after which there are others: those that ICMP reports, and those of an interface
/// that is down.
fn is_transient(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::WouldBlock
            | Kind::Interrupted
            | Kind::ConnectionRefused
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::NetworkDown
            | Kind::OutOfMemory
    )
}

impl Drop for OverlayDevice {
    fn drop(&mut self) {
        let Some(goodbye) = self.forwarding.goodbye() else { return };
        let all = self.forwarding.all();
        match &self.sockets {
            State::Open(Sockets { own, .. }) => {
                all.iter().for_each(|to| send_now(&own.socket, goodbye, *to));
            }
            State::Attached { own, .. } => {
                all.iter().for_each(|to| send_now(&own.socket, goodbye, *to));
            }
            State::Gone => {}
        }
    }
}

/// The slot for one frame.
#[derive(Debug)]
pub struct OverlaySlot<'a>(&'a mut OverlayDevice);

impl Slot for OverlaySlot<'_> {
    fn send<R>(self, len: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        let device = self.0;
        let (result, offload) = fill(&mut device.frame[..len]);
        device.push(len, offload);
        result
    }
}
