//! Early ends of a program: by a signal, or when its output cannot be written.

use anyhow::{Context, Result, anyhow};
use futures::future::{join_all, select_all};
use netstack::Stack;
use std::process::ExitCode;
use std::time::Duration;
use std::{fmt, io, process, thread};
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::SetOnce;

/// Why a program is to end.
#[derive(Debug)]
pub enum Stop {
    /// SIGINT or SIGTERM.
    Signal(SignalKind),
    /// Standard output is closed or full.
    Output(io::Error),
}

static STOP: SetOnce<Stop> = SetOnce::const_new();

/// The deadline for closing connections and releasing leases.
const FAREWELL: Duration = Duration::from_secs(2);

/// Only the first reason counts.
pub(crate) fn stop(why: Stop) {
    let _ = STOP.set(why);
}

/// Waits until the program is to end.
pub async fn stopped() -> &'static Stop {
    STOP.wait().await
}

pub(crate) fn has_stopped() -> Option<&'static Stop> {
    STOP.get()
}

/// The error of work that has ended because the program was stopped, if it was.
pub fn check_stopped() -> Result<()> {
    has_stopped().map_or(Ok(()), |stop| Err(stop.into()))
}

/// Runs the work until it is done, or the program is stopped: then the error is a `&'static` [`Stop`].
pub async fn until_stopped<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        // If both fail, the error of the work is reported.
        biased;
        result = work => result,
        stop = stopped() => Err(stop.into()),
    }
}

/// Runs the work until it is done, the program is stopped, or a stack ends; then shuts the stacks
/// down.
pub async fn finish<T, const N: usize>(
    stacks: [Stack; N],
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    finish_by_itself(stacks, until_stopped(work)).await
}

/// As [`finish`], for work that ends by itself when the program is [`stopped`].
pub async fn finish_by_itself<T, const N: usize>(
    stacks: [Stack; N],
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let result = {
        let ended = select_all(stacks.iter().map(|stack| Box::pin(stack.ended())));
        tokio::select! {
            result = work => result,
            (ended, ..) = ended => ended.context("the stack").and(Err(anyhow!("the stack has ended"))),
        }
    };
    let ends = join_all(stacks.map(|stack| stack.shutdown(FAREWELL))).await;
    // A failure of the device is the cause of all others.
    ends.into_iter().collect::<io::Result<()>>().context("the interface")?;
    result
}

/// As [`finish`], for work for which a signal is the normal end.
pub async fn serve<const N: usize>(
    stacks: [Stack; N],
    work: impl Future<Output = Result<()>>,
) -> Result<()> {
    match finish(stacks, work).await {
        Err(error) if matches!(error.downcast_ref(), Some(&&Stop::Signal(_))) => Ok(()),
        result => result,
    }
}

/// The first signal stops the program, and a second one ends it at once.
pub fn watch_signals() -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupts, mut terminations) = {
        let _context = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let mut next = async move || {
        tokio::select! {
            _ = interrupts.recv() => SignalKind::interrupt(),
            _ = terminations.recv() => SignalKind::terminate(),
        }
    };
    let watch = move || {
        runtime.block_on(async {
            stop(Stop::Signal(next().await));
            process::exit(i32::from(status(next().await)))
        })
    };
    thread::Builder::new().name("signals".into()).spawn(watch)?;
    Ok(())
}

/// The exit status that a shell gives a program that was ended by a signal.
fn status(signal: SignalKind) -> u8 {
    128 + signal.as_raw_value() as u8
}

impl Stop {
    /// The exit status, unless that is the program's to choose, and the message.
    pub(crate) fn outcome(&self) -> (Option<ExitCode>, Option<String>) {
        match self {
            Self::Signal(signal) => (Some(status(*signal).into()), None),
            // SIGPIPE, which Rust's runtime ignores, would have ended another program.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                (Some(status(SignalKind::pipe()).into()), None)
            }
            Self::Output(_) => (None, Some(self.to_string())),
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(_) => write!(f, "interrupted"),
            Self::Output(error) => {
                // As other programs have it, without the number.
                let text = error.to_string();
                let text = text.split(" (os error").next().unwrap_or_default();
                write!(f, "write error: {text}")
            }
        }
    }
}

impl std::error::Error for Stop {}
