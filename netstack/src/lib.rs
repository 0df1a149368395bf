#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod builder;
mod clock;
pub mod device;
pub mod dhcp;
mod domains;
mod hook;
mod pool;
mod provided;
mod random;
mod runtime;
#[cfg(feature = "sim")]
pub mod sim;
pub mod slaac;
mod stack;

pub use builder::{Builder, Pair, pair};
pub use hook::Hook;
pub use stack::Stack;

pub use ipnet::IpNet;
pub use netcore::{Config, Entropy, Error, Route};
pub use netsocket::{self, Net, blocking};
