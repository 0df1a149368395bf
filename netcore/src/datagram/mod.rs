//! Datagrams: UDP, ping and raw sockets.

mod commands;
mod errors;
mod input;
pub(crate) mod layer;
mod output;
mod parked;
pub(crate) mod socket;
mod sockets;
mod udp_peer;
