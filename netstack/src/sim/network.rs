//! The network in the middle: its hosts, and the packets in flight.

use super::counters::LinkCounters;
use super::lane::{Flight, Lane};
use super::link::LinkConfig;
use super::trace::Trace;
use crate::device::PipeEnd;
use crate::direction::Direction;
use crate::stack::Stack;
use crate::tap::Taps;
use bytes::Bytes;
use netcore::isolation::{Panic, isolated};
use netsocket::Net;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// All that a simulated network consists of.
#[derive(Debug)]
pub(super) struct Network {
    seed: u64,
    start: Instant,
    /// A new packet in flight may arrive before all others.
    sooner: Notify,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    ports: Vec<Port>,
    routes: HashMap<IpAddr, usize>,
    flights: BinaryHeap<Reverse<(Flight, Hop)>>,
    /// When lanes have to advance.
    queues: BinaryHeap<Reverse<(Instant, Hop)>>,
    /// Packets sent, as a tie-breaker for those that arrive at the same time.
    begun: u64,
    trace: Trace,
    /// The first panic of a filter.
    panic: Option<Panic>,
}

/// Where a host is attached.
struct Port {
    /// Gone once the host was stopped.
    stack: Option<Stack>,
    pipe: Arc<PipeEnd>,
    from_host: Way,
    to_host: Way,
    filter: Option<Filter>,
}

/// One direction of a host's link.
#[derive(Debug)]
struct Way {
    lane: Lane,
    /// The first time at which it is in [`State::queues`].
    due: Option<Instant>,
}

pub(super) type Filter = Box<dyn FnMut(Direction, &[u8]) -> bool + Send>;

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port").field("link", self.from_host.lane.link()).finish_non_exhaustive()
    }
}

/// Where a packet will be next: the end of one direction of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Hop {
    /// In the middle, coming from this host.
    Middle(usize),
    Host(usize),
}

impl Network {
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub(super) fn new(seed: u64) -> Arc<Self> {
        let network = Arc::new(Self {
            seed,
            start: Instant::now(),
            sooner: Notify::new(),
            state: Mutex::default(),
        });
        tokio::spawn(deliver(network.clone()));
        network
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The number of the next host, from 1.
    pub(super) fn next_host(&self) -> usize {
        self.lock().ports.len() + 1
    }

    /// Attaches a host; returns its index.
    pub(super) fn attach(
        self: &Arc<Self>,
        stack: Stack,
        pipe: PipeEnd,
        addresses: impl Iterator<Item = IpAddr>,
        [from_host, to_host]: [LinkConfig; 2],
    ) -> usize {
        let pipe = Arc::new(pipe);
        let now = Instant::now();
        let mut state = self.lock();
        let index = state.ports.len();
        state.routes.extend(addresses.map(|address| (address, index)));
        state.ports.push(Port {
            stack: Some(stack),
            pipe: pipe.clone(),
            from_host: Way::new(Lane::new(from_host, self.seed_of(index, 1), now)),
            to_host: Way::new(Lane::new(to_host, self.seed_of(index, 2), now)),
            filter: None,
        });
        drop(state);
        tokio::spawn(collect(self.clone(), index, pipe));
        index
    }

    /// A seed for one part of one host, so that parts and hosts do not affect each other's random
    /// numbers.
    pub(super) fn seed_of(&self, host: usize, part: u64) -> u64 {
        // The multiplier of Knuth's MMIX generator spreads neighbouring numbers.
        let step = |state: u64, input: u64| {
            (state ^ input).wrapping_mul(6_364_136_223_846_793_005).rotate_left(29)
        };
        step(step(step(1, self.seed), host as u64 + 1), part)
    }

    pub(super) fn inject(&self, packet: Bytes) {
        let now = Instant::now();
        let mut state = self.lock();
        state.trace.record(now - self.start, &packet);
        state.route(now, None, packet);
        state.arrive(now);
        drop(state);
        self.sooner.notify_one();
    }

    fn send(&self, host: usize, packet: Bytes) {
        let now = Instant::now();
        let mut state = self.lock();
        state.trace.record(now - self.start, &packet);
        state.carry(now, host, Direction::Outbound, packet);
        state.arrive(now);
        drop(state);
        self.sooner.notify_one();
    }

    pub(super) fn link(&self, host: usize, direction: Direction) -> LinkConfig {
        self.lock().way(Hop::end(host, direction)).lane.link().clone()
    }

    pub(super) fn set_link(&self, host: usize, direction: Direction, link: LinkConfig) {
        let (hop, now) = (Hop::end(host, direction), Instant::now());
        let mut state = self.lock();
        state.advance(now, hop);
        state.way(hop).lane.set_link(link, now);
        state.advance(now, hop);
        drop(state);
        self.sooner.notify_one();
    }

    pub(super) fn set_filter(&self, host: usize, filter: Option<Filter>) {
        self.lock().ports[host].filter = filter;
    }

    pub(super) fn counters(&self, host: usize, direction: Direction) -> LinkCounters {
        let hop = Hop::end(host, direction);
        let mut state = self.lock();
        state.advance(Instant::now(), hop);
        state.way(hop).lane.counters
    }

    /// The taps of a host, unless it was stopped.
    pub(super) fn taps(&self, host: usize) -> Option<Taps> {
        self.lock().ports[host].stack.as_ref().map(|stack| stack.taps().clone())
    }

    pub(super) fn take_stack(&self, host: usize) -> Option<Stack> {
        self.lock().ports[host].stack.take()
    }

    /// The stacks that were not stopped.
    pub(super) fn running(&self) -> Vec<Net> {
        let state = self.lock();
        state.ports.iter().filter_map(|port| Some(port.stack.as_ref()?.net().clone())).collect()
    }

    pub(super) fn stop_all(&self) {
        let stacks: Vec<_> =
            self.lock().ports.iter_mut().filter_map(|port| port.stack.take()).collect();
        drop(stacks);
    }

    pub(super) fn take_panic(&self) -> Option<Panic> {
        self.lock().panic.take()
    }

    pub(super) fn trace_hash(&self) -> u64 {
        self.lock().trace.hash()
    }

    pub(super) fn write_pcap(&self, path: &Path) -> io::Result<()> {
        self.lock().trace.write_pcap(BufWriter::new(File::create(path)?))
    }
}

impl Hop {
    fn end(host: usize, direction: Direction) -> Self {
        match direction {
            Direction::Outbound => Self::Middle(host),
            Direction::Inbound => Self::Host(host),
        }
    }

    fn way(self, ports: &mut [Port]) -> &mut Way {
        match self {
            Self::Middle(host) => &mut ports[host].from_host,
            Self::Host(host) => &mut ports[host].to_host,
        }
    }
}

impl Way {
    fn new(lane: Lane) -> Self {
        Self { lane, due: None }
    }

    /// When it has to be in the queue of lanes, unless it is already.
    fn newly_due(&mut self) -> Option<Instant> {
        let next = self.lane.next()?;
        if self.due.is_some_and(|due| due <= next) {
            return None;
        }
        self.due = Some(next);
        Some(next)
    }
}

impl State {
    /// Sends a packet along a host's link.
    fn carry(&mut self, now: Instant, host: usize, direction: Direction, packet: Bytes) {
        let hop = Hop::end(host, direction);
        let may_pass = self.ports[host].filter.as_mut().is_none_or(|filter| {
            isolated(|| filter(direction, &packet)).unwrap_or_else(|panic| {
                self.panic.get_or_insert(panic);
                false
            })
        });
        self.begun += 1;
        let Self { ports, flights, queues, begun, .. } = self;
        let way = hop.way(ports);
        if !may_pass {
            way.lane.counters.sent += 1;
            way.lane.counters.lost += 1;
            return;
        }
        way.lane.carry(now, *begun, packet, |flight| flights.push(Reverse((flight, hop))));
        queues.extend(way.newly_due().map(|due| Reverse((due, hop))));
    }

    /// Lets the packets go that have left a queue by now.
    fn advance(&mut self, now: Instant, hop: Hop) {
        let Self { ports, flights, queues, .. } = self;
        let way = hop.way(ports);
        way.lane.advance(now, |flight| flights.push(Reverse((flight, hop))));
        queues.extend(way.newly_due().map(|due| Reverse((due, hop))));
    }

    fn way(&mut self, hop: Hop) -> &mut Way {
        hop.way(&mut self.ports)
    }

    /// When a packet may arrive next.
    fn next(&self) -> Option<Instant> {
        let flight = self.flights.peek().map(|Reverse((flight, _))| flight.at);
        let queue = self.queues.peek().map(|Reverse((at, _))| *at);
        flight.into_iter().chain(queue).min()
    }

    /// Forwards a packet in the middle to its destination.
    fn route(&mut self, now: Instant, from: Option<usize>, packet: Bytes) {
        let Some(destination) = destination(&packet) else { return };
        if let Some(host) = self.routes.get(&destination) {
            self.carry(now, *host, Direction::Inbound, packet);
        } else if is_for_all(destination) {
            for host in (0..self.ports.len()).filter(|host| Some(*host) != from) {
                self.carry(now, host, Direction::Inbound, packet.clone());
            }
        }
    }

    /// Delivers all packets that are due.
    fn arrive(&mut self, now: Instant) {
        loop {
            while let Some(hop) = self.pop_queue(now) {
                self.advance(now, hop);
            }
            if self.flights.peek().is_none_or(|Reverse((flight, _))| now < flight.at) {
                return;
            }
            let Some(Reverse((flight, hop))) = self.flights.pop() else { return };
            self.land(now, hop, flight.packet);
        }
    }

    /// The next lane that has to advance by now.
    fn pop_queue(&mut self, now: Instant) -> Option<Hop> {
        let Reverse((at, hop)) = *self.queues.peek()?;
        if now < at {
            return None;
        }
        self.queues.pop();
        self.way(hop).due.take_if(|due| *due == at);
        Some(hop)
    }

    /// Takes a packet from the end of a link.
    fn land(&mut self, now: Instant, hop: Hop, packet: Bytes) {
        match hop {
            Hop::Middle(from) => {
                self.way(hop).lane.counters.arrived += 1;
                self.route(now, Some(from), packet);
            }
            Hop::Host(host) => {
                let port = &mut self.ports[host];
                // A host that has stopped takes nothing.
                if port.pipe.try_send(packet) {
                    port.to_host.lane.counters.arrived += 1;
                }
            }
        }
    }
}

/// Forwards the packets of a host, until it stops.
async fn collect(network: Arc<Network>, host: usize, pipe: Arc<PipeEnd>) {
    while let Some(packet) = pipe.recv().await {
        network.send(host, packet);
    }
}

/// Hands packets over when their time has come.
async fn deliver(network: Arc<Network>) {
    loop {
        let next = network.lock().next();
        match next {
            None => network.sooner.notified().await,
            Some(at) => {
                tokio::select! {
                    biased;
                    () = network.sooner.notified() => {}
                    () = tokio::time::sleep_until(at) => network.lock().arrive(Instant::now()),
                }
            }
        }
    }
}

fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(packet.get(16..20)?).ok()?)),
        6 => Some(IpAddr::from(<[u8; 16]>::try_from(packet.get(24..40)?).ok()?)),
        _ => None,
    }
}

fn is_for_all(address: IpAddr) -> bool {
    address.is_multicast() || matches!(address, IpAddr::V4(address) if address.is_broadcast())
}
