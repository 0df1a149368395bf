//! Frames in order, until it is decided what becomes of them.

use super::{Decision, Tap, TappedFrame};
use bytes::Bytes;
use netcore::{DropReason, Fate, ObservedSegment, ObservedSocket, Observer, Owner, SocketId};
use std::fmt;
use std::sync::Arc;
use tokio::time::Instant;

/// Hands frames to a tap in the order in which they have passed: those that answer a received frame
/// are sent before it is decided what became of it, and wait here.
pub(crate) struct FrameLog<T> {
    tap: T,
    /// The received frame that is undecided, and those sent since.
    waiting: Vec<TappedFrame>,
    serving: Option<SocketId>,
    owner: Option<Arc<Owner>>,
    /// What the next frame sent is.
    next: Option<ObservedSegment>,
}

impl<T: Tap> FrameLog<T> {
    pub(crate) fn new(tap: T) -> Self {
        Self { tap, waiting: Vec::new(), serving: None, owner: None, next: None }
    }

    pub(crate) fn tap_mut(&mut self) -> &mut T {
        &mut self.tap
    }

    /// A frame was received.
    pub(crate) fn receive(&mut self, at: Instant, bytes: Bytes) {
        self.settle();
        let decision = Decision::Received(None, None);
        self.waiting.push(TappedFrame { at, bytes, socket: None, owner: None, decision });
    }

    /// A frame was sent.
    pub(crate) fn send(&mut self, at: Instant, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        let decision = Decision::Sent(self.next.take());
        let frame =
            TappedFrame { at, bytes, socket: self.serving, owner: self.owner.clone(), decision };
        match self.waiting.is_empty() {
            true => self.tap.frame(&frame),
            false => self.waiting.push(frame),
        }
    }

    /// Nothing more is decided about what was received.
    pub(crate) fn settle(&mut self) {
        self.next = None;
        for frame in self.waiting.drain(..) {
            self.tap.frame(&frame);
        }
    }
}

impl<T: Tap> Observer for FrameLog<T> {
    fn serving(&mut self, socket: Option<SocketId>, owner: Option<&Arc<Owner>>) {
        self.serving = socket;
        self.owner = owner.cloned();
    }

    fn received(&mut self, fate: Result<Fate, DropReason>, at: Option<&ObservedSocket>) {
        if let Some(frame) = self.waiting.first_mut() {
            frame.socket = at.map(|socket| socket.id);
            frame.owner = at.and_then(|socket| socket.owner.clone());
            let connection = at.and_then(|socket| socket.connection);
            frame.decision = Decision::Received(Some(fate), connection);
        }
        (self.serving, self.owner) = (None, None);
        self.settle();
    }

    fn sending(&mut self, segment: &ObservedSegment) {
        self.next = Some(*segment);
    }

    fn withheld(&mut self) {
        self.next = None;
    }
}

impl<T> fmt::Debug for FrameLog<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameLog").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}
