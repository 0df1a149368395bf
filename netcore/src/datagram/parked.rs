//! Parked commands of datagram sockets.

use crate::command::outcome::{Answer, Undelivered};
use crate::command::{Response, icmp, raw, udp};
use crate::context::Context;
use crate::datagram::layer::DatagramLayer;
use crate::datagram::socket::Kind;
use crate::error::Error;
use crate::id::SocketId;
use crate::queue::{Datagram, SocketQueue};
use crate::reply::{Responder, undelivered};
use bytes::Bytes;
use std::net::SocketAddr;

impl DatagramLayer {
    /// Undoes the command of an undelivered answer.
    pub(crate) fn take_back(&mut self, cx: &mut Context, undelivered: Undelivered) {
        let Some(SocketQueue::Datagram(queue)) = undelivered.queue else { return };
        let back = match undelivered.response {
            Response::Udp(udp::Response::Received { remote, buf, .. }) => datagram(remote, buf),
            Response::Icmp(icmp::Response::Failed { remote, sequence, error }) => Datagram {
                error: Some(error),
                ..datagram(SocketAddr::new(remote, sequence), Bytes::new())
            },
            Response::Icmp(icmp::Response::Received { remote, sequence, hop_limit, buf }) => {
                Datagram {
                    hop_limit: Some(hop_limit),
                    ..datagram(SocketAddr::new(remote, sequence), buf)
                }
            }
            Response::Raw(raw::Response::Received { packet }) => {
                datagram(SocketAddr::new(queue.local_address().ip(), 0), packet)
            }
            // A new socket.
            _ => return queue.close(),
        };
        queue.unread(back, &mut cx.wakes);
    }

    /// Delivers an answer. If its requester is gone, the command is undone.
    pub(super) fn reply(
        &mut self,
        cx: &mut Context,
        handle: Option<SocketId>,
        responder: Option<Responder>,
        answer: Answer,
    ) {
        if let Some(undelivered) = undelivered(handle, responder, answer) {
            self.take_back(cx, undelivered);
        }
    }

    /// Answers the waiting receive commands of a socket, as far as there are datagrams.
    pub(crate) fn retry_parked_datagram(&mut self, cx: &mut Context, id: SocketId) {
        while let Some(socket) = self.sockets.get_mut(id) {
            socket.parked.retain(|(_, responder)| !responder.is_abandoned());
            if socket.parked.is_empty() {
                return;
            }
            let received = match socket.queue.try_recv() {
                Err(Error::WouldBlock) => return,
                received => received,
            };
            let Some((max_len, responder)) = socket.parked.pop_front() else {
                return;
            };
            let (kind, queue) = (socket.queue.kind(), SocketQueue::Datagram(socket.queue.clone()));
            let answer =
                received.map(|datagram| (describe_received(kind, datagram, max_len), Some(queue)));
            self.reply(cx, Some(id), Some(responder), answer);
        }
    }
}

pub(super) fn describe_received(
    kind: Kind,
    datagram: Datagram,
    max_len: Option<usize>,
) -> Response {
    let Datagram { peer, hop_limit, error, payload: mut buf, .. } = datagram;
    match kind {
        Kind::Udp { .. } => {
            let len = buf.len();
            buf.truncate(max_len.unwrap_or(len));
            let truncated = (buf.len() < len).then_some(len);
            udp::Response::Received { remote: peer, buf, truncated }.into()
        }
        Kind::Ping { .. } => {
            let (remote, sequence) = (peer.ip(), peer.port());
            match error {
                Some(error) => icmp::Response::Failed { remote, sequence, error },
                None => {
                    let hop_limit = hop_limit.unwrap_or(0);
                    icmp::Response::Received { remote, sequence, hop_limit, buf }
                }
            }
            .into()
        }
        Kind::Raw { .. } => raw::Response::Received { packet: buf }.into(),
    }
}

pub(super) fn datagram(peer: SocketAddr, payload: Bytes) -> Datagram {
    Datagram::new(peer, payload)
}
