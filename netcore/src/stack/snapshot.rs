//! The picture that a stack gives of itself.

use super::Netstack;
use crate::datagram::socket::{DatagramSocket, Kind};
use crate::id::SocketId;
use crate::ip::addressing::NextHop;
use crate::owner::Owner;
use crate::snapshot::{
    NeighbourInfo, Overview, Snapshot, SocketInfo, SocketKind, SocketPage, TcpState, TimeWaitPage,
    Timer, Waiting,
};
use crate::socket_ids::Transport;
use crate::tcp::connection::{Connection, state_of};
use crate::tcp::info::TcpInfo;
use crate::tcp::sockets::TcpSocket;
use crate::time::Instant;

/// The most slots, or connections in TIME-WAIT, that a page may ask for: reading one takes a part of a
/// millisecond.
const PAGE_MAX: usize = 256;

impl Netstack {
    /// All sockets and counters at this moment.
    pub fn snapshot(&self) -> Snapshot {
        let time_wait =
            self.transports.tcp.time_wait.flows().map(|flow| (flow.local(), flow.remote()));
        let tcp =
            self.transports.tcp.sockets.iter().map(|(id, socket)| self.describe_tcp(id, socket));
        let datagrams = self
            .transports
            .datagrams
            .sockets
            .iter()
            .map(|(id, socket)| self.describe_datagram(id, socket));
        let sockets = tcp.chain(datagrams);
        Snapshot {
            sockets: sockets.collect(),
            time_wait: time_wait.collect(),
            neighbours: self.neighbours(),
            buffer_bytes: self.transports.tcp.held_bytes(),
            now: self.cx.now,
            timers: self.cx.deadlines.len(),
            counters: self.ip.outgoing.counters.clone(),
        }
    }

    /// The neighbours on an Ethernet link, the most recently used first.
    pub(super) fn neighbours(&self) -> Vec<NeighbourInfo> {
        let all = self.ip.outgoing.neighbours.iter(self.cx.now);
        let all = all.map(|(address, hardware_address, state)| NeighbourInfo {
            address,
            hardware_address,
            state: state.into(),
        });
        all.collect()
    }

    /// The counters and sizes at this moment.
    pub(super) fn overview(&self) -> Overview {
        Overview {
            sockets: self.cx.sockets.len(),
            time_wait: self.transports.tcp.time_wait.len(),
            timers: self.cx.deadlines.len(),
            buffer_bytes: self.transports.tcp.held_bytes(),
            now: self.cx.now,
            counters: self.ip.outgoing.counters.clone(),
        }
    }

    /// The sockets in some slots, from `from` on.
    pub(super) fn socket_page(&self, from: usize, slots: usize) -> SocketPage {
        let (ids, next) = self.cx.sockets.page(from, slots.clamp(1, PAGE_MAX));
        SocketPage { sockets: ids.filter_map(|id| self.describe(id)).collect(), next }
    }

    /// Connections in TIME-WAIT that end after `after`.
    pub(super) fn time_wait_page(&self, after: Instant, max: usize) -> TimeWaitPage {
        let (flows, next) = self.transports.tcp.time_wait.page(after, max.clamp(1, PAGE_MAX));
        TimeWaitPage { flows: flows.map(|flow| (flow.local(), flow.remote())).collect(), next }
    }

    /// One socket, if it exists.
    pub(super) fn describe(&self, id: SocketId) -> Option<SocketInfo> {
        match self.cx.sockets.transport(id)? {
            Transport::Tcp => Some(self.describe_tcp(id, self.transports.tcp.sockets.get(id)?)),
            Transport::Datagram => {
                Some(self.describe_datagram(id, self.transports.datagrams.sockets.get(id)?))
            }
            #[cfg(feature = "udp-lite")]
            Transport::UdpLite => None,
        }
    }

    fn describe_tcp(&self, id: SocketId, socket: &TcpSocket) -> SocketInfo {
        match socket {
            TcpSocket::Connection(connection) => {
                let flow = connection.wire.flow();
                let queued = connection.queue().map_or((0, 0), |queue| queue.queued());
                SocketInfo {
                    id,
                    kind: SocketKind::Tcp,
                    local: flow.local(),
                    any_port: false,
                    peer: Some(flow.remote()),
                    state: Some(state_of(connection.state())),
                    receive_queue: queued.0,
                    send_queue: connection.unacknowledged_bytes() + queued.1,
                    waiting: self.below(id, connection.way).unwrap_or_else(|| connection.waiting()),
                    timer: connection.timer.zip(connection.armed.due()),
                    owner: self.owner_of(id),
                    tcp: Some(self.info_of(connection)),
                }
            }
            TcpSocket::Listener(listener) => SocketInfo {
                id,
                kind: SocketKind::Tcp,
                local: listener.queue.local_address(),
                any_port: listener.port == 0,
                peer: None,
                state: Some(TcpState::Listen),
                receive_queue: listener.queue.len(),
                send_queue: listener.half_open.len(),
                waiting: Waiting::Data,
                timer: None,
                owner: self.owner_of(id),
                tcp: None,
            },
            TcpSocket::Held(held) => SocketInfo {
                id,
                kind: SocketKind::Tcp,
                local: held.flow.local(),
                any_port: false,
                peer: Some(held.flow.remote()),
                state: Some(TcpState::SynReceived),
                receive_queue: 0,
                send_queue: 0,
                waiting: Waiting::Decision,
                timer: held.armed.due().map(|at| (Timer::GiveUp, at)),
                owner: self.owner_of(id),
                tcp: None,
            },
        }
    }

    fn describe_datagram(&self, id: SocketId, socket: &DatagramSocket) -> SocketInfo {
        let (receive_queue, send_queue) = socket.queue.queued();
        SocketInfo {
            id,
            kind: match socket.queue.kind() {
                Kind::Udp { .. } => SocketKind::Udp,
                Kind::Ping { .. } => SocketKind::Ping,
                Kind::Raw { .. } => SocketKind::Raw,
            },
            local: socket.queue.local_address(),
            any_port: matches!(socket.queue.kind(), Kind::Udp { port: 0, .. }),
            peer: socket.queue.peer(),
            state: None,
            receive_queue,
            send_queue,
            waiting: self.below(id, NextHop::Own).unwrap_or(Waiting::Data),
            timer: None,
            owner: self.owner_of(id),
            tcp: None,
        }
    }

    fn owner_of(&self, id: SocketId) -> Option<Box<Owner>> {
        self.cx.sockets.owner(id).map(|owner| Box::new(Owner::clone(owner)))
    }

    fn info_of(&self, connection: &Connection) -> Box<TcpInfo> {
        connection.info(self.ip.outgoing.capabilities.mtu, &self.cx.config, self.cx.now)
    }

    /// What a socket waits for below its own layer.
    fn below(&self, id: SocketId, way: NextHop) -> Option<Waiting> {
        if self.cx.sockets.is_queued(id) {
            return Some(if self.ip.outgoing.link_is_full { Waiting::Link } else { Waiting::Turn });
        }
        match way {
            NextHop::Nowhere => Some(Waiting::Route),
            NextHop::Link(neighbour) => {
                let is_held = self.ip.outgoing.neighbours.holds_packets_for(neighbour);
                is_held.then_some(Waiting::Neighbour)
            }
            NextHop::Own => None,
        }
    }
}
