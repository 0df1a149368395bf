//! Bindings of sockets to local addresses and ports.

use crate::binding::{BoundTo, pick_port};
use crate::error::Error;
use crate::id::SocketId;
use crate::random::{LocalHasher, Random};
use crate::shared_port::{SharedPort, Sharer};
use crate::tcp::reservation::{Reservation, TcpPorts};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// Every port without a socket of its own.
const REST: u16 = 0;

/// The bound ports of one transport.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    /// TCP ports are also reserved in a table shared with handles.
    tcp: Option<Arc<TcpPorts>>,
    bound: HashMap<u16, Port, LocalHasher>,
}

#[derive(Debug)]
enum Port {
    /// At most one socket for each of the stack's addresses, so looking one up does not get slower
    /// with the number of sockets.
    Own(Vec<Binding>),
    Shared(Box<SharedPort>),
}

#[derive(Debug)]
struct Binding {
    to: BoundTo,
    id: SocketId,
    /// The reservation of a TCP port.
    _reservation: Option<Reservation>,
}

impl Ports {
    pub(crate) fn of_tcp(reservations: Arc<TcpPorts>) -> Self {
        Self { tcp: Some(reservations), bound: HashMap::default() }
    }

    /// Binds `id`; returns the port, a free one if `port` is 0.
    ///
    /// # Errors
    ///
    /// [`Error::AddressInUse`] if another socket holds the port; [`Error::NoFreePort`] if `port` is
    /// 0 and none is left.
    pub(crate) fn bind(
        &mut self,
        to: BoundTo,
        port: u16,
        id: SocketId,
        random: &mut Random,
    ) -> Result<u16, Error> {
        if let Some(tcp) = &self.tcp {
            let unspecified = SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), port);
            let reservation = tcp.claim(unspecified, to, random)?;
            return Ok(self.bind_reserved(reservation, id));
        }
        let port = match port {
            0 => pick_port(random, |port| self.is_free(to, port)).ok_or(Error::NoFreePort)?,
            port if self.is_free(to, port) => port,
            _ => return Err(Error::AddressInUse),
        };
        self.push(port, Binding { to, id, _reservation: None }, Sharer::default());
        Ok(port)
    }

    /// As [`bind`](Self::bind), for a socket that may share its port; `sharer_of` tells about the
    /// others. Port 0 is never a shared one.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub(crate) fn bind_shared(
        &mut self,
        (to, port): (BoundTo, u16),
        (id, sharer): (SocketId, Sharer),
        random: &mut Random,
        sharer_of: impl Fn(SocketId) -> Sharer,
    ) -> Result<u16, Error> {
        let found = if port == 0 { None } else { self.bound.get_mut(&port) };
        let bindings = match found {
            Some(Port::Own(bindings)) if bindings.iter().any(|it| it.to.conflicts(to)) => bindings,
            Some(Port::Shared(shared)) if shared.admits(to, &sharer) => {
                shared.insert(id, to, sharer);
                return Ok(port);
            }
            _ => return self.bind(to, port, id, random),
        };
        let mut others = bindings.iter().filter(|it| it.to.conflicts(to));
        if !others.all(|it| sharer_of(it.id).shares_with(&sharer)) {
            return Err(Error::AddressInUse);
        }
        let mut shared = SharedPort::new(random.hash_keys());
        for binding in bindings.drain(..) {
            shared.insert(binding.id, binding.to, sharer_of(binding.id));
        }
        shared.insert(id, to, sharer);
        self.bound.insert(port, Port::Shared(Box::new(shared)));
        Ok(port)
    }

    /// A socket shares its port in another way, or has another peer.
    pub(crate) fn update(&mut self, port: u16, id: SocketId, sharer: impl FnOnce() -> Sharer) {
        if let Some(Port::Shared(shared)) = self.bound.get_mut(&port) {
            shared.update(id, sharer());
        }
    }

    /// Binds `id` to its reserved TCP port; returns the port.
    pub(crate) fn bind_reserved(&mut self, reservation: Reservation, id: SocketId) -> u16 {
        let (to, port) = (reservation.bound_to(), reservation.local_address().port());
        let binding = Binding { to, id, _reservation: Some(reservation) };
        self.push(port, binding, Sharer::default());
        port
    }

    fn push(&mut self, port: u16, binding: Binding, sharer: Sharer) {
        match self.bound.entry(port).or_insert_with(|| Port::Own(Vec::new())) {
            Port::Own(bindings) => bindings.push(binding),
            Port::Shared(shared) => shared.insert(binding.id, binding.to, sharer),
        }
    }

    /// Binds `id` to all ports without a socket of their own; returns port 0.
    ///
    /// # Errors
    ///
    /// [`Error::AddressInUse`] if another socket is bound so.
    pub(crate) fn bind_rest(&mut self, to: BoundTo, id: SocketId) -> Result<u16, Error> {
        if !self.is_free(to, REST) {
            return Err(Error::AddressInUse);
        }
        self.push(REST, Binding { to, id, _reservation: None }, Sharer::default());
        Ok(REST)
    }

    pub(crate) fn release(&mut self, port: u16, id: SocketId) {
        let is_empty = match self.bound.get_mut(&port) {
            Some(Port::Own(bindings)) => {
                bindings.retain(|binding| binding.id != id);
                bindings.is_empty()
            }
            Some(Port::Shared(shared)) => {
                shared.remove(id);
                shared.is_empty()
            }
            None => return,
        };
        if is_empty {
            self.bound.remove(&port);
        }
    }

    /// The socket that receives packets of `peer` to `local`: one bound to this address first, then
    /// a wildcard socket, then one bound to all remaining ports. Among those that share the port
    /// one that is connected to `peer` is before all.
    pub(crate) fn find(&self, local: SocketAddr, peer: SocketAddr) -> Option<SocketId> {
        [local.port(), REST].into_iter().find_map(|port| match self.bound.get(&port)? {
            Port::Own(bindings) => {
                let covering = bindings.iter().filter(|binding| binding.to.covers(local.ip()));
                let best = covering.max_by_key(|binding| matches!(binding.to, BoundTo::One(_)));
                best.map(|binding| binding.id)
            }
            Port::Shared(shared) => shared.find(local.ip(), peer),
        })
    }

    /// All sockets on a port, for broadcast and multicast.
    pub(crate) fn all(&self, port: u16) -> impl Iterator<Item = (BoundTo, SocketId)> {
        let (own, shared) = match self.bound.get(&port) {
            None => (None, None),
            Some(Port::Own(bindings)) => (Some(bindings), None),
            Some(Port::Shared(shared)) => (None, Some(shared)),
        };
        let own = own.into_iter().flatten().map(|binding| (binding.to, binding.id));
        own.chain(shared.into_iter().flat_map(|shared| shared.all()))
    }

    /// Whether a listener has this TCP port on any address, or it is reserved.
    pub(crate) fn is_tcp_port_taken(&self, port: u16) -> bool {
        self.tcp.as_ref().is_some_and(|tcp| tcp.is_taken(port))
    }

    /// Whether a reservation is one of this stack's.
    pub(crate) fn has_reserved(&self, reservation: &Reservation) -> bool {
        self.tcp.as_ref().is_some_and(|tcp| reservation.is_of(tcp))
    }

    fn is_free(&self, to: BoundTo, port: u16) -> bool {
        !self.all(port).any(|(other, _)| other.conflicts(to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binding::{EPHEMERAL, Families};
    use crate::config::Entropy;
    use slotmap::SlotMap;

    struct Bench {
        ports: Ports,
        random: Random,
        ids: SlotMap<SocketId, ()>,
    }

    impl Bench {
        fn new() -> Self {
            let random = Random::new(Entropy::Os);
            let tcp = Arc::new(TcpPorts::new(Entropy::Os));
            Self { ports: Ports::of_tcp(tcp), random, ids: SlotMap::with_key() }
        }

        fn bind(&mut self, address: &str, families: Families) -> Result<u16, Error> {
            let address: SocketAddr = address.parse().expect("an address");
            let to = BoundTo::new(address.ip(), families);
            let id = self.ids.insert(());
            self.ports.bind(to, address.port(), id, &mut self.random)
        }
    }

    #[test]
    fn only_overlapping_bindings_conflict() {
        let (both, v6) = (Families::Both, Families::V6Only);
        for (first, second, conflict) in [
            (("10.0.0.1:80", both), ("10.0.0.1:80", both), true),
            (("10.0.0.1:80", both), ("10.0.0.2:80", both), false),
            (("0.0.0.0:80", both), ("10.0.0.1:80", both), true),
            (("10.0.0.1:80", both), ("0.0.0.0:80", both), true),
            (("[::]:80", both), ("0.0.0.0:80", both), true),
            (("[::]:80", both), ("10.0.0.1:80", both), true),
            (("[::]:80", v6), ("0.0.0.0:80", both), false),
            (("[::]:80", v6), ("10.0.0.1:80", both), false),
            (("[::]:80", v6), ("[fd00::1]:80", both), true),
            (("0.0.0.0:80", both), ("[fd00::1]:80", both), false),
            (("10.0.0.1:80", both), ("10.0.0.1:81", both), false),
            (("[::ffff:10.0.0.1]:80", both), ("10.0.0.1:80", both), true),
        ] {
            let mut bench = Bench::new();
            bench.bind(first.0, first.1).expect("the first is free");
            let result = bench.bind(second.0, second.1);
            assert_eq!(result.is_err(), conflict, "{first:?} then {second:?}");
        }
    }

    #[test]
    fn find_returns_the_most_specific_socket() {
        let mut bench = Bench::new();
        bench.bind("[::]:80", Families::V6Only).expect("free");
        bench.bind("10.0.0.1:80", Families::Both).expect("free");
        bench.bind("10.0.0.2:80", Families::Both).expect("free");
        let peer = "10.9.9.9:9".parse().expect("an address");
        let mut found =
            |address: &str| bench.ports.find(address.parse().expect("an address"), peer);

        let [v6, one, two] = ["[fd00::1]:80", "10.0.0.1:80", "10.0.0.2:80"].map(&mut found);

        assert!(v6.is_some() && one.is_some() && two.is_some());
        assert!(v6 != one && one != two);
        assert_eq!(found("10.0.0.3:80"), None);
        assert_eq!(found("10.0.0.1:81"), None);
    }

    #[test]
    fn every_ephemeral_port_is_assigned_before_failure() {
        let mut bench = Bench::new();
        let mut seen = std::collections::HashSet::new();

        for _ in EPHEMERAL {
            seen.insert(bench.bind("10.0.0.1:0", Families::Both).expect("a port is left"));
        }

        assert_eq!(seen.len(), EPHEMERAL.count());
        assert_eq!(bench.bind("10.0.0.1:0", Families::Both), Err(Error::NoFreePort));
    }
}
