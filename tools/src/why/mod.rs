//! `netstack why`: what limits a connection, in a paragraph.

mod advice;
mod paragraph;

use crate::client::{self, Target};
use anyhow::{Context, Result, bail};
use netstack::control::{Answer, Client, Command};
use netstack::netsocket::netcore::{SocketId, SocketInfo};
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::str::FromStr;

/// Tell why a connection is slow: what limits it now and has over its life, and what to change
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// The id that netstack ss shows, or an address of the connection, with its port or without
    #[arg(value_name = "ID|ADDRESS")]
    what: Selection,
}

const EXAMPLES: &str = "\
At any moment one thing limits a connection: the handshake, the peer's window, the congestion
window, pacing, the send buffer, the application, the receive buffer, the device, a neighbour or a
retransmission timer; or nothing, and it is idle. The times of all add up to its age.

Examples:
  netstack why 17v3
  netstack why 10.9.0.1:51234
  netstack why 10.9.0.1";

/// The connections to explain.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Selection {
    Id(SocketId),
    End(SocketAddr),
    Host(IpAddr),
}

/// More are no answer.
const PARAGRAPHS_MAX: usize = 8;

impl FromStr for Selection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let id = text.parse().map(Self::Id).ok();
        let end = || text.parse().map(Self::End).ok();
        let host = || text.parse().map(Self::Host).ok();
        id.or_else(end).or_else(host).ok_or_else(|| {
            "neither an id nor an address, for example \"17v3\", \"10.9.0.1:51234\" or \"10.9.0.1\""
                .into()
        })
    }
}

pub(crate) fn main(args: &Args) -> ExitCode {
    client::run(|| {
        let mut client = args.target.connect()?;
        let found = find(&mut client, &args.what)?;
        client::report_skipped(&client);
        let paragraphs: Vec<_> = found.iter().take(PARAGRAPHS_MAX).map(paragraph::text).collect();
        let mut text = paragraphs.join("\n");
        if found.len() > PARAGRAPHS_MAX {
            let more = found.len() - PARAGRAPHS_MAX;
            text += &format!("\n{more} more connections match: netstack ss shows all.\n");
        }
        Ok(text)
    })
}

/// What limits a connection, in a paragraph.
pub(crate) fn explain(socket: &SocketInfo) -> String {
    paragraph::text(socket)
}

fn find(client: &mut Client, what: &Selection) -> Result<Vec<SocketInfo>> {
    if let Selection::Id(id) = what {
        let answer = client::one(client, &Command::Socket { id: *id });
        return match answer.with_context(|| id.to_string())? {
            Answer::Socket(socket) => Ok(vec![*socket]),
            other => Err(client::unexpected(&other)),
        };
    }
    let is_it = |socket: &SocketInfo| {
        let ends = [Some(socket.local), socket.peer];
        ends.into_iter().flatten().any(|end| match what {
            Selection::End(wanted) => end == *wanted,
            Selection::Host(wanted) => end.ip() == *wanted,
            Selection::Id(_) => false,
        })
    };
    let mut found = Vec::new();
    for answer in client.ask(&Command::Sockets {})? {
        if let Answer::Socket(socket) = answer?
            && socket.tcp.is_some()
            && is_it(&socket)
        {
            found.push(*socket);
        }
    }
    match found.is_empty() {
        true => bail!("no connection has this address: netstack ss shows all"),
        false => Ok(found),
    }
}
