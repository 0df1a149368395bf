//! `netstack fetch`: a page over HTTP or HTTPS, from a stack.

mod exchange;
mod url;

use crate::trust;
use cli::{Network, flags};
use exchange::Failure;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use url::Url;

/// Fetch a page over HTTP or HTTPS from a stack, as curl(1) does
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    network: Network,
    /// The URL, of http or https
    url: Url,
    /// Follow redirections
    #[arg(short = 'L', long)]
    location: bool,
    /// How many of them at most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = flags::number::<usize>(0..=1000, 50))]
    max_redirs: usize,
    /// Where to write the page, in place of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Take a status of 400 or more for an error, and write nothing
    #[arg(short, long)]
    fail: bool,
    /// Ask for these bytes alone, for example 0-99, 100- or -100
    #[arg(short, long, value_name = "FIRST-LAST", value_parser = url::range)]
    range: Option<String>,
    /// A further header (repeatable)
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = url::header)]
    headers: Vec<url::Header>,
    #[command(flatten)]
    trust: trust::Flags,
    /// Seconds that each of these may take: having an address, a connection, an answer, and the next
    /// piece of the page
    #[arg(short = 'm', long, value_name = "SECONDS", default_value = "30", value_parser = flags::seconds)]
    timeout: Duration,
    /// Print a JSON object about the transfer
    #[arg(long, requires = "output")]
    json: bool,
}

const EXAMPLES: &str = "\
The exit status is curl's: 0 for a page, 1 for a redirection to another scheme, 6 for a name
without an address, 7 for no connection, 18 for a part of a page, 22 for a status with --fail, 23
for a page that cannot be written, 28 for a timeout, 35 for TLS that fails and 60 for a
certificate that is not trusted, 47 for too many redirections, 52 for no answer, 56 for a
connection that fails, 77 for --cacert.

Examples:
  netstack fetch --link wg:///etc/wireguard/wg0.conf https://intranet.test/
  netstack fetch -v --tap tap0 --dhcp -o page http://web.test/
  netstack fetch --json -o /dev/null -r 0-99 http://10.9.0.1/large | jq .bytes";

/// Fetches the page.
pub(crate) fn main(args: &Args) -> ExitCode {
    cli::run_parsed(async {
        // What cannot be trusted is reported before there is a stack.
        let tls = match args.url.is_https.then(|| args.trust.connector()).transpose() {
            Ok(tls) => tls,
            Err(error) => return Ok(cli::failed(&error, ExitCode::from(exchange::NO_ROOTS))),
        };
        let (builder, interface) = args.network.prepare()?;
        let stack = interface.spawn(builder)?;
        let net = stack.net().clone();
        let fetching = async { Ok(exchange::fetch(&net, args, tls).await) };
        Ok(match cli::finish([stack], fetching).await? {
            Ok(()) => ExitCode::SUCCESS,
            Err(Failure { status, error }) => cli::failed(&error, ExitCode::from(status)),
        })
    })
}
