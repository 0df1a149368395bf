//! TCP listeners.

use crate::command::outcome::Outcome;
use crate::command::tcp::ListenOptions;
use crate::context::Context;
use crate::doorbell::{Bell, Events};
use crate::error::Error;
use crate::id::SocketId;
use crate::ip::layer::IpLayer;
use crate::queue::AcceptQueue;
use crate::reply::Responder;
use crate::socket_ids::Transport;
use crate::sync::Arc;
use crate::tcp::layer::TcpLayer;
use crate::tcp::listener::{HalfOpen, Listener};
use crate::tcp::reservation::Reservation;
use crate::tcp::sockets::TcpSocket;
use std::collections::VecDeque;
use std::net::SocketAddr;

impl TcpLayer {
    pub(crate) fn listen(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        local: SocketAddr,
        reservation: Option<Reservation>,
        options: ListenOptions,
    ) -> Result<Arc<AcceptQueue>, Error> {
        let to = ip.bindable(cx, local.ip(), options.families)?;
        self.check_reservation(reservation.as_ref())?;
        let (ports, random, doorbell) = (&mut self.ports, &mut cx.random, &cx.doorbell);
        let backlog_max = options.backlog_max.unwrap_or(cx.config.tcp.backlog_max).max(1);
        let sockets = &mut self.sockets;
        let id = cx.sockets.insert(Transport::Tcp, |id| {
            let port = match reservation {
                Some(reservation) => ports.bind_reserved(reservation, id),
                None if options.any_port => ports.bind_rest(to, id)?,
                None => ports.bind(to, local.port(), id, random)?,
            };
            let bell = Bell::new(id, doorbell.clone());
            let queue = AcceptQueue::new(bell, SocketAddr::new(local.ip(), port));
            let listener = TcpSocket::Listener(Box::new(Listener {
                queue: Arc::new(queue),
                port,
                options: options.connection,
                backlog_max,
                on_syn: options.on_syn,
                half_open: HalfOpen::default(),
                parked: VecDeque::new(),
            }));
            sockets.insert(id, listener);
            Ok(())
        })?;
        let queue = self.sockets.listener_mut(id).expect("it was just inserted").queue.clone();
        tracing::debug!(local = %queue.local_address(), "listener bound");
        Ok(queue)
    }

    /// Fails for a port that was reserved with another stack.
    pub(crate) fn check_reservation(&self, reservation: Option<&Reservation>) -> Result<(), Error> {
        match reservation.is_none_or(|reservation| self.ports.has_reserved(reservation)) {
            true => Ok(()),
            false => Err(Error::WrongSocket),
        }
    }

    pub(crate) fn accept(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        handle: Option<SocketId>,
        responder: &mut Option<Responder>,
    ) -> Outcome {
        let Some(id) = handle else {
            return Outcome::Now(Err(Error::Closed));
        };
        let Some(listener) = self.sockets.listener_mut(id) else {
            return Outcome::Now(Err(cx.sockets.absence(handle)));
        };
        if let Some(responder) = responder.take() {
            responder.park_on(id);
            listener.parked.push_back(responder);
            self.retry_accept(cx, ip, id);
            if let Some(listener) = self.sockets.listener_mut(id)
                && listener.parked.len() > cx.config.commands_per_socket_max
                && let Some(last) = listener.parked.pop_back()
            {
                self.reply(cx, ip, Some(id), Some(last), Err(Error::LimitReached));
            }
        }
        Outcome::Later
    }

    /// Looks at what the handle of a listener rang for.
    pub(crate) fn attend_listener(&mut self, cx: &mut Context, ip: &mut IpLayer, id: SocketId) {
        let Some(listener) = self.sockets.listener_mut(id) else {
            return;
        };
        listener.parked.retain(|responder| !responder.is_abandoned());
        if listener.queue.bell().take().contains(Events::CLOSE) {
            self.remove_listener(cx, ip, id, Error::Closed);
        }
    }

    /// Removes a listener, with the connections in its backlog.
    pub(crate) fn remove_listener(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        id: SocketId,
        reason: Error,
    ) {
        let Some(TcpSocket::Listener(listener)) = self.remove_socket(cx, id) else {
            return;
        };
        self.ports.release(listener.port, id);
        tracing::debug!(local = %listener.queue.local_address(), "listener closed");
        // A decision on one of them is not lost with the listener.
        let half_open_reason = if reason == Error::Closed { Error::Aborted } else { reason };
        for half_open in listener.half_open.ids() {
            self.remove_half_open(cx, ip, half_open, half_open_reason);
        }
        for stream in listener.queue.finish(reason, &mut cx.wakes) {
            stream.abort();
        }
        for responder in listener.parked {
            // Without a requester there is nothing to undo.
            let _ = responder.answer(Err(reason));
        }
    }
}
