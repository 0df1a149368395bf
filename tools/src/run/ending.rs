//! The end of the program, and signals until then.

use nix::sys::signal::{SigSet, SigmaskHow, Signal as Number};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use std::io;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use tokio::sync::oneshot;

/// Signals that are for the program. A terminal's reach it by themselves.
const FORWARDED: [Number; 6] = [
    Number::SIGHUP,
    Number::SIGINT,
    Number::SIGQUIT,
    Number::SIGTERM,
    Number::SIGUSR1,
    Number::SIGUSR2,
];

/// Signals for the program: forwarded to it for as long as it lives. Before and after that they end
/// this process.
#[derive(Debug)]
pub(crate) struct Signals {
    program: Arc<Mutex<Option<Pid>>>,
    before: SigSet,
}

impl Signals {
    /// Begins to receive them. Called before any other thread is started, since each has a mask of
    /// its own.
    pub(crate) fn receive() -> io::Result<Self> {
        let set: SigSet = FORWARDED.into_iter().collect();
        let before = set.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC)?;
        let program = Arc::new(Mutex::new(None));
        let shared = program.clone();
        thread::Builder::new().name("signals".into()).spawn(move || {
            while let Ok(Some(signal)) = signals.read_signal() {
                forward(signal.ssi_signo as i32, signal.ssi_code, &shared);
            }
        })?;
        Ok(Self { program, before })
    }

    /// The mask that this process was started with, for the program.
    pub(crate) fn before(&self) -> SigSet {
        self.before
    }

    fn set_program(&self, pid: Option<Pid>) {
        *self.program.lock().unwrap_or_else(PoisonError::into_inner) = pid;
    }
}

fn forward(number: i32, code: i32, program: &Mutex<Option<Pid>>) {
    match *program.lock().unwrap_or_else(PoisonError::into_inner) {
        // The terminal has sent it to all processes in the foreground.
        Some(_) if code == libc::SI_KERNEL => {}
        Some(pid) => {
            if let Some(signal) = Signal::from_named_raw(number) {
                // If it has ended just now, there is nobody to tell.
                let _ = kill_process(pid, signal);
            }
        }
        None => std::process::exit(128 + number),
    }
}

/// The end of the program and of everything that it has started.
#[derive(Debug)]
pub(crate) struct Ending {
    program: oneshot::Receiver<WaitStatus>,
    all: oneshot::Receiver<()>,
}

impl Ending {
    /// Watches the program.
    pub(crate) fn watch(program: Pid, signals: Signals) -> io::Result<Self> {
        let (tell_end, told_end) = oneshot::channel();
        let (tell_all, told_all) = oneshot::channel();
        signals.set_program(Some(program));
        let reap = move || {
            let mut tell_end = Some(tell_end);
            reap(|pid, status| {
                if pid == program {
                    signals.set_program(None);
                    let _ = tell_end.take().map(|tell| tell.send(status));
                }
            });
            let _ = tell_all.send(());
        };
        thread::Builder::new().name("reaper".into()).spawn(reap)?;
        Ok(Self { program: told_end, all: told_all })
    }

    /// Waits until the program and its descendants have ended; returns the exit status of the
    /// program, in a shell's form.
    pub(crate) async fn ended(self) -> ExitCode {
        let _ = self.all.await;
        self.program.await.map_or(ExitCode::FAILURE, exit_code)
    }
}

/// Waits for all children: this process's own, and those that it has inherited.
fn reap(mut ended: impl FnMut(Pid, WaitStatus)) {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) => ended(pid, status),
            Ok(None) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

fn exit_code(status: WaitStatus) -> ExitCode {
    let code = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 1,
    };
    ExitCode::from(code as u8)
}
