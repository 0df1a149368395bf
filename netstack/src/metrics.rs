//! The numbers of a stack for the [`metrics`] facade, and so for Prometheus and others.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let (stack, _far) = netstack::pair()?;
//! // An exporter is installed by the program: metrics-exporter-prometheus, or any other.
//! let collector = netstack::metrics::Collector::new(&stack);
//! collector.describe();
//!
//! // Whenever the exporter is asked for the numbers:
//! collector.collect().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Nothing is counted for it on the way of a packet: [`Collector::collect`] reads the stack's own
//! counters. Each metric has the label `stack` with its [name](crate::Builder::name), and none has one
//! for a connection, of which there may be any number.
//!
//! | metric | is |
//! |---|---|
//! | `netstack_frames_received_total`, `_sent_total` | frames over the link |
//! | `netstack_loopback_packets_total` | packets from one socket of the stack to another |
//! | `netstack_packets_delivered_total`, `_handled_total` | received packets, to a socket and for the stack itself |
//! | `netstack_packets_dropped_total{reason}` | packets dropped, by [reason](netcore::DropReason) |
//! | `netstack_fragments_kept_total`, `netstack_copies_lost_total` | as in [`Counters`] |
//! | `netstack_tcp_connections_established_total` | connections, incoming and outgoing |
//! | `netstack_tcp_segments_retransmitted_total{rule}` | segments sent again, by [rule](RetransmitRule) |
//! | `netstack_tcp_resets_sent_total`, `netstack_icmp_sent_total` | resets, ICMP messages |
//! | `netstack_address_conflicts_total`, `netstack_duplicate_addresses_total` | as in [`Counters`] |
//! | `netstack_faults_total{kind}` | what is a bug of the stack: `panic`, `no_progress` |
//! | `netstack_tcp_sockets{state}` | TCP sockets, by state of RFC 9293 |
//! | `netstack_sockets` | sockets of all kinds |
//! | `netstack_tcp_buffer_bytes` | memory that TCP holds for data |
//! | `netstack_timers` | sockets with a running timer |

use crate::Stack;
use ::metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use netcore::control::{Command, Response};
use netcore::tcp::RetransmitRule;
use netcore::{Channel, Counters, DropReason, HasChannel, Overview, TcpState};
use std::io;
use std::time::Duration;

/// Reads the numbers of a stack, and hands them to the installed recorder of [`metrics`].
///
/// It does not keep the stack running.
#[derive(Debug, Clone)]
pub struct Collector {
    channel: Channel,
    name: String,
}

/// So many slots of the table of sockets are read at once, so that no round of the stack is long.
const PAGE_SLOTS: usize = 64;

impl Collector {
    /// One for this stack. Several stacks of a program need different
    /// [names](crate::Builder::name).
    pub fn new(stack: &Stack) -> Self {
        Self { channel: stack.command_channel(), name: stack.name().to_owned() }
    }

    /// Tells the recorder what each metric is, with its unit. Needed once for a program.
    pub fn describe(&self) {
        for (name, text) in TOTALS {
            describe_counter!(*name, Unit::Count, *text);
        }
        describe_counter!(DROPPED, Unit::Count, "Packets dropped, by reason");
        describe_counter!(RETRANSMITTED, Unit::Count, "TCP segments sent again, by rule");
        describe_counter!(FAULTS, Unit::Count, "Bugs of the stack that were caught, by kind");
        describe_gauge!(TCP_SOCKETS, Unit::Count, "TCP sockets, by state");
        describe_gauge!(SOCKETS, Unit::Count, "Sockets of all kinds");
        describe_gauge!(TIMERS, Unit::Count, "Sockets with a running timer");
        describe_gauge!(BUFFER, Unit::Bytes, "Memory that TCP holds for data");
    }

    /// Reads the counters and the states of all sockets, a page of sockets at a time.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` if the stack is gone; the metrics keep their last values.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, some of the metrics may be newer than others.
    pub async fn collect(&self) -> io::Result<()> {
        let states = self.states().await?;
        let Response::Overview(overview) = self.call(Command::Overview).await? else {
            return Err(io::Error::other("no answer to the question"));
        };
        self.set(&overview, &states);
        Ok(())
    }

    /// Collects again and again, for exporters that do not ask, until the stack is gone.
    ///
    /// # Panics
    ///
    /// If the interval is zero.
    pub async fn run(self, interval: Duration) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.collect().await.is_err() {
                return;
            }
        }
    }

    async fn call(&self, command: Command) -> io::Result<Response> {
        let (response, _) = self.channel.call(None, command).await?;
        match response {
            netcore::Response::Control(response) => Ok(response),
            _ => Err(io::Error::other("no answer to the question")),
        }
    }

    /// The number of TCP sockets in each state.
    async fn states(&self) -> io::Result<[u32; TcpState::ALL.len()]> {
        let mut states = [0; TcpState::ALL.len()];
        let mut next = Some(0);
        while let Some(from) = next {
            let command = Command::Sockets { from, slots: PAGE_SLOTS };
            let Response::Sockets(page) = self.call(command).await? else { break };
            for state in page.sockets.iter().filter_map(|socket| socket.state) {
                states[state as usize] += 1;
            }
            next = page.next;
        }
        Ok(states)
    }

    fn set(&self, overview: &Overview, states: &[u32]) {
        let stack = &self.name;
        let counters = &overview.counters;
        for ((name, _), value) in TOTALS.iter().zip(totals(counters)) {
            counter!(*name, "stack" => stack.clone()).absolute(value);
        }
        for reason in DropReason::ALL {
            let labels = [("stack", stack.clone()), ("reason", reason.to_string())];
            counter!(DROPPED, &labels).absolute(counters.dropped(*reason));
        }
        for rule in RetransmitRule::ALL {
            let labels = [("stack", stack.clone()), ("rule", rule.to_string())];
            counter!(RETRANSMITTED, &labels).absolute(counters.retransmitted(rule));
        }
        for (kind, value) in
            [("panic", counters.panics_caught), ("no_progress", counters.no_progress)]
        {
            counter!(FAULTS, "stack" => stack.clone(), "kind" => kind).absolute(value);
        }
        for (state, count) in TcpState::ALL.into_iter().zip(states) {
            let count = match state {
                TcpState::TimeWait => overview.time_wait as f64,
                _ => f64::from(*count),
            };
            let labels = [("stack", stack.clone()), ("state", state.name().to_owned())];
            gauge!(TCP_SOCKETS, &labels).set(count);
        }
        gauge!(SOCKETS, "stack" => stack.clone()).set(overview.sockets as f64);
        gauge!(TIMERS, "stack" => stack.clone()).set(overview.timers as f64);
        gauge!(BUFFER, "stack" => stack.clone()).set(overview.buffer_bytes as f64);
    }
}

const DROPPED: &str = "netstack_packets_dropped_total";
const RETRANSMITTED: &str = "netstack_tcp_segments_retransmitted_total";
const FAULTS: &str = "netstack_faults_total";
const TCP_SOCKETS: &str = "netstack_tcp_sockets";
const SOCKETS: &str = "netstack_sockets";
const TIMERS: &str = "netstack_timers";
const BUFFER: &str = "netstack_tcp_buffer_bytes";

/// The counters without further labels, and what each is; [`totals`] has the values.
const TOTALS: &[(&str, &str)] = &[
    ("netstack_frames_received_total", "Frames received over the link"),
    ("netstack_frames_sent_total", "Frames sent over the link"),
    ("netstack_loopback_packets_total", "Packets from one socket of the stack to another"),
    ("netstack_packets_delivered_total", "Received packets delivered to a socket"),
    ("netstack_packets_handled_total", "Received packets handled by the stack itself"),
    ("netstack_fragments_kept_total", "Received fragments kept for reassembly"),
    ("netstack_copies_lost_total", "Copies of delivered packets lost to a full queue"),
    ("netstack_tcp_connections_established_total", "TCP connections established"),
    ("netstack_tcp_resets_sent_total", "TCP resets sent"),
    ("netstack_icmp_sent_total", "ICMP messages sent"),
    ("netstack_address_conflicts_total", "Claims of an address of the stack by other nodes"),
    ("netstack_duplicate_addresses_total", "Addresses removed because another node has them"),
];

fn totals(counters: &Counters) -> [u64; TOTALS.len()] {
    [
        counters.frames_received,
        counters.frames_sent,
        counters.loopback_packets,
        counters.packets_delivered,
        counters.packets_handled,
        counters.fragments_kept,
        counters.copies_lost,
        counters.connections_established,
        counters.resets_sent,
        counters.icmp_sent,
        counters.address_conflicts,
        counters.duplicate_addresses,
    ]
}
