//! What an end tells the other of what it has counted.

use crate::parameters::whole;
use serde::{Deserialize, Serialize};

/// What an end has counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// The processor time that it used, in percent of the test's time; 0 where that is not known.
    pub cpu_util_total: f64,
    /// The part of the program.
    pub cpu_util_user: f64,
    /// The part of the kernel.
    pub cpu_util_system: f64,
    /// 1 if the senders know what they have sent again, -1 at a receiver.
    #[serde(deserialize_with = "signed")]
    pub sender_has_retransmits: i64,
    /// The congestion controller of the streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub congestion_used: Option<String>,
    /// Its streams.
    pub streams: Vec<StreamResult>,
    /// What iperf3 does not have: what this end found wrong.
    #[serde(default, rename = "netstack_error", skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What an end has counted on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct StreamResult {
    /// The number of the stream.
    #[serde(deserialize_with = "whole")]
    pub id: u64,
    /// The bytes that it has sent, or received.
    #[serde(deserialize_with = "whole")]
    pub bytes: u64,
    /// The segments that a sender has sent again; -1 where that is not known.
    #[serde(deserialize_with = "signed")]
    pub retransmits: i64,
    /// The jitter of the datagrams that have arrived, in seconds (RFC 3550).
    pub jitter: f64,
    /// The datagrams that have not arrived.
    #[serde(deserialize_with = "signed")]
    pub errors: i64,
    /// Those of the start that is not counted.
    #[serde(default, deserialize_with = "signed")]
    pub omitted_errors: i64,
    /// The datagrams sent, or the highest number that has arrived.
    #[serde(deserialize_with = "whole")]
    pub packets: u64,
    /// Those of the start that is not counted.
    #[serde(default, deserialize_with = "whole")]
    pub omitted_packets: u64,
    /// When it began, in seconds.
    #[serde(default)]
    pub start_time: f64,
    /// When it ended, in seconds.
    #[serde(default)]
    pub end_time: f64,
}

/// As [`whole`], with a sign; iperf3 writes -1 as a number of 64 bits without one.
fn signed<'de, D: serde::Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    let number = serde_json::Number::deserialize(from)?;
    let float = number.as_f64().unwrap_or(f64::NAN);
    match number.as_i64().or(number.as_u64().map(u64::cast_signed)) {
        Some(whole) => Ok(whole),
        None if float.fract() == 0.0 && float.abs() < 9e15 => Ok(float as i64),
        None => Err(serde::de::Error::custom(format!("{number} is not a whole number"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn results_of_iperf3_are_taken() {
        let sent = json!({
            "cpu_util_total": 1.5, "cpu_util_user": 0.5, "cpu_util_system": 1,
            "sender_has_retransmits": u64::MAX, "congestion_used": "cubic",
            "streams": [{
                "id": 1, "bytes": 1.5e10, "retransmits": u64::MAX, "jitter": 1.2e-5, "errors": 0,
                "packets": 0, "start_time": 0, "end_time": 10.0
            }]
        });

        let results: Results = from_value(sent).expect("results");

        assert_eq!(results.streams[0].bytes, 15_000_000_000);
        assert_eq!((results.streams[0].retransmits, results.sender_has_retransmits), (-1, -1));
        let again = serde_json::to_value(&results).expect("JSON");
        assert_eq!(from_value::<Results>(again).ok(), Some(results));
    }
}
