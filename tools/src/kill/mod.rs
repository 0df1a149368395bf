//! `netstack kill`: the end of a connection by force.

use crate::client::{self, Target};
use anyhow::Context;
use netstack::control::Command;
use netstack::netsocket::netcore::SocketId;
use std::process::ExitCode;

/// Reset a connection, or end another socket
///
/// The peer of a connection gets a reset (RFC 9293 section 3.10.5, ABORT), what was not delivered is
/// lost, and the program reads and writes "connection aborted". A listener or UDP socket ends with the
/// same error.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  netstack kill 17v3")]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// The ids that netstack ss shows
    #[arg(required = true, value_name = "ID")]
    ids: Vec<SocketId>,
}

pub(crate) fn main(args: &Args) -> ExitCode {
    client::run(|| {
        let mut client = args.target.connect()?;
        for id in &args.ids {
            let done = client.ask_one(&Command::Abort { id: *id });
            done.with_context(|| format!("ending {id}"))?;
        }
        Ok(String::new())
    })
}
