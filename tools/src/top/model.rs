//! What is shown: two readings of a stack, and what has happened between them.

use super::keys::Action;
use netstack::control::{Flow, StackInfo};
use netstack::netsocket::netcore::{Overview, SocketId, SocketInfo};
use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// A reading of a stack.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) stack: StackInfo,
    pub(super) overview: Overview,
    pub(super) flows: Vec<Flow>,
    /// All of the connection that is opened, unless it has ended.
    pub(super) opened: Option<Box<SocketInfo>>,
}

/// What to sort by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Out,
    In,
    RoundTrip,
    Again,
    Limit,
    Age,
}

/// A connection, and its rates since the reading before.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) flow: Flow,
    /// Bytes a second.
    pub(super) out: u64,
    pub(super) in_: u64,
    /// Segments a second.
    pub(super) again: f64,
}

/// The rates of the whole stack.
#[derive(Debug, Clone, Default)]
pub(super) struct Totals {
    /// Frames a second.
    pub(super) frames_in: f64,
    pub(super) frames_out: f64,
    /// The parts of a processor that the stack has worked, and the process.
    pub(super) busy: f64,
    pub(super) process: f64,
    /// Reasons of drops, and how many a second.
    pub(super) drops: Vec<(String, f64)>,
}

/// A connection over time, the newest last.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) out: VecDeque<u64>,
    pub(super) in_: VecDeque<u64>,
    /// Microseconds.
    pub(super) round_trip: VecDeque<u64>,
    /// Bytes.
    pub(super) window: VecDeque<u64>,
    pub(super) again: VecDeque<u64>,
}

/// What is shown.
#[derive(Debug)]
pub(super) struct Model {
    now: Sample,
    rows: Vec<Row>,
    totals: Totals,
    order: Order,
    is_reversed: bool,
    is_paused: bool,
    /// The selected row.
    selected: usize,
    /// The first row on the screen.
    pub(super) first: usize,
    opened: Option<SocketId>,
    history: History,
}

/// The readings that a chart has.
const HISTORY: usize = 240;

impl Model {
    pub(super) fn new(now: Sample) -> Self {
        let mut model = Self {
            rows: Vec::new(),
            totals: Totals::default(),
            now: now.clone(),
            order: Order::Out,
            is_reversed: false,
            is_paused: false,
            selected: 0,
            first: 0,
            opened: None,
            history: History::default(),
        };
        model.update(now);
        model
    }

    pub(super) fn sample(&self) -> &Sample {
        &self.now
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub(super) fn totals(&self) -> &Totals {
        &self.totals
    }

    pub(super) fn order(&self) -> (Order, bool) {
        (self.order, self.is_reversed)
    }

    pub(super) fn is_paused(&self) -> bool {
        self.is_paused
    }

    pub(super) fn selected(&self) -> usize {
        self.selected
    }

    /// The connection that is shown alone.
    pub(super) fn opened(&self) -> Option<SocketId> {
        self.opened
    }

    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// Takes the next reading.
    pub(super) fn update(&mut self, next: Sample) {
        let passed = (next.at - self.now.at).as_secs_f64();
        self.totals = totals(&self.now, &next, passed);
        let before: HashMap<_, _> = self.now.flows.iter().map(|flow| (flow.id, flow)).collect();
        let row = |flow: &Flow| Row::new(flow, before.get(&flow.id).copied(), passed);
        let rows = next.flows.iter().map(row).collect();
        let selected = self.rows.get(self.selected).map(|row| row.flow.id);
        self.rows = rows;
        self.now = next;
        self.sort();
        // The selection stays with its connection, unless it is the first line.
        if let Some(id) = selected.filter(|_| self.selected > 0)
            && let Some(place) = self.rows.iter().position(|row| row.flow.id == id)
        {
            self.selected = place;
        }
        self.select(0);
        if let Some(row) = self.rows.iter().find(|row| Some(row.flow.id) == self.opened) {
            self.history.add(row, self.now.opened.as_deref());
        }
    }

    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::End => {}
            Action::Back => self.opened = None,
            Action::Open if self.opened.is_none() => {
                self.opened = self.rows.get(self.selected).map(|row| row.flow.id);
                self.history = History::default();
                self.now.opened = None;
            }
            Action::Open => {}
            Action::Pause => self.is_paused = !self.is_paused,
            Action::Reverse => {
                self.is_reversed = !self.is_reversed;
                self.sort();
            }
            Action::Sort(order) => {
                self.order = order;
                self.sort();
            }
            Action::Move(rows) => self.select(rows),
        }
    }

    fn select(&mut self, down: isize) {
        let last = self.rows.len().saturating_sub(1);
        self.selected = self.selected.saturating_add_signed(down).min(last);
    }

    fn sort(&mut self) {
        let order = self.order;
        self.rows.sort_by_cached_key(|row| (Reverse(order.key(row)), row.flow.id));
        if self.is_reversed {
            self.rows.reverse();
        }
    }
}

impl Order {
    fn key(self, row: &Row) -> u64 {
        match self {
            Self::Out => row.out,
            Self::In => row.in_,
            Self::RoundTrip => row.flow.rtt.unwrap_or(0),
            Self::Again => (row.again * 1e3) as u64,
            Self::Limit => u64::MAX - row.flow.limit as u64,
            Self::Age => row.flow.age,
        }
    }
}

impl Row {
    /// A connection that is new has the rates of its whole life.
    fn new(flow: &Flow, before: Option<&Flow>, passed: f64) -> Self {
        let age = Duration::from_micros(flow.age).as_secs_f64();
        let seconds = if before.is_some() { passed } else { age.min(passed) };
        let rate = |now: u64, before: Option<u64>| {
            if seconds > 0.0 {
                now.saturating_sub(before.unwrap_or(0)) as f64 / seconds
            } else {
                0.0
            }
        };
        Self {
            out: rate(flow.bytes_sent, before.map(|it| it.bytes_sent)) as u64,
            in_: rate(flow.bytes_received, before.map(|it| it.bytes_received)) as u64,
            again: rate(flow.total_retrans, before.map(|it| it.total_retrans)),
            flow: flow.clone(),
        }
    }
}

impl History {
    fn add(&mut self, row: &Row, socket: Option<&SocketInfo>) {
        let window = socket.and_then(|it| it.tcp.as_ref()).map_or(0, |info| info.snd_cwnd);
        for (list, value) in [
            (&mut self.out, row.out),
            (&mut self.in_, row.in_),
            (&mut self.round_trip, row.flow.rtt.unwrap_or(0)),
            (&mut self.window, window),
            (&mut self.again, row.again.ceil() as u64),
        ] {
            list.push_back(value);
            if list.len() > HISTORY {
                list.pop_front();
            }
        }
    }
}

fn totals(before: &Sample, now: &Sample, passed: f64) -> Totals {
    if passed <= 0.0 {
        return Totals::default();
    }
    let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / passed;
    let (old, new) = (&before.overview.counters, &now.overview.counters);
    let drops = new.drops().map(|(reason, count)| (reason, rate(count, old.dropped(reason))));
    Totals {
        frames_in: rate(new.frames_received, old.frames_received),
        frames_out: rate(new.frames_sent, old.frames_sent),
        busy: rate(now.stack.busy, before.stack.busy) / 1e6,
        process: rate(now.stack.process_time, before.stack.process_time) / 1e6,
        drops: drops
            .filter(|(_, rate)| *rate > 0.0)
            .map(|(reason, rate)| (reason.to_string(), rate))
            .collect(),
    }
}
