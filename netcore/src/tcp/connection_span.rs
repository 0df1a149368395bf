//! The log of one connection: a span with its id and ends, and what happens to it.
//!
//! A span that nobody has asked for takes no memory. Events name it as their parent, so that it is
//! entered nowhere.

use super::RetransmitRule;
use crate::counters::DropReason;
use crate::error::Error;
use crate::id::SocketId;
use crate::queue::End;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;
use tracing::span::Id;
use tracing::{Span, debug, debug_span, trace};

/// The span of a connection, if somebody has asked for it.
#[derive(Debug, Default)]
pub(crate) struct ConnectionSpan(Option<Box<Span>>);

impl ConnectionSpan {
    /// Begins one within the current span, which is that of the stack.
    pub(crate) fn new(id: SocketId, local: SocketAddr, remote: SocketAddr) -> Self {
        let span = debug_span!(target: TARGET, "connection", %id, %local, %remote);
        Self((!span.is_disabled()).then(|| Box::new(span)))
    }

    fn id(&self) -> Option<Id> {
        self.0.as_ref().and_then(|span| span.id())
    }

    pub(crate) fn connecting(&self) {
        debug!(target: TARGET, parent: self.id(), "connecting");
    }

    pub(crate) fn established(&self) {
        debug!(target: TARGET, parent: self.id(), "connection established");
    }

    pub(crate) fn accepted(&self) {
        debug!(target: TARGET, parent: self.id(), "connection accepted");
    }

    pub(crate) fn ended(&self, end: End) {
        match end {
            End::Closed => debug!(target: TARGET, parent: self.id(), "connection closed"),
            End::Failed(reason @ (Error::Reset | Error::PeerClosed)) => {
                debug!(target: TARGET, parent: self.id(), %reason, "connection reset");
            }
            End::Failed(reason) => {
                debug!(target: TARGET, parent: self.id(), %reason, "connection ended");
            }
        }
    }

    /// The bytes of `positions` of the stream were sent again.
    #[cold]
    pub(crate) fn repeated(&self, rule: RetransmitRule, positions: Range<u64>) {
        let Range { start, end } = positions;
        trace!(target: TARGET, parent: self.id(), %rule, start, end, "segment repeated");
    }

    /// The SYN was sent again.
    #[cold]
    pub(crate) fn syn_repeated(&self) {
        let rule = RetransmitRule::Handshake;
        debug!(target: TARGET, parent: self.id(), %rule, "SYN repeated");
    }

    /// A timer has expired for want of an acknowledgement, the retransmission timer for the
    /// `count`th time in a row; for none it was that of the tail loss probe.
    #[cold]
    pub(crate) fn timed_out(&self, count: u32, rto: Duration) {
        match count {
            0 => trace!(target: TARGET, parent: self.id(), "tail loss probe"),
            count => {
                debug!(target: TARGET, parent: self.id(), count, next = ?rto, "retransmission timeout");
            }
        }
    }

    /// A segment of the peer was not taken, or only in part.
    #[cold]
    pub(crate) fn dropped(&self, reason: DropReason) {
        trace!(target: TARGET, parent: self.id(), %reason, "segment dropped");
    }
}

/// The module that users filter by, whatever the file.
const TARGET: &str = "netcore::tcp";
