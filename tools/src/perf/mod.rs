//! `netstack perf`: throughput tests, in iperf3's protocol.

mod client;
mod output;
mod server;
mod uri;

use clap::Subcommand;
use std::process::ExitCode;

/// Measure throughput, loss, jitter, and the time of requests and connections
///
/// The protocol is iperf3's: its client can test this server, and this client its server.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    end: End,
}

const EXAMPLES: &str = "\
Examples:
  netstack perf client tcp://                          # two stacks in memory
  netstack perf server --host-address 10.9.0.1/24 --address 10.9.0.2/24
  iperf3 --client 10.9.0.2";

#[derive(Debug, Subcommand)]
enum End {
    Server(server::Args),
    Client(client::Args),
}

/// Runs one end of tests.
pub(crate) fn main(args: &Args) -> ExitCode {
    match &args.end {
        End::Server(args) => cli::run_parsed(server::serve(args)),
        End::Client(args) => cli::run_parsed(client::test(args)),
    }
}
