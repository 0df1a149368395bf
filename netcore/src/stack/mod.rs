//! The stack itself: what it owns, and the order in which it looks at things.

mod answers;
mod commands;
mod connections;
mod datagrams;
mod errors;
mod ethernet;
mod held;
mod icmp_answers;
mod ingress;
mod isolation;
mod listeners;
mod network;
mod picture;
mod time_wait;
mod udp_peer;

use crate::addressing::Addressing;
use crate::buffer::Arena;
use crate::channel::{BufferBytes, Channel, HasChannel, Request};
use crate::command::raw::Version;
use crate::config::Config;
use crate::counters::Counters;
use crate::deadlines::Deadlines;
use crate::doorbell::Doorbell;
use crate::engine::Engine;
use crate::error::Error;
use crate::ethernet::arrivals::Arrivals;
use crate::ethernet::neighbours::Neighbours;
use crate::flow_table::FlowTable;
use crate::fragments::Reassembly;
use crate::id::SocketId;
use crate::isolation::{isolated, wake};
use crate::link::{DeviceLink, Link, Watched};
use crate::network::{Network, Publisher};
use crate::output::{Outgoing, Output};
use crate::path_mtu::PathMtus;
use crate::ports::Ports;
use crate::random::Random;
use crate::rate_limit::{Challenges, RateLimit};
use crate::reservation::TcpPorts;
use crate::sockets::listener::HalfOpen;
use crate::sockets::past_ends::PastEnds;
use crate::sockets::time_wait::TimeWait;
use crate::sockets::{Socket, Sockets};
use crate::sync::Arc;
use bytes::BytesMut;
use smoltcp::phy::Device;
use smoltcp::time::Instant;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::task::Waker;
use std::time::Duration;

/// A userspace TCP/IP stack that does what commands and packets tell it, and nothing by itself.
///
/// It owns its sockets. Others reach them through its [`Channel`]. Time is what the caller says it
/// is, and packets go where the caller takes them: see the [crate documentation](crate) for how to
/// drive it.
#[derive(Debug)]
pub struct Netstack {
    config: Config,
    requests: flume::Receiver<Request>,
    channel: Channel,
    doorbell: Arc<Doorbell>,
    now: Instant,
    engine: Engine,
    random: Random,
    addressing: Addressing,
    /// The MTU that was set, and that of the link as of the last turn.
    mtu: Option<usize>,
    advertised_mtu: Option<usize>,
    link_mtu: usize,
    path_mtus: PathMtus,
    name_servers: Vec<IpAddr>,
    search_domains: Vec<String>,
    failures: Vec<String>,
    publisher: Publisher,
    arena: Arena,
    reassembly: Reassembly,

    sockets: Sockets,
    flows: FlowTable,
    time_wait: TimeWait,
    past_ends: PastEnds,
    ports: Ports,
    /// Ping sockets by family and identifier.
    echoes: HashMap<(Version, u16), SocketId, ahash::RandomState>,
    /// Raw sockets by what they want to see.
    raw: HashMap<(Version, u8), Vec<SocketId>, ahash::RandomState>,
    /// Which sockets are in which multicast group.
    groups: HashMap<IpAddr, Vec<SocketId>, ahash::RandomState>,
    half_open: HalfOpen,
    challenges: Challenges,
    resets: RateLimit,
    icmp_errors: RateLimit,

    at_work: isolation::AtWork,
    /// Where a test wants a panic.
    #[cfg(test)]
    trap: Option<&'static str>,
    /// Sockets to be served, each once, in turn.
    dirty: VecDeque<SocketId>,
    deadlines: Deadlines,
    outgoing: Outgoing,
    place: ethernet::Place,
    /// Own addresses that are new on an Ethernet link.
    arrivals: Arrivals,
    /// Whom to wake at the end of the turn: one wake-up for however much has come.
    wakes: Vec<Waker>,
    has_woken: bool,
    /// Sockets that handles rang for and nobody has looked at yet, the first of them last; kept to
    /// reuse its memory.
    rung: Vec<SocketId>,
    is_shut_down: bool,
    chunk: BytesMut,
}

/// Frames taken from the link in one round, so that sending and waking are not put off for ever.
const FRAMES_PER_ROUND: usize = 256;
/// The same, in bytes: what has come is read by whom it is for while it is still in the cache, and
/// before the queues are full.
const BYTES_PER_ROUND: usize = 128 * 1024;
/// Sockets served in one round, for the same reason.
const SOCKETS_PER_ROUND: usize = 256;
/// Rounds of one [`Netstack::poll_device_io`]. A device that answers what it is sent could
/// otherwise keep it for ever.
const ROUNDS_MAX: usize = 1024;

impl Netstack {
    /// A stack without addresses other than the loopback ones. `now` is where its time begins.
    ///
    /// # Panics
    ///
    /// If the operating system has no randomness to give.
    pub fn new(config: Config, now: Instant) -> Self {
        let (sender, requests) = flume::bounded(config.commands_max.max(1));
        let doorbell = Arc::new(Doorbell::new(sender.clone()));
        let mut random = Random::new(config.entropy);
        let hardware_address = config.hardware_address.filter(|address| address.is_unicast());
        let hardware_address = hardware_address.unwrap_or_else(|| random.hardware_address());
        let (max, queue_bytes) = (config.neighbours_max, config.neighbour_queue_bytes);
        let neighbours = Neighbours::new(max, queue_bytes, random.hash_keys());
        let limits = (config.loopback_packets_max, config.replies_max);
        let outgoing = Outgoing::new(limits, hardware_address, neighbours, now);
        let link_mtu = outgoing.capabilities.mtu;
        let (publisher, network) = Publisher::new(Network::blank(link_mtu), doorbell.end().clone());
        let buffers =
            BufferBytes { recv: config.recv_buffer_bytes, send: config.send_buffer_bytes };
        let tcp_ports = Arc::new(TcpPorts::new(config.entropy));
        Self {
            channel: Channel::new(sender, doorbell.clone(), network, buffers, tcp_ports.clone()),
            doorbell,
            requests,
            now,
            engine: Engine::new(now),
            addressing: Addressing::default(),
            mtu: None,
            advertised_mtu: None,
            link_mtu,
            path_mtus: PathMtus::new(config.path_mtus_max),
            name_servers: Vec::new(),
            search_domains: Vec::new(),
            failures: Vec::new(),
            publisher,
            arena: Arena::new(config.buffer_bytes_max),
            reassembly: Reassembly::new(config.fragments_bytes_max, config.fragment_timeout),
            sockets: Sockets::new(config.sockets_max),
            flows: FlowTable::with_hasher(random.hash_keys()),
            time_wait: TimeWait::new(config.time_wait, config.time_wait_max),
            past_ends: PastEnds::new(config.time_wait_max, random.hash_keys()),
            ports: Ports::new(tcp_ports),
            echoes: HashMap::default(),
            raw: HashMap::default(),
            groups: HashMap::default(),
            half_open: HalfOpen::default(),
            challenges: Challenges::new(config.challenge_acks_per_second, now),
            resets: RateLimit::new(config.resets_per_second, now),
            icmp_errors: RateLimit::new(config.icmp_errors_per_second, now),
            at_work: isolation::AtWork::default(),
            #[cfg(test)]
            trap: None,
            dirty: VecDeque::new(),
            deadlines: Deadlines::default(),
            outgoing,
            place: ethernet::Place::default(),
            arrivals: Arrivals::default(),
            wakes: Vec::new(),
            has_woken: false,
            rung: Vec::new(),
            is_shut_down: false,
            chunk: BytesMut::new(),
            random,
            config,
        }
    }

    /// Carries out all commands that wait in the channel now.
    ///
    /// A poll is due afterwards if [`poll_at`](Self::poll_at) says so.
    pub fn process_cmds(&mut self) {
        for _ in 0..self.requests.len() {
            let Ok(request) = self.requests.try_recv() else {
                break;
            };
            self.step(|stack| stack.execute(request));
        }
        self.step(|stack| {
            stack.attend();
        });
    }

    /// Carries out one command.
    ///
    /// A poll is due afterwards if [`poll_at`](Self::poll_at) says so.
    pub fn process_one_cmd(&mut self, cmd: Request) {
        self.step(|stack| stack.execute(cmd));
    }

    /// Blocks the calling thread until there is a command, for at most `timeout`; `None` if that
    /// passed without one.
    ///
    /// A read, write or close of a handle counts as a command too, and comes as one that does
    /// nothing but arrive.
    pub fn wait_for_cmd_blocking(&mut self, timeout: Option<Duration>) -> Option<Request> {
        if !self.doorbell.fall_asleep() {
            return Some(Request::wake());
        }
        let request = match timeout {
            None => self.requests.recv().ok(),
            Some(timeout) => self.requests.recv_timeout(timeout).ok(),
        };
        self.doorbell.wake_up();
        request
    }

    /// Waits until there is a command. Does not borrow the stack, so that it may be polled beside
    /// other things.
    ///
    /// A read, write or close of a handle counts as a command too, and comes as one that does
    /// nothing but arrive.
    ///
    /// # Cancel safety
    ///
    /// A command is taken only when the future is ready: dropping it before loses none.
    pub fn wait_for_cmd(&self) -> impl Future<Output = Request> + Send + use<> {
        let (requests, doorbell) = (self.requests.clone(), self.doorbell.clone());
        async move {
            if !doorbell.fall_asleep() {
                return Request::wake();
            }
            let request = requests.recv_async().await;
            doorbell.wake_up();
            request.unwrap_or_else(|_| Request::wake())
        }
    }

    /// Moves packets both ways and does all that is due at `now`, until nothing is left to be done
    /// without waiting; returns whether anything was done.
    ///
    /// Does not look into the command channel. `now` must not go back.
    pub fn poll_device_io(&mut self, now: Instant, device: &mut impl Device) -> bool {
        let mut chunk = std::mem::take(&mut self.chunk);
        let mut worked = false;
        for _ in 0..ROUNDS_MAX {
            if !self.poll_link(now, &mut DeviceLink::new(device, now, &mut chunk)) {
                break;
            }
            worked = true;
        }
        self.chunk = chunk;
        worked
    }

    /// One round: moves a bounded number of packets both ways and does what is due at `now`;
    /// returns whether anything was done, and so another round may find more.
    ///
    /// Does not look into the command channel. `now` must not go back.
    ///
    /// # Panics
    ///
    /// If the link does. What was being sent is in an unknown state then, so all that is left to be
    /// done with the stack is to drop it. A panic of anything else ends what was being worked on: a
    /// packet or a connection.
    pub fn poll_link<L: Link>(&mut self, now: Instant, link: &mut L) -> bool {
        self.now = now;
        self.outgoing.now = now;
        let mut link = Watched::new(link);
        let worked = match isolated(|| self.round(&mut link)) {
            Ok(worked) => worked,
            Err(panic) if link.is_inside() => {
                self.abandon();
                panic.resume()
            }
            Err(panic) => {
                self.recover(&panic);
                true
            }
        };
        self.wake();
        worked
    }

    fn round<L: Link>(&mut self, link: &mut L) -> bool {
        self.link_is(link.capabilities());
        self.carrier_is(link.has_carrier());
        self.outgoing.link_is_full = false;
        self.look_at_ethernet();
        let mut worked = self.attend();
        Output { link, state: &mut self.outgoing }.flush_replies();
        worked |= self.receive_frames(link);
        worked |= self.expire(link);
        worked |= self.serve(link);
        worked |= self.is_on_ethernet_link() && self.attend_ethernet(link);
        worked
    }

    /// When the stack wants to be polled next, if nothing else happens; not after `now` if it has
    /// work at hand.
    ///
    /// Packets that found the link full do not count: poll again when it has room.
    pub fn poll_at(&mut self, now: Instant) -> Option<Instant> {
        let waits_for_room = self.outgoing.link_is_full;
        if (!self.dirty.is_empty() && !waits_for_room) || self.outgoing.loopback_len() > 0 {
            return Some(now);
        }
        let timers = [self.deadlines.next(), self.time_wait.next(), self.reassembly.next()];
        let due = timers.into_iter().flatten().min();
        if !self.outgoing.is_on_ethernet() || waits_for_room {
            return due;
        }
        due.into_iter().chain(self.ethernet_due()).min()
    }

    /// How long from `now` until the stack wants to be polled next, if nothing else happens;
    /// `None` for as long as nothing happens.
    pub fn poll_delay(&mut self, now: Instant) -> Option<Duration> {
        let at = self.poll_at(now)?;
        Some(if at > now { (at - now).into() } else { Duration::ZERO })
    }

    /// Whether packets wait for the link to have room.
    pub fn wants_room(&self) -> bool {
        self.outgoing.link_is_full
            && (!self.dirty.is_empty()
                || self.outgoing.has_replies()
                || self.ethernet_due().is_some())
    }

    /// Says what every pending operation fails with when the stack is dropped, instead of
    /// [`Error::StackGone`]. What was said first counts.
    pub fn set_end(&mut self, reason: Error) {
        self.doorbell.end().set(reason);
    }

    /// Whether the last round or command woke somebody, who may be given a turn before the next
    /// round: queues are short then, and what arrives is handed on without a copy.
    pub fn has_woken(&self) -> bool {
        self.has_woken
    }

    /// What the stack has counted so far.
    pub fn counters(&self) -> &Counters {
        &self.outgoing.counters
    }

    /// Whether a [shutdown](crate::control::Command::Shutdown) is done: no socket is left, and no
    /// packet waits for the answer of a neighbour.
    pub fn is_drained(&self) -> bool {
        self.is_shut_down && self.sockets.len() == 0 && !self.outgoing.neighbours.has_waiting()
    }

    /// Looks at the sockets that handles rang for, and takes back what nobody received.
    fn attend(&mut self) -> bool {
        // Before the list of rung sockets is taken: what is undone rings.
        for undelivered in self.doorbell.take_undelivered() {
            self.take_back(undelivered);
        }
        if self.rung.is_empty() {
            self.doorbell.take_ready(&mut self.rung);
            self.rung.reverse();
        }
        let worked = !self.rung.is_empty();
        while let Some(id) = self.rung.pop() {
            self.at_work.socket = Some(id);
            match self.sockets.get_mut(id) {
                Some(Socket::Connection(_)) => self.attend_connection(id),
                Some(Socket::Listener(_)) => self.attend_listener(id),
                Some(Socket::Held(_)) => self.attend_held(id),
                Some(Socket::Datagram(_)) => self.attend_datagram(id),
                None => {}
            }
        }
        self.at_work.socket = None;
        worked
    }

    /// Marks the sockets whose time has come.
    fn expire<L: Link>(&mut self, link: &mut L) -> bool {
        let mut worked = false;
        while let Some(id) = self.deadlines.pop(self.now) {
            worked = true;
            self.at_work.socket = Some(id);
            let (armed, is_held) = match self.sockets.get_mut(id) {
                Some(Socket::Connection(connection)) => (&mut connection.armed, false),
                Some(Socket::Held(held)) => (&mut held.armed, true),
                _ => continue,
            };
            let is_due = armed.fired(&mut self.deadlines, id, self.now);
            match (is_due, is_held) {
                (false, _) => {}
                (true, false) => self.mark(id),
                (true, true) => self.remove_held(id, Error::TimedOut),
            }
        }
        self.at_work.socket = None;
        while let Some(flow) = self.time_wait.pop_expired(self.now) {
            self.flows.remove(&flow);
        }
        self.at_work.part = Some(isolation::Part::Fragments);
        for first in self.reassembly.expire(self.now) {
            self.outgoing.counters.drop(crate::DropReason::FragmentExpired);
            if let Some(first) = first {
                self.answer_expired(&first, link);
            }
        }
        self.at_work.part = None;
        worked
    }

    /// Serves marked sockets, each once at most.
    fn serve<L: Link>(&mut self, link: &mut L) -> bool {
        let mut worked = false;
        for _ in 0..self.dirty.len().min(SOCKETS_PER_ROUND) {
            let Some(id) = self.dirty.pop_front() else {
                break;
            };
            self.at_work.socket = Some(id);
            worked |= match self.sockets.get_mut(id) {
                Some(Socket::Connection(_)) => self.serve_connection(id, link),
                Some(Socket::Held(_)) => self.serve_held(id, link),
                Some(Socket::Datagram(_)) => self.serve_datagram(id, link),
                _ => false,
            };
        }
        self.at_work.socket = None;
        worked
    }

    /// Puts a socket on the list of those to be served, if it is not there yet.
    fn mark(&mut self, id: SocketId) {
        let is_dirty = match self.sockets.get_mut(id) {
            Some(Socket::Connection(connection)) => &mut connection.is_dirty,
            Some(Socket::Held(held)) => &mut held.is_dirty,
            Some(Socket::Datagram(socket)) => &mut socket.is_dirty,
            _ => return,
        };
        if !std::mem::replace(is_dirty, true) {
            self.dirty.push_back(id);
        }
    }

    /// Wakes everybody who has something to do. No lock is held here, and the stack is whole.
    fn wake(&mut self) {
        self.has_woken = !self.wakes.is_empty();
        for waker in self.wakes.drain(..) {
            wake(waker);
        }
    }
}

impl HasChannel for Netstack {
    fn command_channel(&self) -> Channel {
        self.channel.clone()
    }
}

impl Drop for Netstack {
    /// Every pending operation fails with [`Error::StackGone`], or with what
    /// [`set_end`](Netstack::set_end) was given.
    fn drop(&mut self) {
        // A request that is sent from now on is seen as lost by whoever sent it; one that was sent
        // before is found here. Flume keeps what is in a channel without receivers.
        self.doorbell.close();
        self.requests.drain();
        let reason = self.doorbell.end().reason();
        for id in self.sockets.ids() {
            self.step_for(id, |stack| stack.end_socket(id, reason));
        }
        self.wake();
    }
}
