//! The log, on standard error.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Shows the log with the filter in RUST_LOG, or at the level that `-v` gives.
pub(crate) fn show(verbosity: u8) {
    let asked = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let filter = asked.unwrap_or_else(|| match verbosity {
        // The device of a tunnel says itself when a peer does not answer, and a test over QUIC that the
        // stack has ended.
        0 => "warn,boringtun=off,quinn=off".into(),
        1 => "warn,boringtun=off,netcore=debug,netsocket=debug,netstack=debug".into(),
        _ => "warn,boringtun=debug,netcore=trace,netsocket=trace,netstack=trace".into(),
    });
    // An invalid directive in RUST_LOG is reported and skipped.
    let filter = EnvFilter::builder().parse_lossy(filter);
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // If standard error is full or closed, there is no other place to report that.
    let log = log.log_internal_errors(false);
    // Colours are for terminals; that they can be had at all is some other crate's choice.
    if std::io::stderr().is_terminal() { log.init() } else { log.with_ansi(false).init() }
}
