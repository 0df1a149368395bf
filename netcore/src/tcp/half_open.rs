//! Half-open connections and held SYNs: their bounds and their end.

use crate::context::Context;
use crate::counters::DropReason;
use crate::error::Error;
use crate::id::SocketId;
use crate::ip::layer::IpLayer;
use crate::queue::End;
use crate::tcp::held::Decision;
use crate::tcp::layer::TcpLayer;
use crate::tcp::sockets::TcpSocket;

impl TcpLayer {
    /// Has the oldest half-open connections make room for another of a listener.
    pub(crate) fn make_room_for_half_open(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        listener: SocketId,
    ) {
        if let Some(listener) = self.sockets.listener_mut(listener)
            && listener.half_open.len() >= cx.config.tcp.half_open_per_listener_max.max(1)
        {
            let oldest = listener.half_open.oldest();
            self.evict_half_open(cx, ip, oldest);
        }
        if self.half_open.len() >= cx.config.tcp.half_open_max.max(1) {
            self.evict_half_open(cx, ip, self.half_open.oldest());
        }
    }

    pub(crate) fn evict_half_open(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        oldest: Option<SocketId>,
    ) {
        if let Some(id) = oldest {
            ip.outgoing.counters.drop(DropReason::HalfOpenEvicted);
            self.remove_half_open(cx, ip, id, Error::Aborted);
        }
    }

    /// Ends a connection whose handshake is under way, or has not begun.
    pub(crate) fn remove_half_open(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        id: SocketId,
        reason: Error,
    ) {
        match self.sockets.get_mut(id) {
            Some(TcpSocket::Held(_)) => self.remove_held(cx, id, reason),
            _ => self.remove_connection(cx, ip, id, End::Failed(reason)),
        }
    }

    /// Removes a held SYN without an answer to its peer.
    pub(crate) fn remove_held(&mut self, cx: &mut Context, id: SocketId, reason: Error) {
        if self.sockets.held_mut(id).is_none() {
            return;
        }
        let Some(TcpSocket::Held(mut held)) = self.remove_socket(cx, id) else {
            return;
        };
        held.armed.set(&mut cx.deadlines, id, None);
        self.flows.remove(&held.flow);
        self.half_open.remove(held.tickets.1);
        if let Some(listener) = self.sockets.listener_mut(held.listener) {
            listener.half_open.remove(held.tickets.0);
            listener.queue.forget_held(held.tickets.0);
        }
        held.handle.finish(reason, &mut cx.wakes);
        if let Some(Decision::Admit(responder)) = held.decision {
            // Without a requester there is nothing to undo.
            let _ = responder.answer(Err(reason));
        }
    }
}
