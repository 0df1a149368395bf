//! TCP: from SYN to TIME-WAIT.

use super::Netstack;
use super::datagrams::mapped;
use super::ingress::Packet;
use crate::addressing::{NextHop, this_host};
use crate::buffer::SoloSocket;
use crate::channel::Responder;
use crate::command::tcp::{self, OnSyn};
use crate::counters::{DropReason, Fate};
use crate::doorbell::{Bell, Events};
use crate::engine::Engine;
use crate::error::Error;
use crate::flow_table::{Flow, FlowKey};
use crate::id::SocketId;
use crate::link::Link;
use crate::output::Output;
use crate::ports::{self, Protocol};
use crate::queue::{SocketQueue, StreamQueue};
use crate::reservation::Reservation;
use crate::sockets::Socket;
use crate::sockets::connection::{Connection, Served, Stage};
use crate::sockets::guard::Verdict;
use crate::sockets::options;
use crate::sockets::wire::Wire;
use crate::sync::Arc;
use smoltcp::socket::tcp::State;
use smoltcp::time::Duration;
use smoltcp::wire::TcpPacket;
use std::net::SocketAddr;

/// The MTU between two sockets of the same stack, as Linux has it on its loopback link.
const LOOPBACK_MTU: usize = 65_535;
/// A TCP header without options.
const TCP_HEADER: u8 = 20;
/// When smoltcp says that it wants to be polled now, and yet does nothing when it is, it is polled
/// again after this time and not at once: a mistake there must not cost a processor.
const RELUCTANCE: Duration = Duration::from_millis(10);

impl Netstack {
    /// Takes a segment: to its connection, to a listener, or to nobody.
    pub(super) fn receive_tcp<L: Link>(
        &mut self,
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
            Some(Flow::Connection(id)) => self.receive_segment(id, &packet, link),
            Some(Flow::Held(id)) => self.receive_while_held(id, &packet, link),
            Some(Flow::TimeWait) => self.receive_late_segment(flow, &packet, link),
            // A segment to many has no connection (RFC 9293 section 3.9.2.3, MUST-57).
            None if !self.addressing.is_local(packet.header.destination) => {
                Err(DropReason::NotForUs)
            }
            None if is_first => self.receive_syn(flow, &packet, link),
            // What a listener cannot take for a segment of an older connection (RFC 9293 section
            // 3.10.7.2).
            None if !has_ack && self.ports.find(Protocol::Tcp, flow.local()).is_some() => {
                Err(DropReason::Unacceptable)
            }
            None => Err(self.answer_reset(&packet, DropReason::NoListener, link)),
        }
    }

    fn receive_segment<L: Link>(
        &mut self,
        id: SocketId,
        packet: &Packet,
        link: &mut L,
    ) -> Result<Fate, DropReason> {
        self.at_work.socket = Some(id);
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
        let (engine, now, wakes) = (&mut self.engine, self.now, &mut self.wakes);
        let mut output = Output { link, state: &mut self.outgoing };
        let is_handshake = !matches!(connection.stage, Stage::Open(_));
        let verdict = connection.judge(&packet.bytes, start);
        let is_answered = match verdict {
            Verdict::Challenge(_) => {
                connection.may_challenge(now) && self.challenges.allows(&mut self.random, now)
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
                    self.advance(id);
                }
                self.mark(id);
                Ok(Fate::Delivered)
            }
            Verdict::Refuse(reason) => Err(self.answer_reset(packet, reason, link)),
            _ if !is_answered => Err(DropReason::RateLimited),
            Verdict::Acknowledge(reason) | Verdict::Challenge(reason) | Verdict::Drop(reason) => {
                Err(reason)
            }
        }
    }

    /// Takes a SYN for a pair of ends that has no connection.
    pub(super) fn receive_syn<L: Link>(
        &mut self,
        flow: FlowKey,
        packet: &Packet,
        link: &mut L,
    ) -> Result<Fate, DropReason> {
        let found = self.ports.find(Protocol::Tcp, flow.local());
        let Some((listener_id, listener)) =
            found.and_then(|id| Some((id, self.sockets.listener_mut(id)?)))
        else {
            return Err(self.answer_reset(packet, DropReason::NoListener, link));
        };
        if TcpPacket::new_unchecked(packet.payload()).fin() {
            // Nobody means it; Linux drops it as well.
            return Err(DropReason::Unacceptable);
        }
        if listener.on_syn == OnSyn::Hold {
            return self.hold_syn(flow, listener_id, packet);
        }
        if listener.is_full() {
            return Err(DropReason::BacklogFull);
        }
        let options = listener.options.clone();
        let way =
            self.addressing.next_hop(flow.remote().ip()).map_err(|_| DropReason::NoRouteBack)?;
        self.make_room_for_half_open(listener_id);
        let stage = Stage::HalfOpen { listener: listener_id, tickets: (0, 0), responder: None };
        let id = self.insert_connection(flow, way, options, stage).map_err(|_| {
            match self.sockets.is_full() {
                true => DropReason::TooManySockets,
                false => DropReason::NoBuffers,
            }
        })?;
        self.at_work.socket = Some(id);
        let ticket = self.sockets.listener_mut(listener_id).map_or(0, |l| l.half_open.insert(id));
        let tickets = (ticket, self.half_open.insert(id));
        let isn = self.next_isn(&flow);
        let connection = self.sockets.connection_mut(id).expect("it was just inserted");
        connection.stage = Stage::HalfOpen { listener: listener_id, tickets, responder: None };
        self.begin_handshake(id, isn, packet, link);
        Ok(Fate::Delivered)
    }

    /// Shows a connection the SYN that it was made for, and has it answered.
    pub(super) fn begin_handshake<L: Link>(
        &mut self,
        id: SocketId,
        isn: u32,
        packet: &Packet,
        link: &mut L,
    ) {
        let connection = self.sockets.connection_mut(id).expect("it was just inserted");
        let flow = connection.wire.flow();
        let endpoint = (flow.local().ip(), flow.local().port());
        connection.solo.tcp_mut().listen(endpoint).expect("a closed socket and a port");
        let mut output = Output { link, state: &mut self.outgoing };
        let start = packet.header.payload.start;
        connection.receive_syn(isn, self.now, &packet.bytes, start, &mut output);
        self.mark(id);
    }

    /// Has the oldest half-open connections make room for another of a listener.
    pub(super) fn make_room_for_half_open(&mut self, listener: SocketId) {
        if let Some(listener) = self.sockets.listener_mut(listener)
            && listener.half_open.len() >= self.config.half_open_per_listener_max.max(1)
        {
            let oldest = listener.half_open.oldest();
            self.evict_half_open(oldest);
        }
        if self.half_open.len() >= self.config.half_open_max.max(1) {
            self.evict_half_open(self.half_open.oldest());
        }
    }

    /// Ends a connect that an ICMP error speaks of, as Linux does, so that whoever waits learns at
    /// once; RFC 5461 section 4.1 is about that. Established connections pass over such errors:
    /// the path may come back (RFC 1122 section 4.2.3.9).
    pub(super) fn connecting_failed(&mut self, flow: FlowKey, sequence: u32, error: Error) {
        let Some(Flow::Connection(id)) = self.flows.get(&flow).copied() else {
            return;
        };
        let Some(connection) = self.sockets.connection_mut(id) else {
            return;
        };
        if matches!(connection.stage, Stage::Connecting { .. }) && connection.is_under_way(sequence)
        {
            self.remove_connection(id, error);
        }
    }

    /// The connection that has sent this, and has not had it acknowledged yet.
    pub(super) fn sender_of(&mut self, flow: FlowKey, sequence: u32) -> Option<&mut Connection> {
        let Some(Flow::Connection(id)) = self.flows.get(&flow).copied() else {
            return None;
        };
        self.sockets.connection_mut(id).filter(|connection| connection.is_under_way(sequence))
    }

    pub(super) fn evict_half_open(&mut self, oldest: Option<SocketId>) {
        if let Some(id) = oldest {
            self.outgoing.counters.drop(DropReason::HalfOpenEvicted);
            self.remove_half_open(id, Error::Aborted);
        }
    }

    /// Starts to connect, perhaps from an address, and perhaps from a port that was reserved. The
    /// answer goes to `responder` when the outcome is known.
    pub(super) fn connect(
        &mut self,
        remote: SocketAddr,
        from: (Option<SocketAddr>, Option<Reservation>),
        options: tcp::Options,
        responder: Option<Responder>,
    ) {
        let mut responder = responder;
        if let Err(error) = self.try_connect(remote, from, options, &mut responder) {
            self.reply(None, responder, Err(error));
        }
    }

    fn try_connect(
        &mut self,
        remote: SocketAddr,
        (local, reservation): (Option<SocketAddr>, Option<Reservation>),
        options: tcp::Options,
        responder: &mut Option<Responder>,
    ) -> Result<(), Error> {
        let own = local.map(|local| local.ip().to_canonical());
        let own = own.filter(|own| !own.is_unspecified());
        let ip = this_host(remote.ip(), own).to_canonical();
        let remote = SocketAddr::new(ip, remote.port());
        if remote.port() == 0 {
            return Err(Error::ZeroPort);
        }
        if remote.ip().is_multicast() || self.addressing.is_broadcast(remote.ip()) {
            return Err(Error::NetworkUnreachable);
        }
        let way = self.addressing.next_hop(remote.ip())?;
        self.check_reservation(reservation.as_ref())?;
        let local = self.connect_from(remote, local, reservation.is_some())?;
        let flow = FlowKey::new(local, remote);
        let stage = Stage::Connecting { responder: None };
        let id = self.insert_connection(flow, way, options, stage)?;
        self.at_work.socket = Some(id);
        let isn = self.next_isn(&flow);
        let mut interface = Engine::for_handshake(isn, self.now);
        let connection = self.sockets.connection_mut(id).expect("it was just inserted");
        let socket = connection.solo.tcp_mut();
        let ends = ((remote.ip(), remote.port()), (local.ip(), local.port()));
        socket.connect(interface.context(), ends.0, ends.1).expect("the ends were checked");
        let responder = responder.take();
        let is_wanted = responder.as_ref().is_none_or(|responder| responder.park_on(id));
        connection.stage = Stage::Connecting { responder };
        connection.reservation = reservation;
        if is_wanted {
            self.mark(id);
        } else {
            // Whoever asked has given up in the meantime, and will not ring.
            self.remove_connection(id, Error::Aborted);
        }
        Ok(())
    }

    /// The address and port to connect from.
    fn connect_from(
        &mut self,
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
                if !self.addressing.is_local(address) || self.addressing.is_tentative(address) =>
            {
                return Err(Error::AddressNotAvailable);
            }
            Some(address) => address,
            None => self.addressing.source_for(remote.ip())?,
        };
        let is_free = |port| {
            let flow = FlowKey::new(SocketAddr::new(address, port), remote);
            let is_taken = match self.flows.get(&flow) {
                None => false,
                Some(Flow::TimeWait) => !self.time_wait.is_reusable(&flow, self.now),
                Some(Flow::Connection(_) | Flow::Held(_)) => true,
            };
            !is_taken && (is_reserved || !self.ports.is_tcp_port_taken(port))
        };
        let port = match port {
            0 => ports::pick(&mut self.random, is_free).ok_or(Error::NoFreePort)?,
            port if is_free(port) => port,
            _ => return Err(Error::AddressInUse),
        };
        Ok(SocketAddr::new(address, port))
    }

    fn insert_connection(
        &mut self,
        flow: FlowKey,
        way: NextHop,
        options: tcp::Options,
        stage: Stage,
    ) -> Result<SocketId, Error> {
        if self.is_shut_down {
            return Err(Error::StackGone);
        }
        if self.sockets.is_full() || self.lacks_buffers(&options) {
            // Worth least, and a flood of SYNs must not keep everybody else out.
            self.evict_half_open(self.half_open.oldest());
        }
        if self.sockets.is_full() {
            return Err(Error::LimitReached);
        }
        let connection = self.new_connection(flow, way, options, stage)?;
        let id = self.sockets.insert(|_| Ok(Socket::Connection(connection)))?;
        self.flows.insert(flow, Flow::Connection(id));
        Ok(id)
    }

    /// Whether there is no room for the buffers of another connection.
    pub(super) fn lacks_buffers(&self, options: &tcp::Options) -> bool {
        let (recv_bytes, send_bytes) = self.buffer_bytes(options);
        !self.arena.has_room([recv_bytes, send_bytes])
    }

    /// How large the buffers of a connection are, for receiving and for sending.
    fn buffer_bytes(&self, options: &tcp::Options) -> (usize, usize) {
        (
            options.recv_buffer_bytes.unwrap_or(self.config.recv_buffer_bytes),
            options.send_buffer_bytes.unwrap_or(self.config.send_buffer_bytes),
        )
    }

    /// Makes a connection that has no place among the sockets yet.
    pub(super) fn new_connection(
        &mut self,
        flow: FlowKey,
        way: NextHop,
        options: tcp::Options,
        stage: Stage,
    ) -> Result<Box<Connection>, Error> {
        let (recv_bytes, send_bytes) = self.buffer_bytes(&options);
        let mut wire = match way {
            NextHop::Own => Wire::new(flow, LOOPBACK_MTU, None),
            NextHop::Link(_) | NextHop::Nowhere => {
                Wire::new(flow, self.outgoing.capabilities.mtu, self.config.mss_max)
            }
        };
        if let Some(path) = self.path_mtus.get(flow.remote().ip(), self.now) {
            wire.narrow(path);
        }
        let solo = SoloSocket::new(&mut self.arena, recv_bytes, send_bytes)
            .map_err(|_| Error::LimitReached)?;
        Ok(Box::new(Connection::new(solo, wire, stage, (way, self.now), options)))
    }

    /// Looks at what the handle of a connection rang for.
    pub(super) fn attend_connection(&mut self, id: SocketId) {
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
                    self.orphan(id);
                }
            }
            // Whoever waited for the connection has given up.
            Stage::Connecting { responder: Some(responder) } if responder.is_abandoned() => {
                self.remove_connection(id, Error::Aborted);
            }
            // The same of one whose SYN was answered, which its peer has to be told.
            Stage::HalfOpen { responder: Some(responder), .. } if responder.is_abandoned() => {
                connection.abort(Error::Aborted);
            }
            _ => {}
        }
        self.mark(id);
    }

    /// Goes on without the handle: sends what is queued and closes, or resets if there is
    /// something that nobody will read (RFC 2525 section 2.17).
    pub(super) fn orphan(&mut self, id: SocketId) {
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
        self.mark(id);
    }

    /// Moves bytes between a connection, its handle and the link.
    pub(super) fn serve_connection<L: Link>(&mut self, id: SocketId, link: &mut L) -> bool {
        let now = self.now;
        let Some(connection) = self.sockets.connection_mut(id) else {
            return false;
        };
        connection.is_dirty = false;
        let (engine, config, wakes) = (&mut self.engine, &self.config, &mut self.wakes);
        let mut output = Output { link, state: &mut self.outgoing };
        let has_more = match connection.serve(engine, now, config, &mut output, wakes) {
            Served::Done { has_more } => has_more,
            Served::Unanswered => {
                // Silently: the peer never answered, or was never there.
                self.remove_connection(id, Error::TimedOut);
                return true;
            }
        };
        self.advance(id);
        self.retry_parked(id);
        let Some(connection) = self.sockets.connection_mut(id) else {
            return true;
        };
        if has_more {
            self.mark(id);
            return true;
        }
        let engine = &mut self.engine;
        let mut output = Output { link, state: &mut self.outgoing };
        let mut due = connection.poll_at(engine, now, &mut output);
        if due.is_some_and(|due| due <= now) {
            if self.outgoing.link_is_full {
                self.mark(id);
                return false;
            }
            due = Some(now + RELUCTANCE);
        }
        let attention = connection.attention_at(&self.config);
        let due = due.into_iter().chain(attention).min();
        connection.armed.set(&mut self.deadlines, id, due);
        true
    }

    /// Follows what smoltcp has made of a connection.
    fn advance(&mut self, id: SocketId) {
        let Some(connection) = self.sockets.connection_mut(id) else {
            return;
        };
        if connection.is_finished() {
            let reason = connection.failure.unwrap_or(Error::Shutdown);
            self.remove_connection(id, reason);
            return;
        }
        let state = connection.state();
        if !matches!(state, State::SynSent | State::SynReceived | State::Closed | State::Listen)
            && !matches!(connection.stage, Stage::Open(_))
        {
            self.establish(id);
        }
        let Some(connection) = self.sockets.connection_mut(id) else {
            return;
        };
        // Bytes came with the handshake's last segment, or while there was no queue for them.
        connection.pump_received(&mut self.wakes);
        if connection.is_orphan && connection.solo.tcp().can_recv() && state != State::Closed {
            // Data for nobody (RFC 1122 section 4.2.2.13).
            connection.abort(Error::Aborted);
            self.mark(id);
            return;
        }
        if let (true, Stage::Open(queue)) = (connection.is_receive_finished(), &connection.stage) {
            queue.clone().finish_recv(Ok(()), &mut self.wakes);
        }
        if state == State::TimeWait && !self.outgoing.link_is_full {
            let flow = connection.wire.flow();
            let words = connection.wire.last_words();
            self.remove_connection(id, Error::Shutdown);
            if let Some(words) = words {
                self.keep_in_time_wait(flow, words);
            }
        }
    }

    /// Hands a connection whose handshake is done to whoever waits for it.
    fn establish(&mut self, id: SocketId) {
        let limits = (self.config.stream_queue_bytes, self.config.stream_queue_bytes);
        let bell = Bell::new(id, self.doorbell.clone());
        let Some(connection) = self.sockets.connection_mut(id) else {
            return;
        };
        let options = connection.establish();
        let flow = connection.wire.flow();
        let ends = (flow.local(), flow.remote());
        self.outgoing.counters.connections_established += 1;
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
                    self.reply(None, Some(responder), answer);
                } else {
                    accept.push(queue, &mut self.wakes);
                    self.retry_accept(accept.id());
                }
            }
            Stage::Open(_) => unreachable!("a connection is established once"),
        }
    }

    /// Removes a connection and everything that leads to it. Its handle keeps what was received
    /// and learns why it ended.
    pub(super) fn remove_connection(&mut self, id: SocketId, reason: Error) {
        let Some(Socket::Connection(mut connection)) = self.sockets.remove(id) else {
            return;
        };
        connection.armed.set(&mut self.deadlines, id, None);
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
            self.note_end(connection.wire.flow(), end);
        }
        match &mut connection.stage {
            Stage::Connecting { responder } => {
                let responder = responder.take();
                self.reply(None, responder, Err(reason));
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
                    connection.drain_received(&mut self.wakes);
                    connection.is_receive_finished() || reason == Error::Shutdown
                };
                let end = if is_whole { Ok(()) } else { Err(reason) };
                queue.finish(end, reason, &mut self.wakes);
                if let Some(parked) = connection.parked.take() {
                    super::commands::finish_parked(&queue, *parked);
                }
            }
        }
        connection.solo.release(&mut self.arena);
    }
}
