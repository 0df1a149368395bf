//! Taps on a running stack: what they learn of each frame, and of what the stack decides about it.
//!
//! A stack without taps pays one load a round for them. With one, its rounds run over an
//! [`ObservedLink`], which netcore is compiled for once more.

mod headers;
mod link;
mod log;
mod taps;

pub(crate) use headers::Headers;
pub(crate) use link::{AnyLink, ObservedLink};
pub(crate) use log::FrameLog;
pub(crate) use taps::{TapId, Taps};

use crate::direction::Direction;
use bytes::Bytes;
use netcore::{DropReason, Fate, ObservedConnection, ObservedSegment, Owner, SocketId};
use std::sync::Arc;
use tokio::time::Instant;

/// Learns of each frame of a stack.
pub(crate) trait Tap: Send {
    /// A frame has passed, and the stack has decided what it is. Frames come in order.
    fn frame(&mut self, frame: &TappedFrame);

    /// The program has logged a secret of TLS: a line of a key log.
    fn secret(&mut self, _line: &str) {}
}

/// A frame, and what the stack has decided about it.
#[derive(Debug, Clone)]
pub(crate) struct TappedFrame {
    pub(crate) at: Instant,
    pub(crate) bytes: Bytes,
    pub(crate) socket: Option<SocketId>,
    pub(crate) owner: Option<Arc<Owner>>,
    pub(crate) decision: Decision,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Decision {
    /// Received; without a fate if the stack came to none.
    Received(Option<Result<Fate, DropReason>>, Option<ObservedConnection>),
    /// Sent; with the segment if it is of a TCP connection.
    Sent(Option<ObservedSegment>),
}

impl TappedFrame {
    pub(crate) fn direction(&self) -> Direction {
        match self.decision {
            Decision::Received(..) => Direction::Inbound,
            Decision::Sent(_) => Direction::Outbound,
        }
    }
}
