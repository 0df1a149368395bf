//! What becomes of a command, and of its answer.

use super::Response;
use crate::channel::{Answer, Responder, Undelivered};
use crate::error::Error;
use crate::id::SocketId;

/// What becomes of a command.
pub(crate) enum Outcome {
    /// It is done, or failed.
    Now(Answer),
    /// Whoever holds the responder answers later.
    Later,
}

impl<R: Into<Response>> From<Result<R, Error>> for Outcome {
    fn from(result: Result<R, Error>) -> Self {
        Self::Now(result.map(|response| (response.into(), None)))
    }
}

/// Hands an answer over; returns it if nobody waits for it.
pub(crate) fn undelivered(
    handle: Option<SocketId>,
    responder: Option<Responder>,
    answer: Answer,
) -> Option<Undelivered> {
    let answer = match responder {
        Some(responder) => responder.answer(answer).err()?,
        None => answer,
    };
    let (response, queue) = answer.ok()?;
    Some(Undelivered { handle, response, queue })
}
