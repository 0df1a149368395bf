#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod addressing;
mod buffer;
mod channel;
mod command;
mod config;
mod counters;
mod deadlines;
mod doorbell;
mod engine;
mod error;
mod ethernet;
mod flow_table;
mod fragments;
mod id;
mod ip;
pub mod isolation;
mod link;
#[cfg(test)]
mod models;
mod network;
mod output;
mod path_mtu;
mod pipe;
mod ports;
mod problem;
pub mod queue;
mod random;
mod rate_limit;
mod reservation;
mod routes;
mod segment;
mod snapshot;
mod sockets;
mod source_address;
mod stack;
mod sync;

pub use channel::{BufferBytes, Channel, HasChannel, Request};
pub use command::{Command, Response, control, icmp, raw, tcp, udp};
pub use config::{Config, Entropy};
pub use counters::{Counters, DropReason};
pub use error::Error;
pub use ethernet::{MacAddr, MacAddrParseError};
pub use id::SocketId;
pub use link::{
    CHUNK_BYTES, FRAME_BUFFER_BYTES, Frame, FrameChecksum, Link, LinkCapabilities, Offload,
    PartialChecksum, Slot,
};
pub use network::{LinkState, Network, NetworkWatch, NextHopInfo};
pub use pipe::{Pipe, PipeDev};
pub use reservation::Reservation;
pub use routes::Route;
pub use segment::{TcpHeaders, cut_segments};
pub use snapshot::{NeighbourInfo, Snapshot, SocketInfo};
pub use stack::Netstack;

pub use smoltcp;
