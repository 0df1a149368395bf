//! The device of a stack in a tunnel.

use super::config::Config;
use super::counters::WireGuardCounters;
use super::outgoing::Outgoing;
use super::peer::HANDSHAKE_BYTES_MAX;
use super::socket::TunnelSocket;
use super::tunnels::Tunnels;
use super::unreachable::unreachable;
use crate::device::Device;
use crate::pool::{Buffer, Pool};
use netcore::{
    FRAME_BUFFER_BYTES, Frame, FrameChecksum, Link, LinkCapabilities, Medium, Offload, Slot,
};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// A device that carries IP packets through WireGuard tunnels to one or several peers.
///
/// It has a UDP socket of the machine's kernel, and needs no privileges. Packets go to the peer whose
/// allowed addresses have the longest prefix of the destination, and are accepted from a peer only with
/// a source that would go to it. A packet for nobody is answered as unreachable. A peer is where its last authentic packet came from. Packets wait for a
/// handshake, up to 256 of each peer; after 90 seconds without an answer they are dropped, and the next
/// packet begins again.
///
/// A tunnel over which nothing goes has nothing to do, unless its peer is to be kept alive.
pub struct WireGuardDevice {
    socket: TunnelSocket,
    tunnels: Tunnels,
    mtu: usize,
    incoming: Incoming,
    outgoing: Outgoing,
    /// The packet that the stack writes.
    packet: Box<[u8]>,
    /// The next look at the timers of the tunnels.
    timer: Option<Pin<Box<Sleep>>>,
    is_looking: bool,
    counters: WireGuardCounters,
}

/// Packets for the stack.
struct Incoming {
    frames: VecDeque<Frame>,
    pool: Pool,
    /// Packets of one read, which share a buffer.
    open: Option<Buffer>,
    used: usize,
    ranges: Vec<Range<usize>>,
}

/// The time between two looks at the timers, the shortest of which is 5 seconds.
const TICK: Duration = Duration::from_millis(250);
/// With this many packets for the stack those that no peer takes are not answered.
const ANSWERS_MAX: usize = 64;
/// How often `poll_receive` reads datagrams of no use to the stack before it lets others run.
const READS_MAX: usize = 16;

impl WireGuardDevice {
    /// Binds the socket, and asks the machine's resolver for the peers' endpoints, which may take its
    /// time.
    ///
    /// # Errors
    ///
    /// `AddrInUse` for a port that another program has; for an endpoint those of the resolver.
    pub fn open(config: &Config) -> io::Result<Self> {
        let mtu = config.mtu();
        if mtu > usize::from(Config::MTU_MAX) {
            let message = format!("an MTU of {mtu} is above {}", Config::MTU_MAX);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let counters = WireGuardCounters::default();
        let tunnels = Tunnels::new(config, counters.clone())?;
        Ok(Self {
            socket: TunnelSocket::bind(config.listen_port.unwrap_or(0))?,
            tunnels,
            mtu,
            incoming: Incoming::new(),
            outgoing: Outgoing::new(counters.clone()),
            packet: vec![0; mtu].into_boxed_slice(),
            timer: None,
            is_looking: false,
            counters,
        })
    }

    /// What it counts.
    pub fn counters(&self) -> WireGuardCounters {
        self.counters.clone()
    }

    /// The UDP port that peers send to.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn local_port(&self) -> io::Result<u16> {
        self.socket.local_addr().map(|address| address.port())
    }

    /// Has the timers run, and those brought up to date that have not.
    fn wake(&mut self) {
        if self.timer.is_none() {
            self.tunnels.tick(&mut self.outgoing);
            self.timer = Some(Box::pin(tokio::time::sleep(TICK)));
        }
    }

    /// Runs the timers if they are due, and stops them when there are none.
    fn poll_timer(&mut self, cx: &mut Context<'_>) {
        while let Some(timer) = &mut self.timer
            && timer.as_mut().poll(cx).is_ready()
        {
            if self.tunnels.tick(&mut self.outgoing) {
                timer.as_mut().reset(Instant::now() + TICK);
            } else {
                self.timer = None;
            }
            self.outgoing.flush(&self.socket);
        }
    }

    /// Waits until everything is sent.
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            self.outgoing.flush(&self.socket);
            if self.outgoing.is_empty() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.socket.poll_writable(cx))?;
        }
    }

    /// Reads what is there; `WouldBlock` if there was nothing.
    fn read(&mut self) -> io::Result<()> {
        self.wake();
        let Self { socket, tunnels, incoming, outgoing, is_looking, .. } = self;
        let read = socket.receive(std::mem::take(is_looking), |source, datagram| {
            incoming.put(datagram.len().max(HANDSHAKE_BYTES_MAX), |room| {
                tunnels.receive(source, datagram, room, outgoing)
            });
        });
        incoming.close();
        self.outgoing.flush(&self.socket);
        match read {
            // What an earlier datagram met on its way.
            Err(error) if is_of_the_way(&error) => Ok(()),
            read => read,
        }
    }
}

fn is_of_the_way(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted, NetworkUnreachable,
    };
    let kind = error.kind();
    [ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted, NetworkUnreachable]
        .contains(&kind)
}

impl Incoming {
    fn new() -> Self {
        Self {
            frames: VecDeque::new(),
            pool: Pool::new(FRAME_BUFFER_BYTES),
            open: None,
            used: 0,
            ranges: Vec::new(),
        }
    }

    /// Adds a packet of at most `len_max` bytes, if `write` returns its length.
    fn put(&mut self, len_max: usize, write: impl FnOnce(&mut [u8]) -> Option<usize>) {
        if self.open.as_ref().is_some_and(|open| open.len() - self.used < len_max) {
            self.close();
        }
        let open = self.open.get_or_insert_with(|| self.pool.take());
        let start = self.used;
        if let Some(len) = write(open.slice_mut(start..start + len_max)) {
            self.used += len;
            self.ranges.push(start..start + len);
        }
    }

    /// Adds a message of the device itself; some are enough.
    fn answer(&mut self, message: Option<Vec<u8>>) {
        if self.frames.len() < ANSWERS_MAX {
            let frame = |message: Vec<u8>| Frame::new(message.into(), FrameChecksum::Unknown);
            self.frames.extend(message.map(frame));
        }
    }

    /// Gives the packets to the stack.
    fn close(&mut self) {
        if self.ranges.is_empty() {
            return;
        }
        if let Some(open) = self.open.take() {
            let whole = open.freeze(self.used);
            let frames = self.ranges.drain(..).map(|range| whole.slice(range));
            self.frames.extend(frames.map(|data| Frame::new(data, FrameChecksum::Unknown)));
            self.used = 0;
        }
    }
}

impl fmt::Debug for WireGuardDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WireGuardDevice").field("mtu", &self.mtu).finish_non_exhaustive()
    }
}

impl Link for WireGuardDevice {
    type Slot<'a> = WireGuardSlot<'a>;

    fn capabilities(&self) -> LinkCapabilities {
        LinkCapabilities::new(Medium::Ip, self.mtu)
    }

    fn receive(&mut self) -> Option<Frame> {
        if self.incoming.frames.is_empty() {
            // `poll_receive` meets an error again.
            let _ = self.read();
        }
        self.incoming.frames.pop_front()
    }

    fn transmit(&mut self) -> Option<WireGuardSlot<'_>> {
        if self.outgoing.is_full() {
            self.outgoing.flush(&self.socket);
        }
        (!self.outgoing.is_full()).then_some(WireGuardSlot(self))
    }
}

impl Device for WireGuardDevice {
    fn attach(&mut self) -> io::Result<()> {
        self.socket.attach()?;
        self.tunnels.start(&mut self.outgoing);
        self.wake();
        self.outgoing.flush(&self.socket);
        Ok(())
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        for _ in 0..READS_MAX {
            if !self.incoming.frames.is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.poll_timer(cx);
            // Nobody waits for room without a further packet, but these are to be sent.
            let _ = self.poll_sent(cx);
            ready!(self.socket.poll_readable(cx))?;
            match self.read() {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Poll::Ready(Err(error));
                }
                _ => {}
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.outgoing.is_full() {
            ready!(self.socket.poll_writable(cx))?;
            self.outgoing.flush(&self.socket);
        }
        Poll::Ready(Ok(()))
    }

    fn flush(&mut self) {
        self.outgoing.flush(&self.socket);
    }

    fn poll_delivered(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_sent(cx).map(drop)
    }

    fn look(&mut self) {
        self.is_looking = true;
    }
}

/// The slot for one packet.
#[derive(Debug)]
pub struct WireGuardSlot<'a>(&'a mut WireGuardDevice);

impl Slot for WireGuardSlot<'_> {
    fn send<R>(self, len: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        let device = self.0;
        device.wake();
        let (result, _) = fill(&mut device.packet[..len]);
        let packet = &device.packet[..len];
        if !device.tunnels.send(packet, &mut device.outgoing) {
            device.incoming.answer(unreachable(packet));
        }
        result
    }
}
