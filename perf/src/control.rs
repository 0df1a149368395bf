//! The control connection: states of one byte, and JSON behind its length.

use crate::failure::Failure;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// The state of a test: who enters one tells the other by its byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The streams are there, and both ends get ready.
    TestStart,
    /// Data may be sent.
    TestRunning,
    /// The client has seen enough.
    TestEnd,
    /// The server wants the parameters.
    ParamExchange,
    /// The server wants the streams.
    CreateStreams,
    /// The server ends the test early.
    ServerTerminate,
    /// The client ends the test early.
    ClientTerminate,
    /// Both tell what they have counted, the client first.
    ExchangeResults,
    /// The test is over, and the results can be shown.
    DisplayResults,
    /// The client has nothing more to say.
    IperfDone,
    /// The server is busy with another test.
    AccessDenied,
    /// The server has failed, and two numbers follow.
    ServerError,
    /// Not iperf3's: the server does what the extension of the parameters asks for.
    Extended,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::TestStart,
        Self::TestRunning,
        Self::TestEnd,
        Self::ParamExchange,
        Self::CreateStreams,
        Self::ServerTerminate,
        Self::ClientTerminate,
        Self::ExchangeResults,
        Self::DisplayResults,
        Self::IperfDone,
        Self::AccessDenied,
        Self::ServerError,
        Self::Extended,
    ];

    /// Its byte on the wire (iperf_api.h).
    #[must_use]
    pub fn byte(self) -> u8 {
        match self {
            Self::TestStart => 1,
            Self::TestRunning => 2,
            Self::TestEnd => 4,
            Self::ParamExchange => 9,
            Self::CreateStreams => 10,
            Self::ServerTerminate => 11,
            Self::ClientTerminate => 12,
            Self::ExchangeResults => 13,
            Self::DisplayResults => 14,
            Self::IperfDone => 16,
            Self::AccessDenied => -1_i8 as u8,
            Self::ServerError => -2_i8 as u8,
            // Far from those that iperf3 may add.
            Self::Extended => 100,
        }
    }

    /// The state of a byte, if it has one.
    #[must_use]
    pub fn of(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.byte() == byte)
    }
}

/// The longest parameters: iperf3's bound.
pub const PARAMETERS_BYTES_MAX: usize = 8 * 1024;
/// The longest results. Those of iperf3 may have the output of its server, which is of any length; this
/// is that of an hour's intervals with some streams.
pub const RESULTS_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Reads the next state.
///
/// # Errors
///
/// `Closed` at the end of the connection, `Protocol` if the byte is no state.
///
/// # Cancel safety
///
/// Dropping the future before it is ready loses nothing.
pub async fn read_state(from: &mut (impl AsyncRead + Unpin)) -> Result<State, Failure> {
    let byte = from.read_u8().await.map_err(lost)?;
    State::of(byte).ok_or_else(|| Failure::Protocol(format!("{byte} is none of its states")))
}

/// Reads the two numbers that follow [`State::ServerError`]; the failure that they name.
pub async fn read_server_error(from: &mut (impl AsyncRead + Unpin)) -> Failure {
    let numbers = async { std::io::Result::Ok((from.read_i32().await?, from.read_i32().await?)) };
    match numbers.await {
        Ok((number, errno)) => Failure::Server(number, errno),
        Err(error) => lost(error),
    }
}

/// Tells the other end of a state.
///
/// # Errors
///
/// That of the connection.
///
/// # Cancel safety
///
/// If the future is dropped, the state may have been sent.
pub async fn write_state(to: &mut (impl AsyncWrite + Unpin), state: State) -> Result<(), Failure> {
    to.write_u8(state.byte()).await.map_err(lost)?;
    to.flush().await.map_err(lost)
}

/// Reads a message of at most `max` bytes.
///
/// # Errors
///
/// `Closed` at the end of the connection, `Protocol` for a message that is too long or not the one that
/// is next.
///
/// # Cancel safety
///
/// If the future is dropped, a part of the message may have been read.
pub async fn read_json<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
    max: usize,
) -> Result<T, Failure> {
    let len = from.read_u32().await.map_err(lost)?;
    let mut text = vec![0; bounded(len, max)?];
    from.read_exact(&mut text).await.map_err(lost)?;
    parse(&text)
}

/// Takes a message that stands behind its length at the beginning of `bytes`, as [`read_json`] does from
/// a connection.
///
/// # Errors
///
/// As [`read_json`].
pub fn decode_json<T: DeserializeOwned>(bytes: &[u8], max: usize) -> Result<T, Failure> {
    let (len, rest) = bytes.split_first_chunk().ok_or(Failure::Closed)?;
    let len = bounded(u32::from_be_bytes(*len), max)?;
    parse(rest.get(..len).ok_or(Failure::Closed)?)
}

/// A message behind its length.
///
/// # Panics
///
/// If `message` is no JSON, or longer than 4 GiB.
#[must_use]
pub fn encode_json(message: &impl Serialize) -> Vec<u8> {
    let text = serde_json::to_vec(message).expect("the messages here are JSON");
    let len = u32::try_from(text.len()).expect("a message of some KiB");
    [&len.to_be_bytes()[..], &text].concat()
}

/// Sends a message behind its length.
///
/// # Errors
///
/// That of the connection.
///
/// # Cancel safety
///
/// If the future is dropped, a part of the message may have been sent.
pub async fn write_json(
    to: &mut (impl AsyncWrite + Unpin),
    message: &impl Serialize,
) -> Result<(), Failure> {
    to.write_all(&encode_json(message)).await.map_err(lost)?;
    to.flush().await.map_err(lost)
}

/// How long the other end may take for a step of the protocol.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for a step of the other end.
pub(crate) async fn in_time<T>(
    what: &'static str,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    timeout(PATIENCE, work).await.unwrap_or(Err(Failure::Silent(what)))
}

fn bounded(len: u32, max: usize) -> Result<usize, Failure> {
    let bounded = usize::try_from(len).ok().filter(|len| (1..=max).contains(len));
    bounded.ok_or_else(|| Failure::Protocol(format!("a message of {len} bytes")))
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(text).map_err(|error| Failure::Protocol(error.to_string()))
}

fn lost(error: std::io::Error) -> Failure {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => Failure::Closed,
        _ => Failure::Io("the control connection".into(), error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn each_state_is_found_by_its_byte() {
        for state in State::ALL {
            assert_eq!(State::of(state.byte()), Some(state));
        }
        assert_eq!(State::of(0), None);
    }

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let message = json!({ "tcp": true, "num": 17 });

        let encoded = encode_json(&message);

        assert_eq!(decode_json::<Value>(&encoded, 100).ok(), Some(message));
        let short = decode_json::<Value>(&encoded[..encoded.len() - 1], 100);
        assert!(matches!(short, Err(Failure::Closed)), "{short:?}");
    }

    #[tokio::test]
    async fn a_length_beyond_the_bound_takes_no_memory() {
        for len in [0, 101, u32::MAX] {
            let read = read_json::<Value>(&mut &len.to_be_bytes()[..], 100).await;
            assert!(matches!(read, Err(Failure::Protocol(_))), "{len}: {read:?}");
        }
    }
}
