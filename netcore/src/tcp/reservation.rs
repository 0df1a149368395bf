//! Reserved TCP ports, visible to handles without a command to the stack.
//!
//! `bind` of a socket that neither listens nor connects yet does not wait, so it cannot be a
//! command. The table is looked at when a socket is bound, listens or connects, and for no packet.

use crate::binding::{BoundTo, Families, pick_port};
use crate::config::Entropy;
use crate::error::Error;
use crate::random::{LocalHasher, Random};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The reserved TCP ports of a stack, shared by the stack and its channels.
#[derive(Debug)]
pub(crate) struct TcpPorts {
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    taken: HashMap<u16, Vec<(u64, BoundTo)>, LocalHasher>,
    last_ticket: u64,
    entropy: Entropy,
    /// For the ports that are chosen outside of the stack, once there is one.
    random: Option<Box<Random>>,
}

/// A TCP port reserved for as long as there is a clone of this, for a socket that will
/// listen on it or connect from it: [`Channel::reserve_tcp`](crate::Channel::reserve_tcp).
#[derive(Debug, Clone)]
pub struct Reservation(Arc<Claim>);

#[derive(Debug)]
struct Claim {
    ports: Arc<TcpPorts>,
    ticket: u64,
    local: SocketAddr,
    to: BoundTo,
}

impl Reservation {
    /// The address, with the port that was chosen.
    pub fn local_address(&self) -> SocketAddr {
        self.0.local
    }

    pub(crate) fn bound_to(&self) -> BoundTo {
        self.0.to
    }

    /// Whether it is for a port of the stack that has this table.
    pub(crate) fn is_of(&self, ports: &Arc<TcpPorts>) -> bool {
        Arc::ptr_eq(&self.0.ports, ports)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut table = self.ports.lock();
        if let Some(taken) = table.taken.get_mut(&self.local.port()) {
            taken.retain(|(ticket, _)| *ticket != self.ticket);
            if taken.is_empty() {
                table.taken.remove(&self.local.port());
            }
        }
    }
}

impl TcpPorts {
    pub(crate) fn new(entropy: Entropy) -> Self {
        // With a seed of their own, so that what a stack draws stays what it is.
        let entropy = match entropy {
            Entropy::Os => Entropy::Os,
            Entropy::Seed(seed) => Entropy::Seed(!seed),
        };
        let table = Table { taken: HashMap::default(), last_ticket: 0, entropy, random: None };
        Self { table: Mutex::new(table) }
    }

    /// Takes the port of `local`, or if that is 0 a free one.
    ///
    /// # Errors
    ///
    /// [`Error::AddressInUse`] if another socket has it; [`Error::NoFreePort`] if none is left.
    pub(crate) fn claim(
        self: &Arc<Self>,
        local: SocketAddr,
        to: BoundTo,
        random: &mut Random,
    ) -> Result<Reservation, Error> {
        self.claim_in(&mut self.lock(), local, to, Some(random))
    }

    /// The same with random numbers of its own.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        local: SocketAddr,
        families: Families,
    ) -> Result<Reservation, Error> {
        self.claim_in(&mut self.lock(), local, BoundTo::new(local.ip(), families), None)
    }

    fn claim_in(
        self: &Arc<Self>,
        table: &mut Table,
        local: SocketAddr,
        to: BoundTo,
        random: Option<&mut Random>,
    ) -> Result<Reservation, Error> {
        let Table { taken, last_ticket, entropy, random: own } = table;
        let random = match random {
            Some(random) => random,
            None => own.get_or_insert_with(|| Box::new(Random::new(*entropy))),
        };
        let is_free = |port: u16| {
            taken.get(&port).is_none_or(|taken| taken.iter().all(|(_, other)| !other.conflicts(to)))
        };
        let port = match local.port() {
            0 => pick_port(random, is_free).ok_or(Error::NoFreePort)?,
            port if is_free(port) => port,
            _ => return Err(Error::AddressInUse),
        };
        *last_ticket += 1;
        let ticket = *last_ticket;
        taken.entry(port).or_default().push((ticket, to));
        let local = SocketAddr::new(local.ip(), port);
        Ok(Reservation(Arc::new(Claim { ports: self.clone(), ticket, local, to })))
    }

    /// Whether anybody has this port, on any address.
    pub(crate) fn is_taken(&self, port: u16) -> bool {
        self.lock().taken.contains_key(&port)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // No critical section leaves anything half done.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_port_is_free_again_when_the_last_clone_is_dropped() {
        let ports = Arc::new(TcpPorts::new(Entropy::Seed(1)));
        let first = ports.reserve(local("10.0.0.1:0"), Families::Both).expect("a port is left");
        let port = first.local_address().port();
        assert!(crate::binding::EPHEMERAL.contains(&port) && ports.is_taken(port));
        let second = first.clone();
        drop(first);

        for conflicting in ["10.0.0.1", "0.0.0.0", "[::]"] {
            let again = ports.reserve(local(&format!("{conflicting}:{port}")), Families::Both);
            assert_eq!(again.err(), Some(Error::AddressInUse), "{conflicting}");
        }
        let other = ports.reserve(local(&format!("10.0.0.2:{port}")), Families::Both);
        drop((second, other.expect("another address")));

        assert!(!ports.is_taken(port));
        ports.reserve(local(&format!("[::]:{port}")), Families::Both).expect("it is free");
    }
}
