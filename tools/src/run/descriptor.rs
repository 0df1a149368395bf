//! The two ends of a UDP socket's descriptor: the near one is the program's, the far one ours.

use crate::run::tasks::Identity;
use netfd::Mode;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Our end.
#[derive(Debug)]
pub(crate) struct Far(UnixStream);

/// Makes the descriptor of a socket with datagrams. Not a pair of datagram sockets: those do not
/// see that the other end was closed.
pub(crate) fn datagrams(mode: Mode) -> io::Result<(OwnedFd, Far, Identity)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (near, far) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    if mode == Mode::Blocking {
        fcntl_setfl(&near, OFlags::empty())?;
    }
    let identity = Identity::of(&near)?;
    Ok((near, Far(UnixStream::from_std(far.into())?), identity))
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
