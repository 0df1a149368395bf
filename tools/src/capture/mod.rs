//! `netstack capture`: the frames of a running stack, as a pcapng file.

use crate::client::{self, Target};
use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};
use std::fs::File;
use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;

/// Record the frames of a running stack, with a comment on each of what the stack has decided
///
/// Writes a pcapng file, for Wireshark, tshark and tcpdump, until SIGINT or SIGTERM.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// A filter in tcpdump's language, if any, and the file; - is standard output
    #[arg(required = true, value_name = "[FILTER] FILE|-")]
    words: Vec<String>,
}

const EXAMPLES: &str = "\
The filter has tcp, udp, icmp, ip, ip6, arp, host, net, port, portrange, src, dst, not, and, or, (
), as tcpdump has them, and inbound, outbound, dropped, repeated.

Examples:
  netstack capture all.pcapng
  netstack capture tcp port 80 and not host 10.9.0.7 web.pcapng
  netstack capture repeated or dropped - | wireshark -k -i -";

pub(crate) fn main(args: &Args) -> ExitCode {
    client::run(|| {
        let (file, filter) = args.words.split_last().context("a file is missing")?;
        record(args, &filter.join(" "), file)?;
        Ok(String::new())
    })
}

fn record(args: &Args, filter: &str, file: &str) -> Result<()> {
    // Before the thread that waits for them, which inherits the mask.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block().context("blocking signals")?;
    let mut capture = args.target.connect()?.capture(filter).context("the capture")?;
    let mut output: Box<dyn Write> = match file {
        "-" => Box::new(io::stdout().lock()),
        file => Box::new(File::create(file).with_context(|| file.to_owned())?),
    };
    let stopper = capture.stopper()?;
    thread::spawn(move || {
        if signals.wait().is_ok() {
            // Fails if the stack has ended already.
            let _ = stopper.stop();
        }
    });
    match io::copy(&mut capture, &mut output).and_then(|_| output.flush()) {
        // As the reader of a pipe leaves.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.with_context(|| file.to_owned()),
    }
}
