//! The outcome of a command: an answer, now or later.

use super::Response;
use crate::error::Error;
use crate::id::SocketId;
use crate::queue::SocketQueue;

/// The outcome of a command.
pub(crate) enum Outcome {
    /// It succeeded or failed.
    Now(Answer),
    /// It is answered later, by the holder of the responder.
    Later,
}

impl<R: Into<Response>> From<Result<R, Error>> for Outcome {
    fn from(result: Result<R, Error>) -> Self {
        Self::Now(result.map(|response| (response.into(), None)))
    }
}

/// The answer to a command, and the queue of the socket that it made.
pub(crate) type Answer = Result<(Response, Option<SocketQueue>), Error>;

/// An undelivered answer, returned to the stack.
#[derive(Debug)]
pub(crate) struct Undelivered {
    pub(crate) handle: Option<SocketId>,
    pub(crate) response: Response,
    pub(crate) queue: Option<SocketQueue>,
}
