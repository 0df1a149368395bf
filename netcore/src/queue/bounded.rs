//! A queue of datagrams bounded in bytes, those of all sockets together too.

use super::datagram::Datagram;
use crate::memory::{Charge, Pressure};
use std::collections::VecDeque;

/// A queue of datagrams bounded in bytes.
#[derive(Debug)]
pub(super) struct Bounded {
    datagrams: VecDeque<Queued>,
    pub(super) bytes: usize,
    bytes_max: usize,
    charge: Charge,
}

/// A datagram, and the bytes counted for it.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) datagram: Datagram,
    pub(super) bytes: usize,
}

/// Overhead counted for a queued datagram, in bytes: its slot, of which a growing queue has up to
/// two for each datagram, and the allocation of the payload with its reference count.
pub(super) const OVERHEAD: usize = 2 * size_of::<Queued>() + PAYLOAD_OVERHEAD;
const PAYLOAD_OVERHEAD: usize = 48;

/// Capacity that an idle queue keeps, in datagrams.
const IDLE_CAPACITY: usize = 16;

impl Bounded {
    pub(super) fn new(bytes_max: usize, charge: Charge) -> Self {
        Self { datagrams: VecDeque::new(), bytes: 0, bytes_max, charge }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    pub(super) fn front(&self) -> Option<&Datagram> {
        self.datagrams.front().map(|queued| &queued.datagram)
    }

    pub(super) fn has_room(&self, kept: usize) -> bool {
        let fits = self.bytes + OVERHEAD + kept <= self.bytes_max;
        fits && (self.is_empty() || self.charge.pressure() < Pressure::Full)
    }

    fn count(&mut self, bytes: usize) {
        self.bytes = bytes;
        self.charge.set(bytes);
    }

    /// Appends a datagram whose payload keeps `kept` bytes alive.
    pub(super) fn push(&mut self, datagram: Datagram, kept: usize) {
        let bytes = OVERHEAD + kept;
        self.count(self.bytes + bytes);
        self.datagrams.push_back(Queued { datagram, bytes });
    }

    pub(super) fn pop(&mut self) -> Option<Queued> {
        let queued = self.datagrams.pop_front()?;
        self.count(self.bytes - queued.bytes);
        if self.is_empty() && self.datagrams.capacity() > IDLE_CAPACITY {
            // An idle socket frees the memory of its last burst.
            self.datagrams = VecDeque::new();
        }
        Some(queued)
    }

    /// Puts a datagram back in front.
    pub(super) fn unread(&mut self, datagram: Datagram) {
        let bytes = OVERHEAD + datagram.payload.len();
        self.count(self.bytes + bytes);
        self.datagrams.push_front(Queued { datagram, bytes });
    }
}
