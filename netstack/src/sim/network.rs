//! The network in the middle: its hosts, and the packets in flight.

use super::lane::Lane;
use super::link::{LinkConfig, LinkCounters};
use super::trace::Trace;
use crate::device::PipeEnd;
use crate::direction::Direction;
use crate::stack::Stack;
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
    flights: BinaryHeap<Reverse<Flight>>,
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
    link: LinkConfig,
    from_host: Lane,
    to_host: Lane,
    filter: Option<Filter>,
}

pub(super) type Filter = Box<dyn FnMut(Direction, &[u8]) -> bool + Send>;

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port").field("link", &self.link).finish_non_exhaustive()
    }
}

/// A packet in flight.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    at: Instant,
    number: u64,
    to: Hop,
    packet: Bytes,
}

/// Where a packet will be next.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
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
        link: LinkConfig,
    ) -> usize {
        let pipe = Arc::new(pipe);
        let mut state = self.lock();
        let index = state.ports.len();
        state.routes.extend(addresses.map(|address| (address, index)));
        state.ports.push(Port {
            stack: Some(stack),
            pipe: pipe.clone(),
            link,
            from_host: Lane::new(self.seed_of(index, 1)),
            to_host: Lane::new(self.seed_of(index, 2)),
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

    pub(super) fn link(&self, host: usize) -> LinkConfig {
        self.lock().ports[host].link.clone()
    }

    pub(super) fn set_link(&self, host: usize, link: LinkConfig) {
        self.lock().ports[host].link = link;
    }

    pub(super) fn set_filter(&self, host: usize, filter: Option<Filter>) {
        self.lock().ports[host].filter = filter;
    }

    pub(super) fn counters(&self, host: usize, direction: Direction) -> LinkCounters {
        self.lock().ports[host].lane(direction).counters
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

impl Port {
    fn lane(&mut self, direction: Direction) -> &mut Lane {
        match direction {
            Direction::Outbound => &mut self.from_host,
            Direction::Inbound => &mut self.to_host,
        }
    }
}

impl State {
    /// Sends a packet along a host's link.
    fn carry(&mut self, now: Instant, host: usize, direction: Direction, packet: Bytes) {
        let port = &mut self.ports[host];
        let link = port.link.clone();
        let may_pass = port.filter.as_mut().is_none_or(|filter| {
            isolated(|| filter(direction, &packet)).unwrap_or_else(|panic| {
                self.panic.get_or_insert(panic);
                false
            })
        });
        if !may_pass {
            let counters = &mut port.lane(direction).counters;
            counters.sent += 1;
            counters.lost += 1;
            return;
        }
        for (at, packet) in port.lane(direction).carry(&link, now, packet) {
            let to = match direction {
                Direction::Outbound => Hop::Middle(host),
                Direction::Inbound => Hop::Host(host),
            };
            self.begun += 1;
            self.flights.push(Reverse(Flight { at, number: self.begun, to, packet }));
        }
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
        while self.flights.peek().is_some_and(|Reverse(flight)| flight.at <= now) {
            let Some(Reverse(flight)) = self.flights.pop() else { return };
            match flight.to {
                Hop::Middle(from) => {
                    self.ports[from].from_host.counters.arrived += 1;
                    self.route(now, Some(from), flight.packet);
                }
                Hop::Host(host) => {
                    let port = &mut self.ports[host];
                    // A host that has stopped takes nothing.
                    if port.pipe.try_send(flight.packet) {
                        port.to_host.counters.arrived += 1;
                    }
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
        let next = network.lock().flights.peek().map(|Reverse(flight)| flight.at);
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
