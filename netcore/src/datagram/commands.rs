//! Commands to UDP, ping and raw sockets.

use crate::binding::Families;
use crate::command::outcome::Outcome;
use crate::command::{Response, icmp, raw, udp};
use crate::context::Context;
use crate::datagram::layer::DatagramLayer;
use crate::datagram::parked::datagram;
use crate::datagram::socket::Kind;
use crate::error::Error;
use crate::id::SocketId;
use crate::ip::layer::IpLayer;
use crate::queue::{Datagram, DatagramQueue, SocketQueue};
use crate::reply::Responder;
use crate::sync::Arc;
use std::net::{IpAddr, SocketAddr};

impl DatagramLayer {
    pub(crate) fn udp(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        handle: Option<SocketId>,
        command: udp::Command,
        responder: &mut Option<Responder>,
    ) -> Outcome {
        match command {
            udp::Command::Bind { endpoint } => {
                opened(self.bind_udp(cx, ip, (endpoint, Families::Both), Default::default()))
            }
            udp::Command::BindV6Only { endpoint } => {
                opened(self.bind_udp(cx, ip, (endpoint, Families::V6Only), Default::default()))
            }
            udp::Command::BindWith { endpoint, families, options } => {
                opened(self.bind_udp(cx, ip, (endpoint, families), options))
            }
            udp::Command::BindAnyPort { address } => opened(self.bind_udp_rest(cx, ip, address)),
            udp::Command::Connect { peer } => {
                let found = self.find_datagram(cx, handle, |kind| matches!(kind, Kind::Udp { .. }));
                Outcome::from(found.and_then(|(_, queue)| self.connect_udp(ip, &queue, peer)))
            }
            udp::Command::Send { endpoint, buf } => {
                let is_udp = |kind| matches!(kind, Kind::Udp { .. });
                self.send(cx, handle, is_udp, datagram(endpoint, buf))
            }
            udp::Command::Recv { max_len } => {
                let is_udp = |kind| matches!(kind, Kind::Udp { .. });
                self.receive(cx, handle, is_udp, max_len, responder)
            }
            udp::Command::SetOptions(options) => {
                let found = self.find_datagram(cx, handle, |kind| matches!(kind, Kind::Udp { .. }));
                Outcome::from(found.map(|(_, queue)| {
                    queue.set_options(|current| *current = options);
                    Response::Done
                }))
            }
            udp::Command::Close => self.close(cx, handle, |kind| matches!(kind, Kind::Udp { .. })),
        }
    }

    pub(crate) fn icmp(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        handle: Option<SocketId>,
        command: icmp::Command,
        responder: &mut Option<Responder>,
    ) -> Outcome {
        let is_ping = |kind| matches!(kind, Kind::Ping { .. });
        match command {
            icmp::Command::Open { local } => opened(self.open_ping(cx, ip, local)),
            icmp::Command::Send { remote, sequence, buf } => {
                self.send(cx, handle, is_ping, datagram(SocketAddr::new(remote, sequence), buf))
            }
            icmp::Command::Recv => self.receive(cx, handle, is_ping, None, responder),
            icmp::Command::Close => self.close(cx, handle, is_ping),
        }
    }

    pub(crate) fn raw(
        &mut self,
        cx: &mut Context,
        handle: Option<SocketId>,
        command: raw::Command,
        responder: &mut Option<Responder>,
    ) -> Outcome {
        let is_raw = |kind| matches!(kind, Kind::Raw { .. });
        match command {
            raw::Command::Open { version, protocol } => {
                opened(self.open_raw(cx, version, protocol))
            }
            raw::Command::Send { packet } => {
                let unspecified = SocketAddr::new(IpAddr::from([0, 0, 0, 0]), 0);
                self.send(cx, handle, is_raw, datagram(unspecified, packet))
            }
            raw::Command::Recv => self.receive(cx, handle, is_raw, None, responder),
            raw::Command::Close => self.close(cx, handle, is_raw),
        }
    }

    fn send(
        &mut self,
        cx: &mut Context,
        handle: Option<SocketId>,
        fits: impl Fn(Kind) -> bool,
        datagram: Datagram,
    ) -> Outcome {
        let found = self.find_datagram(cx, handle, fits);
        let sent = found.and_then(|(_, queue)| queue.try_send(datagram));
        Outcome::from(sent.map(|()| Response::Done))
    }

    fn receive(
        &mut self,
        cx: &mut Context,
        handle: Option<SocketId>,
        fits: impl Fn(Kind) -> bool,
        max_len: Option<usize>,
        responder: &mut Option<Responder>,
    ) -> Outcome {
        let (id, ..) = match self.find_datagram(cx, handle, fits) {
            Ok(found) => found,
            Err(error) => return Outcome::Now(Err(error)),
        };
        if let (Some(responder), Some(socket)) = (responder.take(), self.sockets.get_mut(id)) {
            responder.park_on(id);
            socket.parked.push_back((max_len, responder));
            self.retry_parked_datagram(cx, id);
            if let Some(socket) = self.sockets.get_mut(id)
                && socket.parked.len() > cx.config.commands_per_socket_max
                && let Some((_, last)) = socket.parked.pop_back()
            {
                self.reply(cx, Some(id), Some(last), Err(Error::LimitReached));
            }
        }
        Outcome::Later
    }

    fn close(
        &mut self,
        cx: &mut Context,
        handle: Option<SocketId>,
        fits: impl Fn(Kind) -> bool,
    ) -> Outcome {
        let found = self.find_datagram(cx, handle, fits);
        Outcome::from(found.map(|(id, ..)| {
            if let Some(socket) = self.sockets.get_mut(id) {
                socket.is_orphan = true;
            }
            cx.mark(id);
            Response::Done
        }))
    }

    fn find_datagram(
        &mut self,
        cx: &mut Context,
        handle: Option<SocketId>,
        fits: impl Fn(Kind) -> bool,
    ) -> Result<(SocketId, Arc<DatagramQueue>), Error> {
        let id = handle.ok_or(Error::Closed)?;
        match self.sockets.get(id) {
            Some(socket) if socket.is_orphan => Err(Error::Closed),
            Some(socket) if fits(socket.queue.kind()) => Ok((id, socket.queue.clone())),
            Some(_) => Err(Error::WrongSocket),
            None => Err(cx.sockets.absence(handle)),
        }
    }
}

fn opened<R: Into<Response>>(result: Result<(R, Arc<DatagramQueue>), Error>) -> Outcome {
    Outcome::Now(
        result.map(|(response, queue)| (response.into(), Some(SocketQueue::Datagram(queue)))),
    )
}
