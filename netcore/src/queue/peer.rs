//! The peer that a datagram socket is connected to.

use super::datagram::Datagram;
use std::net::{IpAddr, SocketAddr};

/// The peer of a datagram socket, if it has one.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Connected {
    pub(super) peer: Option<SocketAddr>,
    /// The source address of the connected socket, if it is bound to a wildcard. It stays with the
    /// next peer, as on Linux.
    pub(super) source: Option<IpAddr>,
}

impl Connected {
    /// Whether a socket bound to `bound` accepts a datagram: from its peer, to its source address.
    #[inline]
    pub(super) fn accepts(&self, bound: SocketAddr, datagram: &Datagram) -> bool {
        let Some(peer) = self.peer else { return true };
        let is_here = match (self.source, datagram.local) {
            (Some(source), Some(local)) if is_wildcard(bound) => local.ip() == source,
            _ => true,
        };
        datagram.peer == peer && is_here
    }

    /// The local address of a socket bound to `bound`.
    pub(super) fn local_address(self, bound: SocketAddr) -> SocketAddr {
        match self.source {
            Some(source) if is_wildcard(bound) => SocketAddr::new(source, bound.port()),
            _ => bound,
        }
    }
}

#[inline]
pub(super) fn is_wildcard(bound: SocketAddr) -> bool {
    bound.ip().to_canonical().is_unspecified()
}
