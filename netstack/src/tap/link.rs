//! A link whose frames are tapped.

use super::{FrameLog, Tap};
use netcore::{
    DropReason, Fate, Frame, Link, LinkCapabilities, ObservedSegment, ObservedSocket, Observer,
    Offload, Owner, Slot, SocketId,
};
use std::sync::Arc;
use tokio::time::Instant;

/// Any link, without its type: netcore is compiled for tapped links once, and not for each device.
pub(crate) trait AnyLink {
    fn capabilities(&self) -> LinkCapabilities;
    fn has_carrier(&self) -> bool;
    fn receive(&mut self) -> Option<Frame>;
    fn has_room(&mut self) -> bool;
    /// Sends a frame, for which there must be room.
    fn send(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8]) -> Offload);
    fn observer(&mut self) -> Option<&mut dyn Observer>;
}

impl<L: Link> AnyLink for L {
    fn capabilities(&self) -> LinkCapabilities {
        Link::capabilities(self)
    }

    fn has_carrier(&self) -> bool {
        Link::has_carrier(self)
    }

    fn receive(&mut self) -> Option<Frame> {
        Link::receive(self)
    }

    fn has_room(&mut self) -> bool {
        self.transmit().is_some()
    }

    fn send(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8]) -> Offload) {
        let slot = self.transmit().expect("there was room");
        slot.send(len, |frame| ((), fill(frame)));
    }

    fn observer(&mut self) -> Option<&mut dyn Observer> {
        Link::observer(self)
    }
}

/// A link whose frames go to a log on their way.
pub(crate) struct ObservedLink<'a, T> {
    link: &'a mut dyn AnyLink,
    log: &'a mut FrameLog<T>,
}

impl<'a, T: Tap> ObservedLink<'a, T> {
    pub(crate) fn new(link: &'a mut dyn AnyLink, log: &'a mut FrameLog<T>) -> Self {
        Self { link, log }
    }

    /// Says something to both who observe: the log, and whoever observes the link itself.
    fn both(&mut self, say: impl Fn(&mut dyn Observer)) {
        say(self.log);
        if let Some(inner) = self.link.observer() {
            say(inner);
        }
    }
}

impl<T: Tap> Link for ObservedLink<'_, T> {
    type Slot<'a>
        = ObservedSlot<'a, T>
    where
        Self: 'a;

    fn capabilities(&self) -> LinkCapabilities {
        self.link.capabilities()
    }

    fn has_carrier(&self) -> bool {
        self.link.has_carrier()
    }

    fn receive(&mut self) -> Option<Frame> {
        let Some(frame) = self.link.receive() else {
            self.log.settle();
            return None;
        };
        let frame = frame.linearize();
        self.log.receive(Instant::now(), frame.data.clone());
        Some(frame)
    }

    fn transmit(&mut self) -> Option<ObservedSlot<'_, T>> {
        let has_room = self.link.has_room();
        has_room.then_some(ObservedSlot { link: self.link, log: self.log })
    }

    fn observer(&mut self) -> Option<&mut dyn Observer> {
        Some(self)
    }
}

impl<T: Tap> Observer for ObservedLink<'_, T> {
    fn serving(&mut self, socket: Option<SocketId>, owner: Option<&Arc<Owner>>) {
        self.both(|observer| observer.serving(socket, owner));
    }

    fn received(&mut self, fate: Result<Fate, DropReason>, at: Option<&ObservedSocket>) {
        self.both(|observer| observer.received(fate, at));
    }

    fn sending(&mut self, segment: &ObservedSegment) {
        self.both(|observer| observer.sending(segment));
    }

    fn withheld(&mut self) {
        self.both(|observer| observer.withheld());
    }
}

/// A slot for one frame, which goes to the log on its way.
pub(crate) struct ObservedSlot<'a, T> {
    link: &'a mut dyn AnyLink,
    log: &'a mut FrameLog<T>,
}

impl<T: Tap> Slot for ObservedSlot<'_, T> {
    fn send<R>(self, len: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        let Self { link, log } = self;
        let (mut fill, mut result) = (Some(fill), None);
        link.send(len, &mut |frame| {
            let fill = fill.take().expect("a slot is filled once");
            let (filled, offload) = fill(frame);
            log.send(Instant::now(), frame);
            result = Some(filled);
            offload
        });
        result.expect("a slot is filled")
    }
}
