//! The two sides of a stream's queue.

use super::bytes::ByteQueue;
use super::failure::End;
use super::readiness::{Readiness, SideState};
use super::waiters::Waiters;
use crate::error::Error;
use crate::memory::{Charge, Pressure};
use crate::tcp::info::TcpInfo;
use bytes::Bytes;
use std::io::IoSlice;

/// Bytes that one writer may queue under memory pressure, and with all memory in use.
const LIMIT_UNDER_PRESSURE: usize = 16 * 1024;
const LIMIT_WHEN_FULL: usize = 4 * 1024;

#[derive(Debug)]
pub(super) struct RecvSide {
    pub(super) data: ByteQueue,
    pub(super) charge: Charge,
    pub(super) limit: usize,
    /// The window is small: the reader rings once it has read so much that no more than this is
    /// held.
    pub(super) rings_at: Option<u32>,
    /// It has rung, and the stack has not looked since.
    pub(super) has_made_room: bool,
    /// The end of received bytes: end of stream, or an error.
    pub(super) end: Option<Result<(), Error>>,
    /// The read half was shut down: reads return the queued bytes, then the end of the stream.
    pub(super) shutdown: bool,
    pub(super) readiness: Readiness,
    pub(super) waiters: Waiters,
}

#[derive(Debug)]
pub(super) struct SendSide {
    pub(super) data: ByteQueue,
    pub(super) charge: Charge,
    pub(super) limit: usize,
    /// Credit reserved by writers that are still copying.
    pub(super) reserved: usize,
    /// The write half was shut down: a FIN follows the queued bytes.
    pub(super) fin: bool,
    /// The connection has ended and accepts no more bytes.
    pub(super) ended: Option<End>,
    /// The numbers of the connection at its end.
    pub(super) info: Option<Box<TcpInfo>>,
    pub(super) readiness: Readiness,
    pub(super) waiters: Waiters,
}

impl RecvSide {
    pub(super) fn new(limit: usize, charge: Charge) -> Self {
        Self {
            data: ByteQueue::default(),
            charge,
            limit,
            rings_at: None,
            has_made_room: false,
            end: None,
            shutdown: false,
            readiness: Readiness::default(),
            waiters: Waiters::default(),
        }
    }

    /// Counts what it holds, after a change.
    pub(super) fn recount(&mut self) {
        self.charge.set(self.data.allocated());
    }

    pub(super) fn is_ready(&self) -> bool {
        !self.data.is_empty() || self.end.is_some() || self.shutdown
    }

    pub(super) fn state(&self) -> SideState {
        SideState {
            is_ready: self.is_ready() && !self.readiness.is_cleared(),
            is_closed: self.end.is_some() || self.shutdown,
            tick: self.readiness.tick(),
        }
    }
}

impl SendSide {
    pub(super) fn new(limit: usize, charge: Charge) -> Self {
        Self {
            data: ByteQueue::default(),
            charge,
            limit,
            reserved: 0,
            fin: false,
            ended: None,
            info: None,
            readiness: Readiness::default(),
            waiters: Waiters::default(),
        }
    }

    /// Counts what it holds, after a change.
    pub(super) fn recount(&mut self) {
        self.charge.set(self.data.allocated());
    }

    pub(super) fn is_closed(&self) -> bool {
        self.fin || self.ended.is_some()
    }

    pub(super) fn state(&self) -> SideState {
        let is_ready = self.is_closed() || self.credit().is_ok();
        SideState {
            is_ready: is_ready && !self.readiness.is_cleared(),
            is_closed: self.is_closed(),
            tick: self.readiness.tick(),
        }
    }

    pub(super) fn credit(&self) -> Result<usize, Error> {
        let queued = self.data.len() + self.reserved;
        // A writer that waits has something queued, and is woken when that goes.
        let limit = match self.charge.pressure() {
            Pressure::None => self.limit,
            Pressure::High => self.limit.min(LIMIT_UNDER_PRESSURE),
            Pressure::Full if queued == 0 => self.limit.min(LIMIT_WHEN_FULL),
            Pressure::Full => 0,
        };
        match limit.saturating_sub(queued) {
            0 => Err(Error::WouldBlock),
            credit => Ok(credit),
        }
    }
}

/// What the reader has left.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unread {
    /// Bytes.
    pub(crate) len: usize,
    /// Memory that they keep alive, in bytes.
    pub(crate) held: usize,
    /// Whether the reader has made room for a window that was small.
    pub(crate) has_made_room: bool,
}

/// Received bytes to append to a queue.
pub(crate) enum Received<'a> {
    /// To be copied.
    Copy(&'a [u8]),
    /// To be kept by reference, with the size of the buffer kept alive.
    Kept(Bytes, usize),
}

/// The first `len` bytes of several buffers.
pub(super) fn parts<'a>(bufs: &'a [IoSlice<'a>], len: usize) -> impl Iterator<Item = &'a [u8]> {
    bufs.iter().scan(len, |left, buf| {
        let part = &buf[..buf.len().min(*left)];
        *left -= part.len();
        (!part.is_empty() || *left > 0).then_some(part)
    })
}
