//! TCP: from SYN to TIME-WAIT.

use crate::channel::Responder;
use crate::command::tcp::{self, OnSyn};
use crate::context::Context;
use crate::counters::{DropReason, Fate};
use crate::doorbell::{Bell, Events};
use crate::error::Error;
use crate::id::SocketId;
use crate::ip::addressing::mapped;
use crate::ip::addressing::{NextHop, this_host};
use crate::ip::layer::IpLayer;
use crate::ip::packet::Packet;
use crate::link::Link;
use crate::output::Output;
use crate::ports;
use crate::queue::{SocketQueue, StreamQueue};
use crate::snapshot::Timer;
use crate::sync::Arc;
use crate::tcp::buffer::SoloSocket;
use crate::tcp::connection::{Connection, Served, Stage};
use crate::tcp::engine::Engine;
use crate::tcp::engine::State;
use crate::tcp::flow_table::{Flow, FlowKey};
use crate::tcp::guard::Verdict;
use crate::tcp::layer::TcpLayer;
use crate::tcp::options;
use crate::tcp::reservation::Reservation;
use crate::tcp::sockets::TcpSocket;
use crate::tcp::wire::Wire;
use crate::wire::TcpPacket;
use std::net::SocketAddr;
use std::time::Duration;

/// The MTU between two sockets of the same stack, as Linux has it on its loopback link.
const LOOPBACK_MTU: usize = 65_535;
/// A TCP header without options.
const TCP_HEADER: u8 = 20;
/// A connection whose engine asks to be polled now, and does nothing when it is, is polled again
/// after this time and not at once: a mistake there must not cost a processor. Each time counts as
/// [`no_progress`](crate::Counters::no_progress).
const NO_PROGRESS_BACKOFF: Duration = Duration::from_millis(10);

impl TcpLayer {
    /// Takes a segment: to its connection, to a listener, or to nobody.
    pub(crate) fn receive_tcp<L: Link>(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        mut packet: Packet,
        link: &mut L,
    ) -> Result<Fate, DropReason> {
        if packet.header.has_extensions {
            packet.strip_extensions();
        }
        let segment =
            TcpPacket::new_checked(packet.payload()).map_err(|_| DropReason::Malformed)?;
        let ends = (packet.header.source.into(), packet.header.destination.into());
        if !packet.is_checksum_good && !segment.verify_checksum(&ends.0, &ends.1) {
            return Err(DropReason::Checksum);
        }
        if segment.src_port() == 0 || segment.dst_port() == 0 {
            return Err(DropReason::Malformed);
        }
        let flow = FlowKey::new(
            SocketAddr::new(packet.header.destination, segment.dst_port()),
            SocketAddr::new(packet.header.source, segment.src_port()),
        );
        let has_ack = segment.ack();
        let is_first = segment.syn() && !has_ack && !segment.rst();
        if segment.header_len() > TCP_HEADER
            && let Some(legible) = options::legible(&packet.bytes, packet.header.payload.start)
        {
            packet.header.payload.end = legible.len();
            packet.bytes = legible.into();
        }
        match self.flows.get(&flow).copied() {
            Some(Flow::Connection(id)) => self.receive_segment(cx, ip, id, &packet, link),
            Some(Flow::Held(id)) => self.receive_while_held(cx, ip, id, &packet, link),
            Some(Flow::TimeWait) => self.receive_late_segment(cx, ip, flow, &packet, link),
            // A segment to many has no connection (RFC 9293 section 3.9.2.3, MUST-57).
            None if !ip.addressing.is_local(packet.header.destination) => Err(DropReason::NotForUs),
            None if is_first => self.receive_syn(cx, ip, flow, &packet, link),
            // What a listener cannot take for a segment of an older connection (RFC 9293 section
            // 3.10.7.2).
            None if !has_ack && self.ports.find(flow.local()).is_some() => {
                Err(DropReason::Unacceptable)
            }
            None => Err(self.answer_reset(cx, ip, &packet, DropReason::NoListener, link)),
        }
    }

    fn receive_segment<L: Link>(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        id: SocketId,
        packet: &Packet,
        link: &mut L,
    ) -> Result<Fate, DropReason> {
        cx.at_work.socket = Some(id);
        let connection = self.sockets.connection_mut(id).expect("the flow table has living ids");
        if let Stage::HalfOpen { listener, .. } = connection.stage {
            // With the accept queue full the last step of the handshake is not taken, so that the
            // peer repeats it.
            let is_full = self.sockets.listener_mut(listener).is_none_or(|l| l.is_full());
            let segment = TcpPacket::new_unchecked(packet.payload());
            if is_full && !segment.rst() && !segment.syn() {
                return Err(DropReason::BacklogFull);
            }
        }
        let connection = self.sockets.connection_mut(id).expect("it was just there");
        let start = packet.header.payload.start;
        let (engine, now, wakes) = (&mut self.engine, cx.now, &mut cx.wakes);
        let mut output = Output { link, state: &mut ip.outgoing };
        let is_handshake = !matches!(connection.stage, Stage::Open(_));
        let verdict = connection.judge(&packet.bytes, start);
        let is_answered = match verdict {
            Verdict::Challenge(_) => {
                connection.may_challenge(now) && self.challenges.allows(&mut cx.random, now)
            }
            _ => true,
        };
        match &verdict {
            Verdict::Take => {
                let buffer = Some((&packet.bytes, packet.buffer_bytes));
                connection.receive(engine, now, &packet.bytes, (start, buffer), &mut output, wakes);
            }
            Verdict::TakePart(part) => {
                let cut = part.cut(&packet.bytes, start);
                connection.receive(engine, now, &cut, (start, None), &mut output, wakes);
                if part.is_to_be_acknowledged {
                    connection.acknowledge(engine, now, &mut output);
                }
            }
            Verdict::Acknowledge(_) | Verdict::Challenge(_) if is_answered => {
                connection.acknowledge(engine, now, &mut output);
            }
            _ => {}
        }
        match verdict {
            Verdict::Take | Verdict::TakePart(_) => {
                if is_handshake {
                    // The segment behind this one may be a reset, and the backlog is counted with
                    // the next SYN: a handshake that is done counts at once.
                    self.advance(cx, ip, id);
                }
                cx.mark(id);
                Ok(Fate::Delivered)
            }
            Verdict::Refuse(reason) => Err(self.answer_reset(cx, ip, packet, reason, link)),
            _ if !is_answered => Err(DropReason::RateLimited),
            Verdict::Acknowledge(reason) | Verdict::Challenge(reason) | Verdict::Drop(reason) => {
                Err(reason)
            }
        }
    }

    /// Takes a SYN for a pair of ends that has no connection.
    pub(crate) fn receive_syn<L: Link>(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        flow: FlowKey,
        packet: &Packet,
        link: &mut L,
    ) -> Result<Fate, DropReason> {
        let found = self.ports.find(flow.local());
        let Some((listener_id, listener)) =
            found.and_then(|id| Some((id, self.sockets.listener_mut(id)?)))
        else {
            return Err(self.answer_reset(cx, ip, packet, DropReason::NoListener, link));
        };
        if TcpPacket::new_unchecked(packet.payload()).fin() {
            // Nobody means it; Linux drops it as well.
            return Err(DropReason::Unacceptable);
        }
        if listener.on_syn == OnSyn::Hold {
            return self.hold_syn(cx, ip, flow, listener_id, packet);
        }
        if listener.is_full() {
            return Err(DropReason::BacklogFull);
        }
        let options = listener.options.clone();
        let way =
            ip.addressing.next_hop(flow.remote().ip()).map_err(|_| DropReason::NoRouteBack)?;
        self.make_room_for_half_open(cx, ip, listener_id);
        let stage = Stage::HalfOpen { listener: listener_id, tickets: (0, 0), responder: None };
        let id = self.insert_connection(cx, ip, flow, way, options, stage).map_err(|_| match cx
            .sockets
            .is_full()
        {
            true => DropReason::TooManySockets,
            false => DropReason::NoBuffers,
        })?;
        cx.at_work.socket = Some(id);
        let ticket = self.sockets.listener_mut(listener_id).map_or(0, |l| l.half_open.insert(id));
        let tickets = (ticket, self.half_open.insert(id));
        let isn = self.next_isn(cx, &flow);
        let connection = self.sockets.connection_mut(id).expect("it was just inserted");
        connection.stage = Stage::HalfOpen { listener: listener_id, tickets, responder: None };
        self.begin_handshake(cx, ip, id, isn, packet, link);
        Ok(Fate::Delivered)
    }

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

    /// Has the oldest half-open connections make room for another of a listener.
    pub(crate) fn make_room_for_half_open(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        listener: SocketId,
    ) {
        if let Some(listener) = self.sockets.listener_mut(listener)
            && listener.half_open.len() >= cx.config.half_open_per_listener_max.max(1)
        {
            let oldest = listener.half_open.oldest();
            self.evict_half_open(cx, ip, oldest);
        }
        if self.half_open.len() >= cx.config.half_open_max.max(1) {
            self.evict_half_open(cx, ip, self.half_open.oldest());
        }
    }

    pub(crate) fn evict_half_open(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        oldest: Option<SocketId>,
    ) {
        if let Some(id) = oldest {
            ip.outgoing.counters.drop(DropReason::HalfOpenEvicted);
            self.remove_half_open(cx, ip, id, Error::Aborted);
        }
    }

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
        if is_wanted {
            cx.mark(id);
        } else {
            // Whoever asked has given up in the meantime, and will not ring.
            self.remove_connection(cx, ip, id, Error::Aborted);
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
            0 => ports::pick(&mut cx.random, is_free).ok_or(Error::NoFreePort)?,
            port if is_free(port) => port,
            _ => return Err(Error::AddressInUse),
        };
        Ok(SocketAddr::new(address, port))
    }

    fn insert_connection(
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
        if cx.sockets.is_full() || self.lacks_buffers(cx, &options) {
            // Worth least, and a flood of SYNs must not keep everybody else out.
            self.evict_half_open(cx, ip, self.half_open.oldest());
        }
        if cx.sockets.is_full() {
            return Err(Error::LimitReached);
        }
        let connection = self.new_connection(cx, ip, flow, way, options, stage)?;
        let id = self.insert_socket(cx, |_| Ok(TcpSocket::Connection(connection)))?;
        self.flows.insert(flow, Flow::Connection(id));
        Ok(id)
    }

    /// Whether there is no room for the buffers of another connection.
    pub(crate) fn lacks_buffers(&self, cx: &mut Context, options: &tcp::Options) -> bool {
        let (recv_bytes, send_bytes) = self.buffer_bytes(cx, options);
        !self.arena.has_room([recv_bytes, send_bytes])
    }

    /// How large the buffers of a connection are, for receiving and for sending.
    fn buffer_bytes(&self, cx: &mut Context, options: &tcp::Options) -> (usize, usize) {
        (
            options.recv_buffer_bytes.unwrap_or(cx.config.recv_buffer_bytes),
            options.send_buffer_bytes.unwrap_or(cx.config.send_buffer_bytes),
        )
    }

    /// Makes a connection that has no place among the sockets yet.
    pub(crate) fn new_connection(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        flow: FlowKey,
        way: NextHop,
        options: tcp::Options,
        stage: Stage,
    ) -> Result<Box<Connection>, Error> {
        let (recv_bytes, send_bytes) = self.buffer_bytes(cx, &options);
        let mut wire = match way {
            NextHop::Own => Wire::new(flow, LOOPBACK_MTU, None),
            NextHop::Link(_) | NextHop::Nowhere => {
                Wire::new(flow, ip.outgoing.capabilities.mtu, cx.config.mss_max)
            }
        };
        if let Some(path) = ip.path_mtus.get(flow.remote().ip(), cx.now) {
            wire.narrow(path);
        }
        let solo = SoloSocket::new(&mut self.arena, recv_bytes, send_bytes)
            .map_err(|_| Error::LimitReached)?;
        Ok(Box::new(Connection::new(solo, wire, stage, (way, cx.now), options)))
    }

    /// Looks at what the handle of a connection rang for.
    pub(crate) fn attend_connection(&mut self, cx: &mut Context, ip: &mut IpLayer, id: SocketId) {
        let Some(connection) = self.sockets.connection_mut(id) else {
            return;
        };
        match &connection.stage {
            Stage::Open(queue) => {
                let events = queue.bell().take();
                if events.contains(Events::OPTIONS) {
                    connection.apply_options();
                }
                if events.contains(Events::ABORT) {
                    connection.abort(Error::Aborted);
                }
                if events.contains(Events::CLOSE) {
                    self.orphan(cx, id);
                }
            }
            // Whoever waited for the connection has given up.
            Stage::Connecting { responder: Some(responder) } if responder.is_abandoned() => {
                self.remove_connection(cx, ip, id, Error::Aborted);
            }
            // The same of one whose SYN was answered, which its peer has to be told.
            Stage::HalfOpen { responder: Some(responder), .. } if responder.is_abandoned() => {
                connection.abort(Error::Aborted);
            }
            _ => {}
        }
        cx.mark(id);
    }

    /// Goes on without the handle: sends what is queued and closes, or resets if there is
    /// something that nobody will read (RFC 2525 section 2.17).
    pub(crate) fn orphan(&mut self, cx: &mut Context, id: SocketId) {
        let Some(connection) = self.sockets.connection_mut(id) else {
            return;
        };
        let Some(queue) = connection.queue().cloned() else {
            return;
        };
        connection.is_orphan = true;
        let resets = queue.options().linger.is_some_and(|linger| linger.is_zero());
        if resets || connection.has_unread() {
            connection.abort(Error::Aborted);
        } else {
            // Fails only if the connection has ended already.
            let _ = queue.shutdown_send();
        }
        cx.mark(id);
    }

    /// Moves bytes between a connection, its handle and the link.
    pub(crate) fn serve_connection<L: Link>(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        id: SocketId,
        link: &mut L,
    ) -> bool {
        let now = cx.now;
        let Some(connection) = self.sockets.connection_mut(id) else {
            return false;
        };
        let (engine, config, wakes) = (&mut self.engine, &cx.config, &mut cx.wakes);
        let mut output = Output { link, state: &mut ip.outgoing };
        let has_more = match connection.serve(engine, now, config, &mut output, wakes) {
            Served::Done { has_more } => has_more,
            Served::Unanswered => {
                // Silently: the peer never answered, or was never there.
                self.remove_connection(cx, ip, id, Error::TimedOut);
                return true;
            }
        };
        self.advance(cx, ip, id);
        self.retry_parked(cx, ip, id);
        let Some(connection) = self.sockets.connection_mut(id) else {
            return true;
        };
        if has_more {
            cx.mark(id);
            return true;
        }
        let engine = &mut self.engine;
        let mut output = Output { link, state: &mut ip.outgoing };
        let mut timer = connection.next_timer(engine, now, &cx.config, &mut output);
        if timer.is_some_and(|(due, _)| due <= now) {
            if ip.outgoing.link_is_full {
                cx.mark(id);
                return false;
            }
            ip.outgoing.counters.no_progress += 1;
            timer = Some((now + NO_PROGRESS_BACKOFF, Timer::Segment));
        }
        connection.timer = timer.map(|(_, timer)| timer);
        connection.armed.set(&mut cx.deadlines, id, timer.map(|(due, _)| due));
        true
    }

    /// Follows what smoltcp has made of a connection.
    fn advance(&mut self, cx: &mut Context, ip: &mut IpLayer, id: SocketId) {
        let Some(connection) = self.sockets.connection_mut(id) else {
            return;
        };
        if connection.is_finished() {
            let reason = connection.failure.unwrap_or(Error::Shutdown);
            self.remove_connection(cx, ip, id, reason);
            return;
        }
        let state = connection.state();
        if !matches!(state, State::SynSent | State::SynReceived | State::Closed | State::Listen)
            && !matches!(connection.stage, Stage::Open(_))
        {
            self.establish(cx, ip, id);
        }
        let Some(connection) = self.sockets.connection_mut(id) else {
            return;
        };
        // Bytes came with the handshake's last segment, or while there was no queue for them.
        connection.pump_received(&mut cx.wakes);
        if connection.is_orphan && connection.solo.tcp().can_recv() && state != State::Closed {
            // Data for nobody (RFC 1122 section 4.2.2.13).
            connection.abort(Error::Aborted);
            cx.mark(id);
            return;
        }
        if let (true, Stage::Open(queue)) = (connection.is_receive_finished(), &connection.stage) {
            queue.clone().finish_recv(Ok(()), &mut cx.wakes);
        }
        if state == State::TimeWait && !ip.outgoing.link_is_full {
            let flow = connection.wire.flow();
            let words = connection.wire.last_words();
            self.remove_connection(cx, ip, id, Error::Shutdown);
            if let Some(words) = words {
                self.keep_in_time_wait(cx, flow, words);
            }
        }
    }

    /// Hands a connection whose handshake is done to whoever waits for it.
    fn establish(&mut self, cx: &mut Context, ip: &mut IpLayer, id: SocketId) {
        let limits = (cx.config.stream_queue_bytes, cx.config.stream_queue_bytes);
        let bell = Bell::new(id, cx.doorbell.clone());
        let Some(connection) = self.sockets.connection_mut(id) else {
            return;
        };
        let options = connection.establish();
        let flow = connection.wire.flow();
        let ends = (flow.local(), flow.remote());
        ip.outgoing.counters.connections_established += 1;
        let is_accepted = matches!(connection.stage, Stage::HalfOpen { .. });
        let event = if is_accepted { "connection accepted" } else { "connection established" };
        tracing::debug!(local = %ends.0, remote = %ends.1, "{event}");
        match &mut connection.stage {
            Stage::Connecting { responder } => {
                let responder = responder.take();
                let queue = Arc::new(StreamQueue::new(bell, ends, limits, options));
                connection.stage = Stage::Open(queue.clone());
                let response =
                    tcp::Response::Connected { handle: id, local: ends.0, remote: ends.1 };
                self.reply(
                    cx,
                    ip,
                    None,
                    responder,
                    Ok((response.into(), Some(SocketQueue::Stream(queue)))),
                );
            }
            Stage::HalfOpen { listener, tickets, responder } => {
                let (listener, tickets, responder) = (*listener, *tickets, responder.take());
                self.half_open.remove(tickets.1);
                let listener = self.sockets.listener_mut(listener);
                let listener = listener.expect("half-open connections go with their listener");
                listener.half_open.remove(tickets.0);
                let accept = listener.queue.clone();
                let ends = match accept.local_address() {
                    SocketAddr::V4(_) => ends,
                    SocketAddr::V6(_) => (mapped(ends.0), mapped(ends.1)),
                };
                let queue = Arc::new(StreamQueue::new(bell, ends, limits, options));
                let connection = self.sockets.connection_mut(id).expect("it was just there");
                connection.stage = Stage::Open(queue.clone());
                if let Some(responder) = responder {
                    let response =
                        tcp::Response::Accepted { handle: id, local: ends.0, remote: ends.1 };
                    let answer = Ok((response.into(), Some(SocketQueue::Stream(queue))));
                    self.reply(cx, ip, None, Some(responder), answer);
                } else {
                    accept.push(queue, &mut cx.wakes);
                    self.retry_accept(cx, ip, accept.id());
                }
            }
            Stage::Open(_) => unreachable!("a connection is established once"),
        }
    }

    /// Removes a connection and everything that leads to it. Its handle keeps what was received
    /// and learns why it ended.
    pub(crate) fn remove_connection(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        id: SocketId,
        reason: Error,
    ) {
        let Some(TcpSocket::Connection(mut connection)) = self.remove_socket(cx, id) else {
            return;
        };
        connection.armed.set(&mut cx.deadlines, id, None);
        let flow = connection.wire.flow();
        self.flows.remove(&flow);
        let (local, remote) = (flow.local(), flow.remote());
        match reason {
            // Peers can begin as many as they like.
            _ if matches!(connection.stage, Stage::HalfOpen { .. }) => {
                tracing::trace!(%local, %remote, %reason, "handshake ended");
            }
            // Both ends have said that they are done.
            Error::Shutdown => tracing::debug!(%local, %remote, "connection closed"),
            Error::Reset => tracing::debug!(%local, %remote, "connection reset"),
            _ => tracing::debug!(%local, %remote, %reason, "connection ended"),
        }
        if let Some(end) = connection.wire.sent_end() {
            self.note_end(cx, connection.wire.flow(), end);
        }
        match &mut connection.stage {
            Stage::Connecting { responder } => {
                let responder = responder.take();
                self.reply(cx, ip, None, responder, Err(reason));
            }
            Stage::HalfOpen { listener, tickets, responder } => {
                self.half_open.remove(tickets.1);
                if let Some(listener) = self.sockets.listener_mut(*listener) {
                    listener.half_open.remove(tickets.0);
                }
                if let Some(responder) = responder.take() {
                    // Nobody to tell is nothing to undo.
                    let _ = responder.answer(Err(reason));
                }
            }
            Stage::Open(queue) => {
                let queue = queue.clone();
                let is_whole = !connection.is_broken && {
                    connection.drain_received(&mut cx.wakes);
                    connection.is_receive_finished() || reason == Error::Shutdown
                };
                let end = if is_whole { Ok(()) } else { Err(reason) };
                queue.finish(end, reason, &mut cx.wakes);
                if let Some(parked) = connection.parked.take() {
                    crate::tcp::commands::finish_parked(&queue, *parked);
                }
            }
        }
        connection.solo.release(&mut self.arena);
    }
}
