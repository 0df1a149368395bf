//! Commands that wait for a connection, of programs that drive the stack by hand.

use crate::reply::Responder;
use bytes::Bytes;
use std::collections::VecDeque;

/// Commands that wait for a connection.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    pub(crate) recv: VecDeque<(Option<usize>, Responder)>,
    pub(crate) send: VecDeque<(Bytes, Responder)>,
    pub(crate) info: VecDeque<Responder>,
}

impl Parked {
    pub(crate) fn len(&self) -> usize {
        self.recv.len() + self.send.len() + self.info.len()
    }

    pub(crate) fn forget_abandoned(&mut self) {
        self.recv.retain(|(_, responder)| !responder.is_abandoned());
        self.send.retain(|(_, responder)| !responder.is_abandoned());
        self.info.retain(|responder| !responder.is_abandoned());
    }
}
