//! The memory of the program.

use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;
use rustix::io::Errno;
use std::io::{IoSlice, IoSliceMut};

/// Reads `buf.len()` bytes at this address of a task.
///
/// # Errors
///
/// `EFAULT` if they are not all there; `ESRCH` if the task is gone.
pub(crate) fn read(task: u32, address: u64, buf: &mut [u8]) -> Result<(), Errno> {
    if buf.is_empty() {
        return Ok(());
    }
    let len = buf.len();
    let remote = [RemoteIoVec { base: address as usize, len }];
    whole(process_vm_readv(pid(task), &mut [IoSliceMut::new(buf)], &remote), len)
}

/// Writes bytes to this address of a task.
///
/// # Errors
///
/// As [`read`].
pub(crate) fn write(task: u32, address: u64, bytes: &[u8]) -> Result<(), Errno> {
    if bytes.is_empty() {
        return Ok(());
    }
    let remote = [RemoteIoVec { base: address as usize, len: bytes.len() }];
    whole(process_vm_writev(pid(task), &[IoSlice::new(bytes)], &remote), bytes.len())
}

fn pid(task: u32) -> Pid {
    // The kernel's process ids are positive.
    Pid::from_raw(task as i32)
}

fn whole(done: nix::Result<usize>, len: usize) -> Result<(), Errno> {
    match done {
        Ok(n) if n == len => Ok(()),
        Ok(_) => Err(Errno::FAULT),
        Err(errno) => Err(Errno::from_raw_os_error(errno as i32)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_and_written() {
        let task = std::process::id();
        let mut there = *b"hello";
        let at = there.as_mut_ptr().expose_provenance() as u64;
        let mut here = [0; 5];

        read(task, at, &mut here).expect("own memory");
        write(task, at, b"world").expect("own memory");

        assert_eq!((&here, std::hint::black_box(&there)), (b"hello", b"world"));
    }

    #[test]
    fn an_address_without_memory_is_a_fault() {
        assert_eq!(read(std::process::id(), 16, &mut [0; 4]), Err(Errno::FAULT));
        assert_eq!(write(std::process::id(), 16, &[0; 4]), Err(Errno::FAULT));
        assert_eq!(read(std::process::id(), 16, &mut []), Ok(()));
    }
}
