//! Standard output that may be closed or full, without a panic.

use crate::stop::{Stop, stop};
use std::fmt::Arguments;
use std::io::{self, Write};
use tokio::io::AsyncWriteExt;

/// As that of the standard library; a failure to write [stops](crate::stopped) the program.
#[macro_export]
macro_rules! println {
    ($($text:tt)*) => { $crate::output::print(format_args!($($text)*), "\n") };
}

/// As that of the standard library; a failure to write [stops](crate::stopped) the program.
#[macro_export]
macro_rules! print {
    ($($text:tt)*) => { $crate::output::print(format_args!($($text)*), "") };
}

/// As that of the standard library; a failure to write is ignored.
#[macro_export]
macro_rules! eprintln {
    ($($text:tt)*) => { $crate::output::print_error(format_args!($($text)*)) };
}

/// The implementation of the macros.
pub fn print(text: Arguments<'_>, end: &str) {
    // As a piece, so that lines of several threads do not mix.
    let text = format!("{text}{end}");
    let mut stdout = io::stdout().lock();
    if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        stop(Stop::Output(error));
    }
}

/// The implementation of the macro.
pub fn print_error(text: Arguments<'_>) {
    // There is no other place to report a failure.
    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// Writes bytes to standard output.
///
/// # Errors
///
/// A [`Stop`] if that fails.
pub async fn write(bytes: &[u8]) -> Result<(), Stop> {
    let mut stdout = tokio::io::stdout();
    stdout.write_all(bytes).await.map_err(Stop::Output)?;
    stdout.flush().await.map_err(Stop::Output)
}
