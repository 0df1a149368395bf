//! Finding a descriptor of this process again.

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use std::fs;
use std::os::fd::{OwnedFd, RawFd};

/// A copy of the near end with this key, if this process has it: most likely under `number`.
pub(crate) fn own_copy(key: u64, number: RawFd) -> Option<OwnedFd> {
    let process = pidfd_open(getpid(), PidfdFlags::empty()).ok()?;
    let copy = |number| {
        let copy = pidfd_getfd(&process, number, PidfdGetfdFlags::empty()).ok()?;
        (crate::key(&copy).ok()? == key).then_some(copy)
    };
    copy(number).or_else(|| copy(own_number(key)?))
}

/// The number that this process has the near end with this [key](crate::key) under, by the links in
/// /proc (proc_pid_fd(5)).
pub fn own_number(key: u64) -> Option<RawFd> {
    let name = format!("socket:[{key}]");
    let mut entries = fs::read_dir("/proc/self/fd").ok()?.flatten();
    let entry =
        entries.find(|it| fs::read_link(it.path()).is_ok_and(|to| to.as_os_str() == &*name))?;
    entry.file_name().to_str()?.parse().ok()
}
