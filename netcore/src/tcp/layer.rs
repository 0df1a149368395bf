//! The state of TCP.

use crate::context::Context;
use crate::error::Error;
use crate::id::SocketId;
use crate::ip::layer::IpLayer;
use crate::link::Link;
use crate::ports::Ports;
use crate::queue::End;
use crate::rate_limit::{Challenges, RateLimit};
use crate::sync::Arc;
use crate::tcp::connection::Stage;
use crate::tcp::engine::Engine;
use crate::tcp::flow_table::FlowTable;
use crate::tcp::listener::HalfOpen;
use crate::tcp::past_ends::PastEnds;
use crate::tcp::reservation::TcpPorts;
use crate::tcp::sockets::{TcpSocket, TcpSockets};
use crate::tcp::time_wait::TimeWait;

/// TCP above IP: demultiplexing, connections, listeners and TIME-WAIT.
#[derive(Debug)]
pub(crate) struct TcpLayer {
    pub(crate) sockets: TcpSockets,
    pub(crate) engine: Engine,
    pub(crate) flows: FlowTable,
    pub(crate) ports: Ports,
    pub(crate) half_open: HalfOpen,
    pub(crate) time_wait: TimeWait,
    pub(crate) past_ends: PastEnds,
    pub(crate) challenges: Challenges,
    pub(crate) resets: RateLimit,
}

impl TcpLayer {
    /// Memory that is held for what is unread, unsent or unacknowledged, in bytes.
    pub(crate) fn held_bytes(&self) -> usize {
        let connections = self.sockets.iter().filter_map(|(_, socket)| match socket {
            TcpSocket::Connection(connection) => Some(connection.held_bytes()),
            _ => None,
        });
        connections.sum()
    }

    pub(crate) fn new(cx: &mut Context, reservations: Arc<TcpPorts>) -> Self {
        let config = &cx.config;
        let flows = FlowTable::with_hasher(cx.random.hash_keys());
        let hash_keys = cx.random.hash_keys();
        Self {
            sockets: TcpSockets::default(),
            engine: Engine::new(cx.now),
            flows,
            ports: Ports::of_tcp(reservations),
            half_open: HalfOpen::default(),
            time_wait: TimeWait::new(
                config.tcp.time_wait,
                config.tcp.time_wait_max,
                hash_keys.clone(),
            ),
            past_ends: PastEnds::new(config.tcp.time_wait_max, hash_keys),
            challenges: Challenges::new(config.tcp.challenge_acks_per_second, cx.now),
            resets: RateLimit::new(config.tcp.resets_per_second, cx.now),
        }
    }

    /// Looks at what the handle of a socket rang for.
    pub(crate) fn attend(&mut self, cx: &mut Context, ip: &mut IpLayer, id: SocketId) {
        match self.sockets.get(id) {
            Some(TcpSocket::Connection(_)) => self.attend_connection(cx, ip, id),
            Some(TcpSocket::Listener(_)) => self.attend_listener(cx, ip, id),
            Some(TcpSocket::Held(_)) => self.attend_held(cx, id),
            None => {}
        }
    }

    /// Does what a socket in the run queue has to do; returns whether that was anything.
    pub(crate) fn serve<L: Link>(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        id: SocketId,
        link: &mut L,
    ) -> bool {
        match self.sockets.get(id) {
            Some(TcpSocket::Connection(_)) => self.serve_connection(cx, ip, id, link),
            Some(TcpSocket::Held(_)) => self.serve_held(cx, ip, id, link),
            Some(TcpSocket::Listener(_)) | None => false,
        }
    }

    /// Takes note of a deadline of a socket.
    pub(crate) fn expire(&mut self, cx: &mut Context, id: SocketId) {
        let (armed, is_held) = match self.sockets.get_mut(id) {
            Some(TcpSocket::Connection(connection)) => (&mut connection.armed, false),
            Some(TcpSocket::Held(held)) => (&mut held.armed, true),
            Some(TcpSocket::Listener(_)) | None => return,
        };
        let is_due = armed.fired(&mut cx.deadlines, id, cx.now);
        match (is_due, is_held) {
            (false, _) => {}
            (true, false) => cx.mark(id),
            (true, true) => self.remove_held(cx, id, Error::TimedOut),
        }
    }

    /// Forgets the connections whose time in TIME-WAIT is over.
    pub(crate) fn expire_time_wait(&mut self, cx: &Context) {
        while let Some(flow) = self.time_wait.pop_expired(cx.now) {
            self.flows.remove(&flow);
        }
    }

    /// Ends a socket as if its handle had been dropped.
    pub(crate) fn shut(&mut self, cx: &mut Context, ip: &mut IpLayer, id: SocketId) {
        match self.sockets.connection_mut(id) {
            Some(connection) if matches!(connection.stage, Stage::Open(_)) => self.orphan(cx, id),
            _ => self.end(cx, ip, id, Error::StackGone),
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
        match self.sockets.connection_mut(id) {
            Some(connection) if matches!(connection.stage, Stage::Open(_)) => {
                connection.abort(reason);
                cx.mark(id);
            }
            _ => self.end(cx, ip, id, reason),
        }
    }

    /// Ends a socket at once; pending requests fail with the reason.
    pub(crate) fn end(&mut self, cx: &mut Context, ip: &mut IpLayer, id: SocketId, reason: Error) {
        match self.sockets.get(id) {
            Some(TcpSocket::Connection(_)) => {
                self.remove_connection(cx, ip, id, End::Failed(reason));
            }
            Some(TcpSocket::Listener(_)) => self.remove_listener(cx, ip, id, reason),
            Some(TcpSocket::Held(_)) => self.remove_held(cx, id, reason),
            None => {}
        }
    }

    /// Ends a socket that has panicked. The peer of a connection is sent nothing now, and answered
    /// with a reset when it sends something.
    pub(crate) fn end_broken(&mut self, cx: &mut Context, ip: &mut IpLayer, id: SocketId) {
        if self.mark_broken(id) {
            self.engine = Engine::new(cx.now);
        }
        self.end(cx, ip, id, Error::Aborted);
    }

    /// Notes that the state of a connection cannot be trusted; returns whether there is one.
    pub(crate) fn mark_broken(&mut self, id: SocketId) -> bool {
        let connection = self.sockets.connection_mut(id);
        connection.map(|connection| connection.is_broken = true).is_some()
    }
}
