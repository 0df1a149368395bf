//! Ethernet frames between two programs that meet at a path.

use super::Device;
use super::unix_datagram::{UnixDatagramDevice, UnixDatagramSlot};
use crate::unix_path::BoundPath;
use netcore::{Frame, Link, LinkCapabilities, Medium, Offload, Slot};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{sleep, timeout};

/// A device that carries Ethernet frames between two programs, which meet at a path: the other end
/// of VDE's `ptp://`.
///
/// Whoever comes first listens, on a socket of type `SOCK_SEQPACKET`; a third is turned away. When the
/// other hangs up the link has no carrier, and what is sent is lost, until somebody comes to the path
/// again.
///
/// VDE before 2025 (vdeplug 4.0.1) has two datagram sockets instead, at the path and at the path with a
/// `+`, and no end. Whoever comes second here finds that out, whoever comes first has to
/// [choose](Self::open_datagrams).
pub struct PtpDevice {
    place: PathBuf,
    mtu: usize,
    state: State,
}

enum State {
    /// Until the device is attached to a runtime.
    Begun(Begun),
    Meeting(Pin<Box<dyn Future<Output = io::Result<Met>> + Send>>),
    Connected(Connected),
    /// The form of VDE before 2025.
    Datagrams(UnixDatagramDevice),
    Gone,
}

/// A peer, and the socket to turn others away at if this is the end that listens.
struct Connected {
    frames: UnixDatagramDevice,
    listener: Option<Listener>,
}

type Met = (OwnedFd, Option<Listener>);

/// A listening socket, and its file.
struct Listener {
    socket: UnixListener,
    _path: BoundPath,
}

/// The outcome of an attempt to meet somebody.
enum Begun {
    /// Somebody listens: they answer with a byte.
    Reached(StdStream),
    Listening(StdListener, BoundPath),
    /// A file that nobody is behind, or not yet, by device and inode.
    Silent(Option<(u64, u64)>),
    /// A socket of datagrams.
    Datagrams,
}

/// The time between two attempts to reach somebody.
const RETRY: Duration = Duration::from_millis(100);
/// How long the answer may take, as in VDE.
const ANSWER: Duration = Duration::from_secs(2);
const ACCEPTED: u8 = 0;
/// `EISCONN` of Linux: there is a peer already.
const TAKEN: u8 = 106;
/// Connections that the kernel keeps for the listener.
const BACKLOG: i32 = 4;

impl PtpDevice {
    /// Meets another program at a path, for IP packets of up to `mtu` bytes. There need be nobody
    /// yet. The file of a socket that nobody listens on is replaced, and the file is removed with the
    /// device that has made it.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a path of more than 107 bytes; the kernel's, where the path cannot be a
    /// socket.
    pub fn open(path: impl AsRef<Path>, mtu: usize) -> io::Result<Self> {
        let place = path.as_ref().to_owned();
        let state = match begin(&place, None)? {
            Begun::Datagrams => {
                let own = second_place(&place);
                State::Datagrams(UnixDatagramDevice::connect(&place, Some(&own), mtu)?)
            }
            begun => State::Begun(begun),
        };
        Ok(Self { place, mtu, state })
    }

    /// The same with VDE before 2025, by datagrams.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if both places are taken; the kernel's.
    pub fn open_datagrams(path: impl AsRef<Path>, mtu: usize) -> io::Result<Self> {
        let place = path.as_ref().to_owned();
        let second = second_place(&place);
        let device = match UnixDatagramDevice::connect(&second, Some(&place), mtu) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                UnixDatagramDevice::connect(&place, Some(&second), mtu)
            }
            device => device,
        };
        Ok(Self { place, mtu, state: State::Datagrams(device?) })
    }

    fn meet(&mut self, listener: Option<Listener>, begun: Option<Begun>) {
        self.state = State::Meeting(Box::pin(meet(self.place.clone(), listener, begun)));
    }

    fn poll_met(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let State::Meeting(meeting) = &mut self.state else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let (socket, listener) = ready!(meeting.as_mut().poll(cx))?;
        let mut frames = UnixDatagramDevice::from_seqpacket(socket, self.mtu)?;
        frames.attach()?;
        self.state = State::Connected(Connected { frames, listener });
        Poll::Ready(Ok(()))
    }
}

/// The place of the second of two that meet by datagrams.
fn second_place(place: &Path) -> PathBuf {
    let mut second = place.as_os_str().to_owned();
    second.push("+");
    second.into()
}

/// Connects, or else listens. A file that has been silent before is replaced.
fn begin(place: &Path, silent: Option<(u64, u64)>) -> io::Result<Begun> {
    let failed = |error: io::Error| {
        let kind = match error.raw_os_error() {
            Some(ENAMETOOLONG) => io::ErrorKind::InvalidInput,
            _ => error.kind(),
        };
        io::Error::new(kind, format!("{}: {error}", place.display()))
    };
    let address = SocketAddrUnix::new(place).map_err(|error| failed(error.into()))?;
    let socket = || -> io::Result<OwnedFd> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
    };
    let reached = socket()?;
    match connect(&reached, &address).map_err(io::Error::from) {
        Ok(()) => return Ok(Begun::Reached(reached.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // Bound, and perhaps about to listen.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            let found = identity(place);
            if found.is_none() || found != silent {
                return Ok(Begun::Silent(found));
            }
        }
        Err(error) if error.raw_os_error() == Some(EPROTOTYPE) => return Ok(Begun::Datagrams),
        // Another waits for its answer.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Begun::Silent(None)),
        Err(error) => return Err(failed(error)),
    }
    let bind = |_: &Path| -> io::Result<OwnedFd> {
        let socket = socket()?;
        rustix::net::bind(&socket, &address)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(socket)
    };
    // Somebody else may have been quicker.
    let is_alive = |path: &Path| silent.is_none() || identity(path) != silent;
    match BoundPath::bind(place, bind, is_alive) {
        Ok((socket, path)) => Ok(Begun::Listening(socket.into(), path)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(Begun::Silent(None)),
        Err(error) => Err(error),
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|it| (it.dev(), it.ino()))
}

/// Waits for somebody.
async fn meet(
    place: PathBuf,
    mut listener: Option<Listener>,
    mut begun: Option<Begun>,
) -> io::Result<Met> {
    let mut silent = None;
    loop {
        if let Some(listening) = &listener {
            let (mut peer, _) = listening.socket.accept().await?;
            match peer.write_all(&[ACCEPTED]).await {
                Ok(()) => return Ok((peer.into_std()?.into(), listener)),
                // It has left.
                Err(_) => continue,
            }
        }
        match begun.take().map_or_else(|| begin(&place, silent), Ok) {
            Ok(Begun::Reached(stream)) => {
                if let Some(peer) = answered(stream).await {
                    return Ok((peer, None));
                }
                silent = None;
            }
            Ok(Begun::Listening(socket, path)) => {
                let socket = UnixListener::from_std(socket)?;
                listener = Some(Listener { socket, _path: path });
                continue;
            }
            Ok(Begun::Silent(file)) => silent = file,
            Ok(Begun::Datagrams) => silent = None,
            // The folder may come back.
            Err(error) => tracing::debug!(%error, "nobody was met"),
        }
        sleep(RETRY).await;
    }
}

/// Waits for the answer of the end that listens; none if it turns this one away.
async fn answered(stream: StdStream) -> Option<OwnedFd> {
    let mut stream = UnixStream::from_std(stream).ok()?;
    match timeout(ANSWER, stream.read_u8()).await {
        Ok(Ok(ACCEPTED)) => stream.into_std().ok().map(OwnedFd::from),
        other => {
            tracing::debug!(?other, "not accepted");
            None
        }
    }
}

impl Connected {
    /// Turns others away.
    fn refuse_others(&self, cx: &mut Context<'_>) {
        let Some(listener) = &self.listener else { return };
        for _ in 0..BACKLOG {
            match listener.socket.poll_accept(cx) {
                // Without room for a byte it sees the end.
                Poll::Ready(Ok((other, _))) => drop(other.try_write(&[TAKEN])),
                Poll::Ready(Err(_)) | Poll::Pending => return,
            }
        }
        cx.waker().wake_by_ref();
    }
}

/// `ENAMETOOLONG` of Linux.
const ENAMETOOLONG: i32 = 36;
/// `EPROTOTYPE` of Linux: a socket of another type.
const EPROTOTYPE: i32 = 91;

impl fmt::Debug for PtpDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PtpDevice")
            .field("place", &self.place)
            .field("has_peer", &self.has_carrier())
            .finish_non_exhaustive()
    }
}

impl Link for PtpDevice {
    type Slot<'a> = PtpSlot<'a>;

    fn capabilities(&self) -> LinkCapabilities {
        LinkCapabilities::new(Medium::Ethernet, self.mtu)
    }

    fn has_carrier(&self) -> bool {
        matches!(self.state, State::Connected(_) | State::Datagrams(_))
    }

    fn receive(&mut self) -> Option<Frame> {
        match &mut self.state {
            State::Connected(Connected { frames, .. }) | State::Datagrams(frames) => {
                frames.receive()
            }
            _ => None,
        }
    }

    fn transmit(&mut self) -> Option<PtpSlot<'_>> {
        match &mut self.state {
            State::Connected(Connected { frames, .. }) | State::Datagrams(frames) => {
                Some(PtpSlot(Some(frames.transmit()?)))
            }
            _ => Some(PtpSlot(None)),
        }
    }
}

impl Device for PtpDevice {
    fn attach(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.state, State::Gone) {
            State::Begun(begun) => self.meet(None, Some(begun)),
            attached => self.state = attached,
        }
        match &mut self.state {
            State::Datagrams(frames) => frames.attach(),
            _ => Ok(()),
        }
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let connected = match &mut self.state {
            State::Connected(connected) => connected,
            State::Datagrams(frames) => return frames.poll_receive(cx),
            _ => return self.poll_met(cx),
        };
        connected.refuse_others(cx);
        match ready!(connected.frames.poll_receive(cx)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let listener = connected.listener.take();
                self.meet(listener, None);
                // The stack reads that the carrier is gone, and then waits for the next peer.
                Poll::Ready(Ok(()))
            }
            received => Poll::Ready(received),
        }
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.state {
            State::Connected(Connected { frames, .. }) | State::Datagrams(frames) => {
                frames.poll_room(cx)
            }
            _ => Poll::Ready(Ok(())),
        }
    }

    fn poll_delivered(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.state {
            State::Connected(Connected { frames, .. }) | State::Datagrams(frames) => {
                frames.poll_delivered(cx)
            }
            _ => Poll::Ready(()),
        }
    }
}

/// The slot for one frame.
#[derive(Debug)]
pub struct PtpSlot<'a>(Option<UnixDatagramSlot<'a>>);

impl Slot for PtpSlot<'_> {
    fn send<R>(self, len: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        match self.0 {
            Some(slot) => slot.send(len, fill),
            // Without a peer it is lost, as on a wire that is unplugged.
            None => fill(&mut vec![0; len]).0,
        }
    }
}
