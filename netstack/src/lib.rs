#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! * [`Builder`] makes a [`Stack`] on a [`device`]; [`pair`](fn@pair) two that are joined.
//! * [`Stack::net`] gives the [`Net`] that makes sockets.
//! * [`dhcp`] and [`slaac`] get addresses from others; [`switch`] joins stacks.
#![deny(missing_docs)]

mod batch;
mod builder;
#[cfg(feature = "capture")]
pub mod capture;
mod clock;
#[cfg(all(target_os = "linux", feature = "control"))]
pub mod control;
mod control_socket;
pub mod device;
pub mod dhcp;
#[cfg(any(feature = "capture", feature = "sim"))]
mod direction;
mod domains;
mod ending;
mod frame_layout;
mod hook;
#[cfg(all(target_os = "linux", feature = "tun"))]
pub mod link;
mod machine;
#[cfg(feature = "metrics")]
pub mod metrics;
mod moves;
#[cfg(all(target_os = "linux", feature = "tun"))]
pub mod overlay;
mod pair;
mod pool;
mod provided;
mod random;
mod runtime;
#[cfg(feature = "sim")]
pub mod sim;
pub mod slaac;
#[cfg(all(target_os = "linux", feature = "tun"))]
mod socket_option;
mod spin;
mod stack;
mod supervision;
pub mod switch;
#[cfg(any(feature = "capture", feature = "sim"))]
#[cfg_attr(
    not(all(feature = "capture", feature = "sim")),
    allow(dead_code, unused_imports, reason = "each of the two uses its part")
)]
mod tap;
mod task;
#[cfg(all(target_os = "linux", any(feature = "control", feature = "tun")))]
mod unix_path;
mod wire;
#[cfg(feature = "wireguard")]
pub mod wireguard;

pub use builder::Builder;
pub use clock::Clock;
#[cfg(any(feature = "capture", feature = "sim"))]
pub use direction::Direction;
pub use hook::Hook;
pub use pair::{Pair, pair};
pub use stack::Stack;

pub use ipnet::IpNet;
pub use netcore::{
    Config, DatagramConfig, Entropy, Error, EthernetConfig, IpConfig, Route, TcpConfig,
};
pub use netsocket::{
    self, CongestionControl, Net, TcpListener, TcpSocket, TcpStream, UdpSocket, blocking,
    congestion,
};
