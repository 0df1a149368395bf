//! Ethernet frames over a UNIX stream socket.

use super::Device;
use super::stream::{StreamDevice, StreamSlot};
use crate::unix_path::BoundPath;
use netcore::{Frame, Link, LinkCapabilities, Medium, Offload, Slot};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::fmt;
use std::io;
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};

/// A device that carries Ethernet frames over a UNIX stream socket, each behind its length in four
/// bytes, big-endian: the other end of QEMU's `-netdev stream` and of passt.
///
/// A peer that ends may come back: until then the link has no carrier, and what is sent is lost.
/// [`once`](Self::once) makes its end that of the stack. A length that no frame has ends the stack
/// with `InvalidData`, as in [`StreamDevice`].
pub struct UnixStreamDevice {
    peer: Peer,
    mtu: usize,
    is_once: bool,
    /// The first connection, until the device is attached to a runtime.
    unattached: Option<StdStream>,
    connection: Option<StreamDevice<UnixStream>>,
    /// The attempt to reach the peer again.
    attempt: Option<Pin<Box<dyn Future<Output = UnixStream> + Send>>>,
    /// Removes the file of the listening socket at the end.
    _path: Option<BoundPath>,
}

/// Where the next connection comes from.
enum Peer {
    /// There is none.
    Given,
    Unattached(StdListener),
    Listening(UnixListener),
    At(PathBuf),
}

/// The time between two attempts to reach a peer that has ended.
const RETRY: Duration = Duration::from_millis(100);

impl UnixStreamDevice {
    /// Connects to a socket, for IP packets of up to `mtu` bytes. When the peer ends the device
    /// connects again, ten times a second until it succeeds.
    ///
    /// # Errors
    ///
    /// Nobody listens there, or the path is too long; the kernel's.
    pub fn connect(path: impl AsRef<Path>, mtu: usize) -> io::Result<Self> {
        let path = path.as_ref();
        let attempt = || -> io::Result<StdStream> {
            let (flags, address) =
                (SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, SocketAddrUnix::new(path)?);
            let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            connect(&socket, &address)?;
            Ok(socket.into())
        };
        let stream = attempt().map_err(|error| {
            io::Error::new(error.kind(), format!("connecting to {}: {error}", path.display()))
        })?;
        Ok(Self { unattached: Some(stream), ..Self::new(Peer::At(path.to_owned()), mtu) })
    }

    /// Listens on a new socket of this path, for IP packets of up to `mtu` bytes. It has one peer at
    /// a time; others wait until that one ends. A socket file that nobody listens on is replaced, and
    /// the file is removed with the device.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if somebody listens there already or the file is no socket; the kernel's.
    pub fn listen(path: impl AsRef<Path>, mtu: usize) -> io::Result<Self> {
        let path = path.as_ref();
        let is_alive = |path: &Path| StdStream::connect(path).is_ok();
        let (listener, path) = BoundPath::bind(path, |path| StdListener::bind(path), is_alive)?;
        listener.set_nonblocking(true)?;
        Ok(Self { _path: Some(path), ..Self::new(Peer::Unattached(listener), mtu) })
    }

    /// A device on a connected socket. The end of the peer ends the stack in good order.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn from_stream(stream: StdStream, mtu: usize) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { unattached: Some(stream), ..Self::new(Peer::Given, mtu) })
    }

    /// A device on a listening socket, otherwise as [`listen`](Self::listen).
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn from_listener(listener: StdListener, mtu: usize) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self::new(Peer::Unattached(listener), mtu))
    }

    /// Makes the end of the first peer that of the stack, in good order.
    #[must_use]
    pub fn once(self) -> Self {
        Self { is_once: true, ..self }
    }

    fn new(peer: Peer, mtu: usize) -> Self {
        Self {
            peer,
            mtu,
            is_once: false,
            unattached: None,
            connection: None,
            attempt: None,
            _path: None,
        }
    }

    /// Waits for the next peer.
    fn poll_peer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<UnixStream>> {
        let path = match &self.peer {
            Peer::Given => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Peer::Unattached(_) => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            Peer::Listening(listener) => {
                return listener.poll_accept(cx).map_ok(|(stream, _)| stream);
            }
            Peer::At(path) => path,
        };
        let attempt = self.attempt.get_or_insert_with(|| Box::pin(reach(path.clone())));
        let stream = ready!(attempt.as_mut().poll(cx));
        self.attempt = None;
        Poll::Ready(Ok(stream))
    }
}

/// Connects as soon as somebody listens there again.
async fn reach(path: PathBuf) -> UnixStream {
    loop {
        tokio::time::sleep(RETRY).await;
        if let Ok(stream) = UnixStream::connect(&path).await {
            return stream;
        }
    }
}

impl fmt::Debug for UnixStreamDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnixStreamDevice")
            .field("mtu", &self.mtu)
            .field("has_peer", &self.connection.is_some())
            .finish_non_exhaustive()
    }
}

impl Link for UnixStreamDevice {
    type Slot<'a> = UnixStreamSlot<'a>;

    fn capabilities(&self) -> LinkCapabilities {
        LinkCapabilities::new(Medium::Ethernet, self.mtu)
    }

    fn has_carrier(&self) -> bool {
        self.connection.is_some()
    }

    fn receive(&mut self) -> Option<Frame> {
        self.connection.as_mut()?.receive()
    }

    fn transmit(&mut self) -> Option<UnixStreamSlot<'_>> {
        match &mut self.connection {
            Some(connection) => Some(UnixStreamSlot(Some(connection.transmit()?))),
            None => Some(UnixStreamSlot(None)),
        }
    }
}

impl Device for UnixStreamDevice {
    fn attach(&mut self) -> io::Result<()> {
        self.peer = match std::mem::replace(&mut self.peer, Peer::Given) {
            Peer::Unattached(listener) => Peer::Listening(UnixListener::from_std(listener)?),
            attached => attached,
        };
        if let Some(stream) = self.unattached.take() {
            let stream = UnixStream::from_std(stream)?;
            self.connection = Some(StreamDevice::new(stream, self.mtu));
        }
        Ok(())
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(connection) = &mut self.connection {
            let received = ready!(connection.poll_receive(cx));
            let is_end =
                received.as_ref().is_err_and(|it| it.kind() == io::ErrorKind::UnexpectedEof);
            if !is_end || self.is_once || matches!(self.peer, Peer::Given) {
                return Poll::Ready(received);
            }
            // The stack reads that the carrier is gone, and then waits for the next peer.
            self.connection = None;
            return Poll::Ready(Ok(()));
        }
        let stream = ready!(self.poll_peer(cx))?;
        self.connection = Some(StreamDevice::new(stream, self.mtu));
        Poll::Ready(Ok(()))
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.connection {
            Some(connection) => connection.poll_room(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn flush(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.flush();
        }
    }

    fn poll_delivered(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.connection {
            Some(connection) => connection.poll_delivered(cx),
            None => Poll::Ready(()),
        }
    }
}

/// The slot for one frame.
#[derive(Debug)]
pub struct UnixStreamSlot<'a>(Option<StreamSlot<'a, UnixStream>>);

impl Slot for UnixStreamSlot<'_> {
    fn send<R>(self, len: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        match self.0 {
            Some(slot) => slot.send(len, fill),
            // Without a peer it is lost, as on a wire that is unplugged.
            None => fill(&mut vec![0; len]).0,
        }
    }
}
