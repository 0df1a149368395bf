//! What is fuzzed: each target makes a story of bytes, plays it, and panics if something that must
//! be true is not.
//!
//! `cargo fuzz` calls the targets with what its coverage suggests, the test `fuzz` of the package
//! `tests` with the kept corpus and with noise.

mod commands;
mod host;
mod packets;
mod parser;

pub use commands::commands;
pub use packets::packets;
pub use parser::parser;
