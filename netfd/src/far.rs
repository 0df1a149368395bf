//! The far end of a pair, on a tokio runtime.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionread};
use rustix::net::sockopt::set_socket_passcred;
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv,
    recvmsg, send, sendmsg, shutdown,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Weak};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The far end of a pair.
///
/// It is registered for reading only: with room for writing registered as well, each read at the
/// near end would wake this task. A [`Sender`] registers for room while there is none.
#[derive(Debug)]
pub(crate) struct Far(Arc<AsyncFd<OwnedFd>>);

/// Whether a near end is still open, for others than the owner of the far end, which this does not
/// keep open.
#[derive(Debug)]
pub(crate) struct Watch(Weak<AsyncFd<OwnedFd>>);

impl Watch {
    /// Whether the last copy of the near end is closed, or both of its halves are shut down; also
    /// if the far end is gone. The kernel shows this when `close` returns.
    pub(crate) fn has_hung_up(&self) -> bool {
        self.0.upgrade().is_none_or(|far| shows(&*far, PollFlags::HUP))
    }
}

/// At most this much is read at once. A pair of default size holds 208 KiB.
const RECV_BYTES_MAX: usize = 256 << 10;

impl Far {
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        register(fd, Interest::READABLE).map(|fd| Self(Arc::new(fd)))
    }

    pub(crate) fn watch(&self) -> Watch {
        Watch(Arc::downgrade(&self.0))
    }

    /// Reads what is there, into a buffer of just its size; nothing is the end.
    pub(crate) fn try_recv(&self) -> io::Result<Vec<u8>> {
        let waiting = usize::try_from(ioctl_fionread(&*self.0)?).unwrap_or(RECV_BYTES_MAX);
        // One byte more than nothing, because 0 bytes are read of anything.
        let mut data = Vec::with_capacity(waiting.clamp(1, RECV_BYTES_MAX));
        recv(&*self.0, rustix::buffer::spare_capacity(&mut data), RecvFlags::DONTWAIT)?;
        Ok(data)
    }

    /// As [`try_recv`](Self::try_recv), once there is something. Cancel safe.
    pub(crate) async fn recv(&self) -> io::Result<Vec<u8>> {
        self.read_with(|| self.try_recv()).await
    }

    /// Tries until `read` returns something else than `WouldBlock`. Cancel safe.
    pub(crate) async fn read_with<R>(
        &self,
        mut read: impl FnMut() -> io::Result<R>,
    ) -> io::Result<R> {
        loop {
            let mut guard = self.0.readable().await?;
            if let Ok(result) = guard.try_io(|_| read()) {
                return result;
            }
        }
    }

    /// Makes [`try_recv_packet`](Self::try_recv_packet) tell an empty packet from the end: every
    /// packet comes with credentials then.
    pub(crate) fn mark_packets(&self) -> io::Result<()> {
        Ok(set_socket_passcred(&*self.0, true)?)
    }

    /// Receives a packet; `None` is the end.
    pub(crate) fn try_recv_packet(&self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        let mut credentials = RecvAncillaryBuffer::default();
        let buf = &mut [IoSliceMut::new(buf)];
        let packet = recvmsg(&*self.0, buf, &mut credentials, RecvFlags::DONTWAIT)?;
        // There was no room for the credentials.
        let is_packet = packet.bytes > 0 || packet.flags.contains(ReturnFlags::CTRUNC);
        Ok(is_packet.then_some(packet.bytes))
    }

    /// Whether something is unread at this end.
    pub(crate) fn has_unread(&self) -> bool {
        ioctl_fionread(&*self.0).is_ok_and(|waiting| waiting > 0)
    }

    /// Sends a part of a stream, or a packet, if there is room.
    pub(crate) fn try_send(&self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        Ok(sendmsg(&*self.0, data, &mut SendAncillaryBuffer::default(), flags)?)
    }

    /// Waits until the near end has been closed, or both halves have been shut down: the kernel
    /// shows these alike. Cancel safe.
    pub(crate) async fn hung_up(&self) {
        // Not registered for room, so this is ready on a hang-up only.
        let _ = self.0.ready(Interest::WRITABLE).await;
    }

    /// Whether the near end was closed with bytes unread, as far as no read has taken the error.
    pub(crate) fn has_error(&self) -> bool {
        shows(&*self.0, PollFlags::ERR)
    }

    /// Whether what [`hung_up`](Self::hung_up) waits for has happened.
    pub(crate) fn has_hung_up(&self) -> bool {
        shows(&*self.0, PollFlags::HUP)
    }

    /// The near end reads the end of the stream.
    pub(crate) fn shutdown_write(&self) {
        let _ = shutdown(&*self.0, Shutdown::Write);
    }

    /// Writing at the near end fails.
    pub(crate) fn shutdown_read(&self) {
        let _ = shutdown(&*self.0, Shutdown::Read);
    }
}

impl AsFd for Far {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn shows(far: &impl AsFd, event: PollFlags) -> bool {
    let mut fds = [PollFd::new(far, PollFlags::empty())];
    poll(&mut fds, Some(&Timespec::default())).is_ok() && fds[0].revents().contains(event)
}

fn register(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    #[allow(
        deprecated,
        reason = "unsound for descriptors that may change; an `OwnedFd` does not, and the function \
                  that replaces it is unsafe"
    )]
    AsyncFd::with_interest(fd, interest)
}

/// Sends to the near end.
pub(crate) struct Sender<'a> {
    far: &'a Far,
    /// A second registration, for room.
    room: Option<AsyncFd<OwnedFd>>,
}

impl<'a> Sender<'a> {
    pub(crate) fn new(far: &'a Far) -> Self {
        Self { far, room: None }
    }

    /// Sends a part of `data`, once there is room. Cancel safe.
    pub(crate) async fn send(&mut self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        let far = self.far;
        loop {
            match far.try_send(data) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            let mut guard = self.room()?.writable().await?;
            // Room that was there before only is cleared, and waited for.
            if let Ok(result) = guard.try_io(|_| far.try_send(data)) {
                return result;
            }
        }
    }

    /// Gives the second registration up.
    pub(crate) fn rest(&mut self) {
        self.room = None;
    }

    fn room(&mut self) -> io::Result<&AsyncFd<OwnedFd>> {
        if self.room.is_none() {
            let copy = self.far.as_fd().try_clone_to_owned()?;
            self.room = Some(register(copy, Interest::WRITABLE)?);
        }
        self.room.as_ref().ok_or_else(|| Errno::BADF.into())
    }
}

/// Watches how packets are taken at the near end.
#[derive(Debug)]
pub(crate) struct Taken(AsyncFd<OwnedFd>);

impl Taken {
    /// For an empty pair.
    pub(crate) async fn new(far: &Far) -> io::Result<Self> {
        let taken = Self(register(far.as_fd().try_clone_to_owned()?, Interest::WRITABLE)?);
        // The room that there is.
        taken.next().await?;
        Ok(taken)
    }

    /// Waits until the one packet in the pair has been taken. Each packet taken is an event of its
    /// own, because the kernel wakes the writers then.
    pub(crate) async fn next(&self) -> io::Result<()> {
        self.0.writable().await?.clear_ready();
        Ok(())
    }
}

/// Sends through a copy of a near end, without waiting.
pub(crate) fn send_now(near: impl AsFd, data: &[u8]) -> io::Result<usize> {
    Ok(send(near, data, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
}

/// Whether something can be written to a near end.
pub(crate) fn is_writable(near: impl AsFd) -> io::Result<bool> {
    let mut fds = [PollFd::new(&near, PollFlags::OUT)];
    poll(&mut fds, Some(&Timespec::default()))?;
    Ok(fds[0].revents().contains(PollFlags::OUT))
}
