#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! * [`Netstack`] is the stack; [`Netstack::poll_device_io`] and [`Netstack::poll_link`] drive it.
//! * [`Channel`] sends it a [`Command`] of [`tcp`], [`udp`], [`icmp`], [`raw`] or [`control`].
//! * [`queue`] has the queues between sockets and handles, such as [`queue::StreamQueue`].
//! * [`Link`] carries frames, and [`device`] makes one of a smoltcp device.
//! * [`Config`] has the limits; [`Counters`] and [`Snapshot`] show the state.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod binding;
mod channel;
mod checksum;
mod command;
mod config;
mod context;
mod counters;
mod datagram;
mod deadlines;
pub mod device;
mod doorbell;
mod error;
mod ethernet;
mod id;
mod ip;
pub mod isolation;
mod link;
mod memory;
#[cfg(test)]
mod models;
mod network;
mod observer;
mod output;
mod owner;
mod pipe;
mod ports;
pub mod queue;
mod random;
mod rate_limit;
mod reply;
mod segment;
#[cfg(feature = "serde")]
pub mod serial;
mod shared_port;
mod snapshot;
mod socket_ids;
mod stack;
mod stop;
mod sync;
pub mod tcp;
mod time;
#[cfg(feature = "udp-lite")]
pub mod udp_lite;
mod wire;

pub use channel::{BufferBytes, Channel, HasChannel, Request};
pub use command::{Command, Response, control, icmp, raw, udp};
pub use config::{Config, DatagramConfig, Entropy, EthernetConfig, IpConfig, TcpConfig};
pub use counters::{Counters, DropReason};
pub use device::PipeDev;
pub use error::Error;
pub use ethernet::{MacAddr, MacAddrParseError};
pub use id::{SocketId, SocketIdParseError};
pub use ip::routes::Route;
pub use link::{
    CHUNK_BYTES, FRAME_BUFFER_BYTES, Frame, FrameChecksum, Link, LinkCapabilities, Medium, Offload,
    PartialChecksum, Slot,
};
pub use network::{LinkState, Network, NetworkWatch, NextHopInfo};
pub use observer::{
    Fate, ObservedConnection, ObservedSegment, ObservedSocket, Observer, SendCause,
};
pub use owner::Owner;
pub use pipe::Pipe;
pub use segment::{TcpHeaders, cut_segments};
pub use snapshot::{
    NeighbourInfo, Overview, Snapshot, SocketInfo, SocketKind, SocketPage, TcpState, TimeWaitPage,
    Timer, Waiting,
};
pub use stack::Netstack;
pub use tcp::reservation::Reservation;
pub use time::Instant;
