//! Blocking calls: waiting for a descriptor, as the kernel does.

use crate::failure::Result;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, socket_timeout};
use std::os::fd::BorrowedFd;

/// Waits until the descriptor is ready, for at most its `SO_RCVTIMEO` or `SO_SNDTIMEO`.
///
/// # Errors
///
/// `EAGAIN` if that has passed; `EINTR`.
pub(crate) fn wait(near: BorrowedFd<'_>, flags: PollFlags) -> Result<PollFlags> {
    let which = if flags.contains(PollFlags::IN) { Timeout::Recv } else { Timeout::Send };
    let timeout = socket_timeout(near, which)?;
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    let mut fds = [PollFd::from_borrowed_fd(near, flags)];
    match poll(&mut fds, timeout.as_ref())? {
        0 => Err(Errno::AGAIN.into()),
        _ => Ok(fds[0].revents()),
    }
}
