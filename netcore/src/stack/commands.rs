//! Commands, and what becomes of answers.

use super::Netstack;
use crate::channel::{Answer, Request, Responder, Undelivered};
use crate::command::tcp::Families;
use crate::command::{Command, Response, control, icmp, raw, tcp, udp};
use crate::error::Error;
use crate::id::SocketId;
use crate::queue::{AcceptQueue, Datagram, DatagramQueue, SocketQueue, StreamQueue};
use crate::sockets::Socket;
use crate::sockets::connection::{Parked, Stage};
use crate::sockets::datagram::Kind;
use crate::sync::Arc;
use bytes::Bytes;
use std::net::{IpAddr, SocketAddr};

/// What becomes of a command.
pub(super) enum Outcome {
    /// It is done, or failed.
    Now(Answer),
    /// Whoever holds the responder answers later.
    Later,
}

impl<R: Into<Response>> From<Result<R, Error>> for Outcome {
    fn from(result: Result<R, Error>) -> Self {
        Self::Now(result.map(|response| (response.into(), None)))
    }
}

impl Netstack {
    /// Carries out one command.
    pub(super) fn execute(&mut self, request: Request) {
        let Request { handle, command, mut responder } = request;
        #[cfg(test)]
        self.spring("command");
        tracing::trace!(?handle, ?command, "command");
        if handle.is_none() {
            // Handles that were dropped before the command was sent hold no address any more.
            self.attend();
        }
        let outcome = match command {
            Command::Control(command) => self.control(command),
            Command::Tcp(command) => self.tcp(handle, command, &mut responder),
            Command::Udp(command) => self.udp(handle, command, &mut responder),
            Command::Icmp(command) => self.icmp(handle, command, &mut responder),
            Command::Raw(command) => self.raw(handle, command, &mut responder),
        };
        self.at_work.socket = None;
        if let Outcome::Now(answer) = outcome {
            self.reply(handle, responder, answer);
        }
        self.wake();
    }

    /// Hands an answer over. If nobody waits for it, what it is about is undone.
    pub(super) fn reply(
        &mut self,
        handle: Option<SocketId>,
        responder: Option<Responder>,
        answer: Answer,
    ) {
        let undelivered = match responder {
            Some(responder) => responder.answer(answer).err(),
            None => Some(answer),
        };
        if let Some(Ok((response, queue))) = undelivered {
            self.take_back(Undelivered { handle, response, queue });
        }
    }

    /// Undoes what an answer is about that nobody received.
    pub(super) fn take_back(&mut self, undelivered: Undelivered) {
        let Undelivered { handle, response, queue } = undelivered;
        match (response, queue) {
            (Response::Tcp(tcp::Response::Accepted { .. }), Some(SocketQueue::Stream(stream))) => {
                match handle.and_then(|listener| self.sockets.listener_mut(listener)) {
                    Some(listener) => {
                        let accept = listener.queue.clone();
                        accept.unaccept(stream, &mut self.wakes);
                        self.retry_accept(accept.id());
                    }
                    None => stream.close(),
                }
            }
            (Response::Tcp(tcp::Response::Held { .. }), Some(SocketQueue::Held(held))) => {
                match handle.and_then(|listener| self.sockets.listener_mut(listener)) {
                    Some(_) if held.end().is_some() => {}
                    Some(listener) => {
                        let accept = listener.queue.clone();
                        accept.hold(held, &mut self.wakes);
                        self.retry_accept(accept.id());
                    }
                    None => held.close(),
                }
            }
            (Response::Tcp(tcp::Response::Received { buf }), Some(SocketQueue::Stream(stream))) => {
                stream.unread(buf, &mut self.wakes);
            }
            (
                Response::Udp(udp::Response::Received { remote, buf, .. }),
                Some(SocketQueue::Datagram(datagrams)),
            ) => datagrams.unread(datagram(remote, buf), &mut self.wakes),
            (
                Response::Icmp(icmp::Response::Failed { remote, sequence, error }),
                Some(SocketQueue::Datagram(datagrams)),
            ) => {
                let mut back = datagram(SocketAddr::new(remote, sequence), Bytes::new());
                back.error = Some(error);
                datagrams.unread(back, &mut self.wakes);
            }
            (
                Response::Icmp(icmp::Response::Received { remote, sequence, hop_limit, buf }),
                Some(SocketQueue::Datagram(datagrams)),
            ) => {
                let mut back = datagram(SocketAddr::new(remote, sequence), buf);
                back.hop_limit = Some(hop_limit);
                datagrams.unread(back, &mut self.wakes);
            }
            (
                Response::Raw(raw::Response::Received { packet }),
                Some(SocketQueue::Datagram(datagrams)),
            ) => {
                let nobody = SocketAddr::new(datagrams.local_address().ip(), 0);
                datagrams.unread(datagram(nobody, packet), &mut self.wakes);
            }
            // A fresh socket.
            (_, Some(SocketQueue::Stream(stream))) => stream.close(),
            (_, Some(SocketQueue::Accept(accept))) => accept.close(),
            (_, Some(SocketQueue::Held(held))) => held.close(),
            (_, Some(SocketQueue::Datagram(datagrams))) => datagrams.close(),
            (_, None) => {}
        }
    }

    fn control(&mut self, command: control::Command) -> Outcome {
        let done = match command {
            control::Command::Wake => Ok(()),
            control::Command::Snapshot => {
                return Outcome::from(Ok(control::Response::Snapshot(Box::new(self.snapshot()))));
            }
            control::Command::Network => {
                return Outcome::from(Ok(control::Response::Network(self.network())));
            }
            control::Command::Shutdown => {
                self.shut_down();
                Ok(())
            }
            control::Command::AddAddress { address } => self.add_address(address),
            control::Command::RemoveAddress { address } => self.remove_address(address),
            control::Command::AddRoute { route } => self.add_route(route),
            control::Command::AddRouteOnLink { route } => self.add_route_on_link(route),
            control::Command::SetDeprecated { address, is_deprecated } => {
                self.set_deprecated(address, is_deprecated)
            }
            control::Command::RemoveRoute { destination } => self.remove_route(destination),
            control::Command::SetLinkUp(is_up) => {
                self.set_link_up(is_up);
                Ok(())
            }
            control::Command::SetMtu(mtu) => self.set_mtu(mtu),
            control::Command::SetAdvertisedMtu(mtu) => {
                self.set_advertised_mtu(mtu);
                Ok(())
            }
            control::Command::SetAnyIp(any_ip) => {
                self.set_any_ip(any_ip);
                Ok(())
            }
            control::Command::ReportFailure(text) => {
                self.report_failure(text);
                Ok(())
            }
            control::Command::SetNameServers { servers, search_domains } => {
                self.set_name_servers(servers, search_domains)
            }
        };
        Outcome::from(done.map(|()| Response::Done))
    }

    /// Refuses what is new from now on and closes everything that is there, as if all handles had
    /// been dropped; [`is_drained`](Self::is_drained) tells when that is done.
    pub fn shut_down(&mut self) {
        self.is_shut_down = true;
        for id in self.sockets.ids() {
            self.step_for(id, |stack| stack.shut_socket(id));
        }
    }

    fn shut_socket(&mut self, id: SocketId) {
        match self.sockets.get_mut(id) {
            Some(Socket::Connection(connection)) => match connection.stage {
                Stage::Open(_) => self.orphan(id),
                _ => self.remove_connection(id, Error::StackGone),
            },
            Some(Socket::Listener(_)) => self.remove_listener(id, Error::StackGone),
            Some(Socket::Held(_)) => self.remove_held(id, Error::StackGone),
            Some(Socket::Datagram(socket)) => {
                socket.is_orphan = true;
                self.mark(id);
            }
            None => {}
        }
    }

    /// Ends every socket at once. Connections are reset, which their peers learn with the next
    /// poll.
    pub fn abort_all(&mut self) {
        self.is_shut_down = true;
        for id in self.sockets.ids() {
            self.step_for(id, |stack| match stack.sockets.connection_mut(id) {
                Some(connection) if matches!(connection.stage, Stage::Open(_)) => {
                    connection.abort(Error::StackGone);
                    stack.mark(id);
                }
                _ => stack.end_socket(id, Error::StackGone),
            });
        }
        self.wake();
    }

    /// Ends a socket at once, and tells everybody who waits for it why.
    pub(super) fn end_socket(&mut self, id: SocketId, reason: Error) {
        match self.sockets.get_mut(id) {
            Some(Socket::Connection(_)) => self.remove_connection(id, reason),
            Some(Socket::Listener(_)) => self.remove_listener(id, reason),
            Some(Socket::Held(_)) => self.remove_held(id, reason),
            Some(Socket::Datagram(_)) => self.remove_datagram(id, reason),
            None => {}
        }
    }
}

/// TCP.
impl Netstack {
    fn tcp(
        &mut self,
        handle: Option<SocketId>,
        command: tcp::Command,
        responder: &mut Option<Responder>,
    ) -> Outcome {
        match command {
            tcp::Command::Listen { local, options } => listening(self.listen(local, None, options)),
            tcp::Command::ListenReserved { reservation, options } => {
                let local = reservation.local_address();
                let options = tcp::ListenOptions { any_port: false, ..options };
                listening(self.listen(local, Some(reservation), options))
            }
            tcp::Command::Connect { remote, local, options } => {
                self.connect(remote, (local, None), options, responder.take());
                Outcome::Later
            }
            tcp::Command::ConnectReserved { reservation, remote, options } => {
                let from = (Some(reservation.local_address()), Some(reservation));
                self.connect(remote, from, options, responder.take());
                Outcome::Later
            }
            tcp::Command::Accept => self.accept(handle, responder),
            tcp::Command::Admit => self.admit_held(handle, responder),
            tcp::Command::Refuse { how } => self.refuse_held(handle, how),
            tcp::Command::Close => match self.find_tcp(handle) {
                Ok(Found::Listener(queue)) => {
                    self.remove_listener(queue.id(), Error::Closed);
                    Outcome::from(Ok(Response::Done))
                }
                Ok(Found::Stream(stream)) => {
                    stream.close();
                    Outcome::from(Ok(Response::Done))
                }
                Ok(Found::Held) => self.refuse_held(handle, tcp::Refusal::Reset),
                Err(error) => Outcome::Now(Err(error)),
            },
            command => match self.find_tcp(handle) {
                Ok(Found::Stream(stream)) => self.stream(&stream, command, responder),
                Ok(Found::Listener(_) | Found::Held) => Outcome::Now(Err(Error::WrongSocket)),
                Err(error) => Outcome::Now(Err(error)),
            },
        }
    }

    fn stream(
        &mut self,
        stream: &Arc<StreamQueue>,
        command: tcp::Command,
        responder: &mut Option<Responder>,
    ) -> Outcome {
        match command {
            tcp::Command::Send { mut buf } => match stream.try_send_bytes(&mut buf) {
                Err(Error::WouldBlock) => self.park(stream.id(), responder, |parked, responder| {
                    parked.send.push_back((buf, responder));
                }),
                result => Outcome::from(result.map(|n| tcp::Response::Sent { n })),
            },
            tcp::Command::Recv { max_len } => match try_receive(stream, max_len) {
                Err(Error::WouldBlock) => self.park(stream.id(), responder, |parked, responder| {
                    parked.recv.push_back((max_len, responder));
                }),
                answer => Outcome::Now(answer),
            },
            tcp::Command::Shutdown => {
                Outcome::from(stream.shutdown_send().map(|()| Response::Done))
            }
            tcp::Command::Abort => {
                stream.abort();
                Outcome::from(Ok(Response::Done))
            }
            _ => Outcome::Now(Err(Error::WrongSocket)),
        }
    }

    /// Keeps a command until its connection can answer. One that nobody waits for is done with.
    fn park(
        &mut self,
        id: SocketId,
        responder: &mut Option<Responder>,
        keep: impl FnOnce(&mut Parked, Responder),
    ) -> Outcome {
        let Some(connection) = self.sockets.connection_mut(id) else {
            return Outcome::Now(Err(Error::Closed));
        };
        if let Some(responder) = responder.take().filter(|responder| responder.park_on(id)) {
            keep(connection.parked.get_or_insert_default(), responder);
        }
        Outcome::Later
    }

    /// Tries the commands again that wait for a connection, after it has changed.
    pub(super) fn retry_parked(&mut self, id: SocketId) {
        let Some(connection) = self.sockets.connection_mut(id) else {
            return;
        };
        let Some(mut parked) = connection.parked.take() else {
            return;
        };
        let Some(stream) = connection.queue().cloned() else {
            return;
        };
        parked.recv.retain(|(_, responder)| !responder.is_abandoned());
        parked.send.retain(|(_, responder)| !responder.is_abandoned());
        while let Some((max_len, responder)) = parked.recv.pop_front() {
            match try_receive(&stream, max_len) {
                Err(Error::WouldBlock) => {
                    parked.recv.push_front((max_len, responder));
                    break;
                }
                answer => self.reply(Some(id), Some(responder), answer),
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
                    self.reply(Some(id), Some(responder), answer);
                }
            }
        }
        if !(parked.recv.is_empty() && parked.send.is_empty())
            && let Some(connection) = self.sockets.connection_mut(id)
        {
            connection.parked = Some(parked);
        }
    }

    fn find_tcp(&mut self, handle: Option<SocketId>) -> Result<Found, Error> {
        match handle.and_then(|id| self.sockets.get_mut(id)) {
            Some(Socket::Connection(connection)) => {
                connection.queue().cloned().map(Found::Stream).ok_or(Error::Closed)
            }
            Some(Socket::Listener(listener)) => Ok(Found::Listener(listener.queue.clone())),
            Some(Socket::Held(_)) => Ok(Found::Held),
            Some(Socket::Datagram(_)) => Err(Error::WrongSocket),
            None => Err(Error::Closed),
        }
    }
}

enum Found {
    Stream(Arc<StreamQueue>),
    Listener(Arc<AcceptQueue>),
    Held,
}

/// Datagrams.
impl Netstack {
    fn udp(
        &mut self,
        handle: Option<SocketId>,
        command: udp::Command,
        responder: &mut Option<Responder>,
    ) -> Outcome {
        match command {
            udp::Command::Bind { endpoint } => opened(self.bind_udp(endpoint, Families::Both)),
            udp::Command::BindV6Only { endpoint } => {
                opened(self.bind_udp(endpoint, Families::V6Only))
            }
            udp::Command::BindAnyPort { address } => opened(self.bind_udp_rest(address)),
            udp::Command::Connect { peer } => {
                let found = self.find_datagram(handle, |kind| matches!(kind, Kind::Udp { .. }));
                Outcome::from(found.and_then(|(_, queue)| self.connect_udp(&queue, peer)))
            }
            udp::Command::Send { endpoint, buf } => {
                let is_udp = |kind| matches!(kind, Kind::Udp { .. });
                self.send(handle, is_udp, datagram(endpoint, buf))
            }
            udp::Command::Recv { max_len } => {
                let is_udp = |kind| matches!(kind, Kind::Udp { .. });
                self.receive(handle, is_udp, max_len, responder)
            }
            udp::Command::Close => self.close(handle, |kind| matches!(kind, Kind::Udp { .. })),
        }
    }

    fn icmp(
        &mut self,
        handle: Option<SocketId>,
        command: icmp::Command,
        responder: &mut Option<Responder>,
    ) -> Outcome {
        let is_ping = |kind| matches!(kind, Kind::Ping { .. });
        match command {
            icmp::Command::Open { local } => opened(self.open_ping(local)),
            icmp::Command::Send { remote, sequence, buf } => {
                self.send(handle, is_ping, datagram(SocketAddr::new(remote, sequence), buf))
            }
            icmp::Command::Recv => self.receive(handle, is_ping, None, responder),
            icmp::Command::Close => self.close(handle, is_ping),
        }
    }

    fn raw(
        &mut self,
        handle: Option<SocketId>,
        command: raw::Command,
        responder: &mut Option<Responder>,
    ) -> Outcome {
        let is_raw = |kind| matches!(kind, Kind::Raw { .. });
        match command {
            raw::Command::Open { version, protocol } => opened(self.open_raw(version, protocol)),
            raw::Command::Send { packet } => {
                let nobody = SocketAddr::new(IpAddr::from([0, 0, 0, 0]), 0);
                self.send(handle, is_raw, datagram(nobody, packet))
            }
            raw::Command::Recv => self.receive(handle, is_raw, None, responder),
            raw::Command::Close => self.close(handle, is_raw),
        }
    }

    fn send(
        &mut self,
        handle: Option<SocketId>,
        fits: impl Fn(Kind) -> bool,
        datagram: Datagram,
    ) -> Outcome {
        let found = self.find_datagram(handle, fits);
        let sent = found.and_then(|(_, queue)| queue.try_send(datagram));
        Outcome::from(sent.map(|()| Response::Done))
    }

    fn receive(
        &mut self,
        handle: Option<SocketId>,
        fits: impl Fn(Kind) -> bool,
        max_len: Option<usize>,
        responder: &mut Option<Responder>,
    ) -> Outcome {
        let (id, ..) = match self.find_datagram(handle, fits) {
            Ok(found) => found,
            Err(error) => return Outcome::Now(Err(error)),
        };
        if let (Some(responder), Some(socket)) = (responder.take(), self.sockets.datagram_mut(id)) {
            responder.park_on(id);
            socket.parked.push_back((max_len, responder));
            self.retry_parked_datagram(id);
        }
        Outcome::Later
    }

    /// Answers the receive commands that wait for a socket, as far as there are datagrams.
    pub(super) fn retry_parked_datagram(&mut self, id: SocketId) {
        while let Some(socket) = self.sockets.datagram_mut(id) {
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
            self.reply(Some(id), Some(responder), answer);
        }
    }

    fn close(&mut self, handle: Option<SocketId>, fits: impl Fn(Kind) -> bool) -> Outcome {
        let found = self.find_datagram(handle, fits);
        Outcome::from(found.map(|(id, ..)| {
            if let Some(socket) = self.sockets.datagram_mut(id) {
                socket.is_orphan = true;
            }
            self.mark(id);
            Response::Done
        }))
    }

    fn find_datagram(
        &mut self,
        handle: Option<SocketId>,
        fits: impl Fn(Kind) -> bool,
    ) -> Result<(SocketId, Arc<DatagramQueue>), Error> {
        let id = handle.ok_or(Error::Closed)?;
        match self.sockets.get_mut(id) {
            Some(Socket::Datagram(socket)) if socket.is_orphan => Err(Error::Closed),
            Some(Socket::Datagram(socket)) if fits(socket.queue.kind()) => {
                Ok((id, socket.queue.clone()))
            }
            Some(_) => Err(Error::WrongSocket),
            None => Err(Error::Closed),
        }
    }
}

/// Ends the commands that waited for a connection that is gone.
pub(super) fn finish_parked(stream: &Arc<StreamQueue>, parked: Parked) {
    for (max_len, responder) in parked.recv {
        // Bytes that nobody receives go with the connection.
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

fn opened<R: Into<Response>>(result: Result<(R, Arc<DatagramQueue>), Error>) -> Outcome {
    Outcome::Now(
        result.map(|(response, queue)| (response.into(), Some(SocketQueue::Datagram(queue)))),
    )
}

fn try_receive(stream: &Arc<StreamQueue>, max_len: Option<usize>) -> Answer {
    let buf = stream.try_recv_bytes(max_len.unwrap_or(usize::MAX))?;
    let response = if buf.is_empty() && max_len != Some(0) {
        tcp::Response::Finished
    } else {
        tcp::Response::Received { buf }
    };
    Ok((response.into(), Some(SocketQueue::Stream(stream.clone()))))
}

fn datagram(peer: SocketAddr, payload: Bytes) -> Datagram {
    Datagram::new(peer, payload)
}

fn describe_received(kind: Kind, datagram: Datagram, max_len: Option<usize>) -> Response {
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
