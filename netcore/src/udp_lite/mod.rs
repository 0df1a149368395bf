//! Commands to UDP-Lite sockets (RFC 3828): datagrams with partial checksum coverage.
//!
//! Sockets are used by commands alone. Received datagrams wait in a queue of
//! [`DatagramConfig::queue_bytes`](crate::DatagramConfig::queue_bytes).

pub(crate) mod command;
mod datagram;

pub use command::{Command, Response};
pub(crate) use datagram::PROTOCOL;

use crate::binding::Families;
use crate::command::outcome::{Answer, Outcome};
use crate::context::Context;
use crate::counters::DropReason;
use crate::error::Error;
use crate::id::SocketId;
use crate::ip::layer::IpLayer;
use crate::ip::packet::Packet;
use crate::ip::{HOP_LIMIT, addressing};
use crate::link::Link;
use crate::observer::Fate;
use crate::ports::Ports;
use crate::reply::Responder;
use crate::socket_ids::Transport;
use bytes::Bytes;
use slotmap::SecondaryMap;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// UDP-Lite above IP.
#[derive(Debug, Default)]
pub(crate) struct UdpLiteLayer {
    ports: Ports,
    sockets: SecondaryMap<SocketId, Socket>,
}

#[derive(Debug)]
struct Socket {
    local: SocketAddr,
    received: VecDeque<(SocketAddr, Bytes)>,
    received_bytes: usize,
    to_send: VecDeque<(SocketAddr, Option<u16>, Bytes)>,
    to_send_bytes: usize,
    /// Waiting receive commands.
    parked: VecDeque<Responder>,
}

impl UdpLiteLayer {
    pub(crate) fn execute(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        handle: Option<SocketId>,
        command: Command,
        responder: &mut Option<Responder>,
    ) -> Outcome {
        let result = match command {
            Command::Bind { endpoint } => {
                return Outcome::Now(self.bind(cx, ip, endpoint));
            }
            Command::Send { endpoint, coverage, buf } => {
                self.enqueue(cx, handle, endpoint, coverage, buf)
            }
            Command::Recv => match self.park(cx, handle, responder) {
                Ok(()) => return Outcome::Later,
                Err(error) => Err(error),
            },
            Command::Close => self.find(cx, handle).map(|id| self.end(cx, id, Error::Closed)),
        };
        Outcome::from(result.map(|()| crate::Response::Done))
    }

    fn bind(&mut self, cx: &mut Context, ip: &IpLayer, endpoint: SocketAddr) -> Answer {
        let to = ip.bindable(cx, endpoint.ip(), Families::Both)?;
        let (ports, sockets, random) = (&mut self.ports, &mut self.sockets, &mut cx.random);
        let mut local = endpoint;
        let id = cx.sockets.insert(Transport::UdpLite, |id| {
            local.set_port(ports.bind(to, endpoint.port(), id, random)?);
            sockets.insert(
                id,
                Socket {
                    local,
                    received: VecDeque::new(),
                    received_bytes: 0,
                    to_send: VecDeque::new(),
                    to_send_bytes: 0,
                    parked: VecDeque::new(),
                },
            );
            Ok(())
        })?;
        Ok((Response::Bound { handle: id, local }.into(), None))
    }

    fn find(&self, cx: &Context, handle: Option<SocketId>) -> Result<SocketId, Error> {
        let found = handle.filter(|id| self.sockets.contains_key(*id));
        found.ok_or_else(|| cx.sockets.absence(handle))
    }

    fn enqueue(
        &mut self,
        cx: &mut Context,
        handle: Option<SocketId>,
        to: SocketAddr,
        coverage: Option<u16>,
        payload: Bytes,
    ) -> Result<(), Error> {
        let id = self.find(cx, handle)?;
        if payload.len() > datagram::PAYLOAD_MAX {
            return Err(Error::MessageTooLarge);
        }
        let socket = &mut self.sockets[id];
        if socket.to_send_bytes + payload.len() > cx.config.datagram.queue_bytes {
            return Err(Error::WouldBlock);
        }
        socket.to_send_bytes += payload.len();
        socket.to_send.push_back((to, coverage, payload));
        cx.mark(id);
        Ok(())
    }

    fn park(
        &mut self,
        cx: &mut Context,
        handle: Option<SocketId>,
        responder: &mut Option<Responder>,
    ) -> Result<(), Error> {
        let id = self.find(cx, handle)?;
        let socket = &mut self.sockets[id];
        socket.parked.retain(|responder| !responder.is_abandoned());
        if socket.parked.len() >= cx.config.commands_per_socket_max {
            return Err(Error::LimitReached);
        }
        if let Some(responder) = responder.take().filter(|responder| responder.park_on(id)) {
            socket.parked.push_back(responder);
            socket.answer();
        }
        Ok(())
    }

    pub(crate) fn receive<L: Link>(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        packet: &Packet,
        link: &mut L,
    ) -> Result<Fate, DropReason> {
        let (source, destination) = (packet.header.source, packet.header.destination);
        let (ports, payload) = datagram::parse(packet.payload(), (source, destination))?;
        if !ip.addressing.is_local(destination) {
            return Err(DropReason::NoListener);
        }
        let found = self
            .ports
            .find(SocketAddr::new(destination, ports.1), SocketAddr::new(source, ports.0));
        let Some(socket) = found.and_then(|id| self.sockets.get_mut(id)) else {
            return Err(ip.answer_port_unreachable(cx, packet, link));
        };
        let len = payload.len();
        if socket.received_bytes + len > cx.config.datagram.queue_bytes {
            return Err(DropReason::QueueFull);
        }
        let from = SocketAddr::new(source, ports.0);
        let from = if socket.local.is_ipv6() { addressing::mapped(from) } else { from };
        socket.received_bytes += len;
        socket.received.push_back((from, Bytes::copy_from_slice(payload)));
        socket.answer();
        Ok(Fate::Delivered)
    }

    /// Sends queued datagrams of a socket, as far as the link has room.
    pub(crate) fn serve<L: Link>(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        id: SocketId,
        link: &mut L,
    ) -> bool {
        let Some(socket) = self.sockets.get_mut(id) else { return false };
        while let Some((to, coverage, payload)) = socket.to_send.front().cloned() {
            if link.transmit().is_none() {
                ip.outgoing.link_is_full = true;
                cx.mark(id);
                return true;
            }
            socket.to_send.pop_front();
            socket.to_send_bytes -= payload.len();
            if let Err(error) = send(cx, ip, socket.local, to, coverage, &payload, link) {
                tracing::debug!(%to, %error, "datagram not sent");
            }
        }
        true
    }

    /// Ends a socket at once; pending calls fail with `reason`.
    pub(crate) fn end(&mut self, cx: &mut Context, id: SocketId, reason: Error) {
        cx.sockets.remove(id);
        let Some(socket) = self.sockets.remove(id) else { return };
        self.ports.release(socket.local.port(), id);
        for responder in socket.parked {
            // A requester that is gone leaves nothing to undo.
            let _ = responder.answer(Err(reason));
        }
    }
}

impl Socket {
    /// Answers waiting commands, as far as there are datagrams.
    fn answer(&mut self) {
        while let Some((remote, buf)) = self.received.front().cloned() {
            let Some(responder) = self.parked.pop_front() else { return };
            let len = buf.len();
            let answer = Ok((Response::Received { remote, buf }.into(), None));
            if responder.answer(answer).is_ok() {
                self.received.pop_front();
                self.received_bytes -= len;
            }
        }
    }
}

fn send<L: Link>(
    cx: &mut Context,
    ip: &mut IpLayer,
    local: SocketAddr,
    to: SocketAddr,
    coverage: Option<u16>,
    payload: &[u8],
    link: &mut L,
) -> Result<(), Error> {
    let to = addressing::canonical(to);
    let next_hop = ip.addressing.next_hop(to.ip())?;
    let source = match local.ip().to_canonical() {
        own if own.is_unspecified() => ip.addressing.source_for(to.ip())?,
        own => own,
    };
    if source.is_ipv4() != to.is_ipv4() {
        return Err(Error::WrongFamily);
    }
    let addresses = (source, to.ip());
    let header = (addresses, PROTOCOL, HOP_LIMIT, 0);
    let ports = (local.port(), to.port());
    let len = datagram::HEADER_BYTES + payload.len();
    ip.send_transport(cx, next_hop, header, len, link, |buffer| {
        datagram::write(buffer, addresses, ports, coverage, payload);
    })
}
