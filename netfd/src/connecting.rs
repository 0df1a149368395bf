//! A connection attempt, as the near end shows it.

use crate::far::{is_writable, send_now};
use crate::stream_end::StreamEnd;
use rustix::net::{RecvFlags, recv};
use std::io;
use std::os::fd::BorrowedFd;

/// The far end of a TCP socket's pair during a connection attempt: the near end is not writable.
///
/// A Unix socket is writable while at most a quarter of its send buffer is in use, so more than
/// that is in use by filler. Unlike with a kernel's socket, a write meanwhile does not fail with
/// `EAGAIN`: its bytes are sent once the connection is made, as with `TCP_FASTOPEN_CONNECT`.
///
/// ```no_run
/// # use std::{io, os::fd::OwnedFd, sync::Arc};
/// # async fn example(
/// #     net: netsocket::Net, near: OwnedFd, end: netfd::StreamEnd, near_copy: impl FnOnce() -> Option<OwnedFd>,
/// # ) -> io::Result<()> {
/// let connecting = end.connecting(&near)?;
/// drop(near);
/// // The program's `connect` returns EINPROGRESS here.
/// let attempt = tokio::select! {
///     attempt = net.tcp_connect("10.0.0.2:80") => attempt,
///     () = connecting.closed() => return Ok(()),
/// };
/// match attempt {
///     Ok(stream) => connecting.finish()?.carry(Arc::new(stream), |_| near_copy()).await,
///     Err(error) => Ok(connecting.fail()),
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Connecting {
    end: StreamEnd,
    filler: usize,
}

/// One read takes all that a pair of default size holds.
const DISCARDS_MAX: usize = 4;

static FILLER: [u8; 64 << 10] = [0; 64 << 10];

impl Connecting {
    pub(crate) fn new(end: StreamEnd, near: BorrowedFd<'_>) -> io::Result<Self> {
        // Written before there was a connection. A program that never stops is not waited for.
        for _ in 0..DISCARDS_MAX {
            if !end.far().try_recv().is_ok_and(|data| !data.is_empty()) {
                break;
            }
        }
        let mut filler = 0;
        while is_writable(near)? {
            match send_now(near, &FILLER) {
                Ok(n) => filler += n,
                // The program has shut its half down.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
                Err(error) => return Err(error),
            }
        }
        Ok(Self { end, filler })
    }

    /// The [key](crate::key) of the near end.
    pub fn key(&self) -> u64 {
        self.end.key()
    }

    /// As [`StreamEnd::closed`]: the attempt is to be given up.
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub async fn closed(&self) {
        self.end.closed().await;
    }

    /// Makes the near end writable: the connection is made, or a blocking `connect` has failed and
    /// the program may call it again.
    ///
    /// State that the program may ask for once it is writable, as its peer's address, is to be
    /// set before.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn finish(self) -> io::Result<StreamEnd> {
        let mut left = self.filler;
        let mut scratch = vec![0; left.min(FILLER.len())];
        while left > 0 {
            let part = left.min(scratch.len());
            let (n, _) = recv(self.end.far(), &mut scratch[..part], RecvFlags::DONTWAIT)?;
            if n == 0 {
                break;
            }
            left -= n;
        }
        Ok(self.end)
    }

    /// Shows that the attempt has failed: `POLLIN`, `POLLOUT`, `POLLERR` and `POLLHUP`, as the
    /// kernel does. The near end's own `SO_ERROR`, and the first read, say `ECONNRESET`; to say
    /// which error it was, `getsockopt` has to be answered for it. It cannot connect again.
    pub fn fail(self) {
        // A Unix socket is closed with bytes unread: its peer has an error (unix(7) has it not;
        // `unix_release_sock` in the kernel).
        drop(self);
    }

    pub(crate) fn into_end(self) -> StreamEnd {
        self.end
    }
}
