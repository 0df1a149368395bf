//! New connections: where they are from, and what they are made of.

use crate::binding::pick_port;
use crate::command::tcp;
use crate::context::Context;
use crate::error::Error;
use crate::id::SocketId;
use crate::ip::addressing::{NextHop, this_host};
use crate::ip::layer::IpLayer;
use crate::ip::packet::Packet;
use crate::link::Link;
use crate::memory::Charge;
use crate::output::Output;
use crate::queue::End;
use crate::reply::Responder;
use crate::tcp::connection::{Connection, Stage};
use crate::tcp::connection_span::ConnectionSpan;
use crate::tcp::engine::Engine;
use crate::tcp::flow_table::{Flow, FlowKey};
use crate::tcp::layer::TcpLayer;
use crate::tcp::receiver::RecvBuffer;
use crate::tcp::reservation::Reservation;
use crate::tcp::sockets::TcpSocket;
use crate::tcp::wire::Wire;
use std::net::SocketAddr;

/// The MTU between two sockets of the same stack, as Linux has it on its loopback link.
const LOOPBACK_MTU: usize = 65_535;
/// The largest window (RFC 7323 section 2.3).
const WINDOW_MAX: usize = 1 << 30;

impl TcpLayer {
    /// Starts to connect, perhaps from an address, and perhaps from a port that was reserved. The
    /// answer goes to `responder` when the outcome is known.
    pub(crate) fn connect(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        remote: SocketAddr,
        from: (Option<SocketAddr>, Option<Reservation>),
        options: tcp::Options,
        responder: Option<Responder>,
    ) {
        let mut responder = responder;
        if let Err(error) = self.try_connect(cx, ip, remote, from, options, &mut responder) {
            self.reply(cx, ip, None, responder, Err(error));
        }
    }

    fn try_connect(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        remote: SocketAddr,
        (local, reservation): (Option<SocketAddr>, Option<Reservation>),
        options: tcp::Options,
        responder: &mut Option<Responder>,
    ) -> Result<(), Error> {
        let own = local.map(|local| local.ip().to_canonical());
        let own = own.filter(|own| !own.is_unspecified());
        let to = this_host(remote.ip(), own).to_canonical();
        let remote = SocketAddr::new(to, remote.port());
        if remote.port() == 0 {
            return Err(Error::ZeroPort);
        }
        if remote.ip().is_multicast() || ip.addressing.is_broadcast(remote.ip()) {
            return Err(Error::NetworkUnreachable);
        }
        let way = ip.addressing.next_hop(remote.ip())?;
        self.check_reservation(reservation.as_ref())?;
        let local = self.connect_from(cx, ip, remote, local, reservation.is_some())?;
        let flow = FlowKey::new(local, remote);
        let stage = Stage::Connecting { responder: None };
        let id = self.insert_connection(cx, ip, flow, way, options, stage)?;
        cx.at_work.socket = Some(id);
        let isn = self.next_isn(cx, &flow);
        let mut interface = Engine::for_handshake(isn, cx.now);
        let connection = self.sockets.connection_mut(id).expect("it was just inserted");
        let socket = connection.solo.tcp_mut();
        let ends = ((remote.ip(), remote.port()), (local.ip(), local.port()));
        socket.connect(interface.context(), ends.0, ends.1).expect("the ends were checked");
        let responder = responder.take();
        let is_wanted = responder.as_ref().is_none_or(|responder| responder.park_on(id));
        connection.stage = Stage::Connecting { responder };
        connection.reservation = reservation;
        connection.span = ConnectionSpan::new(id, local, remote);
        connection.span.connecting();
        if is_wanted {
            cx.mark(id);
        } else {
            // The requester has gone in the meantime, and will not ring.
            self.remove_connection(cx, ip, id, End::Failed(Error::Aborted));
        }
        Ok(())
    }

    /// The address and port to connect from.
    fn connect_from(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        remote: SocketAddr,
        local: Option<SocketAddr>,
        is_reserved: bool,
    ) -> Result<SocketAddr, Error> {
        let (address, port) = local.map_or((None, 0), |local| {
            let address = local.ip().to_canonical();
            (Some(address).filter(|address| !address.is_unspecified()), local.port())
        });
        let address = match address {
            Some(address) if address.is_ipv4() != remote.is_ipv4() => {
                return Err(Error::WrongFamily);
            }
            Some(address)
                if !ip.addressing.is_local(address) || ip.addressing.is_tentative(address) =>
            {
                return Err(Error::AddressNotAvailable);
            }
            Some(address) => address,
            None => ip.addressing.source_for(remote.ip())?,
        };
        let is_free = |port| {
            let flow = FlowKey::new(SocketAddr::new(address, port), remote);
            let is_taken = match self.flows.get(&flow) {
                None => false,
                Some(Flow::TimeWait) => !self.time_wait.is_reusable(&flow, cx.now),
                Some(Flow::Connection(_) | Flow::Held(_)) => true,
            };
            !is_taken && (is_reserved || !self.ports.is_tcp_port_taken(port))
        };
        let port = match port {
            0 => pick_port(&mut cx.random, is_free).ok_or(Error::NoFreePort)?,
            port if is_free(port) => port,
            _ => return Err(Error::AddressInUse),
        };
        Ok(SocketAddr::new(address, port))
    }

    pub(super) fn insert_connection(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        flow: FlowKey,
        way: NextHop,
        options: tcp::Options,
        stage: Stage,
    ) -> Result<SocketId, Error> {
        if cx.is_shut_down {
            return Err(Error::StackGone);
        }
        if cx.sockets.is_full() {
            // Worth least, and a flood of SYNs must not keep everybody else out.
            self.evict_half_open(cx, ip, self.half_open.oldest());
        }
        if cx.sockets.is_full() {
            return Err(Error::LimitReached);
        }
        let connection = new_connection(cx, ip, flow, way, options, stage);
        let id = self.insert_socket(cx, |_| Ok(TcpSocket::Connection(connection)))?;
        self.flows.insert(flow, Flow::Connection(id));
        Ok(id)
    }
}

/// Makes a connection that has no place among the sockets yet.
pub(crate) fn new_connection(
    cx: &mut Context,
    ip: &mut IpLayer,
    flow: FlowKey,
    way: NextHop,
    options: tcp::Options,
    stage: Stage,
) -> Box<Connection> {
    let config = &cx.config.tcp;
    // A size that was asked for is kept.
    let recv = options
        .recv_buffer_bytes
        .map_or((config.recv_buffer_bytes, config.recv_buffer_bytes_max), |bytes| (bytes, bytes));
    let send = options
        .send_buffer_bytes
        .map_or((config.send_buffer_bytes, config.send_buffer_bytes_max), |bytes| (bytes, bytes));
    let [first, most] = [recv.0, recv.1.max(recv.0)].map(|bytes| bytes.clamp(1, WINDOW_MAX));
    let windows = (first as u32, most as u32);
    let offset = config.timestamps.then(|| cx.random.timestamp_offset(&flow));
    let mut wire = match way {
        NextHop::Own => Wire::new(flow, LOOPBACK_MTU, None, windows, offset),
        NextHop::Link(_) | NextHop::Nowhere => {
            Wire::new(flow, ip.outgoing.capabilities.mtu, config.mss_max, windows, offset)
        }
    };
    if let Some(path) = ip.path_mtus.get(flow.remote().ip(), cx.now) {
        wire.narrow(path);
    }
    let [least, greatest] =
        [send.0, send.1.max(send.0)].map(|bytes| u32::try_from(bytes.max(1)).unwrap_or(u32::MAX));
    let buffers = (RecvBuffer::new(first, most), (least, greatest));
    let charge = Charge::new(cx.memory.clone());
    let mut connection = Connection::new(wire, stage, (way, cx.now), buffers, options, charge);
    connection.default_congestion_control = cx.config.tcp.congestion_control;
    let split_max = cx.config.tcp.split_segments_max.try_into().unwrap_or(u32::MAX);
    connection.split_segments_max = split_max;
    Box::new(connection)
}

impl TcpLayer {
    /// Shows a connection the SYN that it was made for, and has it answered.
    pub(crate) fn begin_handshake<L: Link>(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        id: SocketId,
        isn: u32,
        packet: &Packet,
        link: &mut L,
    ) {
        let connection = self.sockets.connection_mut(id).expect("it was just inserted");
        let flow = connection.wire.flow();
        let endpoint = (flow.local().ip(), flow.local().port());
        connection.solo.tcp_mut().listen(endpoint).expect("a closed socket and a port");
        let mut output = Output { link, state: &mut ip.outgoing };
        let start = packet.header.payload.start;
        connection.receive_syn(isn, cx.now, &packet.bytes, start, &mut output);
        cx.mark(id);
    }
}
