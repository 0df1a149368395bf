//! What the client wants of a test.

use crate::failure::Failure;
use serde::{Deserialize, Deserializer, Serialize};
use std::time::Duration;

/// The parameters of a test, as the client sends them. Fields that others may add are ignored.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Parameters {
    /// Streams of TCP.
    #[serde(skip_serializing_if = "is_false")]
    pub tcp: bool,
    /// Datagrams of UDP.
    #[serde(skip_serializing_if = "is_false")]
    pub udp: bool,
    /// For how many seconds nothing is counted.
    #[serde(deserialize_with = "whole")]
    pub omit: u64,
    /// For how many seconds the test runs; 0 if bytes or blocks end it.
    #[serde(deserialize_with = "whole")]
    pub time: u64,
    /// After how many bytes of all streams it ends; 0 if the time ends it.
    #[serde(deserialize_with = "whole")]
    pub num: u64,
    /// After how many blocks it ends; 0 if the time ends it.
    #[serde(deserialize_with = "whole")]
    pub blockcount: u64,
    /// How many streams there are in each direction.
    #[serde(deserialize_with = "whole")]
    pub parallel: u64,
    /// The server sends.
    #[serde(skip_serializing_if = "is_false")]
    pub reverse: bool,
    /// Both send, each on streams of its own.
    #[serde(skip_serializing_if = "is_false")]
    pub bidirectional: bool,
    /// Small segments are not held back.
    #[serde(skip_serializing_if = "is_false")]
    pub nodelay: bool,
    /// The bytes of a block, or of a datagram; 0 for the default.
    #[serde(deserialize_with = "whole", skip_serializing_if = "is_zero")]
    pub len: u64,
    /// The rate of a stream, in bits a second; 0 for as fast as possible.
    #[serde(deserialize_with = "whole", skip_serializing_if = "is_zero")]
    pub bandwidth: u64,
    /// The congestion controller of the senders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub congestion: Option<String>,
    /// Not 0: the numbers of datagrams have 64 bits.
    #[serde(deserialize_with = "whole", skip_serializing_if = "is_zero")]
    pub udp_counters_64bit: u64,
    /// The version of the client's program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_version: Option<String>,
    /// What iperf3 does not have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netstack: Option<Extension>,
}

/// What iperf3 does not have. A server that has it says so by [`State::Extended`](crate::control::State)
/// before it wants the streams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// Of the extension: [`Extension::VERSION`].
    pub version: u64,
    /// What the streams do.
    pub mode: Mode,
    /// Whether each byte is compared with what was sent.
    pub verify: bool,
    /// The bytes of a request.
    pub request: u64,
    /// The bytes of a response.
    pub response: u64,
}

/// What the streams do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Send, as iperf3's do.
    Stream,
    /// Ask, and wait for the response before they ask again.
    Request,
    /// Connect, ask once, and close.
    Connect,
}

/// Which end sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The client.
    Up,
    /// The server.
    Down,
    /// Both, each on streams of its own.
    Both,
}

impl Extension {
    /// The one that there is.
    pub const VERSION: u64 = 1;
}

/// The most streams in each direction, as of iperf3.
pub const STREAMS_MAX: u64 = 128;
/// The largest block, and the largest request and response, as iperf3's largest block.
pub const BLOCK_BYTES_MAX: u64 = 1024 * 1024;
/// The smallest datagram: the time and a number of 64 bits.
pub const DATAGRAM_BYTES_MIN: u64 = 16;
/// The largest datagram: that of UDP over IPv4.
pub const DATAGRAM_BYTES_MAX: u64 = 65_507;
/// The longest test, in seconds, as of iperf3.
pub const SECONDS_MAX: u64 = 86_400;
/// The longest start that is not counted, in seconds, as of iperf3.
pub const OMIT_SECONDS_MAX: u64 = 600;

const BLOCK_BYTES: u64 = 128 * 1024;
/// Fits any path that takes a packet of Ethernet's size.
const DATAGRAM_BYTES: u64 = 1_448;

impl Parameters {
    /// Checks what came from a client.
    ///
    /// # Errors
    ///
    /// `Protocol` with the first parameter that is beyond its bound.
    pub fn check(&self) -> Result<(), Failure> {
        let within = |name: &str, value: u64, min: u64, max: u64| match (min..=max).contains(&value)
        {
            true => Ok(()),
            false => Err(Failure::Protocol(format!("{name} {value} is not from {min} to {max}"))),
        };
        if self.tcp == self.udp {
            return Err(Failure::Protocol("a test is of tcp or of udp, and not of sctp".into()));
        }
        within("omit", self.omit, 0, OMIT_SECONDS_MAX)?;
        within("time", self.time, 0, SECONDS_MAX)?;
        within("parallel", self.parallel, 1, STREAMS_MAX)?;
        let (least, most) = match self.udp {
            true => (DATAGRAM_BYTES_MIN, DATAGRAM_BYTES_MAX),
            false => (1, BLOCK_BYTES_MAX),
        };
        if self.len > 0 {
            within("len", self.len, least, most)?;
        }
        if let Some(extension) = &self.netstack {
            within("request", extension.request, least, most)?;
            within("response", extension.response, least, most)?;
            if self.udp && extension.mode == Mode::Connect {
                return Err(Failure::Protocol("datagrams have no connections".into()));
            }
        }
        Ok(())
    }

    /// Which end sends.
    #[must_use]
    pub fn direction(&self) -> Direction {
        match (self.bidirectional, self.reverse) {
            (true, _) => Direction::Both,
            (false, true) => Direction::Down,
            (false, false) => Direction::Up,
        }
    }

    /// Sets which end sends.
    pub fn set_direction(&mut self, direction: Direction) {
        self.bidirectional = direction == Direction::Both;
        self.reverse = direction == Direction::Down;
    }

    /// What the streams do.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.netstack.as_ref().map_or(Mode::Stream, |extension| extension.mode)
    }

    /// Whether each byte is compared.
    pub(crate) fn verifies(&self) -> bool {
        self.netstack.as_ref().is_some_and(|extension| extension.verify)
    }

    /// The bytes of a block, or of a datagram.
    pub(crate) fn block_bytes(&self) -> usize {
        let default = if self.udp { DATAGRAM_BYTES } else { BLOCK_BYTES };
        let len = if self.len > 0 { self.len } else { default };
        usize::try_from(len).unwrap_or(usize::MAX)
    }

    /// After how many bytes of all streams of a direction it ends, if bytes end it.
    pub(crate) fn bytes(&self) -> Option<u64> {
        let blocks = self.blockcount.saturating_mul(self.block_bytes() as u64);
        match (self.num, blocks) {
            (0, 0) => None,
            (0, bytes) | (bytes, _) => Some(bytes),
        }
    }

    /// How long the start is that is not counted.
    pub(crate) fn omitted(&self) -> Duration {
        Duration::from_secs(self.omit)
    }
}

/// iperf3 takes some for set that are there.
fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// A number that has no sign and no fraction, however it is written: cJSON has only floating-point ones.
pub(crate) fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let number = serde_json::Number::deserialize(from)?;
    if let Some(whole) = number.as_u64() {
        return Ok(whole);
    }
    let float = number.as_f64().unwrap_or(f64::NAN);
    // Up to here each whole number has a floating-point one.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    match float.fract() == 0.0 && (0.0..=EXACT_MAX).contains(&float) {
        true => Ok(float as u64),
        false => {
            Err(serde::de::Error::custom(format!("{number} is not a whole number of 0 or more")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    fn tcp() -> Parameters {
        Parameters { tcp: true, parallel: 1, time: 10, ..Parameters::default() }
    }

    #[test]
    fn what_iperf3_sends_is_taken() {
        // By iperf 3.12 -u --bidir -b 1G -P 2, with a number as cJSON writes large ones.
        let sent = json!({
            "udp": true, "omit": 0, "time": 10, "num": 0, "blockcount": 0, "parallel": 2,
            "bidirectional": true, "len": 1448, "bandwidth": 1e9, "pacing_timer": 1000,
            "client_version": "3.12"
        });

        let parameters: Parameters = from_value(sent).expect("parameters");

        assert!(parameters.check().is_ok());
        assert_eq!(parameters.direction(), Direction::Both);
        assert_eq!((parameters.bandwidth, parameters.parallel), (1_000_000_000, 2));
        assert_eq!((parameters.block_bytes(), parameters.bytes()), (1448, None));
        assert_eq!(parameters.mode(), Mode::Stream);
    }

    #[test]
    fn what_is_beyond_a_bound_is_refused() {
        assert!(tcp().check().is_ok());
        let request = |request| Extension {
            version: Extension::VERSION,
            mode: Mode::Request,
            verify: false,
            request,
            response: 16,
        };
        for wrong in [
            Parameters { tcp: false, ..tcp() },
            Parameters { udp: true, ..tcp() },
            Parameters { parallel: 0, ..tcp() },
            Parameters { parallel: STREAMS_MAX + 1, ..tcp() },
            Parameters { time: SECONDS_MAX + 1, ..tcp() },
            Parameters { omit: OMIT_SECONDS_MAX + 1, ..tcp() },
            Parameters { len: BLOCK_BYTES_MAX + 1, ..tcp() },
            Parameters { tcp: false, udp: true, len: DATAGRAM_BYTES_MIN - 1, ..tcp() },
            Parameters { netstack: Some(request(0)), ..tcp() },
            Parameters { netstack: Some(request(BLOCK_BYTES_MAX + 1)), ..tcp() },
        ] {
            assert!(matches!(wrong.check(), Err(Failure::Protocol(_))), "{wrong:?}");
        }
        for wrong in [json!(-1), json!(0.5), json!(1e300), json!("1")] {
            let parsed = from_value::<Parameters>(json!({ "time": wrong }));
            assert!(parsed.is_err(), "{wrong}");
        }
    }

    #[test]
    fn blocks_are_as_many_bytes() {
        let parameters = Parameters { blockcount: 3, len: 1000, ..tcp() };
        assert_eq!(parameters.bytes(), Some(3000));
        let parameters = Parameters { blockcount: u64::MAX, ..tcp() };
        assert_eq!(parameters.bytes(), Some(u64::MAX));
    }
}
