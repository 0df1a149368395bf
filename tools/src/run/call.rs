//! A system call of the program, from its arrival to its answer.

use crate::run::memory;
use crate::run::notification::{Listener, Notification, OnExec};
use netfd::posix::{Family, Given, SOCKADDR_LEN_MAX};
use rustix::io::Errno;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::Arc;

/// A call that waits for its answer. Dropped without one, it fails with `EIO`, so that no defect
/// here makes the program wait for ever.
#[derive(Debug)]
pub(crate) struct Call {
    listener: Arc<Listener>,
    notification: Notification,
    is_answered: bool,
}

/// Why a call could not be answered: its thread was killed, or interrupted by a signal. In the
/// second case the kernel repeats it, or has it return `EINTR`; either way the program has not seen
/// the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

impl Call {
    pub(crate) fn new(listener: Arc<Listener>, notification: Notification) -> Self {
        Self { listener, notification, is_answered: false }
    }

    /// The number of the system call.
    pub(crate) fn number(&self) -> libc::c_long {
        self.notification.number
    }

    pub(crate) fn task(&self) -> u32 {
        self.notification.task
    }

    pub(crate) fn argument(&self, index: usize) -> u64 {
        self.notification.arguments[index]
    }

    /// An argument that is an `int`: its upper half has no meaning.
    pub(crate) fn int(&self, index: usize) -> libc::c_int {
        self.argument(index) as libc::c_int
    }

    /// Whether its thread still waits.
    pub(crate) fn is_waiting(&self) -> bool {
        self.listener.is_waiting(self.notification.id)
    }

    /// Reads memory of the program. It may change after that: what was read once is what counts.
    ///
    /// # Errors
    ///
    /// `EFAULT` if it is not all there.
    pub(crate) fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), Errno> {
        memory::read(self.task(), address, buf)?;
        // If the task has ended its number may be another's by now, and the memory, too.
        if self.is_waiting() { Ok(()) } else { Err(Errno::SRCH) }
    }

    /// Reads an `int` or `socklen_t`.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub(crate) fn read_u32(&self, address: u64) -> Result<u32, Errno> {
        let mut bytes = [0; 4];
        self.read(address, &mut bytes)?;
        Ok(u32::from_ne_bytes(bytes))
    }

    /// Writes to memory of the program.
    ///
    /// # Errors
    ///
    /// `EFAULT` if it is not all there.
    pub(crate) fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        if !self.is_waiting() {
            return Err(Errno::SRCH);
        }
        memory::write(self.task(), address, bytes)
    }

    /// Reads the address of these arguments, for a socket of this family.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), and those of [`Family::decode`].
    pub(crate) fn address(&self, family: Family, at: u64, len: u64) -> Result<Given, Errno> {
        let len = usize::try_from(len as u32).ok().filter(|len| *len <= SOCKADDR_LEN_MAX);
        let mut bytes = vec![0; len.ok_or(Errno::INVAL)?];
        self.read(at, &mut bytes)?;
        family.decode(&bytes)
    }

    /// Writes an address and its length, as much as the program has room for.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write); `EINVAL` for a negative length.
    pub(crate) fn write_address(
        &self,
        family: Family,
        address: SocketAddr,
        at: u64,
        len_at: u64,
    ) -> Result<(), Errno> {
        let bytes = family.encode(address);
        self.write_sized(&bytes, at, len_at)?;
        self.write(len_at, &(bytes.len() as u32).to_ne_bytes())
    }

    /// Writes a value, as much of it as the program says that it has room for; returns that.
    ///
    /// # Errors
    ///
    /// As [`write_address`](Self::write_address).
    pub(crate) fn write_sized(&self, bytes: &[u8], at: u64, len_at: u64) -> Result<usize, Errno> {
        let room = self.read_u32(len_at)? as libc::c_int;
        let room = usize::try_from(room).map_err(|_| Errno::INVAL)?.min(bytes.len());
        self.write(at, &bytes[..room])?;
        Ok(room)
    }

    /// Has the call return this.
    pub(crate) fn answer(mut self, result: Result<i64, Errno>) -> Result<(), Gone> {
        self.is_answered = true;
        self.listener.answer(self.notification.id, result).map_err(|_| Gone)
    }

    /// Has the call fail.
    pub(crate) fn fail(self, errno: Errno) {
        // If it is gone, there is nobody to tell.
        let _ = self.answer(Err(errno));
    }

    /// Answers a call that changes nothing, or that may be repeated.
    pub(crate) fn end(self, result: Result<i64, Errno>) {
        let _ = self.answer(result);
    }

    /// Leaves the call to the kernel.
    pub(crate) fn pass(mut self) {
        self.is_answered = true;
        let _ = self.listener.pass(self.notification.id);
    }

    /// Has the call return a new descriptor for this file, and returns its number.
    ///
    /// # Errors
    ///
    /// `None` in place of the number if the program did not get it: it is gone, or has too many
    /// descriptors, which the call then says.
    pub(crate) fn insert(mut self, file: BorrowedFd<'_>, on_exec: OnExec) -> Option<RawFd> {
        match self.listener.insert(self.notification.id, file, on_exec) {
            Ok(number) => {
                self.is_answered = true;
                Some(number)
            }
            Err(errno) => {
                self.fail(errno);
                None
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.is_answered {
            let _ = self.listener.answer(self.notification.id, Err(Errno::IO));
        }
    }
}
