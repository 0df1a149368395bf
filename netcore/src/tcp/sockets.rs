//! The sockets of TCP.

use crate::id::SocketId;
use crate::tcp::connection::Connection;
use crate::tcp::held::Held;
use crate::tcp::listener::Listener;
use slotmap::SecondaryMap;

/// One socket. Boxed, so that the table stays small and growing it moves little.
#[derive(Debug)]
pub(crate) enum TcpSocket {
    Connection(Box<Connection>),
    Listener(Box<Listener>),
    Held(Box<Held>),
}

/// All sockets of TCP by their ids.
#[derive(Debug, Default)]
pub(crate) struct TcpSockets(SecondaryMap<SocketId, TcpSocket>);

impl TcpSockets {
    /// Puts a socket under its id; returns the one that was there.
    pub(crate) fn insert(&mut self, id: SocketId, socket: TcpSocket) -> Option<TcpSocket> {
        self.0.insert(id, socket)
    }

    pub(crate) fn remove(&mut self, id: SocketId) -> Option<TcpSocket> {
        self.0.remove(id)
    }

    pub(crate) fn get(&self, id: SocketId) -> Option<&TcpSocket> {
        self.0.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: SocketId) -> Option<&mut TcpSocket> {
        self.0.get_mut(id)
    }

    pub(crate) fn connection_mut(&mut self, id: SocketId) -> Option<&mut Connection> {
        match self.0.get_mut(id)? {
            TcpSocket::Connection(connection) => Some(connection),
            _ => None,
        }
    }

    pub(crate) fn listener_mut(&mut self, id: SocketId) -> Option<&mut Listener> {
        match self.0.get_mut(id)? {
            TcpSocket::Listener(listener) => Some(listener),
            _ => None,
        }
    }

    pub(crate) fn held_mut(&mut self, id: SocketId) -> Option<&mut Held> {
        match self.0.get_mut(id)? {
            TcpSocket::Held(held) => Some(held),
            _ => None,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SocketId, &TcpSocket)> {
        self.0.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (SocketId, &mut TcpSocket)> {
        self.0.iter_mut()
    }

    pub(crate) fn ids(&self) -> Vec<SocketId> {
        self.0.keys().collect()
    }
}
