//! The common part of the examples is that of all command-line programs here.

pub use cli::*;
