//! The start and end of a program.

use crate::network::finish_recordings;
use crate::stop::{self, Stop};
use crate::{eprintln, log};
use anyhow::{Context, Error, Result};
use clap::{Arg, ArgAction, Command, Parser};
use std::io;
use std::path::Path;
use std::process::{ExitCode, Termination};
use tokio::runtime::Runtime;

/// Parses the flags and runs the program. Wrong usage is reported by clap, with exit status 2; a
/// failure after that is reported in one line, with exit status 1.
pub fn run<A: Parser, T: Termination>(example: impl AsyncFnOnce(A) -> Result<T>) -> ExitCode {
    run_on(|_| Runtime::new(), example)
}

/// The same on a runtime that depends on the flags.
pub fn run_on<A: Parser, T: Termination>(
    runtime: impl FnOnce(&A) -> io::Result<Runtime>,
    example: impl AsyncFnOnce(A) -> Result<T>,
) -> ExitCode {
    match start::<A>() {
        Ok(args) => {
            let runtime = runtime(&args);
            work(|| runtime, example(args))
        }
        Err(status) => status,
    }
}

/// Runs the work of a program that has parsed its flags, and reports a failure as [`run`] does.
pub fn run_parsed<T: Termination>(work: impl Future<Output = Result<T>>) -> ExitCode {
    self::work(Runtime::new, work)
}

fn work<T: Termination>(
    runtime: impl FnOnce() -> io::Result<Runtime>,
    work: impl Future<Output = Result<T>>,
) -> ExitCode {
    let ended = stop::watch_signals().and_then(|()| runtime()).context("starting tokio");
    let ended = ended.and_then(|runtime| {
        let ended = runtime.block_on(work);
        finish_recordings();
        // Does not wait for threads that read standard input.
        runtime.shutdown_background();
        ended
    });
    match (ended, stop::has_stopped()) {
        // It may have ended before it saw that.
        (Ok(_), Some(stop @ Stop::Output(_))) => failed(&stop.into(), ExitCode::FAILURE),
        (Ok(ended), _) => ended.report(),
        (Err(error), _) => failed(&error, ExitCode::FAILURE),
    }
}

/// Parses the flags, and shows the log.
///
/// # Errors
///
/// The exit status, if the usage is wrong or help was asked for: that is printed already.
pub fn start<A: Parser>() -> Result<A, ExitCode> {
    let (args, verbosity) = flags::<A>().map_err(|error| print_usage(&error))?;
    log::show(verbosity);
    Ok(args)
}

/// The flags of the program, and how much it is to log.
fn flags<A: Parser>() -> Result<(A, u8), clap::Error> {
    let mut command = command::<A>();
    let mut matches = command.try_get_matches_from_mut(std::env::args_os())?;
    let verbosity = matches.get_count("verbose");
    let args = A::from_arg_matches_mut(&mut matches);
    Ok((args.map_err(|error| error.format(&mut command))?, verbosity))
}

/// The command line of the program, with the flags that all have.
#[must_use]
pub fn command<A: Parser>() -> Command {
    let command = A::command().name(program()).version(env!("CARGO_PKG_VERSION"));
    // A program may have another description for it.
    if command.get_arguments().any(|flag| flag.get_id() == "verbose") {
        return command;
    }
    let help = "Log connections to standard error; twice: packets, too. RUST_LOG sets a filter";
    let verbose = Arg::new("verbose").short('v').long("verbose").help(help);
    command.arg(verbose.action(ArgAction::Count).global(true))
}

/// Prints clap's message: help to standard output, errors to standard error.
fn print_usage(error: &clap::Error) -> ExitCode {
    match error.print() {
        Err(failure) if !error.use_stderr() => {
            failed(&Stop::Output(failure).into(), ExitCode::FAILURE)
        }
        _ => u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from),
    }
}

/// Reports a failure in one line, and returns the exit status: `otherwise`, unless a [`Stop`] has
/// its own.
pub fn failed(error: &Error, otherwise: ExitCode) -> ExitCode {
    let stop = error.downcast_ref::<Stop>().or(error.downcast_ref::<&Stop>().copied());
    let (status, text) = match stop {
        Some(stop) => stop.outcome(),
        None => (None, Some(format!("{error:#}"))),
    };
    if let Some(text) = text {
        eprintln!("{}: {text}", program());
    }
    status.unwrap_or(otherwise)
}

/// The name of the program.
pub fn program() -> String {
    let name = std::env::args().next().unwrap_or_default();
    Path::new(&name).file_name().map_or("example".into(), |name| name.to_string_lossy().into())
}
