//! Bindings of sockets to local addresses and ports.

use crate::binding::{BoundTo, pick_port};
use crate::error::Error;
use crate::id::SocketId;
use crate::random::{LocalHasher, Random};
use crate::tcp::reservation::{Reservation, TcpPorts};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// Every port without a socket of its own.
const REST: u16 = 0;

/// The bound ports of one transport.
///
/// The sockets on one port are at most one for each of the stack's addresses, so looking one up
/// does not get slower with the number of sockets.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    /// TCP ports are also reserved in a table shared with handles.
    tcp: Option<Arc<TcpPorts>>,
    bound: HashMap<u16, Vec<Binding>, LocalHasher>,
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
        self.push(port, Binding { to, id, _reservation: None });
        Ok(port)
    }

    /// Binds `id` to its reserved TCP port; returns the port.
    pub(crate) fn bind_reserved(&mut self, reservation: Reservation, id: SocketId) -> u16 {
        let (to, port) = (reservation.bound_to(), reservation.local_address().port());
        self.push(port, Binding { to, id, _reservation: Some(reservation) });
        port
    }

    fn push(&mut self, port: u16, binding: Binding) {
        self.bound.entry(port).or_default().push(binding);
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
        self.push(REST, Binding { to, id, _reservation: None });
        Ok(REST)
    }

    pub(crate) fn release(&mut self, port: u16, id: SocketId) {
        if let Some(bindings) = self.bound.get_mut(&port) {
            bindings.retain(|binding| binding.id != id);
            if bindings.is_empty() {
                self.bound.remove(&port);
            }
        }
    }

    /// The socket that receives packets to `local`: one bound to this address first, then a
    /// wildcard socket, then one bound to all remaining ports.
    pub(crate) fn find(&self, local: SocketAddr) -> Option<SocketId> {
        [local.port(), REST].into_iter().find_map(|port| {
            let bindings = self.bound.get(&port)?;
            let covering = bindings.iter().filter(|binding| binding.to.covers(local.ip()));
            let best = covering.max_by_key(|binding| matches!(binding.to, BoundTo::One(_)));
            best.map(|binding| binding.id)
        })
    }

    /// All sockets on a port, for broadcast and multicast.
    pub(crate) fn all(&self, port: u16) -> impl Iterator<Item = (BoundTo, SocketId)> {
        let bindings = self.bound.get(&port).map_or(&[][..], Vec::as_slice);
        bindings.iter().map(|binding| (binding.to, binding.id))
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
        let bindings = self.bound.get(&port).map_or(&[][..], Vec::as_slice);
        !bindings.iter().any(|binding| binding.to.conflicts(to))
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
        let mut found = |address: &str| bench.ports.find(address.parse().expect("an address"));

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
