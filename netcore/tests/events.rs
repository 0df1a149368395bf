//! Log events of connections.

mod harness;

use harness::{Pair, Side};
use netcore::tcp;
use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Keeps events at level debug and above, as lines.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let name = if field.name() == "message" { "" } else { field.name() };
        write!(self.0, "{name} {value:?} ").expect("memory");
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::DEBUG && metadata.target().starts_with("netcore")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().expect("no panic").push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The events of two stacks while `story` runs.
fn logged(story: impl FnOnce(&mut Pair)) -> Vec<String> {
    let log = Log::default();
    tracing::subscriber::with_default(log.clone(), || {
        let mut pair = Pair::new();
        story(&mut pair);
        pair.advance(Duration::from_secs(400));
    });
    log.0.lock().expect("no panic").clone()
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
    assert_once(&lines, &["connection established", "connection accepted"]);
    // By both ends.
    let closed = lines.iter().filter(|line| line.contains("connection closed"));
    assert_eq!(closed.count(), 2, "{lines:#?}");
    assert_eq!(lines.len(), 6, "nothing for a packet: {lines:#?}");
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
