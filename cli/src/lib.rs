//! Command-line programs on a stack: their flags, their output, and how they end.

pub mod flags;
mod log;
mod network;
pub mod output;
mod program;
mod stop;
mod tunnel;

pub use network::{Interface, Network, addressed, log_dhcp, recorder};
pub use program::{failed, program, run, run_on, run_parsed, start};
pub use stop::{Stop, finish, serve, stopped, until_stopped};
