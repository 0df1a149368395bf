//! Which connection a TCP segment belongs to.

use crate::id::SocketId;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The two ends of a connection. IPv4 addresses are kept in their IPv6 form, which no packet from
/// a wire may carry, so the two families cannot meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FlowKey {
    local: Ipv6Addr,
    remote: Ipv6Addr,
    local_port: u16,
    remote_port: u16,
}

impl FlowKey {
    pub(crate) fn new(local: SocketAddr, remote: SocketAddr) -> Self {
        Self {
            local: widen(local.ip()),
            remote: widen(remote.ip()),
            local_port: local.port(),
            remote_port: remote.port(),
        }
    }

    pub(crate) fn local(&self) -> SocketAddr {
        SocketAddr::new(self.local.to_canonical(), self.local_port)
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        SocketAddr::new(self.remote.to_canonical(), self.remote_port)
    }
}

impl Hash for FlowKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.local.to_bits());
        state.write_u128(self.remote.to_bits());
        state.write_u32(u32::from(self.local_port) << 16 | u32::from(self.remote_port));
    }
}

fn widen(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// The owner of a 4-tuple.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// A living connection.
    Connection(SocketId),
    /// A SYN that a listener holds.
    Held(SocketId),
    /// A closed one whose ends are kept out of use.
    TimeWait,
}

/// All 4-tuples in use, under a keyed hash: peers choose their addresses and ports.
pub(crate) type FlowTable = HashMap<FlowKey, Flow, ahash::RandomState>;
