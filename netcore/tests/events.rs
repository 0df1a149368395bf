//! Log spans and events of connections.

mod harness;

use harness::{Pair, Side};
use netcore::tcp;
use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Keeps events up to a level as lines, each behind the span that it is in.
#[derive(Clone)]
struct Log {
    level: Level,
    lines: Arc<Mutex<Vec<String>>>,
    spans: Arc<Mutex<Vec<String>>>,
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let name = if field.name() == "message" { "" } else { field.name() };
        write!(self.0, "{name} {value:?} ").expect("memory");
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level && metadata.target().starts_with("netcore")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut line = Line(format!("{}:", span.metadata().name()));
        span.record(&mut line);
        let mut spans = self.spans.lock().expect("no panic");
        spans.push(line.0);
        Id::from_u64(spans.len() as u64)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let spans = self.spans.lock().expect("no panic");
        let span = event.parent().map(|id| spans[id.into_u64() as usize - 1].clone());
        let mut line = Line(span.unwrap_or_default());
        event.record(&mut line);
        self.lines.lock().expect("no panic").push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The events of two stacks at debug and above while `story` runs.
fn logged(story: impl FnOnce(&mut Pair)) -> Vec<String> {
    logged_at(Level::DEBUG, story)
}

fn logged_at(level: Level, story: impl FnOnce(&mut Pair)) -> Vec<String> {
    let log = Log { level, lines: Arc::default(), spans: Arc::default() };
    tracing::subscriber::with_default(log.clone(), || {
        let mut pair = Pair::new();
        story(&mut pair);
        pair.advance(Duration::from_secs(400));
    });
    log.lines.lock().expect("no panic").clone()
}

/// Asserts that each event is logged once, with the peer's address.
fn assert_once(lines: &[String], expected: &[&str]) {
    for event in expected {
        let found = lines.iter().filter(|line| line.contains(event));
        let found: Vec<&String> = found.filter(|line| line.contains("10.0.0.2:80")).collect();
        assert_eq!(found.len(), 1, "{event}: {lines:#?}");
    }
}

#[test]
fn a_connection_is_logged_from_its_beginning_to_its_end() {
    let lines = logged(|pair| {
        let (near, far, listener) = pair.connected();
        near.try_send(b"a word of payload").expect("room");
        pair.run();
        harness::read(&far, 100).expect("it has arrived");
        near.close();
        pair.run();
        far.close();
        pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
    });

    assert_once(&lines, &["listener bound", "listener closed"]);
    assert_once(&lines, &["connecting", "connection established", "connection accepted"]);
    // By both ends.
    let closed = lines.iter().filter(|line| line.contains("connection closed"));
    assert_eq!(closed.count(), 2, "{lines:#?}");
    assert!(lines.iter().filter(|line| line.starts_with("connection:id ")).count() == 5);
    assert_eq!(lines.len(), 7, "nothing for a packet: {lines:#?}");
    assert!(!lines.iter().any(|line| line.contains("payload")), "{lines:#?}");
}

#[test]
fn resets_and_refusals_are_logged_with_their_reason() {
    let lines = logged(|pair| {
        assert!(pair.connect(Side::Near, "10.0.0.2:80").is_err());
        let (near, far, listener) = pair.connected();
        far.abort();
        pair.run();
        near.close();
        pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
    });

    assert_once(&lines, &["connection reset"]);
    for reason in ["refused by the peer", "aborted by this end"] {
        let ended = lines.iter().filter(|line| line.contains("connection ended"));
        assert_eq!(ended.filter(|line| line.contains(reason)).count(), 1, "{lines:#?}");
    }
}

#[test]
fn failed_passive_handshake_is_not_logged_at_debug() {
    let lines = logged(|pair| {
        let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
        // The SYN arrives, and no answer to it does.
        pair.wire = Box::new(|packet| (packet[15] != 2).then_some(packet));
        assert!(pair.connect(Side::Near, "10.0.0.2:80").is_err());
        pair.wire = Box::new(Some);
        pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
    });

    let ended = lines.iter().filter(|line| line.contains("connection ended"));
    assert_eq!(ended.count(), 1, "the connect's alone: {lines:#?}");
}

#[test]
fn repeats_and_timeouts_are_logged_in_their_span() {
    let lines = logged_at(Level::TRACE, |pair| {
        let (near, far, listener) = pair.connected();
        // A round trip is known before something is lost.
        near.try_send(b"first").expect("room");
        pair.advance(Duration::from_secs(1));
        pair.wire = Box::new(|_| None);
        near.try_send(b"lost").expect("room");
        pair.advance(Duration::from_millis(900));
        pair.wire = Box::new(Some);
        pair.advance(Duration::from_secs(5));
        harness::read(&far, 100).expect("it has arrived");
        near.close();
        far.close();
        pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
    });

    let of_near = |text: &str| {
        let found = lines.iter().filter(|line| line.contains(text));
        found.filter(|line| line.contains("remote 10.0.0.2:80")).count()
    };
    assert!(of_near("segment repeated") >= 2, "{lines:#?}");
    assert_eq!(of_near("rule TLP"), 1, "{lines:#?}");
    assert!(of_near("retransmission timeout") >= 1, "{lines:#?}");
}

#[test]
fn a_dropped_segment_is_logged_in_the_span_of_its_connection() {
    let lines = logged_at(Level::TRACE, |pair| {
        let (near, far, listener) = pair.connected();
        let sent = Arc::new(Mutex::new(None));
        let kept = sent.clone();
        pair.wire = Box::new(move |packet| {
            kept.lock().expect("no panic").get_or_insert(packet.to_vec());
            Some(packet)
        });
        near.try_send(b"twice").expect("room");
        pair.run();
        let again = sent.lock().expect("no panic").take().expect("a segment");
        pair.inject(Side::Far, again);
        pair.run();
        harness::read(&far, 100).expect("it has arrived");
        near.close();
        far.close();
        pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
    });

    let dropped = lines.iter().filter(|line| line.contains("segment dropped"));
    let of_far = dropped.filter(|line| line.contains("local 10.0.0.2:80")).count();
    assert_eq!(of_far, 1, "{lines:#?}");
}
