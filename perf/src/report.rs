//! What a test has come to, in iperf3's words.

use crate::failure::Failure;
use crate::parameters::{Direction, Mode, Parameters};
use crate::results::{Results, StreamResult};
use crate::running::{Running, Side, Stream};
use crate::scheme::Scheme;
use crate::tally::{Counts, times};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::net::SocketAddr;
use std::time::Duration;

/// What happens in a test, at either end.
#[derive(Debug)]
pub enum Event {
    /// Its streams are there.
    Started(Start),
    /// An interval is over.
    Interval(Box<Interval>),
    /// At a server: it is over.
    Ended(Box<Report>),
    /// At a server: it has failed, with the client at this address.
    Failed(SocketAddr, Failure),
}

/// The beginning of a test.
#[derive(Debug, Clone, Serialize)]
pub struct Start {
    /// What the streams run over.
    pub scheme: Scheme,
    /// The address of this end.
    pub local: SocketAddr,
    /// The address of the other end.
    pub remote: SocketAddr,
    /// Whether the other end has what iperf3 has not.
    pub extended: bool,
    /// What the client wants.
    pub parameters: Parameters,
}

/// The numbers of an interval, or of the whole test.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Numbers {
    /// The number of the stream; a sum has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<u64>,
    /// Its start, in seconds after that of the test.
    pub start: f64,
    /// Its end.
    pub end: f64,
    /// Its length.
    pub seconds: f64,
    /// Bytes sent or received.
    pub bytes: u64,
    /// The rate.
    pub bits_per_second: f64,
    /// Segments that were sent again, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmits: Option<u64>,
    /// Of the delay of datagrams (RFC 3550).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_ms: Option<f64>,
    /// Datagrams that have not arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_packets: Option<u64>,
    /// Datagrams that were sent, as far as this end knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets: Option<u64>,
    /// The part of them that is lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_percent: Option<f64>,
    /// Requests with a response, or connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transactions: Option<u64>,
    /// Their rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transactions_per_second: Option<f64>,
    /// Requests without a response in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<u64>,
    /// How long requests took, or connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<Latency>,
    /// Whether this end was the sender.
    pub sender: bool,
    /// Whether it is the start, that does not count.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub omitted: bool,
}

/// How long something took, in microseconds: percentiles.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// The shortest.
    pub min: f64,
    /// The mean.
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// Nine of ten were faster.
    pub p90: f64,
    /// 99 of 100 were faster.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// An interval of a test that runs.
#[derive(Debug, Clone, Serialize)]
pub struct Interval {
    /// Each stream.
    pub streams: Vec<Numbers>,
    /// All that this end sends, if it sends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sum_sent: Option<Numbers>,
    /// All that this end receives, if it receives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sum_received: Option<Numbers>,
}

/// The end of a test.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Each stream, as its sender and its receiver have counted it.
    pub streams: Vec<BothEnds>,
    /// What the client has sent; requests and connections, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up: Option<BothEnds>,
    /// What the server has sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub down: Option<BothEnds>,
    /// What the other end found wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What was counted at both ends.
#[derive(Debug, Clone, Serialize)]
pub struct BothEnds {
    /// At the sender; the one that asks, if there are requests.
    pub sender: Numbers,
    /// At the receiver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receiver: Option<Numbers>,
}

/// Makes intervals of what streams count.
pub(crate) struct Intervals {
    last: Vec<Counts>,
    end: Duration,
}

impl Intervals {
    pub(crate) fn new(running: &Running) -> Self {
        Self { last: running.counts(), end: Duration::ZERO }
    }

    /// Begins again, when what was until now does not count.
    pub(crate) fn restart(&mut self) {
        self.end = Duration::ZERO;
    }

    /// Tells of the interval since the last one, if there are to be intervals.
    pub(crate) fn tell(
        &mut self,
        running: &Running,
        parameters: &Parameters,
        every: Duration,
        omitted: bool,
        on_event: &mut (dyn FnMut(Event) + Send),
    ) {
        if every > Duration::ZERO
            && let Some(interval) = self.next(running, parameters, omitted)
        {
            on_event(Event::Interval(Box::new(interval)));
        }
    }

    /// The interval since the last one, unless nothing of it is left.
    fn next(
        &mut self,
        running: &Running,
        parameters: &Parameters,
        omitted: bool,
    ) -> Option<Interval> {
        let (start, end) = (self.end, running.elapsed());
        let length = end.checked_sub(start).filter(|length| *length > Duration::from_millis(1))?;
        let now = running.counts();
        let streams = running.streams().iter().zip(self.last.iter().zip(&now));
        let streams: Vec<_> = streams
            .map(|(stream, (last, now))| {
                let mut numbers = between(last, now, stream.sends, parameters);
                numbers.socket = Some(stream.id);
                numbers.omitted = omitted;
                numbers.set_span(start, length);
                numbers
            })
            .collect();
        (self.last, self.end) = (now, end);
        let sum = |sender| sum(streams.iter().filter(|it| it.sender == sender));
        Some(Interval { sum_sent: sum(true), sum_received: sum(false), streams })
    }
}

/// What was counted between two moments.
fn between(last: &Counts, now: &Counts, sends: bool, parameters: &Parameters) -> Numbers {
    let mut numbers =
        Numbers { bytes: now.bytes - last.bytes, sender: sends, ..Numbers::default() };
    if parameters.mode() != Mode::Stream {
        numbers.transactions = Some(now.transactions - last.transactions);
        numbers.timeouts = parameters.udp.then_some(now.timeouts - last.timeouts);
    } else if parameters.udp && sends {
        numbers.packets = Some(now.datagrams - last.datagrams);
    } else if parameters.udp {
        // A late one may be of the interval before.
        let lost = now.arrivals.lost.saturating_sub(last.arrivals.lost);
        numbers.jitter_ms = Some(now.arrivals.jitter * 1e3);
        numbers.set_loss(lost, now.arrivals.highest - last.arrivals.highest);
    }
    numbers
}

impl Numbers {
    fn set_span(&mut self, start: Duration, length: Duration) {
        (self.start, self.seconds) = (start.as_secs_f64(), length.as_secs_f64());
        self.end = self.start + self.seconds;
        if self.seconds > 0.0 {
            self.bits_per_second = self.bytes as f64 * 8.0 / self.seconds;
            self.transactions_per_second =
                self.transactions.map(|count| count as f64 / self.seconds);
        }
    }

    fn set_loss(&mut self, lost: u64, packets: u64) {
        self.lost_packets = Some(lost);
        self.packets = Some(packets);
        self.lost_percent = Some(100.0 * lost as f64 / packets.max(1) as f64);
    }
}

/// All of them together, if there are any.
fn sum<'a>(numbers: impl Iterator<Item = &'a Numbers> + Clone) -> Option<Numbers> {
    let first = numbers.clone().next()?;
    let count = numbers.clone().count() as f64;
    let add = |of: fn(&Numbers) -> Option<u64>| {
        numbers.clone().map(of).try_fold(0_u64, |sum, it| Some(sum.saturating_add(it?)))
    };
    let mut sum = Numbers {
        socket: None,
        bytes: add(|it| Some(it.bytes)).unwrap_or_default(),
        retransmits: add(|it| it.retransmits),
        transactions: add(|it| it.transactions),
        timeouts: add(|it| it.timeouts),
        packets: add(|it| it.packets),
        jitter_ms: first
            .jitter_ms
            .map(|_| numbers.clone().filter_map(|it| it.jitter_ms).sum::<f64>() / count),
        latency_us: None,
        ..first.clone()
    };
    if let (Some(lost), Some(packets)) = (add(|it| it.lost_packets), sum.packets) {
        sum.set_loss(lost, packets);
    }
    sum.end = numbers.clone().map(|it| it.end).fold(0.0, f64::max);
    let length = Duration::try_from_secs_f64(sum.end - sum.start).unwrap_or_default();
    sum.set_span(Duration::try_from_secs_f64(sum.start).unwrap_or_default(), length);
    Some(sum)
}

impl Report {
    /// Of what both ends have counted.
    pub(crate) fn new(
        side: Side,
        parameters: &Parameters,
        running: &Running,
        theirs: Option<&Results>,
    ) -> Self {
        let ours = running.results(None);
        let mut streams = Vec::new();
        for (stream, our) in running.streams().iter().zip(&ours.streams) {
            let their = theirs.and_then(|theirs| theirs.streams.iter().find(|it| it.id == our.id));
            streams.push(both_ends(parameters, stream, our, their));
        }
        let total = |is_up: bool| {
            // The client sends up, and the server down.
            let of = |it: &&BothEnds, stream: &Stream| {
                let by_client = stream.sends == (side == Side::Client);
                (by_client == is_up).then(|| (*it).clone())
            };
            let of: Vec<_> = streams
                .iter()
                .zip(running.streams())
                .filter_map(|(it, stream)| of(&it, stream))
                .collect();
            let mut sender = sum(of.iter().map(|it| &it.sender))?;
            sender.latency_us = latency(running);
            let received: Option<Vec<_>> = of.iter().map(|it| it.receiver.as_ref()).collect();
            let receiver = received.and_then(|received| sum(received.into_iter()));
            Some(BothEnds { sender, receiver })
        };
        let (up, down) = match (parameters.mode(), parameters.direction()) {
            (Mode::Stream, Direction::Down) => (None, total(false)),
            (Mode::Stream, Direction::Both) => (total(true), total(false)),
            _ => (total(true), None),
        };
        Self { streams, up, down, error: theirs.and_then(|theirs| theirs.error.clone()) }
    }
}

fn both_ends(
    parameters: &Parameters,
    stream: &Stream,
    ours: &StreamResult,
    theirs: Option<&StreamResult>,
) -> BothEnds {
    let seconds = |result: &StreamResult| {
        // A peer may send any number.
        Duration::try_from_secs_f64(result.end_time - result.start_time).unwrap_or_default()
    };
    if parameters.mode() != Mode::Stream {
        let (all, omitted) = (stream.tally.counts(), stream.tally.omitted());
        let mut sender = between(&omitted, &all, true, parameters);
        sender.socket = Some(stream.id);
        sender.set_span(Duration::ZERO, seconds(ours));
        return BothEnds { sender, receiver: None };
    }
    let counted = |result: &StreamResult| Numbers {
        socket: Some(stream.id),
        bytes: result.bytes,
        ..Numbers::default()
    };
    let packets = |result: &StreamResult| result.packets.saturating_sub(result.omitted_packets);
    let (sent, received) = match stream.sends {
        true => (Some(ours), theirs),
        false => (theirs, Some(ours)),
    };
    let sender = sent.map_or_else(Numbers::default, |sent| {
        let mut sender = Numbers { sender: true, ..counted(sent) };
        sender.packets = parameters.udp.then(|| packets(sent));
        sender.retransmits = u64::try_from(sent.retransmits).ok().filter(|_| parameters.tcp);
        sender.set_span(Duration::ZERO, seconds(sent));
        sender
    });
    let receiver = received.map(|received| {
        let mut receiver = counted(received);
        if parameters.udp {
            receiver.jitter_ms = Some(received.jitter * 1e3);
            let lost = received.errors.saturating_sub(received.omitted_errors);
            // The last ones have no later one that shows that they are missing.
            let tail = sent.map_or(0, |sent| sent.packets.saturating_sub(received.packets));
            let lost = u64::try_from(lost).unwrap_or(0).saturating_add(tail);
            receiver.set_loss(lost, packets(received).saturating_add(tail));
        }
        receiver.set_span(Duration::ZERO, seconds(received));
        receiver
    });
    BothEnds { sender, receiver }
}

/// How long the requests of all streams took.
fn latency(running: &Running) -> Option<Latency> {
    let mut all = times();
    for stream in running.streams() {
        stream.tally.add_times(&mut all);
    }
    (!all.is_empty()).then(|| Latency::of(&all))
}

impl Latency {
    fn of(times: &Histogram<u64>) -> Self {
        let micros = |nanos: u64| nanos as f64 / 1e3;
        let at = |percentile| micros(times.value_at_percentile(percentile));
        Self {
            min: micros(times.min()),
            mean: times.mean() / 1e3,
            p50: at(50.0),
            p90: at(90.0),
            p99: at(99.0),
            max: micros(times.max()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_has_the_loss_of_all() {
        let mut one = Numbers { bytes: 10, jitter_ms: Some(1.0), ..Numbers::default() };
        one.set_loss(1, 10);
        one.set_span(Duration::ZERO, Duration::from_secs(1));
        let mut other = Numbers { bytes: 20, jitter_ms: Some(3.0), ..Numbers::default() };
        other.set_loss(2, 20);
        other.set_span(Duration::ZERO, Duration::from_secs(2));

        let sum = sum([one, other].iter()).expect("two of them");

        assert_eq!((sum.bytes, sum.lost_packets, sum.packets), (30, Some(3), Some(30)));
        assert_eq!((sum.lost_percent, sum.jitter_ms), (Some(10.0), Some(2.0)));
        assert_eq!((sum.seconds, sum.bits_per_second), (2.0, 120.0));
        assert_eq!((sum.retransmits, sum.transactions), (None, None));
    }
}
