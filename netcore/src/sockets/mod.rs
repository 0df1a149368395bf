//! The sockets of a stack.

pub(crate) mod connection;
pub(crate) mod datagram;
pub(crate) mod guard;
pub(crate) mod held;
pub(crate) mod listener;
pub(crate) mod options;
pub(crate) mod past_ends;
pub(crate) mod patience;
mod sink;
pub(crate) mod time_wait;
pub(crate) mod warmth;
pub(crate) mod wire;

use crate::error::Error;
use crate::id::SocketId;
use connection::Connection;
use datagram::DatagramSocket;
use held::Held;
use listener::Listener;
use slotmap::SlotMap;

/// One socket. Boxed, so that the table stays small and growing it moves little.
#[derive(Debug)]
pub(crate) enum Socket {
    Connection(Box<Connection>),
    Listener(Box<Listener>),
    Held(Box<Held>),
    Datagram(Box<DatagramSocket>),
}

/// All sockets of a stack by their ids.
#[derive(Debug)]
pub(crate) struct Sockets {
    slots: SlotMap<SocketId, Socket>,
    max: usize,
}

impl Sockets {
    pub(crate) fn new(max: usize) -> Self {
        Self { slots: SlotMap::with_key(), max }
    }

    /// Adds the socket that `make` makes for its id.
    ///
    /// # Errors
    ///
    /// [`Error::LimitReached`] if there are too many; what `make` fails with.
    pub(crate) fn insert(
        &mut self,
        make: impl FnOnce(SocketId) -> Result<Socket, Error>,
    ) -> Result<SocketId, Error> {
        if self.is_full() {
            return Err(Error::LimitReached);
        }
        self.slots.try_insert_with_key(make)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.slots.len() >= self.max
    }

    pub(crate) fn remove(&mut self, id: SocketId) -> Option<Socket> {
        self.slots.remove(id)
    }

    /// Puts another socket in the place of one, under its id.
    pub(crate) fn replace(&mut self, id: SocketId, socket: Socket) -> Option<Socket> {
        self.slots.get_mut(id).map(|slot| std::mem::replace(slot, socket))
    }

    pub(crate) fn get_mut(&mut self, id: SocketId) -> Option<&mut Socket> {
        self.slots.get_mut(id)
    }

    pub(crate) fn connection_mut(&mut self, id: SocketId) -> Option<&mut Connection> {
        match self.slots.get_mut(id)? {
            Socket::Connection(connection) => Some(connection),
            _ => None,
        }
    }

    pub(crate) fn listener_mut(&mut self, id: SocketId) -> Option<&mut Listener> {
        match self.slots.get_mut(id)? {
            Socket::Listener(listener) => Some(listener),
            _ => None,
        }
    }

    pub(crate) fn held_mut(&mut self, id: SocketId) -> Option<&mut Held> {
        match self.slots.get_mut(id)? {
            Socket::Held(held) => Some(held),
            _ => None,
        }
    }

    pub(crate) fn datagram_mut(&mut self, id: SocketId) -> Option<&mut DatagramSocket> {
        match self.slots.get_mut(id)? {
            Socket::Datagram(socket) => Some(socket),
            _ => None,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SocketId, &Socket)> {
        self.slots.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (SocketId, &mut Socket)> {
        self.slots.iter_mut()
    }

    pub(crate) fn ids(&self) -> Vec<SocketId> {
        self.slots.keys().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }
}
