//! A device for tests with a cable.

use super::{Device, PipeDevice};
use netcore::{Frame, Link, LinkCapabilities};
use std::io;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// A pipe with a cable, unplugged at first.
pub(crate) struct Cabled {
    device: PipeDevice,
    cable: Cable,
    /// The state that `poll_receive` has reported.
    was_plugged: bool,
}

/// The cable. Dropping it changes nothing.
#[derive(Clone, Default)]
pub(crate) struct Cable(Arc<Mutex<(bool, Option<Waker>)>>);

impl Cabled {
    pub(crate) fn new(device: PipeDevice) -> (Self, Cable) {
        let cable = Cable::default();
        (Self { device, cable: cable.clone(), was_plugged: false }, cable)
    }
}

impl Cable {
    pub(crate) fn plug(&self, is_plugged: bool) {
        let waker = {
            let mut state = self.0.lock().expect("no panic");
            state.0 = is_plugged;
            state.1.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    fn is_plugged(&self) -> bool {
        self.0.lock().expect("no panic").0
    }
}

impl Link for Cabled {
    type Slot<'a> = <PipeDevice as Link>::Slot<'a>;

    fn capabilities(&self) -> LinkCapabilities {
        self.device.capabilities()
    }

    fn has_carrier(&self) -> bool {
        self.cable.is_plugged()
    }

    fn receive(&mut self) -> Option<Frame> {
        self.device.receive()
    }

    fn transmit(&mut self) -> Option<Self::Slot<'_>> {
        self.device.transmit()
    }
}

impl Device for Cabled {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let is_plugged = {
            let mut state = self.cable.0.lock().expect("no panic");
            state.1 = Some(cx.waker().clone());
            state.0
        };
        if std::mem::replace(&mut self.was_plugged, is_plugged) != is_plugged {
            return Poll::Ready(Ok(()));
        }
        self.device.poll_receive(cx)
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.device.poll_room(cx)
    }

    fn flush(&mut self) {
        self.device.flush();
    }
}
