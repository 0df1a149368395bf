//! The ids of sockets.

use crate::error::Error;
use crate::id::SocketId;
use crate::owner::SharedOwner;
use slotmap::{SecondaryMap, SlotMap};

/// The ids of all sockets of a stack, and their layers. Each layer keeps its own sockets by id.
#[derive(Debug)]
pub(crate) struct SocketIds {
    slots: SlotMap<SocketId, Slot>,
    /// The last id of each slot, so that the sockets can be read page by page.
    by_slot: Vec<SocketId>,
    /// Who made them, where that is kept: empty otherwise.
    owners: SecondaryMap<SocketId, SharedOwner>,
    /// Who makes those that are made now.
    maker: Option<SharedOwner>,
    max: usize,
}

/// The layer of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Datagram,
    #[cfg(feature = "udp-lite")]
    UdpLite,
}

#[derive(Debug)]
struct Slot {
    transport: Transport,
    /// The socket is in the run queue.
    is_queued: bool,
}

impl SocketIds {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            slots: SlotMap::with_key(),
            by_slot: Vec::new(),
            owners: SecondaryMap::new(),
            maker: None,
            max,
        }
    }

    /// Assigns an id to the socket that `make` creates.
    ///
    /// # Errors
    ///
    /// [`Error::LimitReached`] at the maximum; the error of `make`.
    pub(crate) fn insert(
        &mut self,
        transport: Transport,
        make: impl FnOnce(SocketId) -> Result<(), Error>,
    ) -> Result<SocketId, Error> {
        if self.is_full() {
            return Err(Error::LimitReached);
        }
        let id = self.slots.try_insert_with_key(|id| {
            make(id)?;
            Ok(Slot { transport, is_queued: false })
        })?;
        let slot = id.slot() as usize;
        if slot >= self.by_slot.len() {
            self.by_slot.resize(slot + 1, SocketId::default());
        }
        self.by_slot[slot] = id;
        // A command makes one socket.
        if let Some(maker) = self.maker.take() {
            self.owners.insert(id, maker);
        }
        Ok(id)
    }

    /// The ids in at most `max` slots from `from` on, and the slot after them, if there are more.
    pub(crate) fn page(
        &self,
        from: usize,
        max: usize,
    ) -> (impl Iterator<Item = SocketId>, Option<usize>) {
        let start = from.min(self.by_slot.len());
        let end = start.saturating_add(max).min(self.by_slot.len());
        let ids = self.by_slot[start..end].iter().copied();
        let next = (end < self.by_slot.len()).then_some(end);
        (ids.filter(|id| self.slots.contains_key(*id)), next)
    }

    /// From now on sockets are made by this owner.
    pub(crate) fn set_maker(&mut self, maker: Option<SharedOwner>) {
        self.maker = maker;
    }

    /// Gives a socket the owner of another one.
    pub(crate) fn inherit(&mut self, id: SocketId, from: SocketId) {
        if let Some(owner) = self.owners.get(from) {
            let owner = owner.clone();
            self.owners.insert(id, owner);
        }
    }

    /// Who made a socket, if that is kept.
    pub(crate) fn owner(&self, id: SocketId) -> Option<&SharedOwner> {
        self.owners.get(id)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.slots.len() >= self.max
    }

    pub(crate) fn remove(&mut self, id: SocketId) {
        self.slots.remove(id);
        self.owners.remove(id);
    }

    /// The layer of a socket; `None` if it was removed.
    pub(crate) fn transport(&self, id: SocketId) -> Option<Transport> {
        self.slots.get(id).map(|slot| slot.transport)
    }

    /// Whether a socket is in the run queue.
    pub(crate) fn is_queued(&self, id: SocketId) -> bool {
        self.slots.get(id).is_some_and(|slot| slot.is_queued)
    }

    /// Marks a socket as in the run queue; returns whether it exists and was not.
    pub(crate) fn enqueue(&mut self, id: SocketId) -> bool {
        let is_queued = self.slots.get_mut(id).map(|slot| &mut slot.is_queued);
        is_queued.is_some_and(|is_queued| !std::mem::replace(is_queued, true))
    }

    /// Marks a socket as taken out of the run queue; returns its layer, if it exists.
    pub(crate) fn dequeue(&mut self, id: SocketId) -> Option<Transport> {
        let slot = self.slots.get_mut(id)?;
        slot.is_queued = false;
        Some(slot.transport)
    }

    /// The error for an id that a layer does not have.
    pub(crate) fn absence(&self, id: Option<SocketId>) -> Error {
        match id.and_then(|id| self.transport(id)) {
            Some(_) => Error::WrongSocket,
            None => Error::Closed,
        }
    }

    pub(crate) fn ids(&self) -> Vec<SocketId> {
        self.slots.keys().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }
}
