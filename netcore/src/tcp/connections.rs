//! The life of a connection after its first SYN.

use crate::command::tcp::{self};
use crate::context::Context;
use crate::doorbell::{Bell, Events};
use crate::error::Error;
use crate::id::SocketId;
use crate::ip::addressing::{NextHop, mapped};
use crate::ip::layer::IpLayer;
use crate::link::Link;
use crate::output::Output;
use crate::queue::End;
use crate::queue::{SocketQueue, StreamQueue};
use crate::snapshot::{TcpState, Timer};
use crate::sync::Arc;
use crate::tcp::connection::{Served, Stage};
use crate::tcp::connection_span::ConnectionSpan;
use crate::tcp::engine::State;
use crate::tcp::layer::TcpLayer;
use crate::tcp::limit::Limit;
use crate::tcp::sockets::TcpSocket;
use std::net::SocketAddr;
use std::time::Duration;

/// A connection whose engine asks to be polled now, and does nothing when it is, is polled again
/// after this time and not at once: a mistake there must not cost a processor. Each time counts as
/// [`no_progress`](crate::Counters::no_progress).
const NO_PROGRESS_BACKOFF: Duration = Duration::from_millis(10);

impl TcpLayer {
    /// Handles the events of a connection's handle.
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
                if events.contains(Events::RECV_ROOM) {
                    connection.on_read();
                }
                if events.contains(Events::ABORT) {
                    connection.abort(Error::Aborted);
                }
                if events.contains(Events::CLOSE) {
                    self.orphan(cx, id);
                }
            }
            // The requester has gone.
            Stage::Connecting { responder: Some(responder) } if responder.is_abandoned() => {
                self.remove_connection(cx, ip, id, End::Failed(Error::Aborted));
            }
            // The same of one whose SYN was answered: its peer is sent a reset.
            Stage::HalfOpen { responder: Some(responder), .. } if responder.is_abandoned() => {
                connection.abort(Error::Aborted);
            }
            _ => {}
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
                self.remove_connection(cx, ip, id, End::Failed(Error::TimedOut));
                return true;
            }
        };
        self.advance(cx, ip, id);
        self.note_limit(cx, ip, id, has_more);
        self.retry_parked(cx, ip, id);
        let Some(connection) = self.sockets.connection_mut(id) else {
            return true;
        };
        if has_more {
            cx.mark(id);
            return true;
        }
        let mut timer = connection.next_timer(now, &cx.config);
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

    /// Notes what limits a connection, at the end of its turn.
    fn note_limit(&mut self, cx: &Context, ip: &IpLayer, id: SocketId, has_more: bool) {
        let Some(connection) = self.sockets.connection_mut(id) else { return };
        let mut limit = if has_more { Limit::Device } else { connection.limit() };
        let is_sending = !matches!(limit, Limit::Idle | Limit::ReceiveBuffer);
        let is_held = match connection.way {
            NextHop::Nowhere => true,
            NextHop::Link(neighbour) if is_sending && ip.outgoing.is_on_ethernet() => {
                ip.outgoing.neighbours.holds_packets_for(neighbour)
            }
            NextHop::Link(_) | NextHop::Own => false,
        };
        if is_sending && is_held {
            limit = Limit::Neighbour;
        }
        connection.note_limit(limit, cx.now);
    }

    /// Follows the state of a connection: establishes it, ends it, or moves it to TIME-WAIT.
    pub(super) fn advance(&mut self, cx: &mut Context, ip: &mut IpLayer, id: SocketId) {
        let Some(connection) = self.sockets.connection_mut(id) else {
            return;
        };
        if connection.is_finished() {
            let end = connection.failure.map_or(End::Closed, End::Failed);
            self.remove_connection(cx, ip, id, end);
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
        connection.pump_received(cx.now, &mut cx.wakes);
        if connection.is_orphan && connection.has_unqueued() && state != State::Closed {
            // Data without a reader (RFC 1122 section 4.2.2.13).
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
            self.remove_connection(cx, ip, id, End::Closed);
            if let Some(words) = words {
                self.keep_in_time_wait(cx, flow, words);
            }
        }
    }

    /// Hands a connection whose handshake is done to its requester, or to the accept queue.
    pub(super) fn establish(&mut self, cx: &mut Context, ip: &mut IpLayer, id: SocketId) {
        let bell = Bell::new(id, cx.doorbell.clone());
        let Some(connection) = self.sockets.connection_mut(id) else {
            return;
        };
        let options = connection.establish(cx.now);
        let limits = (connection.recv_limit(), cx.config.tcp.stream_queue_bytes);
        let charge = connection.charge();
        let flow = connection.wire.flow();
        let ends = (flow.local(), flow.remote());
        ip.outgoing.counters.connections_established += 1;
        if matches!(connection.stage, Stage::HalfOpen { .. }) {
            // A peer can begin any number of handshakes: none has a span before it is done.
            connection.span = ConnectionSpan::new(id, ends.0, ends.1);
            connection.span.accepted();
        } else {
            connection.span.established();
        }
        match &mut connection.stage {
            Stage::Connecting { responder } => {
                let responder = responder.take();
                let queue = Arc::new(StreamQueue::new(bell, ends, limits, options, charge));
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
                let queue = Arc::new(StreamQueue::new(bell, ends, limits, options, charge));
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

    /// Removes a connection and everything that leads to it. Its handle keeps received data, and
    /// gets the error.
    pub(crate) fn remove_connection(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        id: SocketId,
        end: End,
    ) {
        let Some(TcpSocket::Connection(mut connection)) = self.remove_socket(cx, id) else {
            return;
        };
        connection.armed.set(&mut cx.deadlines, id, None);
        let flow = connection.wire.flow();
        self.flows.remove(&flow);
        let (local, remote) = (flow.local(), flow.remote());
        match end {
            _ if matches!(connection.stage, Stage::HalfOpen { .. }) => {
                tracing::trace!(%local, %remote, ?end, "handshake ended");
            }
            end => connection.span.ended(end),
        }
        if let Some(sent_end) = connection.wire.sent_end() {
            self.note_end(cx, connection.wire.flow(), sent_end);
        }
        // An attempt to connect never ends in order.
        let reason = end.failure().unwrap_or(Error::Aborted);
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
                    // Without a requester there is nothing to undo.
                    let _ = responder.answer(Err(reason));
                }
            }
            Stage::Open(queue) => {
                let queue = queue.clone();
                let is_whole = !connection.is_broken && {
                    connection.pump_received(cx.now, &mut cx.wakes);
                    connection.is_receive_finished() || end == End::Closed
                };
                let received = if is_whole { Ok(()) } else { Err(reason) };
                if !connection.is_broken && !connection.is_orphan {
                    let mtu = ip.outgoing.capabilities.mtu;
                    let mut info = connection.last_info(mtu, &cx.config, cx.now);
                    info.state = TcpState::Closed;
                    queue.keep_info(info);
                }
                queue.finish(received, end, &mut cx.wakes);
                if let Some(parked) = connection.parked.take() {
                    crate::tcp::commands::finish_parked(&queue, *parked);
                }
            }
        }
    }
}
