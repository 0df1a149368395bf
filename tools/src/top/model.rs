//! What is shown: two readings of a stack, and what has happened between them.

use super::keys::Action;
use crate::client::reading::{Order, Reading, Row, Totals};
use netstack::netsocket::netcore::{SocketId, SocketInfo};
use std::collections::VecDeque;

/// What is read of a stack.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) reading: Reading,
    /// All of the connection that is opened, unless it has ended.
    pub(super) opened: Option<Box<SocketInfo>>,
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
        self.totals = next.reading.totals(&self.now.reading);
        let rows = next.reading.rows(&self.now.reading);
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
        self.order.sort(&mut self.rows, self.is_reversed);
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
