//! Answers on their way to requesters, and what is undone if one has gone.

use crate::command::outcome::{Answer, Undelivered};
use crate::command::{Response, tcp};
use crate::context::Context;
use crate::error::Error;
use crate::id::SocketId;
use crate::ip::layer::IpLayer;
use crate::queue::{AcceptQueue, SocketQueue, StreamQueue};
use crate::reply::{Responder, undelivered};
use crate::sync::Arc;
use crate::tcp::layer::TcpLayer;

impl TcpLayer {
    /// Delivers an answer. If its requester has gone, the effect of the command is undone.
    pub(crate) fn reply(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        handle: Option<SocketId>,
        responder: Option<Responder>,
        answer: Answer,
    ) {
        if let Some(undelivered) = undelivered(handle, responder, answer) {
            self.take_back(cx, ip, undelivered);
        }
    }

    /// Undoes a command whose answer was not received.
    pub(crate) fn take_back(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        undelivered: Undelivered,
    ) {
        let Undelivered { handle, response, queue } = undelivered;
        let listener = handle.and_then(|listener| self.sockets.listener_mut(listener));
        match (response, queue) {
            (Response::Tcp(tcp::Response::Accepted { .. }), Some(SocketQueue::Stream(stream))) => {
                match listener {
                    Some(listener) => {
                        let accept = listener.queue.clone();
                        accept.unaccept(stream, &mut cx.wakes);
                        self.retry_accept(cx, ip, accept.id());
                    }
                    None => stream.close(),
                }
            }
            (Response::Tcp(tcp::Response::Held { .. }), Some(SocketQueue::Held(held))) => {
                match listener {
                    Some(_) if held.end().is_some() => {}
                    Some(listener) => {
                        let accept = listener.queue.clone();
                        accept.hold(held, &mut cx.wakes);
                        self.retry_accept(cx, ip, accept.id());
                    }
                    None => held.close(),
                }
            }
            (Response::Tcp(tcp::Response::Received { buf }), Some(SocketQueue::Stream(stream))) => {
                stream.unread(buf, &mut cx.wakes);
            }
            // A fresh socket.
            (_, Some(SocketQueue::Stream(stream))) => stream.close(),
            (_, Some(SocketQueue::Accept(accept))) => accept.close(),
            (_, Some(SocketQueue::Held(held))) => held.close(),
            (_, Some(SocketQueue::Datagram(_)) | None) => {}
        }
    }

    /// Tries the commands again that wait for a connection, after it has changed.
    pub(crate) fn retry_parked(&mut self, cx: &mut Context, ip: &mut IpLayer, id: SocketId) {
        let Some(connection) = self.sockets.connection_mut(id) else {
            return;
        };
        let Some(mut parked) = connection.parked.take() else {
            return;
        };
        parked.forget_abandoned();
        let mtu = ip.outgoing.capabilities.mtu;
        let info = (!parked.info.is_empty()).then(|| connection.info(mtu, &cx.config, cx.now));
        let stream = connection.queue().cloned();
        for (responder, info) in parked.info.drain(..).zip(info.into_iter().cycle()) {
            let answer = Ok((tcp::Response::Info(info).into(), None));
            self.reply(cx, ip, Some(id), Some(responder), answer);
        }
        let Some(stream) = stream else {
            return;
        };
        while let Some((max_len, responder)) = parked.recv.pop_front() {
            match try_receive(&stream, max_len) {
                Err(Error::WouldBlock) => {
                    parked.recv.push_front((max_len, responder));
                    break;
                }
                answer => self.reply(cx, ip, Some(id), Some(responder), answer),
            }
        }
        while let Some((mut buf, responder)) = parked.send.pop_front() {
            match stream.try_send_bytes(&mut buf) {
                Err(Error::WouldBlock) => {
                    parked.send.push_front((buf, responder));
                    break;
                }
                result => {
                    let answer = result.map(|n| (tcp::Response::Sent { n }.into(), None));
                    self.reply(cx, ip, Some(id), Some(responder), answer);
                }
            }
        }
        if !(parked.recv.is_empty() && parked.send.is_empty())
            && let Some(connection) = self.sockets.connection_mut(id)
        {
            connection.parked = Some(parked);
        }
    }

    /// Answers the accept commands that wait for a listener, as far as there are connections.
    pub(crate) fn retry_accept(&mut self, cx: &mut Context, ip: &mut IpLayer, id: SocketId) {
        while let Some(listener) = self.sockets.listener_mut(id) {
            listener.parked.retain(|responder| !responder.is_abandoned());
            if listener.parked.is_empty() {
                return;
            }
            let Some((response, queue)) = next_of(&listener.queue) else {
                return;
            };
            let responder = listener.parked.pop_front();
            self.reply(cx, ip, Some(id), responder, Ok((response.into(), Some(queue))));
        }
    }
}

pub(super) fn try_receive(stream: &Arc<StreamQueue>, max_len: Option<usize>) -> Answer {
    let buf = stream.try_recv_bytes(max_len.unwrap_or(usize::MAX))?;
    let response = if buf.is_empty() && max_len != Some(0) {
        tcp::Response::Finished
    } else {
        tcp::Response::Received { buf }
    };
    Ok((response.into(), Some(SocketQueue::Stream(stream.clone()))))
}

/// Takes the next connection of a listener, or the next SYN that it holds.
pub(super) fn next_of(queue: &AcceptQueue) -> Option<(tcp::Response, SocketQueue)> {
    if let Ok(stream) = queue.try_accept() {
        let (handle, local) = (stream.id(), stream.local_address());
        let response = tcp::Response::Accepted { handle, local, remote: stream.peer_address() };
        return Some((response, SocketQueue::Stream(stream)));
    }
    let held = queue.try_held().ok()?;
    let (handle, local) = (held.id(), held.local_address());
    let response = tcp::Response::Held { handle, local, remote: held.peer_address() };
    Some((response, SocketQueue::Held(held)))
}
