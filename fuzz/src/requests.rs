//! Requests to a control socket: lines of any bytes, and lines that are almost requests.

use arbitrary::Unstructured;
use netstack::control::{REQUEST_BYTES_MAX, Request};

/// What requests are made of.
const WORDS: [&str; 50] = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "null",
    "true",
    "false",
    "0",
    "1",
    "-1",
    "1e999",
    "18446744073709551616",
    "\"version\"",
    "\"command\"",
    "\"id\"",
    "\"change\"",
    "\"stack\"",
    "\"sockets\"",
    "\"socket\"",
    "\"flows\"",
    "\"time-wait\"",
    "\"counters\"",
    "\"network\"",
    "\"neighbours\"",
    "\"abort\"",
    "\"join\"",
    "\"listener\"",
    "\"set\"",
    "\"17v3\"",
    "\"1v2\"",
    "\"v\"",
    "\"add-address\"",
    "\"10.9.0.2/24\"",
    "\"fd00::1/129\"",
    "\"remove-address\"",
    "\"add-route\"",
    "\"destination\"",
    "\"gateway\"",
    "\"mtu\"",
    "\"name-servers\"",
    "\"servers\"",
    "\"link-up\"",
    "\u{e4}",
    "\u{1f980}",
];
/// Requests to begin with.
const BEGINNINGS: [&str; 6] = [
    "",
    "{\"version\":1,",
    "{\"version\":1,\"command\":\"abort\",\"id\":",
    "{\"version\":1,\"command\":\"set\",\"change\":{",
    "{\"command\":\"stack\",\"version\":",
    "[[[[[[[[[[[[[[[[",
];

/// Parses lines made of `data`.
///
/// A line is a request or has an error that says why not; a request is the same after another way
/// through its text; nothing takes memory beyond its own length.
///
/// # Panics
///
/// If one of these invariants does not hold.
pub fn requests(data: &[u8]) {
    for line in data.split(|byte| *byte == b'\n') {
        check(line);
    }
    let mut story = Unstructured::new(data);
    while !story.is_empty() {
        // An error is the end of the data.
        let Ok(line) = line(&mut story) else { break };
        check(&line);
    }
}

fn line(story: &mut Unstructured<'_>) -> arbitrary::Result<Vec<u8>> {
    let mut line = story.choose(&BEGINNINGS)?.as_bytes().to_vec();
    for _ in 0..story.int_in_range(0..=20)? {
        line.extend(story.choose(&WORDS)?.as_bytes());
    }
    if story.ratio(1, 8)? {
        // As deep or as long as a client can send it.
        let piece = line.clone();
        while line.len() + piece.len() <= REQUEST_BYTES_MAX && !piece.is_empty() {
            line.extend(&piece);
        }
    }
    if story.ratio(1, 4)? && !line.is_empty() {
        let place = story.choose_index(line.len())?;
        line[place] = story.arbitrary()?;
    }
    Ok(line)
}

fn check(line: &[u8]) {
    match Request::parse(line) {
        Ok(request) => {
            let again = Request::parse(request.to_string().as_bytes());
            assert_eq!(again, Ok(request), "{}", String::from_utf8_lossy(line));
        }
        Err(failure) => {
            assert!(!failure.message.is_empty());
            assert!(failure.message.len() < 2 * line.len() + 1000, "{}", failure.message.len());
        }
    }
}
