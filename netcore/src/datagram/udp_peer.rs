//! The peer of a UDP socket.

use crate::command::udp;
use crate::datagram::layer::DatagramLayer;
use crate::datagram::socket::Kind;
use crate::error::Error;
use crate::ip::addressing::{canonical, mapped};
use crate::ip::layer::IpLayer;
use crate::queue::DatagramQueue;
use crate::shared_port::{Flow, Sharer};
use std::net::SocketAddr;

impl DatagramLayer {
    /// Connects a UDP socket to a peer, or disconnects it.
    pub(crate) fn connect_udp(
        &mut self,
        ip: &mut IpLayer,
        queue: &DatagramQueue,
        peer: Option<SocketAddr>,
    ) -> Result<udp::Response, Error> {
        let Some(peer) = peer else {
            queue.connect(None, None);
            self.update_port(queue);
            return Ok(udp::Response::Connected { local: queue.bound_address() });
        };
        let bound = queue.bound_address();
        let source = queue.source();
        let peer = queue.resolved(peer, source);
        queue.check_peer(peer)?;
        let peer = canonical(peer);
        ip.addressing.next_hop(peer.ip())?;
        if ip.addressing.is_broadcast(peer.ip()) && !queue.options().broadcast {
            return Err(Error::BroadcastForbidden);
        }
        // A socket for all ports has no address of its own, connected or not.
        let chooses = bound.port() != 0 && !self.is_source(ip, bound.ip().to_canonical());
        let source = match source {
            source @ Some(_) => source,
            None if chooses => Some(self.datagram_source(ip, peer.ip())?),
            None => None,
        };
        if source.is_some_and(|source| source.to_canonical().is_ipv4() != peer.is_ipv4()) {
            return Err(Error::WrongFamily);
        }
        // In the form of the socket's received datagrams, possibly IPv4-mapped.
        let in_form = |address| if bound.is_ipv6() { mapped(address) } else { address };
        let source = source.map(|source| in_form(SocketAddr::new(source, 0)).ip());
        queue.connect(Some(in_form(peer)), source);
        self.update_port(queue);
        Ok(udp::Response::Connected { local: queue.local_address() })
    }

    /// The options or the peer of a socket have changed, which sockets on the same port depend on.
    pub(crate) fn update_port(&mut self, queue: &DatagramQueue) {
        if let Kind::Udp { port, .. } = queue.kind() {
            self.ports.update(port, queue.id(), || sharer(queue));
        }
    }
}

/// What sockets on the same port depend on.
pub(crate) fn sharer(queue: &DatagramQueue) -> Sharer {
    let options = queue.options();
    let bound = queue.bound_address().ip();
    let bound = Some(bound).filter(|bound| !bound.to_canonical().is_unspecified());
    let local = queue.source().or(bound).map(|local| local.to_canonical());
    let flow = queue.peer().map(|peer| Flow { local, peer: canonical(peer) });
    Sharer { reuse_address: options.reuse_address, reuse_port: options.reuse_port, flow }
}
