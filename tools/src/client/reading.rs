//! Readings of a stack, and what has happened between two of them.

use super::{overview, stack};
use anyhow::Result;
use netstack::control::{Answer, Client, Command, Flow, StackInfo};
use netstack::netsocket::netcore::{DropReason, Overview};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A stack with its connections, at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) at: Instant,
    pub(crate) stack: StackInfo,
    pub(crate) overview: Overview,
    pub(crate) flows: Vec<Flow>,
    /// Parts of all answers so far that only later versions know.
    pub(crate) skipped: usize,
}

/// What to sort connections by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Out,
    In,
    RoundTrip,
    Again,
    Limit,
    Age,
}

/// A connection, and its rates since the reading before.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) flow: Flow,
    /// Bytes a second.
    pub(crate) out: u64,
    pub(crate) in_: u64,
    /// Segments a second.
    pub(crate) again: f64,
}

/// The rates of the whole stack.
#[derive(Debug, Clone, Default)]
pub(crate) struct Totals {
    /// Frames a second.
    pub(crate) frames_in: f64,
    pub(crate) frames_out: f64,
    /// The parts of a processor that the stack has worked, and the process.
    pub(crate) busy: f64,
    pub(crate) process: f64,
    /// Reasons of drops, and how many a second.
    pub(crate) drops: Vec<(DropReason, f64)>,
}

impl Reading {
    /// Reads the stack.
    pub(crate) fn take(client: &mut Client) -> Result<Self> {
        let (stack, overview) = (stack(client)?, overview(client)?);
        let mut flows = Vec::new();
        for answer in client.ask(&Command::Flows {})? {
            if let Answer::Flows(some) = answer? {
                flows.extend(some);
            }
        }
        let skipped = client.skipped();
        Ok(Self { at: Instant::now(), stack, overview, flows, skipped })
    }

    /// The connections, with their rates since the reading before.
    pub(crate) fn rows(&self, before: &Self) -> Vec<Row> {
        let passed = (self.at - before.at).as_secs_f64();
        let known: HashMap<_, _> = before.flows.iter().map(|flow| (flow.id, flow)).collect();
        let row = |flow: &Flow| Row::new(flow, known.get(&flow.id).copied(), passed);
        self.flows.iter().map(row).collect()
    }

    /// The rates of the stack since the reading before.
    pub(crate) fn totals(&self, before: &Self) -> Totals {
        let passed = (self.at - before.at).as_secs_f64();
        if passed <= 0.0 {
            return Totals::default();
        }
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / passed;
        let (old, new) = (&before.overview.counters, &self.overview.counters);
        let drops = new.drops().map(|(reason, count)| (reason, rate(count, old.dropped(reason))));
        Totals {
            frames_in: rate(new.frames_received, old.frames_received),
            frames_out: rate(new.frames_sent, old.frames_sent),
            busy: rate(self.stack.busy, before.stack.busy) / 1e6,
            process: rate(self.stack.process_time, before.stack.process_time) / 1e6,
            drops: drops.filter(|(_, rate)| *rate > 0.0).collect(),
        }
    }
}

impl Order {
    /// Sorts rows, the greatest first, or last if reversed.
    pub(crate) fn sort(self, rows: &mut [Row], is_reversed: bool) {
        rows.sort_by_cached_key(|row| (Reverse(self.key(row)), row.flow.id));
        if is_reversed {
            rows.reverse();
        }
    }

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
