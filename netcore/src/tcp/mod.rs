//! Commands to TCP listeners and connections.

pub(crate) mod buffer;
mod commands;
pub mod congestion;
mod connect;
pub(crate) mod connection;
mod connections;
mod delivery;
pub(crate) mod engine;
mod events;
pub(crate) mod flow_table;
mod guard;
mod half_open;
mod handshake;
pub(crate) mod held;
mod held_syns;
mod input;
mod keepalive;
mod late_segments;
pub(crate) mod layer;
pub(crate) mod listener;
mod listeners;
mod options;
mod orphans;
mod past_connections;
mod past_ends;
mod reclaim;
pub(crate) mod reservation;
mod resets;
mod sender;
mod sink;
mod socket_table;
pub(crate) mod sockets;
pub(crate) mod time_wait;
mod waiting;
mod wire;

pub use crate::command::tcp::*;
