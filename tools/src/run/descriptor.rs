//! The two ends of a socket's descriptor: the near one is the program's, the far one ours.

use crate::run::tasks::Identity;
use netstack::netsocket::TcpStream;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;

/// Bytes that make an end not writable: more than a quarter of a send buffer.
const FILLER: usize = 60_000;
/// The largest part of a stream that is moved at once, in bytes.
const PART: usize = 128 << 10;

/// Whether calls on a descriptor wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Blocking,
    NonBlocking,
}

/// Our end.
#[derive(Debug)]
pub(crate) struct Far(UnixStream);

/// Makes the descriptor of a stream.
pub(crate) fn stream(mode: Mode) -> io::Result<(OwnedFd, Far, Identity)> {
    pair(SocketType::STREAM, mode)
}

/// Makes the descriptor of a socket with datagrams. Not a pair of datagram sockets: those do not
/// see that the other end was closed.
pub(crate) fn datagrams(mode: Mode) -> io::Result<(OwnedFd, Far, Identity)> {
    pair(SocketType::SEQPACKET, mode)
}

fn pair(kind: SocketType, mode: Mode) -> io::Result<(OwnedFd, Far, Identity)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (near, far) = socketpair(AddressFamily::UNIX, kind, flags, None)?;
    if mode == Mode::Blocking {
        fcntl_setfl(&near, OFlags::empty())?;
    }
    let identity = Identity::of(&near)?;
    Ok((near, Far(UnixStream::from_std(far.into())?), identity))
}

/// Makes the near end not writable until [`Far::drain`].
pub(crate) fn fill(near: &OwnedFd) -> Result<(), Errno> {
    send(near, &[0; FILLER], SendFlags::DONTWAIT | SendFlags::NOSIGNAL).map(|_| ())
}

impl Far {
    /// Waits until the last copy of the near end is closed.
    pub(crate) async fn closed(&self) {
        loop {
            // To be writable no more is what tells it from a shutdown of one half.
            match self.0.ready(Interest::WRITABLE).await {
                Ok(ready) if !ready.is_write_closed() => {}
                _ => return,
            }
            // Waits for the next event.
            let wait = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            let _ = self.0.try_io(Interest::WRITABLE, wait);
        }
    }

    /// Forgets what [`closed`](Self::closed) has seen, which reads and writes would wait for.
    pub(crate) fn rearm(self) -> io::Result<Self> {
        Ok(Self(UnixStream::from_std(self.0.into_std()?)?))
    }

    /// Makes the near end writable again. Without this, closing the far end makes the near one show
    /// an error, as a failed attempt does.
    pub(crate) fn drain(&self) {
        let mut filler = vec![0; FILLER];
        let mut left = FILLER;
        while left > 0 {
            match recv(&self.0, &mut filler[..left], RecvFlags::DONTWAIT) {
                Ok((_, n)) if n > 0 => left -= n,
                _ => return,
            }
        }
    }

    /// Makes the near end readable once more.
    pub(crate) fn announce(&self) {
        let _ = send(&self.0, &[1], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }

    /// Moves bytes until both directions have ended; calls `reset` after a reset of the connection.
    pub(crate) async fn pump(self, stream: TcpStream, reset: impl FnOnce()) {
        let Ok(far) = self.rearm() else { return };
        let (mut far_read, mut far_write) = far.0.into_split();
        let (read, mut write) = stream.into_split();
        let inward = async {
            loop {
                let bytes = read.as_ref().recv_bytes(PART).await?;
                if bytes.is_empty() {
                    return far_write.shutdown().await;
                }
                far_write.write_all(&bytes).await?;
            }
        };
        let outward = async {
            let mut buf = vec![0; PART];
            loop {
                match far_read.read(&mut buf).await? {
                    0 => return write.shutdown().await,
                    n => write.write_all(&buf[..n]).await?,
                }
            }
        };
        if tokio::try_join!(inward, outward).is_err() {
            reset();
        }
    }

    pub(crate) async fn send(&self, datagram: &[u8]) -> io::Result<()> {
        let send_it = || send(&self.0, datagram, SendFlags::NOSIGNAL).map_err(io::Error::from);
        self.0.async_io(Interest::WRITABLE, send_it).await.map(|_| ())
    }

    /// The next datagram of the program; `None` once its end is closed.
    pub(crate) async fn recv<'a>(&self, buf: &'a mut [u8]) -> Option<&'a [u8]> {
        let mut recv_it = || recv(&self.0, &mut *buf, RecvFlags::DONTWAIT).map_err(io::Error::from);
        let (_, n) = self.0.async_io(Interest::READABLE, &mut recv_it).await.ok()?;
        // An empty datagram looks like the end.
        if n == 0 && self.is_closed() { None } else { Some(&buf[..n]) }
    }

    fn is_closed(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, poll};
        let mut ends = [PollFd::new(&self.0, PollFlags::RDHUP)];
        poll(&mut ends, Some(&Default::default())).is_ok()
            && ends[0].revents().contains(PollFlags::HUP)
    }
}

/// Takes back what [`Far::announce`] has written.
pub(crate) fn take_announcement(near: &OwnedFd) {
    let _ = recv(near, &mut [0; 1], RecvFlags::DONTWAIT);
}

/// Leaves a byte unread in the far end: closing that then resets the near one.
pub(crate) fn poison(near: &OwnedFd) {
    let _ = send(near, b"r", SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
}
