//! The kernel's side of seccomp user notification (seccomp_unotify(2)): installing a filter,
//! receiving the calls that stop at it, and answering them.
#![expect(unsafe_code, reason = "no crate has these system calls")]

use crate::run::tasks;
use libc::{seccomp_notif, seccomp_notif_addfd, seccomp_notif_resp, sock_filter, sock_fprog};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// A call that waits at the filter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Notification {
    /// Names the notification.
    pub(crate) id: u64,
    /// The thread whose call it is.
    pub(crate) task: u32,
    /// The number of the system call.
    pub(crate) number: libc::c_long,
    pub(crate) arguments: [u64; 6],
}

/// Where the calls of a filter arrive.
#[derive(Debug)]
pub(crate) struct Listener(OwnedFd);

/// Whether a descriptor is closed by exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnExec {
    Keep,
    Close,
}

/// Puts the calling thread, and all that it will start, behind the filter for good; returns the
/// number of the listener, which is closed by exec. Makes two system calls and nothing else, as is
/// fit between fork and exec.
///
/// # Errors
///
/// `EBUSY` if the thread is behind a filter with a listener already.
pub(crate) fn install(filter: &[sock_filter]) -> io::Result<RawFd> {
    rustix::thread::set_no_new_privs(true)?;
    let len = u16::try_from(filter.len()).map_err(|_| Errno::INVAL)?;
    let program = sock_fprog { len, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the program and its instructions live until the call returns; the kernel copies
    // them, and does not write.
    let listener = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    };
    match listener {
        -1 => Err(io::Error::last_os_error()),
        listener => Ok(listener as RawFd),
    }
}

impl Listener {
    pub(crate) fn new(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }

    /// Takes the listener that a process has under this number.
    ///
    /// # Errors
    ///
    /// `EPERM` if this process may not look into that one (ptrace(2)); `EBADF` and `EINVAL` if it has
    /// no listener there; `ESRCH` if it is gone.
    pub(crate) fn of(process: u32, number: RawFd) -> Result<Self, Errno> {
        let listener = Self(tasks::Tasks::default().duplicate(process, number)?);
        let mut nobody = 0_u64;
        match listener.ioctl(libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw mut nobody) {
            // That no such call waits, a listener alone says.
            Ok(_) | Err(Errno::NOENT) => Ok(listener),
            Err(_) => Err(Errno::INVAL),
        }
    }

    /// Waits for the next call; `None` once no task is left behind the filter.
    pub(crate) fn next(&self) -> io::Result<Option<Notification>> {
        loop {
            // Kernels before 6.11 do not wake a receiver when the last task ends, but a poll.
            let mut ready = [PollFd::new(self, PollFlags::IN)];
            match poll(&mut ready, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let ready = ready[0].revents();
            if !ready.contains(PollFlags::IN) {
                if ready.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
                    return Ok(None);
                }
                continue;
            }
            match self.receive() {
                Ok(notification) => return Ok(Some(notification)),
                // Its task was killed, or interrupted by a signal.
                Err(Errno::NOENT | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn receive(&self) -> Result<Notification, Errno> {
        // SAFETY: all bits zero are a value of this structure of integers; the kernel asks for it.
        let mut raw: seccomp_notif = unsafe { std::mem::zeroed() };
        self.ioctl(libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut raw)?;
        Ok(Notification {
            id: raw.id,
            task: raw.pid,
            number: libc::c_long::from(raw.data.nr),
            arguments: raw.data.args,
        })
    }

    /// Whether the call still waits: until then its thread, and the memory that it has pointed to,
    /// are those of the notification.
    pub(crate) fn is_waiting(&self, id: u64) -> bool {
        let mut id = id;
        self.ioctl(libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw mut id).is_ok()
    }

    /// Has the call return this.
    ///
    /// # Errors
    ///
    /// `ENOENT` if it does not wait any more: its task was killed, or interrupted by a signal.
    pub(crate) fn answer(&self, id: u64, result: Result<i64, Errno>) -> Result<(), Errno> {
        let (val, error) = match result {
            Ok(val) => (val, 0),
            Err(errno) => (0, -errno.raw_os_error()),
        };
        self.send(seccomp_notif_resp { id, val, error, flags: 0 })
    }

    /// Has the kernel do the call.
    ///
    /// # Errors
    ///
    /// As [`answer`](Self::answer).
    pub(crate) fn pass(&self, id: u64) -> Result<(), Errno> {
        let flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
        self.send(seccomp_notif_resp { id, val: 0, error: 0, flags })
    }

    fn send(&self, mut response: seccomp_notif_resp) -> Result<(), Errno> {
        self.ioctl(libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut response).map(|_| ())
    }

    /// Puts a copy of the descriptor into the program, and has the call return its number, which is
    /// returned.
    ///
    /// # Errors
    ///
    /// As [`answer`](Self::answer); `EMFILE` if the program has too many descriptors: the call
    /// still waits then.
    pub(crate) fn insert(
        &self,
        id: u64,
        descriptor: BorrowedFd<'_>,
        on_exec: OnExec,
    ) -> Result<RawFd, Errno> {
        let mut request = seccomp_notif_addfd {
            id,
            flags: libc::SECCOMP_ADDFD_FLAG_SEND as u32,
            srcfd: descriptor.as_raw_fd() as u32,
            newfd: 0,
            newfd_flags: if on_exec == OnExec::Close { libc::O_CLOEXEC as u32 } else { 0 },
        };
        self.ioctl(libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw mut request)
    }

    fn ioctl<T>(&self, request: libc::Ioctl, argument: *mut T) -> Result<libc::c_int, Errno> {
        // SAFETY: every caller gives the structure that its request is for, alive and its own.
        match unsafe { libc::ioctl(self.0.as_raw_fd(), request, argument) } {
            -1 => {
                let error = io::Error::last_os_error();
                Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))
            }
            result => Ok(result),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
