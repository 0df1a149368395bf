//! A stack in a WireGuard tunnel, from a `wg-quick` file: a program is in a VPN, without root and
//! without a change to the machine.
//!
//! ```no_run
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use netstack::{Builder, wireguard};
//!
//! let config = wireguard::Config::read("/etc/wireguard/wg0.conf")?;
//! let device = wireguard::WireGuardDevice::open(&config)?;
//! let stack = config.configure(Builder::new()).spawn(device)?;
//! # Ok(())
//! # }
//! ```
//!
//! The protocol is boringtun's. Datagrams leave from a UDP socket of the kernel.

mod allowed_ips;
mod config;
mod counters;
mod device;
#[cfg(test)]
mod exchange;
mod handshake_limit;
mod key;
mod outgoing;
mod parser;
mod peer;
mod socket;
mod tunnels;
mod unreachable;

pub use config::{Config, Endpoint, Peer};
pub use counters::WireGuardCounters;
pub use device::{WireGuardDevice, WireGuardSlot};
pub use key::{Key, KeyError};
pub use parser::ConfigError;
