//! Starting the program behind the filter.
#![expect(unsafe_code, reason = "what happens between fork and exec is std's unsafe interface")]

use crate::run::notification::{self, Listener};
use libc::sock_filter;
use nix::sys::signal::SigSet;
use rustix::io::{read, write};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;

/// The program, running.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) pid: Pid,
    /// Where its calls arrive.
    pub(crate) listener: Listener,
}

/// The child tells its parent its process id and the number of the listener in it.
type Handover = [i32; 2];

/// Starts the program with this mask of signals; `command` is its name, which is looked up in PATH,
/// and its arguments.
///
/// The child gets no copy of the listener past its exec, and the parent is never behind the filter.
///
/// # Errors
///
/// Those of exec: `NotFound`, `PermissionDenied`; `ResourceBusy` if the parent itself is behind a
/// filter that has a listener.
pub(crate) fn start(
    command: &[OsString],
    signals: SigSet,
    filter: Vec<sock_filter>,
) -> io::Result<Program> {
    let (told, tell) = pipe_with(PipeFlags::CLOEXEC)?;
    let (wait, go) = pipe_with(PipeFlags::CLOEXEC)?;
    let mut child = Command::new(&command[0]);
    child.args(&command[1..]);
    let install = move || -> io::Result<()> {
        signals.thread_set_mask()?;
        let listener = notification::install(&filter)?;
        let handover: Handover = [rustix::process::getpid().as_raw_nonzero().get(), listener];
        write(&tell, bytes_of(&handover).as_slice())?;
        // The end of the pipe, if the parent could not take the listener.
        match read(&wait, &mut [0; 1])? {
            1 => Ok(()),
            _ => Err(rustix::io::Errno::CANCELED.into()),
        }
    };
    // SAFETY: between fork and exec it makes system calls alone, and neither allocates nor locks.
    unsafe { child.pre_exec(install) };
    // Returns when the child has called exec, for which it waits for this thread.
    let spawning = thread::Builder::new().name("spawn".into()).spawn(move || child.spawn())?;
    let taken = take_listener(&told, go);
    let spawned = spawning.join().expect("spawning a process does not panic");
    // Where both have failed, the one that told nothing is the consequence.
    match (spawned, taken) {
        (Err(error), Err(end)) if end.kind() == io::ErrorKind::UnexpectedEof => Err(error),
        (_, Err(error)) | (Err(error), Ok(_)) => Err(error),
        (Ok(_), Ok((pid, listener))) => Ok(Program { pid, listener: Listener::new(listener) }),
    }
}

/// Takes the listener out of the child, and lets that go on.
fn take_listener(told: &OwnedFd, go: OwnedFd) -> io::Result<(Pid, OwnedFd)> {
    let mut bytes = [0; size_of::<Handover>()];
    // Less than the atomic size of a pipe: all or nothing.
    if read(told, &mut bytes)? < bytes.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let [pid, number] = bytes_to(bytes);
    let pid = Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH)?;
    let handle = pidfd_open(pid, PidfdFlags::empty())?;
    let listener = pidfd_getfd(handle.as_fd(), number, PidfdGetfdFlags::empty())?;
    write(&go, &[1])?;
    Ok((pid, listener))
}

fn bytes_of(handover: &Handover) -> [u8; size_of::<Handover>()] {
    let mut bytes = [0; size_of::<Handover>()];
    for (place, value) in bytes.chunks_exact_mut(4).zip(handover) {
        place.copy_from_slice(&value.to_ne_bytes());
    }
    bytes
}

fn bytes_to(bytes: [u8; size_of::<Handover>()]) -> Handover {
    let [a, b, c, d, e, f, g, h] = bytes;
    [i32::from_ne_bytes([a, b, c, d]), i32::from_ne_bytes([e, f, g, h])]
}
