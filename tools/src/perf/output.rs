//! What a test prints: a line for each stream and interval, or a JSON object.

use crate::client::units;
use perf::parameters::{Direction, Mode};
use perf::report::{BothEnds, Latency, Numbers, Start};
use perf::{Event, Failure, Parameters, Report, Scheme};
use serde::Serialize;
use serde_json::json;
use std::fmt::Write;
use std::net::SocketAddr;

/// The output of an end.
pub(super) struct Output {
    json: bool,
    parameters: Parameters,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json, parameters: Parameters::default() }
    }

    pub(super) fn listening(&self, scheme: Scheme, address: SocketAddr) {
        let schemes = match scheme {
            Scheme::Tcp | Scheme::Udp => "tcp and udp",
            other => other.name(),
        };
        match self.json {
            true => object("listening", &json!({ "scheme": scheme, "local": address })),
            false => cli::println!("serving {schemes} on {address}"),
        }
    }

    pub(super) fn show(&mut self, event: &Event) {
        match event {
            Event::Started(start) => {
                self.parameters = start.parameters.clone();
                match self.json {
                    true => object("start", start),
                    false => cli::println!("{}", beginning(start)),
                }
            }
            Event::Interval(interval) if self.json => object("interval", interval),
            Event::Interval(interval) => {
                interval.streams.iter().for_each(|it| self.line(it));
                if self.parameters.parallel > 1 {
                    let sums = [&interval.sum_sent, &interval.sum_received];
                    sums.into_iter().flatten().for_each(|it| self.line(it));
                }
            }
            Event::Ended(report) => self.end(report),
            Event::Failed(_, failure) if self.json => self.failure(failure),
            Event::Failed(client, failure) => cli::println!("{client}: {failure}"),
        }
    }

    pub(super) fn failure(&self, failure: &Failure) {
        if self.json {
            object("error", &failure.to_string());
        }
    }

    pub(super) fn end(&self, report: &Report) {
        if self.json {
            return object("end", report);
        }
        cli::println!("- - -");
        let several = report.streams.len() > 1;
        for stream in report.streams.iter().filter(|_| several) {
            self.both(stream, "");
        }
        for (sum, way) in [(&report.up, "up"), (&report.down, "down")] {
            if let Some(sum) = sum {
                self.both(sum, way);
            }
        }
        if let Some(error) = &report.error {
            cli::println!("at the other end: {error}");
        }
    }

    fn both(&self, ends: &BothEnds, way: &str) {
        let sender = if ends.receiver.is_some() { "sender" } else { "" };
        cli::println!("{}  {way} {sender}", columns(&ends.sender).trim_end());
        if let Some(receiver) = &ends.receiver {
            cli::println!("{}  {way} receiver", columns(receiver).trim_end());
        }
        if let Some(latency) = &ends.sender.latency_us {
            cli::println!("{}", times(latency));
        }
    }

    fn line(&self, numbers: &Numbers) {
        let is_both = self.parameters.direction() == Direction::Both;
        let way = match (is_both && self.parameters.mode() == Mode::Stream, numbers.sender) {
            (false, _) => "",
            (true, true) => "  sent",
            (true, false) => "  received",
        };
        let omitted = if numbers.omitted { "  (omitted)" } else { "" };
        cli::println!("{}{way}{omitted}", columns(numbers).trim_end());
    }
}

/// A line of JSON, as of iperf3's `--json-stream`.
#[derive(Serialize)]
struct Line<'a, T> {
    event: &'a str,
    data: &'a T,
}

fn object<T: Serialize>(event: &str, data: &T) {
    match serde_json::to_string(&Line { event, data }) {
        Ok(line) => cli::println!("{line}"),
        Err(error) => cli::eprintln!("{}: {error}", cli::program()),
    }
}

fn beginning(start: &Start) -> String {
    let parameters = &start.parameters;
    let what = match (parameters.mode(), parameters.direction()) {
        (Mode::Request, _) => "asking".to_owned(),
        (Mode::Connect, _) => "connecting".to_owned(),
        (Mode::Stream, Direction::Up) => "up".to_owned(),
        (Mode::Stream, Direction::Down) => "down".to_owned(),
        (Mode::Stream, Direction::Both) => "each way".to_owned(),
    };
    let s = if parameters.parallel == 1 { "" } else { "s" };
    let Start { scheme, local, remote, .. } = start;
    let mut text = format!("{scheme} {local} - {remote}: {} stream{s} {what}", parameters.parallel);
    if parameters.netstack.as_ref().is_some_and(|extension| extension.verify) {
        text += ", every byte compared";
    }
    text
}

/// The numbers of a line, in columns.
fn columns(numbers: &Numbers) -> String {
    let stream = numbers.socket.map_or("sum".to_owned(), |id| id.to_string());
    let mut text = format!(
        "[{stream:>3}] {:>6.2}-{:<6.2} s  {:>10}  {:>11}",
        numbers.start,
        numbers.end,
        units::bytes(numbers.bytes),
        units::rate((numbers.bits_per_second / 8.0) as u64),
    );
    // Writing to a String cannot fail.
    if let Some(count) = numbers.retransmits {
        let _ = write!(text, "  {count} retransmitted");
    }
    if let (Some(lost), Some(packets)) = (numbers.lost_packets, numbers.packets) {
        let percent = numbers.lost_percent.unwrap_or(0.0);
        let _ = write!(text, "  {lost}/{packets} lost ({percent:.2} %)");
    } else if let Some(packets) = numbers.packets {
        let _ = write!(text, "  {packets} datagrams");
    }
    if let Some(jitter) = numbers.jitter_ms {
        let _ = write!(text, "  jitter {jitter:.3} ms");
    }
    if let (Some(count), Some(rate)) = (numbers.transactions, numbers.transactions_per_second) {
        let _ = write!(text, "  {count} answered, {rate:.0}/s");
    }
    if let Some(count) = numbers.timeouts.filter(|count| *count > 0) {
        let _ = write!(text, "  {count} without an answer");
    }
    text
}

fn times(latency: &Latency) -> String {
    let Latency { min, mean, p50, p90, p99, max } = latency;
    format!(
        "min {min:.1} mean {mean:.1} median {p50:.1} 90 % {p90:.1} 99 % {p99:.1} max {max:.1} µs"
    )
}
