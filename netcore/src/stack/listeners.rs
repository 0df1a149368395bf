//! TCP listeners.

use super::Netstack;
use super::commands::Outcome;
use crate::channel::Responder;
use crate::command::tcp::{self, ListenOptions};
use crate::doorbell::{Bell, Events};
use crate::error::Error;
use crate::id::SocketId;
use crate::ports::Protocol;
use crate::queue::{AcceptQueue, SocketQueue};
use crate::sockets::Socket;
use crate::sockets::listener::{HalfOpen, Listener};
use crate::sync::Arc;
use std::collections::VecDeque;
use std::net::SocketAddr;

impl Netstack {
    pub(super) fn listen(
        &mut self,
        local: SocketAddr,
        options: ListenOptions,
    ) -> Result<Arc<AcceptQueue>, Error> {
        let to = self.bindable(local.ip(), options.families)?;
        let (ports, random, doorbell) = (&mut self.ports, &mut self.random, &self.doorbell);
        let backlog_max = options.backlog_max.unwrap_or(self.config.backlog_max).max(1);
        let id = self.sockets.insert(|id| {
            let port = match options.any_port {
                true => ports.bind_rest(Protocol::Tcp, to, id)?,
                false => ports.bind(Protocol::Tcp, to, local.port(), id, random)?,
            };
            let bell = Bell::new(id, doorbell.clone());
            let queue = AcceptQueue::new(bell, SocketAddr::new(local.ip(), port));
            Ok(Socket::Listener(Box::new(Listener {
                queue: Arc::new(queue),
                port,
                options: options.connection,
                backlog_max,
                half_open: HalfOpen::default(),
                parked: VecDeque::new(),
            })))
        })?;
        Ok(self.sockets.listener_mut(id).expect("it was just inserted").queue.clone())
    }

    pub(super) fn accept(
        &mut self,
        handle: Option<SocketId>,
        responder: &mut Option<Responder>,
    ) -> Outcome {
        let Some(id) = handle else {
            return Outcome::Now(Err(Error::Closed));
        };
        let Some(listener) = self.sockets.listener_mut(id) else {
            let error = match self.sockets.get_mut(id) {
                Some(_) => Error::WrongSocket,
                None => Error::Closed,
            };
            return Outcome::Now(Err(error));
        };
        if let Some(responder) = responder.take() {
            responder.park_on(id);
            listener.parked.push_back(responder);
            self.retry_accept(id);
        }
        Outcome::Later
    }

    /// Answers the accept commands that wait for a listener, as far as there are connections.
    pub(super) fn retry_accept(&mut self, id: SocketId) {
        while let Some(listener) = self.sockets.listener_mut(id) {
            listener.parked.retain(|responder| !responder.is_abandoned());
            if listener.parked.is_empty() {
                return;
            }
            let Ok(stream) = listener.queue.try_accept() else {
                return;
            };
            let responder = listener.parked.pop_front();
            let response = tcp::Response::Accepted {
                handle: stream.id(),
                local: stream.local_address(),
                remote: stream.peer_address(),
            };
            let answer = Ok((response.into(), Some(SocketQueue::Stream(stream))));
            self.reply(Some(id), responder, answer);
        }
    }

    /// Looks at what the handle of a listener rang for.
    pub(super) fn attend_listener(&mut self, id: SocketId) {
        let Some(listener) = self.sockets.listener_mut(id) else {
            return;
        };
        listener.parked.retain(|responder| !responder.is_abandoned());
        if listener.queue.bell().take().contains(Events::CLOSE) {
            self.remove_listener(id, Error::Closed);
        }
    }

    /// Removes a listener, with the connections that nobody has accepted.
    pub(super) fn remove_listener(&mut self, id: SocketId, reason: Error) {
        let Some(Socket::Listener(listener)) = self.sockets.remove(id) else {
            return;
        };
        self.ports.release(Protocol::Tcp, listener.port, id);
        for half_open in listener.half_open.ids() {
            self.remove_connection(half_open, Error::Aborted);
        }
        for stream in listener.queue.finish(reason, &mut self.wakes) {
            stream.abort();
        }
        for responder in listener.parked {
            // Nobody to tell is nothing to undo.
            let _ = responder.answer(Err(reason));
        }
    }
}
