//! What a page is told: bounded, however many connections and routes there are.

use super::query::Query;
use super::switch::Shown;
use super::watch::Seen;
use crate::client::reading::{Row, Totals};
use crate::why;
use netstack::control::StackInfo;
use netstack::netsocket::netcore::tcp::Limit;
use netstack::netsocket::netcore::{NeighbourInfo, Network, Route, SocketId, SocketInfo};
use serde::Serialize;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

/// The state of a stack.
#[derive(Debug, Serialize)]
pub(super) struct State<'a> {
    /// The number of the reading, and how many microseconds old it is.
    number: u64,
    age: u64,
    /// Microseconds between two readings.
    interval: u64,
    /// Parts of answers that a later version of the stack has added.
    skipped: usize,
    stack: &'a StackInfo,
    load: Load,
    /// Bytes a second, out and in, the newest last.
    history: &'a VecDeque<(u64, u64)>,
    limits: Vec<Count<'static>>,
    drops: Vec<Drop>,
    network: NetworkView<'a>,
    neighbours: &'a Neighbours,
    switch: Option<&'a SwitchView>,
    flows: Flows<'a>,
    opened: Option<Opened>,
}

/// How much the stack has, and does.
#[derive(Debug, Serialize)]
struct Load {
    connections: usize,
    sockets: usize,
    time_wait: usize,
    buffer_bytes: usize,
    frames_out: f64,
    frames_in: f64,
    busy: f64,
    process: f64,
}

/// A name, and how many there are.
#[derive(Debug, Serialize)]
struct Count<'a> {
    name: &'a str,
    count: usize,
}

/// A reason for drops, how many there were, and a second.
#[derive(Debug, Serialize)]
struct Drop {
    reason: String,
    count: u64,
    rate: f64,
}

/// The network, as far as it is shown.
#[derive(Debug, Serialize)]
struct NetworkView<'a> {
    #[serde(flatten)]
    network: Network,
    /// The first routes, and how many there are.
    routes: &'a [Route],
    routes_total: usize,
}

/// The neighbours that were used last.
#[derive(Debug, Default, Serialize)]
pub(super) struct Neighbours {
    pub(super) total: usize,
    pub(super) first: Vec<NeighbourInfo>,
}

/// A switch, or why it cannot be shown.
#[derive(Debug, Default, Serialize)]
pub(super) struct SwitchView {
    #[serde(flatten)]
    shown: Shown,
    error: Option<String>,
}

/// The state of a switch that is shown alone.
#[derive(Debug, Serialize)]
pub(super) struct SwitchState<'a> {
    /// The number of the reading, and how many microseconds old it is.
    pub(super) number: u64,
    pub(super) age: u64,
    /// Microseconds between two readings.
    pub(super) interval: u64,
    /// Where its management socket is.
    pub(super) path: String,
    pub(super) switch: &'a SwitchView,
}

/// A part of the list of connections.
#[derive(Debug, Serialize)]
pub(super) struct Flows<'a> {
    /// How many there are of which the words are true.
    total: usize,
    from: usize,
    rows: Vec<RowView<'a>>,
}

/// A connection in the list.
#[derive(Debug, Serialize)]
struct RowView<'a> {
    id: SocketId,
    local: SocketAddr,
    peer: SocketAddr,
    state: &'static str,
    limit: &'static str,
    age: u64,
    rtt: Option<u64>,
    out: u64,
    #[serde(rename = "in")]
    in_: u64,
    again: f64,
    recent: Option<&'a VecDeque<u64>>,
}

/// A connection that is opened: what `netstack why` says, and all that is known, if it is.
#[derive(Debug, Serialize)]
pub(super) struct Opened {
    why: String,
    socket: Option<SocketInfo>,
}

/// The routes and addresses that are shown.
const ROUTES_MAX: usize = 256;

impl<'a> State<'a> {
    pub(super) fn new(
        seen: &'a Seen,
        flows: Flows<'a>,
        opened: Option<Opened>,
        (number, interval): (u64, Duration),
    ) -> Self {
        let (overview, totals) = (&seen.reading.overview, &seen.totals);
        Self {
            number,
            age: seen.age().as_micros() as u64,
            interval: interval.as_micros() as u64,
            skipped: seen.reading.skipped,
            stack: &seen.reading.stack,
            load: Load {
                connections: seen.rows.len(),
                sockets: overview.sockets,
                time_wait: overview.time_wait,
                buffer_bytes: overview.buffer_bytes,
                frames_out: totals.frames_out,
                frames_in: totals.frames_in,
                busy: totals.busy,
                process: totals.process,
            },
            history: &seen.history,
            limits: limits(&seen.rows),
            drops: drops(seen, totals),
            network: NetworkView::new(&seen.network),
            neighbours: &seen.neighbours,
            switch: seen.switch.as_ref(),
            flows,
            opened,
        }
    }
}

impl<'a> NetworkView<'a> {
    fn new(network: &'a Network) -> Self {
        let (routes, routes_total) = (&network.routes, network.routes.len());
        let routes = &routes[..routes_total.min(ROUTES_MAX)];
        // Under a name of their own.
        let mut shown = network.clone();
        shown.routes = Vec::new();
        shown.addresses.truncate(ROUTES_MAX);
        Self { network: shown, routes, routes_total }
    }
}

impl SwitchView {
    pub(super) fn new(read: anyhow::Result<Shown>) -> Self {
        match read {
            Ok(shown) => Self { shown, error: None },
            Err(error) => Self { error: Some(format!("{error:#}")), ..Self::default() },
        }
    }
}

impl<'a> Flows<'a> {
    pub(super) fn new(seen: &'a Seen, query: &Query) -> Self {
        let mut total = 0;
        let mut rows = Vec::new();
        for row in seen.rows.iter().filter(|row| query.finds(row)) {
            if total >= query.from && rows.len() < query.rows {
                rows.push(RowView::new(row, seen));
            }
            total += 1;
        }
        Self { total, from: query.from, rows }
    }
}

impl<'a> RowView<'a> {
    fn new(row: &Row, seen: &'a Seen) -> Self {
        let flow = &row.flow;
        Self {
            id: flow.id,
            local: flow.local,
            peer: flow.peer,
            state: flow.state.name(),
            limit: flow.limit.name(),
            age: flow.age,
            rtt: flow.rtt,
            out: row.out,
            in_: row.in_,
            again: row.again,
            recent: seen.recent.get(&flow.id),
        }
    }
}

impl Opened {
    pub(super) fn new(socket: SocketInfo) -> Self {
        Self { why: why::explain(&socket).replace('\n', " "), socket: Some(socket) }
    }

    pub(super) fn unknown(error: &std::io::Error) -> Self {
        Self { why: error.to_string(), socket: None }
    }
}

/// How many connections each limit has, the most first.
fn limits(rows: &[Row]) -> Vec<Count<'static>> {
    let mut counts = [0; Limit::ALL.len()];
    for row in rows {
        counts[row.flow.limit as usize] += 1;
    }
    let counts = Limit::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0);
    let mut counts: Vec<_> =
        counts.map(|(limit, count)| Count { name: limit.name(), count }).collect();
    counts.sort_by_key(|it| std::cmp::Reverse(it.count));
    counts
}

fn drops(seen: &Seen, totals: &Totals) -> Vec<Drop> {
    let rate = |reason| totals.drops.iter().find(|(it, _)| *it == reason).map_or(0.0, |it| it.1);
    let drops = seen.reading.overview.counters.drops();
    drops
        .map(|(reason, count)| Drop { reason: reason.to_string(), count, rate: rate(reason) })
        .collect()
}
