//! The tasks behind the filter, and their descriptors.

use netstack::Net;
use netstack::netsocket::Owner;
use netstack::netsocket::netcore::HasChannel;
use rustix::fs::fstat;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::collections::HashMap;
use std::fs;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};

/// What distinguishes an open file from all others, whichever descriptors it has. It survives dup,
/// fork, exec and the way to another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    pub(crate) fn of(descriptor: impl AsFd) -> Result<Self, Errno> {
        let status = fstat(descriptor)?;
        Ok(Self { device: status.st_dev, inode: status.st_ino })
    }

    /// As programs find it in /proc: numbers of sockets have 32 bits there.
    pub(crate) fn inode(self) -> u32 {
        self.inode as u32
    }
}

/// Handles on tasks: opening one costs more than all else about a call.
#[derive(Debug, Default)]
pub(crate) struct Tasks(Mutex<HashMap<u32, Arc<OwnedFd>>>);

/// At this number of handles they are all closed, those of ended tasks among them.
const HANDLES_MAX: usize = 256;

impl Tasks {
    /// Duplicates a descriptor of a task.
    ///
    /// # Errors
    ///
    /// `EBADF` if the task has no such descriptor; `ESRCH` if it is gone.
    pub(crate) fn duplicate(&self, task: u32, number: RawFd) -> Result<OwnedFd, Errno> {
        // -1 has a meaning of its own for rustix.
        if number < 0 {
            return Err(Errno::BADF);
        }
        let handle = self.handle(task)?;
        match pidfd_getfd(&*handle, number, PidfdGetfdFlags::empty()) {
            // The handle of an earlier task of this number.
            Err(Errno::SRCH) => {
                self.forget(task);
                pidfd_getfd(&*self.handle(task)?, number, PidfdGetfdFlags::empty())
            }
            result => result,
        }
    }

    /// Duplicates a descriptor for this open file, whichever number the task has it under now;
    /// `None` if it has it no more.
    pub(crate) fn find(&self, task: u32, likely: RawFd, file: Identity) -> Option<OwnedFd> {
        let is_it = |number| {
            let descriptor = self.duplicate(task, number).ok()?;
            (Identity::of(&descriptor) == Ok(file)).then_some(descriptor)
        };
        is_it(likely).or_else(|| {
            let entries = fs::read_dir(format!("/proc/{task}/fd")).ok()?;
            let numbers =
                entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
            numbers.filter(|number| *number != likely).find_map(is_it)
        })
    }

    fn handle(&self, task: u32) -> Result<Arc<OwnedFd>, Errno> {
        let mut handles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = handles.get(&task) {
            return Ok(handle.clone());
        }
        if handles.len() >= HANDLES_MAX {
            handles.clear();
        }
        let handle = Arc::new(open(task)?);
        handles.insert(task, handle.clone());
        Ok(handle)
    }

    fn forget(&self, task: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&task);
    }
}

/// Opens a handle on a thread, or where the kernel has none (before 6.9) on its process: threads
/// that do not share descriptors with their process are not known to it.
fn open(task: u32) -> Result<OwnedFd, Errno> {
    let thread = PidfdFlags::from_bits_retain(libc::PIDFD_THREAD);
    match pidfd_open(pid(task)?, thread) {
        Err(Errno::INVAL) => pidfd_open(pid(process(task)?)?, PidfdFlags::empty()),
        result => result,
    }
}

fn pid(task: u32) -> Result<Pid, Errno> {
    i32::try_from(task).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)
}

/// The process of a thread.
fn process(task: u32) -> Result<u32, Errno> {
    let status = fs::read_to_string(format!("/proc/{task}/status")).map_err(|_| Errno::SRCH)?;
    let process = status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok());
    process.ok_or(Errno::SRCH)
}

/// The stack for a socket of this task, which has the name of its process if somebody may look from
/// outside.
pub(crate) fn net_of(net: &Net, task: u32) -> Net {
    match net.command_channel().keeps_owners().then(|| owner(task)).flatten() {
        Some(owner) => net.owned_by(owner),
        None => net.clone(),
    }
}

/// The process of a task, for those who look from outside; `None` if it is gone.
fn owner(task: u32) -> Option<Owner> {
    // Another namespace's has other processes under these numbers.
    let own = fs::read_link("/proc/self").ok()?;
    if own.to_str()?.parse() != Ok(std::process::id()) {
        return None;
    }
    let pid = process(task).ok()?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(Owner::named(name.trim_end_matches('\n')).with_pid(pid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_duplicate_is_the_same_file() {
        let (near, far) = rustix::pipe::pipe().expect("a pipe");
        let (tasks, task) = (Tasks::default(), std::process::id());

        let copy = tasks.duplicate(task, near.as_raw_fd()).expect("a duplicate");

        assert_eq!(Identity::of(&copy), Identity::of(&near));
        assert_eq!(Identity::of(&near), Identity::of(&far), "a pipe is one file");
        assert_eq!(tasks.duplicate(task, -1).err(), Some(Errno::BADF));
    }

    #[test]
    fn a_file_is_found_under_another_number() {
        let file = tempfile();
        let tasks = Tasks::default();
        let identity = Identity::of(&file).expect("an identity");

        let found = tasks.find(std::process::id(), 0, identity).expect("it is open");

        assert_eq!(Identity::of(&found), Ok(identity));
        drop((found, file));
        assert!(tasks.find(std::process::id(), 0, identity).is_none());
    }

    #[test]
    fn the_process_of_a_thread_is_known() {
        // Each test has a thread of its own.
        let own = rustix::thread::gettid().as_raw_nonzero().get() as u32;
        assert_eq!(process(own), Ok(std::process::id()));
    }

    /// A file that nobody else has open.
    fn tempfile() -> OwnedFd {
        rustix::fs::memfd_create("identity", rustix::fs::MemfdFlags::CLOEXEC).expect("a file")
    }
}
