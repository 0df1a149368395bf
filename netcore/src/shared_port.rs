//! A port that several UDP sockets share (`SO_REUSEADDR`, `SO_REUSEPORT`).

use crate::binding::BoundTo;
use crate::id::SocketId;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

/// How a socket shares its port, and which datagrams are its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sharer {
    pub(crate) reuse_address: bool,
    pub(crate) reuse_port: bool,
    pub(crate) flow: Option<Flow>,
}

/// The ends of a connected socket, as its datagrams name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Flow {
    /// `None` if the source is chosen for each datagram.
    pub(crate) local: Option<IpAddr>,
    pub(crate) peer: SocketAddr,
}

/// The sockets on one port, of which some have the same address.
///
/// Neither a bind nor the lookup for a datagram depends on the number of connected sockets; to
/// close or to connect one of the others takes a search among those on its address.
#[derive(Debug)]
pub(crate) struct SharedPort {
    sockets: HashMap<SocketId, (BoundTo, Sharer), ahash::RandomState>,
    /// One for each address that sockets are bound to.
    places: Vec<Place>,
    /// Of several with the same flow the last one receives, as on Linux.
    connected: HashMap<Flow, Vec<SocketId>, ahash::RandomState>,
}

/// The sockets that are bound to the same address.
#[derive(Debug)]
struct Place {
    to: BoundTo,
    /// Those without a peer, as they were bound or disconnected.
    unconnected: Vec<SocketId>,
    /// Those among them that reuse the port.
    group: Vec<SocketId>,
    all: Refusals,
}

/// Counts of sockets, for who may join them.
#[derive(Debug, Default)]
struct Refusals {
    sockets: usize,
    no_address: usize,
    no_port: usize,
    neither: usize,
}

impl Sharer {
    /// Whether Linux lets the two have one address and port: both reuse the address, or both the
    /// port (socket(7)).
    pub(crate) fn shares_with(&self, other: &Self) -> bool {
        (self.reuse_address && other.reuse_address) || (self.reuse_port && other.reuse_port)
    }
}

impl SharedPort {
    /// `keys` are secret: servers connect their sockets to peers, who choose their ports.
    pub(crate) fn new(keys: ahash::RandomState) -> Self {
        Self {
            sockets: HashMap::with_hasher(keys.clone()),
            places: Vec::new(),
            connected: HashMap::with_hasher(keys),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// Whether a socket may be bound here too.
    pub(crate) fn admits(&self, to: BoundTo, sharer: &Sharer) -> bool {
        let others = self.places.iter().filter(|place| place.to.conflicts(to));
        others.into_iter().all(|place| place.all.admit(sharer))
    }

    pub(crate) fn insert(&mut self, id: SocketId, to: BoundTo, sharer: Sharer) {
        self.sockets.insert(id, (to, sharer));
        let at = self.places.iter().position(|place| place.to == to).unwrap_or_else(|| {
            let all = Refusals::default();
            self.places.push(Place { to, unconnected: Vec::new(), group: Vec::new(), all });
            self.places.len() - 1
        });
        let place = &mut self.places[at];
        place.all.count(&sharer, 1);
        match sharer.flow {
            Some(flow) => self.connected.entry(flow).or_default().push(id),
            None => place.push(id, sharer.reuse_port),
        }
    }

    pub(crate) fn remove(&mut self, id: SocketId) {
        let Some((to, sharer)) = self.sockets.remove(&id) else {
            return;
        };
        if let Some(at) = self.places.iter().position(|place| place.to == to) {
            let place = &mut self.places[at];
            place.all.count(&sharer, -1);
            if sharer.flow.is_none() {
                place.unconnected.retain(|it| *it != id);
                place.group.retain(|it| *it != id);
            }
            if place.all.sockets == 0 {
                self.places.swap_remove(at);
            }
        }
        if let Some(flow) = sharer.flow
            && let Some(ids) = self.connected.get_mut(&flow)
        {
            ids.retain(|it| *it != id);
            if ids.is_empty() {
                self.connected.remove(&flow);
            }
        }
    }

    /// A socket has other options, or another peer.
    pub(crate) fn update(&mut self, id: SocketId, sharer: Sharer) {
        if let Some((to, before)) = self.sockets.get(&id).copied()
            && before != sharer
        {
            self.remove(id);
            self.insert(id, to, sharer);
        }
    }

    /// The socket for a datagram from `peer` to this address: one that is connected to `peer`, or
    /// else an unconnected one on this address, on all of its family, or on all. Of several on one
    /// address it is the last one bound, or if that reuses the port, always the same one for a peer.
    pub(crate) fn find(&self, local: IpAddr, peer: SocketAddr) -> Option<SocketId> {
        if !self.connected.is_empty() {
            let flows = [Some(local), None].map(|local| Flow { local, peer });
            let ids = flows.iter().find_map(|flow| self.connected.get(flow));
            if let Some(id) = ids.and_then(|ids| ids.last()) {
                return Some(*id);
            }
        }
        let places = self.places.iter();
        let places = places.filter(|it| !it.unconnected.is_empty() && it.to.covers(local));
        places.max_by_key(|place| place.to.precision())?.pick(|| {
            let hash = self.sockets.hasher().hash_one((local, peer));
            hash as u32
        })
    }

    /// All sockets on the port.
    pub(crate) fn all(&self) -> impl Iterator<Item = (BoundTo, SocketId)> {
        self.sockets.iter().map(|(id, (to, _))| (*to, *id))
    }
}

impl Place {
    fn push(&mut self, id: SocketId, reuses_port: bool) {
        self.unconnected.push(id);
        if reuses_port {
            self.group.push(id);
        }
    }

    fn pick(&self, hash: impl FnOnce() -> u32) -> Option<SocketId> {
        let last = self.unconnected.last().copied();
        if self.group.len() < 2 || self.group.last().copied() != last {
            return last;
        }
        let at = (u64::from(hash()) * self.group.len() as u64) >> 32;
        self.group.get(at as usize).copied()
    }
}

impl Refusals {
    fn count(&mut self, sharer: &Sharer, by: isize) {
        let change = |count: &mut usize, counts: bool| {
            *count = count.saturating_add_signed(if counts { by } else { 0 });
        };
        change(&mut self.sockets, true);
        change(&mut self.no_address, !sharer.reuse_address);
        change(&mut self.no_port, !sharer.reuse_port);
        change(&mut self.neither, !sharer.reuse_address && !sharer.reuse_port);
    }

    /// Whether all of them [share](Sharer::shares_with) with this one.
    fn admit(&self, sharer: &Sharer) -> bool {
        match (sharer.reuse_address, sharer.reuse_port) {
            (true, true) => self.neither == 0,
            (true, false) => self.no_address == 0,
            (false, true) => self.no_port == 0,
            (false, false) => self.sockets == 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slotmap::SlotMap;

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    fn port() -> (SharedPort, SlotMap<SocketId, ()>) {
        (SharedPort::new(ahash::RandomState::with_seeds(1, 2, 3, 4)), SlotMap::with_key())
    }

    fn sharer(reuse_address: bool, reuse_port: bool) -> Sharer {
        Sharer { reuse_address, reuse_port, flow: None }
    }

    fn peer(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 2], port))
    }

    #[test]
    fn sockets_are_admitted_as_each_pair_shares() {
        let kinds = [(false, false), (true, false), (false, true), (true, true)];
        for first in kinds.map(|(address, port)| sharer(address, port)) {
            for second in kinds.map(|(address, port)| sharer(address, port)) {
                for third in kinds.map(|(address, port)| sharer(address, port)) {
                    let (mut port, mut ids) = port();
                    port.insert(ids.insert(()), BoundTo::AllV4, first);
                    port.insert(ids.insert(()), BoundTo::One(LOCAL), second);
                    let expected = third.shares_with(&first) && third.shares_with(&second);
                    assert_eq!(port.admits(BoundTo::AllV4, &third), expected);
                    assert!(port.admits(BoundTo::AllV6, &third));
                }
            }
        }
    }

    #[test]
    fn the_most_precise_socket_is_found_and_then_the_last_one() {
        let (mut port, mut ids) = port();
        let own = sharer(true, false);
        let [all, v4, one, last, connected] = std::array::from_fn(|_| ids.insert(()));
        port.insert(all, BoundTo::All, own);
        port.insert(v4, BoundTo::AllV4, own);
        assert_eq!(port.find(LOCAL, peer(1)), Some(v4));
        port.insert(one, BoundTo::One(LOCAL), own);
        port.insert(last, BoundTo::One(LOCAL), own);
        assert_eq!(port.find(LOCAL, peer(1)), Some(last));
        let flow = Some(Flow { local: Some(LOCAL), peer: peer(1) });
        port.insert(connected, BoundTo::AllV4, Sharer { flow, ..own });
        assert_eq!(port.find(LOCAL, peer(1)), Some(connected));
        assert_eq!(port.find(LOCAL, peer(2)), Some(last));

        port.update(connected, own);
        port.remove(last);
        assert_eq!(port.find(LOCAL, peer(1)), Some(one));
        port.remove(one);
        assert_eq!(port.find(LOCAL, peer(1)), Some(connected), "it was disconnected last");
        for id in [connected, v4] {
            port.remove(id);
        }
        assert_eq!(port.find(LOCAL, peer(1)), Some(all));
        port.remove(all);
        assert!(port.is_empty() && port.places.is_empty() && port.connected.is_empty());
    }

    #[test]
    fn peers_are_spread_over_a_group_and_keep_their_socket() {
        let (mut port, mut ids) = port();
        for _ in 0..4 {
            port.insert(ids.insert(()), BoundTo::AllV4, sharer(false, true));
        }
        let mut counts = HashMap::new();
        for from in 1..=1000 {
            let found = port.find(LOCAL, peer(from)).expect("one of them");
            assert_eq!(port.find(LOCAL, peer(from)), Some(found));
            *counts.entry(found).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 4);
        assert!(counts.values().all(|count| (150..=350).contains(count)), "{counts:?}");
    }
}
