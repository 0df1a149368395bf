//! Command-line programs on a stack: their flags, their output, and how they end.

pub mod flags;
mod log;
mod network;
pub mod output;
mod program;
mod stop;
mod tunnel;

pub use network::{Interface, Network, finish_recordings, host_programs, recorder};
pub use program::{command, failed, program, run, run_on, run_parsed, start};
pub use stop::{
    Stop, check_stopped, finish, finish_by_itself, serve, stopped, until_stopped, watch_signals,
};
