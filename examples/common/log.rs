//! What the stack logs, on standard error.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Shows what RUST_LOG asks for, or as much as there are `-v`.
pub(crate) fn show(verbosity: u8) {
    let asked = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let filter = asked.unwrap_or_else(|| match verbosity {
        0 => "warn".into(),
        1 => "warn,netcore=debug,netsocket=debug,netstack=debug".into(),
        _ => "warn,netcore=trace,netsocket=trace,netstack=trace".into(),
    });
    // What it cannot read of RUST_LOG it says, and leaves out.
    let filter = EnvFilter::builder().parse_lossy(filter);
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // An output that is full or closed is no reason to say so on the same output.
    let log = log.log_internal_errors(false);
    // Colours are for terminals; that they can be had at all is some other crate's choice.
    if std::io::stderr().is_terminal() { log.init() } else { log.with_ansi(false).init() }
}
