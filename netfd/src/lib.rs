#![doc = include_str!("../README.md")]
#![cfg(target_os = "linux")]
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod backlog;
mod connecting;
mod far;
mod pair;
mod pump;
mod stream_end;

pub use backlog::Backlog;
pub use connecting::Connecting;
pub use pair::{Mode, key, stream_pair};
pub use stream_end::StreamEnd;
