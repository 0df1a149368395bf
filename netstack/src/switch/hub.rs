//! The ports of a switch, and forwarding between them.
//!
//! Forwarding runs in the caller that brings the frames: a stack that flushes, a program that
//! sends, the task of an uplink. The destinations are looked up under one lock; the frames are then
//! pushed into the destinations' queues, each with a lock of its own. No waker is woken under a
//! lock.

use super::frame::Carried;
use super::monitor::Seen;
use super::pairs::Destinations;
use super::queue::{Pushed, Queue};
use super::statistics::{Counters, PortStatistics, SwitchDropReason, Traffic};
use super::table::Table;
use super::vlan::{Domain, Form, Vlan};
use super::{AddressInfo, PairInfo, PortConfig, PortId, PortInfo, SwitchConfig};
use netcore::isolation::isolated;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::SetOnce;
use tokio::time::Instant;

/// State that a switch and its ports share.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) config: SwitchConfig,
    pub(super) totals: Counters,
    /// Set when all ports are closed, for those who would add more.
    pub(super) closed: SetOnce<()>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    table: Table,
    /// Sorted by id. Copy on write, so that readers hold no lock.
    ports: Arc<Vec<Arc<Port>>>,
    monitors: Arc<Vec<Arc<Queue<Seen>>>>,
    ports_made: u64,
}

/// The shared part of a port.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) id: PortId,
    pub(super) name: Arc<str>,
    pub(super) vlan: Vlan,
    /// The MTU of the link behind it, if larger frames must be cut there.
    mtu: Option<usize>,
    pub(super) queue: Queue<Carried>,
    pub(super) counters: Counters,
    destinations: Destinations,
    flooding: Mutex<Flooding>,
}

/// A token bucket: a rate of frames per second, and the same number as its burst.
#[derive(Debug)]
struct Flooding {
    tokens: f64,
    filled_at: Instant,
}

/// Where a frame goes.
enum Target {
    One(Arc<Port>),
    Others,
}

/// The largest IP packet behind the largest header: Ethernet's and two tags.
const FRAME_BYTES_MAX: usize = 65_535 + 14 + 8;
/// The prefix of addresses that a bridge does not forward (IEEE 802.1D section 7.12.6); the last
/// octet is below 16.
const RESERVED: [u8; 5] = [0x01, 0x80, 0xc2, 0x00, 0x00];

impl Hub {
    pub(super) fn new(config: SwitchConfig) -> Self {
        let state = State {
            table: Table::new(&config, Instant::now()),
            ports: Arc::default(),
            monitors: Arc::default(),
            ports_made: 0,
        };
        Self {
            config,
            totals: Counters::default(),
            closed: SetOnce::new(),
            state: Mutex::new(state),
        }
    }

    /// Adds a port. With an MTU, larger frames are cut behind it.
    pub(super) fn add_port(&self, config: PortConfig, mtu: Option<usize>) -> io::Result<Arc<Port>> {
        let mut state = self.lock();
        if self.closed.initialized() {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "the switch is gone"));
        }
        if state.ports.len() >= self.config.ports_max {
            let message = format!("a switch has at most {} ports", self.config.ports_max);
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, message));
        }
        state.ports_made += 1;
        let id = PortId(state.ports_made);
        let name = if config.name.is_empty() { format!("port {id}") } else { config.name };
        let port = Arc::new(Port {
            id,
            name: name.into(),
            vlan: config.vlan,
            mtu,
            queue: Queue::new(self.config.queue_frames_max.max(1)),
            counters: Counters::default(),
            destinations: Destinations::new(self.config.port_pairs_max),
            flooding: Mutex::new(Flooding {
                tokens: f64::from(self.config.flooded_frames_per_second),
                filled_at: Instant::now(),
            }),
        });
        Arc::make_mut(&mut state.ports).push(port.clone());
        Ok(port)
    }

    pub(super) fn remove_port(&self, id: PortId) -> bool {
        let mut state = self.lock();
        let Some(index) = state.index_of(id) else { return false };
        let port = Arc::make_mut(&mut state.ports).remove(index);
        state.table.forget(id);
        let others = state.ports.clone();
        drop(state);
        others.iter().for_each(|other| other.destinations.forget(id));
        port.queue.close();
        true
    }

    pub(super) fn add_monitor(&self) -> Arc<Queue<Seen>> {
        let monitor = Arc::new(Queue::new(self.config.monitor_frames_max.max(1)));
        Arc::make_mut(&mut self.lock().monitors).push(monitor.clone());
        monitor
    }

    pub(super) fn remove_monitor(&self, monitor: &Arc<Queue<Seen>>) {
        Arc::make_mut(&mut self.lock().monitors).retain(|other| !Arc::ptr_eq(other, monitor));
    }

    /// Closes all ports and monitors.
    pub(super) fn close(&self) {
        let _ = self.closed.set(());
        let mut state = self.lock();
        state.table.clear();
        let ports = std::mem::take(&mut state.ports);
        let monitors = std::mem::take(&mut state.monitors);
        drop(state);
        ports.iter().for_each(|port| port.queue.close());
        monitors.iter().for_each(|monitor| monitor.close());
    }

    pub(super) fn ports(&self) -> Arc<Vec<Arc<Port>>> {
        self.lock().ports.clone()
    }

    /// What there is to know of each port.
    pub(super) fn port_infos(&self) -> Vec<PortInfo> {
        let info = |port: &Arc<Port>| PortInfo {
            id: port.id,
            name: port.name.to_string(),
            vlan: port.vlan.clone(),
            statistics: port.counters.snapshot(),
        };
        self.ports().iter().map(info).collect()
    }

    /// The traffic between each two ports, sorted.
    pub(super) fn pair_infos(&self) -> Vec<PairInfo> {
        let of_port = |from: &Arc<Port>| {
            let pairs = from.destinations.list().into_iter();
            let from = from.id;
            pairs.map(move |(to, traffic)| PairInfo { from, to, traffic })
        };
        self.ports().iter().flat_map(of_port).collect()
    }

    /// The entries of the table, sorted.
    pub(super) fn address_infos(&self) -> Vec<AddressInfo> {
        let mut all: Vec<_> = self.lock().table.list(Instant::now()).collect();
        all.sort_unstable();
        let info = |(vlan, address, port, age)| AddressInfo { vlan, address, port, age };
        all.into_iter().map(info).collect()
    }

    pub(super) fn forget_addresses(&self) {
        self.lock().table.clear();
    }

    /// Forwards frames received on a port. A panic loses the frames, and does not reach the caller.
    pub(super) fn forward(&self, from: &Arc<Port>, frames: impl Iterator<Item = Carried>) {
        if let Err(panic) = isolated(|| self.take_on(from, frames)) {
            tracing::error!(port = %from.name, %panic, "frames were lost to a panic");
        }
    }

    fn take_on(&self, from: &Arc<Port>, frames: impl Iterator<Item = Carried>) {
        let now = Instant::now();
        let mut seen = PortStatistics::default();
        let mut watched = Vec::new();
        let mut forwarded = Vec::new();
        let mut state = self.lock();
        let is_there = state.index_of(from.id).is_some();
        let (ports, monitors) = (state.ports.clone(), state.monitors.clone());
        for frame in frames {
            seen.received.add(frame.data.len());
            if !is_there {
                seen.drop(SwitchDropReason::Removed, 1);
                continue;
            }
            if !monitors.is_empty() {
                watched.push(Seen::new(from, &frame, now));
            }
            match self.decide(&mut state.table, from, &frame, now) {
                Ok((domain, target)) => forwarded.push((frame, domain, target)),
                Err(reason) => seen.drop(reason, 1),
            }
        }
        drop(state);
        for monitor in monitors.iter() {
            monitor.push(&mut watched.clone());
        }
        self.deliver(from, forwarded, &ports, &mut seen);
        from.counters.add(&seen);
        self.totals.add(&seen);
    }

    /// Where a frame goes, or why nowhere.
    fn decide(
        &self,
        table: &mut Table,
        from: &Arc<Port>,
        frame: &Carried,
        now: Instant,
    ) -> Result<(Domain, Target), SwitchDropReason> {
        let (destination, source) = frame.addresses().ok_or(SwitchDropReason::Short)?;
        if frame.data.len() > FRAME_BYTES_MAX {
            return Err(SwitchDropReason::TooLarge);
        }
        if !source.is_unicast() {
            return Err(SwitchDropReason::Source);
        }
        let octets = destination.octets();
        if octets[..5] == RESERVED && octets[5] < 16 {
            return Err(SwitchDropReason::Reserved);
        }
        let domain = from.vlan.ingress(frame.tag()).ok_or(SwitchDropReason::Vlan)?;
        table.learn(domain, source, from, now);
        if destination.is_unicast()
            && let Some(port) = table.find(domain, destination, now)
        {
            return match port.id == from.id {
                true => Err(SwitchDropReason::SamePort),
                false => Ok((domain, Target::One(port.clone()))),
            };
        }
        match from.may_flood(self.config.flooded_frames_per_second, now) {
            true => Ok((domain, Target::Others)),
            false => Err(SwitchDropReason::FloodRate),
        }
    }

    /// Pushes frames into the queues of their destinations; consecutive frames to one port go
    /// together.
    fn deliver(
        &self,
        from: &Arc<Port>,
        frames: Vec<(Carried, Domain, Target)>,
        ports: &[Arc<Port>],
        seen: &mut PortStatistics,
    ) {
        let mut run: Option<(Arc<Port>, Vec<Carried>)> = None;
        for (frame, domain, target) in frames {
            match target {
                Target::One(port) => {
                    if run.as_ref().is_some_and(|(to, _)| to.id != port.id) {
                        self.push_run(from, run.take());
                    }
                    // An address is learned only where the domain leads.
                    let form = port.vlan.egress(domain).unwrap_or(Form::AsItIs);
                    let frame = Forms::of(frame).get(form);
                    run.get_or_insert_with(|| (port, Vec::new())).1.push(frame);
                }
                Target::Others => {
                    self.push_run(from, run.take());
                    let copies = self.flood(from, frame, domain, ports);
                    if copies == 0 {
                        seen.drop(SwitchDropReason::NoPort, 1);
                    } else {
                        seen.flooded += 1;
                        seen.flood_copies += copies;
                    }
                }
            }
        }
        self.push_run(from, run);
    }

    /// Gives a frame to every other port of its domain; returns how many those are.
    fn flood(&self, from: &Arc<Port>, frame: Carried, domain: Domain, ports: &[Arc<Port>]) -> u64 {
        let mut forms = Forms::of(frame);
        let mut copies = 0;
        for port in ports.iter().filter(|port| port.id != from.id) {
            if let Some(form) = port.vlan.egress(domain) {
                copies += 1;
                self.push(port, &mut vec![forms.get(form)]);
            }
        }
        copies
    }

    fn push_run(&self, from: &Port, run: Option<(Arc<Port>, Vec<Carried>)>) {
        if let Some((port, mut frames)) = run {
            from.destinations.add(port.id, self.push(&port, &mut frames));
        }
    }

    /// Puts frames into the queue of a port, as far as they fit it and there is room; returns those.
    fn push(&self, port: &Port, frames: &mut Vec<Carried>) -> Traffic {
        let mut sent = PortStatistics::default();
        if let Some(mtu) = port.mtu {
            let count = frames.len();
            frames.retain(|frame| frame.fits(mtu));
            sent.drop(SwitchDropReason::TooLarge, count - frames.len());
        }
        let lens: Vec<usize> = frames.iter().map(|frame| frame.data.len()).collect();
        match port.queue.push(frames) {
            Pushed::Taken(taken) => {
                lens[..taken].iter().for_each(|len| sent.sent.add(*len));
                sent.drop(SwitchDropReason::QueueFull, lens.len() - taken);
            }
            Pushed::Closed => sent.drop(SwitchDropReason::Removed, lens.len()),
        }
        port.counters.add(&sent);
        self.totals.add(&sent);
        sent.sent
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn index_of(&self, id: PortId) -> Option<usize> {
        self.ports.binary_search_by_key(&id, |port| port.id).ok()
    }
}

impl Port {
    /// Whether one more frame may be flooded from here; counts it if so.
    fn may_flood(&self, per_second: u32, now: Instant) -> bool {
        let mut flooding = self.flooding.lock().unwrap_or_else(PoisonError::into_inner);
        let per_second = f64::from(per_second);
        let earned = (now - flooding.filled_at).as_secs_f64() * per_second;
        flooding.filled_at = now;
        flooding.tokens = (flooding.tokens + earned).min(per_second);
        let may = flooding.tokens >= 1.0;
        if may {
            flooding.tokens -= 1.0;
        }
        may
    }
}

/// A frame and, made on demand, its tagged and untagged variants: at most one copy of each.
struct Forms {
    frame: Carried,
    tag: Option<u16>,
    changed: [Option<Carried>; 2],
}

impl Forms {
    fn of(frame: Carried) -> Self {
        Self { tag: frame.tag(), frame, changed: [None, None] }
    }

    fn get(&mut self, form: Form) -> Carried {
        let Some(tag) = form.change(self.tag) else { return self.frame.clone() };
        let copy = self.changed[usize::from(tag.is_some())].get_or_insert_with(|| {
            let bare = match self.tag {
                Some(_) => self.frame.without_tag(),
                None => self.frame.clone(),
            };
            match tag {
                Some(control) => bare.with_tag(control),
                None => bare,
            }
        });
        copy.clone()
    }
}
