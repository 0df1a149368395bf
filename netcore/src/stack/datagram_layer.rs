//! The state of UDP, ping and raw sockets.

use crate::command::raw::Version;
use crate::id::SocketId;
use crate::ports::Ports;
use std::collections::HashMap;

/// Datagrams above IP: UDP, ICMP echo and raw packets.
#[derive(Debug, Default)]
pub(crate) struct DatagramLayer {
    pub(crate) ports: Ports,
    /// Ping sockets by family and identifier.
    pub(crate) echoes: HashMap<(Version, u16), SocketId, ahash::RandomState>,
    /// Raw sockets by family and protocol.
    pub(crate) raw: HashMap<(Version, u8), Vec<SocketId>, ahash::RandomState>,
}

impl DatagramLayer {
    pub(crate) fn has_raw(&self) -> bool {
        !self.raw.is_empty()
    }
}
