//! The client of a stack's control socket, as the subcommands share it.

mod path;
pub(crate) mod reading;
pub(crate) mod units;

use anyhow::{Context, Result};
use cli::Stop;
use netstack::control::{Answer, Client, Command, StackInfo};
use netstack::netsocket::netcore::Overview;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The stack to ask.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Target {
    /// The control socket of the stack; without this $NETSTACK_CONTROL, or the only one in
    /// $XDG_RUNTIME_DIR/netstack or /run/netstack
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
}

impl Target {
    /// The one with this control socket.
    pub(crate) fn at(path: &Path) -> Self {
        Self { control: Some(path.into()) }
    }

    /// Whether the control socket is named, here or in the environment.
    pub(crate) fn is_given(&self) -> bool {
        self.control.is_some() || path::of_environment().is_some()
    }

    /// Connects to the stack.
    pub(crate) fn connect(&self) -> Result<Client> {
        let path = path::find(self.control.as_deref())?;
        Client::connect(&path).map_err(|error| refusal(&path, &error))
    }
}

/// A failure to connect, and what to do about it.
fn refusal(path: &Path, error: &io::Error) -> anyhow::Error {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => {
            anyhow::anyhow!("{path}: there is no control socket; a program has one with --control")
        }
        io::ErrorKind::ConnectionRefused => {
            anyhow::anyhow!("{path}: the program with this control socket has ended")
        }
        io::ErrorKind::PermissionDenied => {
            anyhow::anyhow!("{path}: the control socket is another user's")
        }
        _ => anyhow::anyhow!("{path}: {error}"),
    }
}

/// The whole answer to a command.
pub(crate) fn all(client: &mut Client, command: &Command) -> Result<Vec<Answer>> {
    client.ask(command)?.collect::<io::Result<_>>().context("the stack")
}

/// The answer to a command that has one part.
pub(crate) fn one(client: &mut Client, command: &Command) -> Result<Answer> {
    client.ask_one(command).context("the stack")?.context("the stack has answered nothing")
}

/// An answer to another command.
pub(crate) fn unexpected(answer: &Answer) -> anyhow::Error {
    anyhow::anyhow!("the stack has answered something else: {answer:?}")
}

/// The counters of the stack.
pub(crate) fn overview(client: &mut Client) -> Result<Overview> {
    match one(client, &Command::Counters {})? {
        Answer::Counters(overview) => Ok(*overview),
        other => Err(unexpected(&other)),
    }
}

/// The process and its stack.
pub(crate) fn stack(client: &mut Client) -> Result<StackInfo> {
    match one(client, &Command::Stack {})? {
        Answer::Stack(info) => Ok(info),
        other => Err(unexpected(&other)),
    }
}

/// Reports what the client had to skip, if anything.
pub(crate) fn report_skipped(client: &Client) {
    match client.skipped() {
        0 => {}
        skipped => cli::eprintln!(
            "netstack: the stack is of a later version: {skipped} parts of its answer were skipped"
        ),
    }
}

/// Runs a subcommand that prints a text.
pub(crate) fn run(text: impl FnOnce() -> Result<String>) -> ExitCode {
    let printed = text().and_then(|text| Ok(print(&text)?));
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cli::failed(&error, ExitCode::FAILURE),
    }
}

/// Prints a text.
pub(crate) fn print(text: &str) -> Result<(), Stop> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(Stop::Output)
}
