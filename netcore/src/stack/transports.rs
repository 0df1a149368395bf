//! The transports of a stack: all code that enumerates them.

use crate::command::Command;
use crate::command::outcome::{Outcome, Undelivered};
use crate::context::Context;
use crate::counters::DropReason;
use crate::datagram::layer::DatagramLayer;
use crate::error::Error;
use crate::id::SocketId;
use crate::ip::layer::{IcmpReport, IpLayer};
use crate::ip::packet::Packet;
use crate::link::Link;
use crate::observer::Fate;
use crate::queue::SocketQueue;
use crate::reply::Responder;
use crate::socket_ids::Transport;
use crate::sync::Arc;
use crate::tcp::layer::TcpLayer;
use crate::tcp::reservation::TcpPorts;
#[cfg(feature = "udp-lite")]
use crate::udp_lite::UdpLiteLayer;
use crate::wire::IpProtocol;

/// The layers above IP.
#[derive(Debug)]
pub(crate) struct Transports {
    pub(crate) tcp: TcpLayer,
    pub(crate) datagrams: DatagramLayer,
    #[cfg(feature = "udp-lite")]
    udp_lite: UdpLiteLayer,
}

impl Transports {
    pub(crate) fn new(cx: &mut Context, tcp_ports: Arc<TcpPorts>) -> Self {
        Self {
            tcp: TcpLayer::new(cx, tcp_ports),
            datagrams: DatagramLayer::default(),
            #[cfg(feature = "udp-lite")]
            udp_lite: UdpLiteLayer::default(),
        }
    }

    /// Dispatches a packet to its protocol's layer. `raw` is the result of its delivery to raw
    /// sockets.
    #[inline]
    pub(crate) fn receive<L: Link>(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        packet: Packet,
        raw: Option<Result<Fate, DropReason>>,
        link: &mut L,
    ) -> Result<Fate, DropReason> {
        match packet.header.protocol {
            IpProtocol::Tcp => self.tcp.receive_tcp(cx, ip, packet, link),
            IpProtocol::Udp => self.datagrams.receive_udp(cx, ip, packet, raw.is_some(), link),
            #[cfg(feature = "udp-lite")]
            crate::udp_lite::PROTOCOL => self.udp_lite.receive(cx, ip, &packet, link),
            // No Next Header is valid (RFC 8200 section 4.7).
            IpProtocol::Ipv6NoNxt if raw.is_none() => Ok(Fate::Handled),
            _ => match raw {
                Some(fate) => fate,
                None => Err(ip.answer_protocol_unreachable(cx, &packet, link)),
            },
        }
    }

    /// Dispatches an ICMP error to the layer whose packet it quotes.
    pub(crate) fn receive_error(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        report: &IcmpReport,
    ) {
        match report.quoted.protocol {
            IpProtocol::Tcp => self.tcp.receive_error(cx, ip, report),
            _ => self.datagrams.receive_error(cx, ip, report),
        }
    }

    /// Executes a command of a socket, or one that creates a socket.
    pub(crate) fn execute(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        handle: Option<SocketId>,
        command: Command,
        responder: &mut Option<Responder>,
    ) -> Outcome {
        match command {
            Command::Tcp(command) => self.tcp.tcp(cx, ip, handle, command, responder),
            Command::Udp(command) => self.datagrams.udp(cx, ip, handle, command, responder),
            Command::Icmp(command) => self.datagrams.icmp(cx, ip, handle, command, responder),
            Command::Raw(command) => self.datagrams.raw(cx, handle, command, responder),
            #[cfg(feature = "udp-lite")]
            Command::UdpLite(command) => self.udp_lite.execute(cx, ip, handle, command, responder),
            Command::Control(_) => Outcome::Now(Err(Error::WrongSocket)),
        }
    }

    /// Undoes the command of an undelivered answer.
    pub(crate) fn take_back(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        undelivered: Undelivered,
    ) {
        match &undelivered.queue {
            Some(SocketQueue::Datagram(_)) => self.datagrams.take_back(cx, undelivered),
            Some(_) => self.tcp.take_back(cx, ip, undelivered),
            None => {}
        }
    }

    /// Handles the events of a socket's handle.
    pub(crate) fn handle_events(&mut self, cx: &mut Context, ip: &mut IpLayer, id: SocketId) {
        match cx.sockets.transport(id) {
            Some(Transport::Tcp) => self.tcp.attend(cx, ip, id),
            Some(Transport::Datagram) => self.datagrams.handle_events(cx, ip, id),
            #[cfg(feature = "udp-lite")]
            Some(Transport::UdpLite) => {}
            None => {}
        }
    }

    /// Serves the next socket of the run queue; returns whether it had work.
    pub(crate) fn serve<L: Link>(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        (id, transport): (SocketId, Transport),
        link: &mut L,
    ) -> bool {
        match transport {
            Transport::Tcp => self.tcp.serve(cx, ip, id, link),
            Transport::Datagram => self.datagrams.serve(cx, ip, id, link),
            #[cfg(feature = "udp-lite")]
            Transport::UdpLite => self.udp_lite.serve(cx, ip, id, link),
        }
    }

    /// Ends a socket as if its handle had been dropped.
    pub(crate) fn shut(&mut self, cx: &mut Context, ip: &mut IpLayer, id: SocketId) {
        match cx.sockets.transport(id) {
            Some(Transport::Tcp) => self.tcp.shut(cx, ip, id),
            Some(Transport::Datagram) => self.datagrams.shut(cx, id),
            #[cfg(feature = "udp-lite")]
            Some(Transport::UdpLite) => self.udp_lite.end(cx, id, Error::StackGone),
            None => {}
        }
    }

    /// Resets a connection with the next poll, and ends any other socket at once.
    pub(crate) fn abort(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        id: SocketId,
        reason: Error,
    ) {
        match cx.sockets.transport(id) {
            Some(Transport::Tcp) => self.tcp.abort(cx, ip, id, reason),
            _ => self.end(cx, ip, id, reason),
        }
    }

    /// Ends a socket at once; pending calls fail with `reason`.
    pub(crate) fn end(&mut self, cx: &mut Context, ip: &mut IpLayer, id: SocketId, reason: Error) {
        match cx.sockets.transport(id) {
            Some(Transport::Tcp) => self.tcp.end(cx, ip, id, reason),
            Some(Transport::Datagram) => self.datagrams.remove_datagram(cx, ip, id, reason),
            #[cfg(feature = "udp-lite")]
            Some(Transport::UdpLite) => self.udp_lite.end(cx, id, reason),
            None => {}
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
        match cx.sockets.transport(id) {
            Some(Transport::Tcp) => self.tcp.end_broken(cx, ip, id),
            Some(Transport::Datagram) => self.datagrams.end_broken(cx, ip, id, is_sending),
            #[cfg(feature = "udp-lite")]
            Some(Transport::UdpLite) => self.udp_lite.end(cx, id, Error::Aborted),
            None => {}
        }
    }
}
