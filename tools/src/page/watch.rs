//! The stack that pages watch: read when one asks, and the last reading is old.

use super::query::Query;
use super::state::{Flows, Neighbours, Opened, State, SwitchState, SwitchView};
use super::switch::Switch;
use crate::client::reading::{Order, Reading, Row, Totals};
use crate::client::{self, Target};
use anyhow::{Context, Result};
use netstack::control::{Answer, Client, Command};
use netstack::netsocket::netcore::{NeighbourInfo, Network, SocketId, TcpState};
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// A stack, and its last reading.
#[derive(Debug)]
pub(super) struct Watch {
    /// `None` for a page of the switch alone.
    target: Option<Target>,
    interval: Duration,
    /// `None` after a failure, until the stack is found again.
    client: Option<Client>,
    /// The switch that the page shows, too.
    switch: Option<Switch>,
    seen: Option<Seen>,
    /// What was read of the switch where it is shown alone, and when.
    seen_alone: Option<(Instant, SwitchView)>,
    /// The number of readings.
    number: u64,
}

/// What was read, with what has happened since the reading before.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) reading: Reading,
    pub(super) rows: Vec<Row>,
    pub(super) totals: Totals,
    pub(super) network: Network,
    pub(super) neighbours: Neighbours,
    pub(super) switch: Option<SwitchView>,
    /// Bytes a second of all connections over time, out and in, the newest last.
    pub(super) history: VecDeque<(u64, u64)>,
    /// The same of each connection, in sum.
    pub(super) recent: HashMap<SocketId, VecDeque<u64>>,
    /// How the rows are sorted.
    order: (Order, bool),
}

/// The readings that the chart of the stack has.
const HISTORY: usize = 120;
/// The readings that the chart of a connection has.
const RECENT: usize = 30;
/// The neighbours that are shown.
const NEIGHBOURS_MAX: usize = 256;

impl Watch {
    pub(super) fn new(
        target: Target,
        client: Client,
        switch: Option<Switch>,
        interval: Duration,
    ) -> Self {
        Self {
            target: Some(target),
            interval,
            client: Some(client),
            switch,
            seen: None,
            seen_alone: None,
            number: 0,
        }
    }

    /// A page of a switch, without a stack.
    pub(super) fn of_switch(switch: Switch, interval: Duration) -> Self {
        Self {
            target: None,
            interval,
            client: None,
            switch: Some(switch),
            seen: None,
            seen_alone: None,
            number: 0,
        }
    }

    /// The state of the stack that a page shows, in JSON.
    pub(super) fn show(&mut self, query: &Query) -> Result<String> {
        if self.target.is_none() {
            return self.show_switch();
        }
        self.recovering(|watch| {
            watch.refresh()?;
            let opened = watch.open(query.opened)?;
            let (interval, number) = (watch.interval, watch.number);
            let seen = watch.seen.as_mut().expect("it was just read");
            seen.sort(query);
            let flows = Flows::new(seen, query);
            let state = State::new(seen, flows, opened, (number, interval));
            Ok(serde_json::to_string(&state)?)
        })
    }

    /// The state of the switch alone, in JSON.
    fn show_switch(&mut self) -> Result<String> {
        let switch = self.switch.as_mut().context("there is no switch")?;
        let old =
            self.seen_alone.take().filter(|(at, _)| at.elapsed() < self.interval.mul_f64(0.8));
        let (at, view) = match old {
            Some(seen) => seen,
            None => {
                self.number += 1;
                (Instant::now(), SwitchView::new(switch.read()))
            }
        };
        let state = SwitchState {
            number: self.number,
            age: at.elapsed().as_micros() as u64,
            interval: self.interval.as_micros() as u64,
            path: switch.path().display().to_string(),
            switch: &view,
        };
        let text = serde_json::to_string(&state)?;
        self.seen_alone = Some((at, view));
        Ok(text)
    }

    /// Resets a connection.
    pub(super) fn kill(&mut self, id: SocketId) -> Result<()> {
        let client = self.client()?;
        client.ask_one(&Command::Abort { id })?;
        // It is to vanish at once.
        if let Some(seen) = &mut self.seen {
            seen.rows.retain(|row| row.flow.id != id);
        }
        Ok(())
    }

    /// Does this, and forgets the stack if it fails: the next one begins anew.
    fn recovering<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let done = work(self);
        if done.is_err() {
            (self.client, self.seen) = (None, None);
        }
        done
    }

    fn client(&mut self) -> Result<&mut Client> {
        let client = match self.client.take() {
            Some(client) => client,
            None => self.target.as_ref().context("there is no stack")?.connect()?,
        };
        Ok(self.client.insert(client))
    }

    /// Reads the stack, unless that was done less than an interval ago.
    fn refresh(&mut self) -> Result<()> {
        // Pages ask once an interval, not always exactly.
        let is_new = |seen: &Seen| seen.reading.at.elapsed() < self.interval.mul_f64(0.8);
        if self.seen.as_ref().is_some_and(is_new) {
            return Ok(());
        }
        let client = self.client()?;
        let reading = Reading::take(client)?;
        let network = network(client)?;
        let neighbours = neighbours(client)?;
        let switch = self.switch.as_mut().map(|switch| SwitchView::new(switch.read()));
        let before = self.seen.take();
        self.seen = Some(Seen::new(reading, network, neighbours, switch, before));
        self.number += 1;
        Ok(())
    }

    /// All of a connection, if one is opened and has not ended.
    fn open(&mut self, id: Option<SocketId>) -> Result<Option<Opened>> {
        let Some(id) = id else { return Ok(None) };
        let answer = self.client()?.ask_one(&Command::Socket { id });
        match answer {
            // Its reset is about to leave.
            Ok(Some(Answer::Socket(socket))) if socket.state == Some(TcpState::Closed) => Ok(None),
            Ok(Some(Answer::Socket(socket))) => Ok(Some(Opened::new(*socket))),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                Ok(Some(Opened::unknown(&error)))
            }
            // The command has failed: it has ended.
            Err(error) if error.kind() == std::io::ErrorKind::Other => Ok(None),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(None),
        }
    }
}

impl Seen {
    fn new(
        reading: Reading,
        network: Network,
        neighbours: Neighbours,
        switch: Option<SwitchView>,
        before: Option<Self>,
    ) -> Self {
        let (mut history, mut old) = (VecDeque::new(), HashMap::new());
        let (rows, totals) = match before {
            None => (reading.rows(&reading), Totals::default()),
            Some(before) => {
                (history, old) = (before.history, before.recent);
                (reading.rows(&before.reading), reading.totals(&before.reading))
            }
        };
        let (out, in_) = rows.iter().fold((0, 0), |(out, in_), row| (out + row.out, in_ + row.in_));
        push(&mut history, (out, in_), HISTORY);
        let recent = rows.iter().map(|row| {
            let mut recent = old.remove(&row.flow.id).unwrap_or_default();
            push(&mut recent, row.out + row.in_, RECENT);
            (row.flow.id, recent)
        });
        let recent = recent.collect();
        let mut seen = Self {
            reading,
            rows,
            totals,
            network,
            neighbours,
            switch,
            history,
            recent,
            order: (Order::Out, false),
        };
        Order::Out.sort(&mut seen.rows, false);
        seen
    }

    fn sort(&mut self, query: &Query) {
        let order = (query.order, query.is_reversed);
        if order != self.order {
            query.order.sort(&mut self.rows, query.is_reversed);
            self.order = order;
        }
    }

    /// The time of the reading.
    pub(super) fn age(&self) -> Duration {
        Instant::now() - self.reading.at
    }
}

fn push<T>(list: &mut VecDeque<T>, value: T, most: usize) {
    list.push_back(value);
    if list.len() > most {
        list.pop_front();
    }
}

fn network(client: &mut Client) -> Result<Network> {
    match client::one(client, &Command::Network {})? {
        Answer::Network(network) => Ok(network),
        other => Err(client::unexpected(&other)),
    }
}

fn neighbours(client: &mut Client) -> Result<Neighbours> {
    let (mut first, mut total) = (Vec::<NeighbourInfo>::new(), 0);
    for answer in client.ask(&Command::Neighbours {})? {
        if let Answer::Neighbour(neighbour) = answer? {
            total += 1;
            if first.len() < NEIGHBOURS_MAX {
                first.push(neighbour);
            }
        }
    }
    Ok(Neighbours { total, first })
}
