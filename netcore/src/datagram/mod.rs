//! Datagrams: UDP, ping and raw sockets.

mod commands;
mod errors;
pub(crate) mod layer;
pub(crate) mod socket;
mod sockets;
mod udp_peer;
