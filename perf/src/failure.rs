//! Why a test has failed.

use crate::control::State;
use std::fmt::{self, Display};
use std::io;

/// Why a test has failed, in words for its user.
#[derive(Debug)]
pub enum Failure {
    /// A connection or a socket failed: what was being done, and the error.
    Io(String, io::Error),
    /// The server is busy with another test.
    Busy,
    /// The server has ended the test.
    Terminated,
    /// The client has ended the test.
    ClientTerminated,
    /// The other end has closed the control connection.
    Closed,
    /// The server has failed; iperf3's number of the error and the system's, if it has one.
    Server(i32, i32),
    /// The other end sent another state than the one that is next.
    State(State),
    /// The other end sent something that is none of the protocol's messages.
    Protocol(String),
    /// The other end did not do its next step in time.
    Silent(&'static str),
    /// The server does not have what was asked for: it is iperf3's.
    NotExtended(&'static str),
    /// A byte arrived that was not sent.
    Corrupt(String),
    /// What the other end found wrong.
    Remote(String),
}

impl Failure {
    /// Of a socket, while `what` was being done.
    pub(crate) fn io(what: impl Display) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io(what.to_string(), error)
    }

    /// The same, of a stream.
    pub(crate) fn on_stream(self, id: u64) -> Self {
        match self {
            Self::Io(what, error) => Self::Io(format!("stream {id}: {what}"), error),
            Self::Corrupt(what) => Self::Corrupt(format!("stream {id}: {what}")),
            Self::Protocol(what) => Self::Protocol(format!("stream {id}: {what}")),
            other => other,
        }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(what, error) => write!(f, "{what}: {error}"),
            Self::Busy => write!(f, "the server is busy with another test: try again later"),
            Self::Terminated => write!(f, "the server has ended the test"),
            Self::ClientTerminated => write!(f, "the client has ended the test"),
            Self::Closed => write!(f, "the other end has closed the control connection"),
            Self::Server(number, 0) => write!(f, "the server has failed: iperf3's error {number}"),
            Self::Server(number, errno) => {
                let cause = io::Error::from_raw_os_error(*errno);
                write!(f, "the server has failed: iperf3's error {number}, {cause}")
            }
            Self::State(state) => write!(f, "the other end is at {state:?}, which is not next"),
            Self::Protocol(what) => {
                write!(f, "the other end does not speak iperf3's protocol: {what}")
            }
            Self::Silent(what) => write!(f, "the other end was silent for too long: {what}"),
            Self::NotExtended(flag) => {
                write!(
                    f,
                    "{flag}: the server is iperf3, which has no such test: leave the flag out"
                )
            }
            Self::Corrupt(what) => write!(f, "data has changed on the way: {what}"),
            Self::Remote(what) => write!(f, "at the other end: {what}"),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // The text has it already.
            Self::Io(_, error) => error.source(),
            _ => None,
        }
    }
}
