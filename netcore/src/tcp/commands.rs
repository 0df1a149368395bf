//! TCP commands.

use crate::command::outcome::Outcome;
use crate::command::{Response, tcp};
use crate::context::Context;
use crate::error::Error;
use crate::id::SocketId;
use crate::ip::layer::IpLayer;
use crate::queue::{AcceptQueue, SocketQueue, StreamQueue};
use crate::reply::Responder;
use crate::sync::Arc;
use crate::tcp::connection::Parked;
use crate::tcp::delivery::try_receive;
use crate::tcp::layer::TcpLayer;
use crate::tcp::sockets::TcpSocket;

impl TcpLayer {
    /// Carries out a TCP command.
    pub(crate) fn tcp(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        handle: Option<SocketId>,
        command: tcp::Command,
        responder: &mut Option<Responder>,
    ) -> Outcome {
        match command {
            tcp::Command::Listen { local, options } => {
                listening(self.listen(cx, ip, local, None, options))
            }
            tcp::Command::ListenReserved { reservation, options } => {
                let local = reservation.local_address();
                let options = tcp::ListenOptions { any_port: false, ..options };
                listening(self.listen(cx, ip, local, Some(reservation), options))
            }
            tcp::Command::Connect { remote, local, options } => {
                self.connect(cx, ip, remote, (local, None), options, responder.take());
                Outcome::Later
            }
            tcp::Command::ConnectReserved { reservation, remote, options } => {
                let from = (Some(reservation.local_address()), Some(reservation));
                self.connect(cx, ip, remote, from, options, responder.take());
                Outcome::Later
            }
            tcp::Command::Accept => self.accept(cx, ip, handle, responder),
            tcp::Command::Admit => self.admit_held(cx, handle, responder),
            tcp::Command::Refuse { how } => self.refuse_held(cx, handle, how),
            tcp::Command::Close => match self.find_tcp(cx, handle) {
                Ok(Found::Listener(queue)) => {
                    self.remove_listener(cx, ip, queue.id(), Error::Closed);
                    Outcome::from(Ok(Response::Done))
                }
                Ok(Found::Stream(stream)) => {
                    stream.close();
                    Outcome::from(Ok(Response::Done))
                }
                Ok(Found::Held) => self.refuse_held(cx, handle, tcp::Refusal::Reset),
                Err(error) => Outcome::Now(Err(error)),
            },
            tcp::Command::Info => self.read_info(cx, handle, responder),
            command => match self.find_tcp(cx, handle) {
                Ok(Found::Stream(stream)) => self.stream(cx, &stream, command, responder),
                Ok(Found::Listener(_) | Found::Held) => Outcome::Now(Err(Error::WrongSocket)),
                Err(error) => Outcome::Now(Err(error)),
            },
        }
    }

    fn stream(
        &mut self,
        cx: &Context,
        stream: &Arc<StreamQueue>,
        command: tcp::Command,
        responder: &mut Option<Responder>,
    ) -> Outcome {
        match command {
            tcp::Command::Send { mut buf } => match stream.try_send_bytes(&mut buf) {
                Err(Error::WouldBlock) => {
                    self.park(cx, stream.id(), responder, |parked, responder| {
                        parked.send.push_back((buf, responder));
                    })
                }
                result => Outcome::from(result.map(|n| tcp::Response::Sent { n })),
            },
            tcp::Command::Recv { max_len } => match try_receive(stream, max_len) {
                Err(Error::WouldBlock) => {
                    self.park(cx, stream.id(), responder, |parked, responder| {
                        parked.recv.push_back((max_len, responder));
                    })
                }
                answer => Outcome::Now(answer),
            },
            tcp::Command::Shutdown => {
                Outcome::from(stream.shutdown_send().map(|()| Response::Done))
            }
            tcp::Command::SetOptions(options) => {
                stream.set_options(|current| *current = *options);
                Outcome::from(Ok(Response::Done))
            }
            tcp::Command::Abort => {
                stream.abort();
                Outcome::from(Ok(Response::Done))
            }
            _ => Outcome::Now(Err(Error::WrongSocket)),
        }
    }

    /// Has the numbers of a connection read in its next turn: by then the time is known.
    fn read_info(
        &mut self,
        cx: &mut Context,
        handle: Option<SocketId>,
        responder: &mut Option<Responder>,
    ) -> Outcome {
        match handle.map(|id| (id, self.sockets.get(id))) {
            Some((id, Some(TcpSocket::Connection(_)))) => {
                cx.mark(id);
                self.park(cx, id, responder, |parked, responder| parked.info.push_back(responder))
            }
            Some((_, Some(_))) => Outcome::Now(Err(Error::WrongSocket)),
            _ => Outcome::Now(Err(cx.sockets.absence(handle))),
        }
    }

    /// Parks a command until its connection can answer. One whose requester has gone is dropped,
    /// and one that is too many is refused.
    fn park(
        &mut self,
        cx: &Context,
        id: SocketId,
        responder: &mut Option<Responder>,
        keep: impl FnOnce(&mut Parked, Responder),
    ) -> Outcome {
        let Some(connection) = self.sockets.connection_mut(id) else {
            return Outcome::Now(Err(Error::Closed));
        };
        if responder.is_none() {
            return Outcome::Later;
        }
        let parked = connection.parked.get_or_insert_default();
        if parked.len() >= cx.config.commands_per_socket_max {
            parked.forget_abandoned();
        }
        if parked.len() >= cx.config.commands_per_socket_max {
            return Outcome::Now(Err(Error::LimitReached));
        }
        if let Some(responder) = responder.take().filter(|responder| responder.park_on(id)) {
            keep(parked, responder);
        }
        Outcome::Later
    }

    fn find_tcp(&mut self, cx: &mut Context, handle: Option<SocketId>) -> Result<Found, Error> {
        match handle.and_then(|id| self.sockets.get_mut(id)) {
            Some(TcpSocket::Connection(connection)) => {
                connection.queue().cloned().map(Found::Stream).ok_or(Error::Closed)
            }
            Some(TcpSocket::Listener(listener)) => Ok(Found::Listener(listener.queue.clone())),
            Some(TcpSocket::Held(_)) => Ok(Found::Held),
            None => Err(cx.sockets.absence(handle)),
        }
    }
}

enum Found {
    Stream(Arc<StreamQueue>),
    Listener(Arc<AcceptQueue>),
    Held,
}

/// Ends the commands that waited for a connection that is gone.
pub(crate) fn finish_parked(stream: &Arc<StreamQueue>, parked: Parked) {
    for responder in parked.info {
        let info = stream.last_info().ok_or(Error::Closed);
        // Without a requester there is nothing to undo.
        let _ = responder.answer(info.map(|info| (tcp::Response::Info(info).into(), None)));
    }
    for (max_len, responder) in parked.recv {
        // Bytes without a requester are dropped with the connection.
        let _ = responder.answer(try_receive(stream, max_len));
    }
    for (mut buf, responder) in parked.send {
        let sent = stream.try_send_bytes(&mut buf);
        let _ = responder.answer(sent.map(|n| (tcp::Response::Sent { n }.into(), None)));
    }
}

fn listening(result: Result<Arc<AcceptQueue>, Error>) -> Outcome {
    Outcome::Now(result.map(|queue| {
        let (handle, local) = (queue.id(), queue.local_address());
        let response = tcp::Response::Listening { handle, local };
        (response.into(), Some(SocketQueue::Accept(queue)))
    }))
}
