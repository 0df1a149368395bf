//! The state of UDP, ping and raw sockets.

use crate::command::raw::Version;
use crate::context::Context;
use crate::datagram::socket::DatagramSocket;
use crate::error::Error;
use crate::id::SocketId;
use crate::ip::layer::IpLayer;
use crate::ports::Ports;
use crate::random::LocalHasher;
use slotmap::SecondaryMap;
use std::collections::HashMap;

/// Datagrams above IP: UDP, ICMP echo and raw packets.
#[derive(Debug, Default)]
pub(crate) struct DatagramLayer {
    pub(crate) sockets: SecondaryMap<SocketId, Box<DatagramSocket>>,
    pub(crate) ports: Ports,
    /// Ping sockets by family and identifier.
    pub(crate) echoes: HashMap<(Version, u16), SocketId, LocalHasher>,
    /// Raw sockets by family and protocol.
    pub(crate) raw: HashMap<(Version, u8), Vec<SocketId>, LocalHasher>,
}

impl DatagramLayer {
    pub(crate) fn has_raw(&self) -> bool {
        !self.raw.is_empty()
    }

    /// Closes a socket once its queued datagrams are sent.
    pub(crate) fn shut(&mut self, cx: &mut Context, id: SocketId) {
        if let Some(socket) = self.sockets.get_mut(id) {
            socket.is_orphan = true;
            cx.mark(id);
        }
    }

    /// Ends a socket after a panic, or only the datagram being sent.
    pub(crate) fn end_broken(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        id: SocketId,
        is_sending: bool,
    ) {
        match self.sockets.get(id) {
            Some(socket) if is_sending => {
                socket.queue.clone().set_error(Error::Aborted, &mut cx.wakes);
                cx.mark(id);
            }
            _ => self.remove_datagram(cx, ip, id, Error::Aborted),
        }
    }
}
