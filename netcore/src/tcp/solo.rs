//! A socket of smoltcp's in a set of its own.

use smoltcp::iface::{SocketHandle, SocketSet, SocketStorage};
use smoltcp::socket::tcp::{Socket, SocketBuffer};

/// A socket set with exactly one TCP socket. It carries no data, and has no room for any.
#[derive(Debug)]
pub(crate) struct SoloSocket {
    set: SocketSet<'static>,
    handle: SocketHandle,
}

impl SoloSocket {
    /// Makes a closed socket.
    pub(crate) fn new() -> Self {
        // smoltcp divides by the size of a buffer.
        let buffer = || SocketBuffer::new(vec![0]);
        // Exactly one slot: a set that grows would reserve four.
        let mut set = SocketSet::new(vec![SocketStorage::EMPTY]);
        let handle = set.add(Socket::new(buffer(), buffer()));
        Self { set, handle }
    }

    pub(crate) fn tcp(&self) -> &Socket<'static> {
        self.set.get(self.handle)
    }

    pub(crate) fn tcp_mut(&mut self) -> &mut Socket<'static> {
        self.set.get_mut(self.handle)
    }

    pub(crate) fn set(&self) -> &SocketSet<'static> {
        &self.set
    }

    pub(crate) fn set_mut(&mut self) -> &mut SocketSet<'static> {
        &mut self.set
    }
}
