//! Ethernet frames over a UNIX datagram socket.

use super::Device;
use super::framing::{FRAME_BYTES_MAX, HEADER_BYTES, HEADER_BYTES_MAX};
use crate::pool::Pool;
use crate::unix_path::BoundPath;
use netcore::{
    FRAME_BUFFER_BYTES, Frame, FrameChecksum, Link, LinkCapabilities, Medium, Offload, Slot,
};
use rustix::net::{SendFlags, SocketAddrUnix};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, Sleep};

/// A device that carries Ethernet frames over a UNIX datagram socket, one in each datagram without
/// a header: the other end of QEMU's `-netdev dgram` and of vfkit.
///
/// Datagrams have no end: a peer that ends may come back, and until then what is sent is lost. The
/// greeting `VFKT` of vfkit and krunkit is taken off.
///
/// A frame that the peer has no room for waits, for 0.1 s at most; then frames are dropped until the
/// peer reads again. So are those without a peer, and those that the kernel has no memory for
/// (`ENOBUFS`). [`counters`](Self::counters) tells how many.
pub struct UnixDatagramDevice {
    socket: Socket,
    peer: Peer,
    greeting: Greeting,
    mtu: usize,
    incoming: Incoming,
    /// The frame to send, in the first `outgoing_len` bytes.
    outgoing: Vec<u8>,
    outgoing_len: usize,
    /// Since when the frame waits for room.
    stuck_since: Option<Instant>,
    /// The next attempt, whatever the kernel tells of room.
    retry: Option<Pin<Box<Sleep>>>,
    /// The peer did not read in time, nor since.
    is_stalled: bool,
    counters: DatagramCounters,
    /// Removes the file of the socket at the end.
    _path: Option<BoundPath>,
}

/// What has arrived.
struct Incoming {
    pool: Pool,
    frames: VecDeque<Frame>,
    /// The largest frame of the link.
    frame_bytes_max: usize,
    counters: DatagramCounters,
}

enum Socket {
    Open(UnixDatagram),
    Attached(AsyncFd<UnixDatagram>),
    Gone,
}

/// Who receives what is sent.
enum Peer {
    /// That of a connected socket, of which the kernel tells when it has room again.
    Connected,
    /// That of a connected socket whose peer can hang up.
    Sequenced,
    At(PathBuf),
    /// The sender of the last datagram.
    Last(Option<SocketAddr>),
}

/// Whether the peer is to be greeted before the next frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Greeting {
    Never,
    Due,
    Sent,
}

/// Datagrams that a [`UnixDatagramDevice`] has dropped. Clones count the same.
#[derive(Debug, Clone, Default)]
pub struct DatagramCounters(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    outgoing: AtomicU64,
    incoming: AtomicU64,
}

impl DatagramCounters {
    /// Frames that could not be sent: without a peer, without room at the peer, or without memory in
    /// the kernel.
    pub fn dropped_outgoing(&self) -> u64 {
        self.0.outgoing.load(Ordering::Relaxed)
    }

    /// Datagrams that are no frame of this link: below 14 bytes, or larger than the MTU and its header.
    pub fn dropped_incoming(&self) -> u64 {
        self.0.incoming.load(Ordering::Relaxed)
    }
}

/// The first datagram of vfkit and krunkit.
const VFKIT: &[u8] = b"VFKT";
/// The most datagrams that are read at a time.
const BATCH_FRAMES: usize = 64;
/// The time between two attempts to send to a peer without room, where no event tells of it.
const RETRY: Duration = Duration::from_millis(1);
/// How long a frame waits for room.
const PATIENCE: Duration = Duration::from_millis(100);

impl UnixDatagramDevice {
    /// Sends to the socket of path `peer`, for IP packets of up to `mtu` bytes, from one of path
    /// `local`, or without one of an address that the kernel chooses. There need be nobody yet.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if somebody has `local`; the kernel's.
    pub fn connect(peer: impl AsRef<Path>, local: Option<&Path>, mtu: usize) -> io::Result<Self> {
        let peer = Peer::At(peer.as_ref().to_owned());
        if let Some(local) = local {
            return Self::bound(local, peer, mtu);
        }
        let socket = UnixDatagram::unbound()?;
        // An address of no bytes: the kernel chooses one (unix(7), "Autobind feature").
        rustix::net::bind(&socket, &SocketAddrUnix::new_unnamed())?;
        Self::new(socket, peer, mtu)
    }

    /// Receives on a new socket of this path, for IP packets of up to `mtu` bytes, and sends to
    /// whoever sent last. A socket file that nobody is behind is replaced, and the file is removed with
    /// the device. Whoever may write to the file may become the peer.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if somebody is there already or the file is no socket; the kernel's.
    pub fn listen(path: impl AsRef<Path>, mtu: usize) -> io::Result<Self> {
        Self::bound(path.as_ref(), Peer::Last(None), mtu)
    }

    /// A device on an open socket: a connected one sends to its peer, another one as
    /// [`listen`](Self::listen) does.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn from_socket(socket: UnixDatagram, mtu: usize) -> io::Result<Self> {
        let peer = match socket.peer_addr() {
            Ok(_) => Peer::Connected,
            Err(_) => Peer::Last(None),
        };
        Self::new(socket, peer, mtu)
    }

    /// A device on a socket that will be connected by a duplicate. Until then what is sent is lost.
    pub(super) fn to_be_connected(socket: UnixDatagram, mtu: usize) -> io::Result<Self> {
        Self::new(socket, Peer::Connected, mtu)
    }

    /// A device on a connected socket of type `SOCK_SEQPACKET`. The end of the peer ends the stack
    /// in good order.
    pub(crate) fn from_seqpacket(socket: OwnedFd, mtu: usize) -> io::Result<Self> {
        Self::new(socket.into(), Peer::Sequenced, mtu)
    }

    /// Makes it remove the file of its socket at the end.
    pub(super) fn with_path(self, path: BoundPath) -> Self {
        Self { _path: Some(path), ..self }
    }

    /// Greets the peer with `VFKT` before the first frame, and again when it has come back: for
    /// gvproxy, which waits for that.
    #[must_use]
    pub fn with_greeting(self) -> Self {
        Self { greeting: Greeting::Due, ..self }
    }

    /// What it has dropped.
    pub fn counters(&self) -> DatagramCounters {
        self.counters.clone()
    }

    fn bound(path: &Path, peer: Peer, mtu: usize) -> io::Result<Self> {
        let is_alive =
            |path: &Path| UnixDatagram::unbound().is_ok_and(|probe| probe.connect(path).is_ok());
        let (socket, path) = BoundPath::bind(path, |path| UnixDatagram::bind(path), is_alive)?;
        Ok(Self { _path: Some(path), ..Self::new(socket, peer, mtu)? })
    }

    fn new(socket: UnixDatagram, peer: Peer, mtu: usize) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let counters = DatagramCounters::default();
        let incoming = Incoming {
            pool: Pool::new(FRAME_BUFFER_BYTES),
            frames: VecDeque::new(),
            frame_bytes_max: FRAME_BYTES_MAX.min(HEADER_BYTES_MAX + mtu),
            counters: counters.clone(),
        };
        Ok(Self {
            socket: Socket::Open(socket),
            peer,
            greeting: Greeting::Never,
            mtu,
            outgoing: vec![0; incoming.frame_bytes_max],
            incoming,
            outgoing_len: 0,
            stuck_since: None,
            retry: None,
            is_stalled: false,
            counters,
            _path: None,
        })
    }

    fn socket(&self) -> Option<&UnixDatagram> {
        match &self.socket {
            Socket::Open(socket) => Some(socket),
            Socket::Attached(fd) => Some(fd.get_ref()),
            Socket::Gone => None,
        }
    }

    fn send_to_peer(&self, bytes: &[u8]) -> io::Result<usize> {
        let socket = self.socket().ok_or(io::ErrorKind::NotConnected)?;
        match &self.peer {
            Peer::Connected | Peer::Sequenced => match &self.socket {
                // Remembers that there is no room.
                Socket::Attached(fd) => fd.try_io(Interest::WRITABLE, |socket| send(socket, bytes)),
                Socket::Open(_) | Socket::Gone => send(socket, bytes),
            },
            Peer::At(path) => socket.send_to(bytes, path),
            Peer::Last(Some(address)) => socket.send_to_addr(bytes, address),
            Peer::Last(None) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Sends the frame in `outgoing`, drops it, or leaves it stuck.
    fn push(&mut self) {
        if self.greeting == Greeting::Due && self.send_to_peer(VFKIT).is_ok() {
            self.greeting = Greeting::Sent;
        }
        let sent = self.send_to_peer(&self.outgoing[..self.outgoing_len]);
        let waits = self.stuck_since.map_or(Duration::ZERO, |since| since.elapsed());
        match sent {
            Ok(_) => self.is_stalled = false,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if !self.is_stalled && waits < PATIENCE {
                    self.stuck_since.get_or_insert_with(Instant::now);
                    return;
                }
                self.is_stalled = true;
                self.count_lost();
            }
            Err(error) => {
                tracing::trace!(%error, "a frame was not sent");
                if self.greeting == Greeting::Sent {
                    self.greeting = Greeting::Due;
                }
                self.count_lost();
            }
        }
        (self.stuck_since, self.retry) = (None, None);
    }

    fn count_lost(&self) {
        self.counters.0.outgoing.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until no frame is stuck.
    fn poll_unstuck(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(since) = self.stuck_since {
            let mut wait = RETRY;
            let mut has_room = false;
            if let (Socket::Attached(fd), Peer::Connected | Peer::Sequenced) =
                (&self.socket, &self.peer)
            {
                wait = PATIENCE.saturating_sub(since.elapsed());
                has_room = matches!(fd.poll_write_ready(cx), Poll::Ready(Ok(_)));
            }
            if !has_room {
                let retry = self.retry.get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)));
                ready!(retry.as_mut().poll(cx));
            }
            self.retry = None;
            self.push();
        }
        Poll::Ready(())
    }
}

impl Incoming {
    /// Reads a batch; `WouldBlock` if there was nothing.
    fn read(&mut self, socket: &UnixDatagram, peer: &mut Peer) -> io::Result<()> {
        for read in 0..BATCH_FRAMES {
            let mut buffer = self.pool.take();
            // A byte more, to tell a frame that was cut.
            let room = buffer.slice_mut(0..self.frame_bytes_max + 1);
            let received = match peer {
                Peer::Last(last) => socket.recv_from(room).map(|(len, sender)| {
                    *last = (!sender.is_unnamed()).then_some(sender);
                    len
                }),
                _ => socket.recv(room),
            };
            let len = match received {
                // The peer has hung up.
                Ok(0) if matches!(peer, Peer::Sequenced) => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && read > 0 => break,
                Err(error) => return Err(error),
            };
            if (HEADER_BYTES..=self.frame_bytes_max).contains(&len) {
                self.frames.push_back(Frame::new(buffer.freeze(len), FrameChecksum::Unknown));
            } else if &buffer.as_ref()[..len] != VFKIT {
                self.counters.0.incoming.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

impl fmt::Debug for UnixDatagramDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnixDatagramDevice").field("mtu", &self.mtu).finish_non_exhaustive()
    }
}

impl Link for UnixDatagramDevice {
    type Slot<'a> = UnixDatagramSlot<'a>;

    fn capabilities(&self) -> LinkCapabilities {
        LinkCapabilities::new(Medium::Ethernet, self.mtu)
    }

    fn receive(&mut self) -> Option<Frame> {
        if self.incoming.frames.is_empty() {
            match &self.socket {
                // Without a readiness event of the runtime there is nothing to read.
                Socket::Attached(fd) => {
                    let (incoming, peer) = (&mut self.incoming, &mut self.peer);
                    // `poll_receive` meets an error again.
                    let _ = fd.try_io(Interest::READABLE, |socket| incoming.read(socket, peer));
                }
                Socket::Open(_) | Socket::Gone => {}
            }
        }
        self.incoming.frames.pop_front()
    }

    fn transmit(&mut self) -> Option<UnixDatagramSlot<'_>> {
        if self.stuck_since.is_some() {
            self.push();
        }
        self.stuck_since.is_none().then_some(UnixDatagramSlot(self))
    }
}

impl Device for UnixDatagramDevice {
    fn attach(&mut self) -> io::Result<()> {
        if let Socket::Open(socket) = std::mem::replace(&mut self.socket, Socket::Gone) {
            // SAFETY: the socket owns its open descriptor, and neither closes nor replaces it while
            // `AsyncFd` has it.
            #[expect(unsafe_code, reason = "AsyncFd wants a descriptor that stays open")]
            let attached = unsafe { AsyncFd::register(socket) }?;
            self.socket = Socket::Attached(attached);
        }
        Ok(())
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nobody waits for room without a further frame, but this one is to be sent.
        let _ = self.poll_unstuck(cx);
        let Self { socket: Socket::Attached(fd), incoming, peer, .. } = self else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        while incoming.frames.is_empty() {
            let mut guard = ready!(fd.poll_read_ready(cx))?;
            match guard.try_io(|fd| incoming.read(fd.get_ref(), peer)) {
                // What the last frame was refused with: the peer may come back.
                Ok(Err(error)) if !is_refusal(&error) || matches!(peer, Peer::Sequenced) => {
                    return Poll::Ready(match incoming.frames.is_empty() {
                        true => Err(end_of(error)),
                        false => Ok(()),
                    });
                }
                Ok(_) | Err(_) => {}
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_unstuck(cx).map(Ok)
    }

    fn poll_delivered(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_unstuck(cx)
    }
}

/// Sends to the peer of a connected socket.
fn send(socket: &UnixDatagram, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(socket, bytes, SendFlags::NOSIGNAL)?)
}

/// The error for a stack: a peer that ends with frames unread has ended in good order.
fn end_of(error: io::Error) -> io::Error {
    if is_refusal(&error) { io::ErrorKind::UnexpectedEof.into() } else { error }
}

fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset)
}

/// The slot for one frame.
#[derive(Debug)]
pub struct UnixDatagramSlot<'a>(&'a mut UnixDatagramDevice);

impl Slot for UnixDatagramSlot<'_> {
    fn send<R>(self, len: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        let device = self.0;
        device.outgoing_len = len;
        let result = fill(&mut device.outgoing[..len]).0;
        device.push();
        result
    }
}
