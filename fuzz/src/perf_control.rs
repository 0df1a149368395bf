//! Messages on the control connection of a throughput test: any bytes, and parameters and results with
//! any mistakes.

use arbitrary::Unstructured;
use perf::control::{PARAMETERS_BYTES_MAX, RESULTS_BYTES_MAX, State, decode_json, encode_json};
use perf::parameters::{BLOCK_BYTES_MAX, SECONDS_MAX, STREAMS_MAX};
use perf::{Failure, Parameters, Results};

/// The names in both messages.
const NAMES: [&str; 34] = [
    "tcp",
    "udp",
    "sctp",
    "omit",
    "time",
    "num",
    "blockcount",
    "parallel",
    "reverse",
    "bidirectional",
    "nodelay",
    "len",
    "bandwidth",
    "congestion",
    "udp_counters_64bit",
    "client_version",
    "netstack",
    "version",
    "mode",
    "verify",
    "request",
    "response",
    "cpu_util_total",
    "cpu_util_user",
    "cpu_util_system",
    "sender_has_retransmits",
    "streams",
    "id",
    "bytes",
    "retransmits",
    "jitter",
    "errors",
    "packets",
    "end_time",
];
/// What stands behind a name.
const VALUES: [&str; 22] = [
    "true",
    "false",
    "null",
    "0",
    "1",
    "-1",
    "4",
    "16",
    "0.5",
    "1e3",
    "1e300",
    "-0",
    "128",
    "129",
    "86401",
    "9007199254740993",
    "18446744073709551615",
    "18446744073709551616",
    "\"stream\"",
    "\"connect\"",
    "\"cubic\"",
    "\"\\ud800\"",
];

/// Reads `data` as messages, and then the messages that it describes.
///
/// A message is taken or refused with a reason; parameters that pass are within their bounds, and what is
/// taken is the same after another way over the wire.
///
/// # Panics
///
/// If one of these invariants does not hold.
pub fn perf_control(data: &[u8]) {
    if let Some(state) = data.first().copied().and_then(State::of) {
        assert_eq!(state.byte(), data[0]);
    }
    check(data);
    let mut story = Unstructured::new(data);
    while !story.is_empty() {
        // An error is the end of the data.
        let Ok(text) = object(&mut story, 0) else { break };
        let len = u32::try_from(text.len()).expect("a story of some KiB");
        check(&[&len.to_be_bytes()[..], text.as_bytes()].concat());
    }
}

fn object(story: &mut Unstructured<'_>, depth: usize) -> arbitrary::Result<String> {
    // Something that passes, in most cases, to begin with.
    let mut members = match (depth, story.int_in_range(0..=3)?) {
        (0, 0) => vec!["\"tcp\":true,\"parallel\":1".to_owned()],
        (0, 1) => vec!["\"udp\":true,\"parallel\":2".to_owned()],
        (0, 2) => vec![
            "\"cpu_util_total\":0,\"cpu_util_user\":0,\"cpu_util_system\":0,\
             \"sender_has_retransmits\":1"
                .to_owned(),
        ],
        (0, _) => Vec::new(),
        (_, 0) => vec![
            "\"version\":1,\"mode\":\"request\",\"verify\":true,\"request\":1,\"response\":1"
                .into(),
        ],
        _ => vec![
            "\"id\":1,\"bytes\":1,\"retransmits\":-1,\"jitter\":0,\"errors\":0,\"packets\":1"
                .into(),
        ],
    };
    for _ in 0..story.int_in_range(0..=6)? {
        let name = story.choose(&NAMES)?;
        let value = match story.int_in_range(0..=7)? {
            0 if depth < 4 => object(story, depth + 1)?,
            1 if depth < 4 => format!("[{}]", object(story, depth + 1)?),
            _ => (*story.choose(&VALUES)?).to_owned(),
        };
        members.push(format!("\"{name}\":{value}"));
    }
    Ok(format!("{{{}}}", members.join(",")))
}

fn check(message: &[u8]) {
    match decode_json::<Parameters>(message, PARAMETERS_BYTES_MAX) {
        Ok(parameters) => {
            if parameters.check().is_ok() {
                assert!(parameters.tcp != parameters.udp);
                assert!((1..=STREAMS_MAX).contains(&parameters.parallel), "{parameters:?}");
                assert!(parameters.time <= SECONDS_MAX, "{parameters:?}");
                assert!(parameters.len <= BLOCK_BYTES_MAX, "{parameters:?}");
                let sizes = parameters.netstack.as_ref().map(|it| [it.request, it.response]);
                let are_bounded = |sizes: [u64; 2]| sizes.iter().all(|it| *it <= BLOCK_BYTES_MAX);
                assert!(sizes.is_none_or(are_bounded), "{parameters:?}");
            }
            let again = decode_json(&encode_json(&parameters), usize::MAX);
            assert_eq!(again.ok(), Some(parameters));
        }
        Err(failure) => assert_refused(&failure, message),
    }
    match decode_json::<Results>(message, RESULTS_BYTES_MAX) {
        Ok(results) => {
            let again: Results = decode_json(&encode_json(&results), usize::MAX)
                .expect("what was read can be written and read");
            // Fractions may change in their last digit.
            let whole = |results: &Results| -> Vec<_> {
                let streams = results.streams.iter();
                streams.map(|it| (it.id, it.bytes, it.retransmits, it.errors, it.packets)).collect()
            };
            assert_eq!(whole(&again), whole(&results));
            assert_eq!(again.error, results.error);
        }
        Err(failure) => assert_refused(&failure, message),
    }
}

fn assert_refused(failure: &Failure, message: &[u8]) {
    assert!(matches!(failure, Failure::Closed | Failure::Protocol(_)), "{failure:?}");
    let text = failure.to_string();
    assert!(text.len() < 2 * message.len() + 1000, "{text}");
}
