//! A port with a device behind it.

use super::PortId;
use super::frame::Carried;
use super::hub::{Hub, Port};
use crate::device::Device;
use crate::ending::{Ended, Ending, ending};
use crate::supervision::isolated_future;
use crate::task;
use netcore::Slot;
use netcore::isolation::isolated;
use std::collections::VecDeque;
use std::future;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A port of a switch with a device behind it, driven by a task. Dropping it removes the port and
/// closes the device.
#[derive(Debug)]
#[must_use = "dropping it removes the port"]
pub struct Uplink {
    hub: Arc<Hub>,
    id: PortId,
    ending: Ending,
}

impl Uplink {
    pub(super) fn spawn<D: Device>(hub: Arc<Hub>, port: Arc<Port>, device: D) -> Self {
        let id = port.id;
        port.queue.track_delivery();
        let driver = Driver { hub: hub.clone(), port, device, outgoing: VecDeque::new() };
        let (ended, ending) = ending();
        task::spawn("uplink", driver.run(ended));
        Self { hub, id, ending }
    }

    /// Which port it is.
    pub fn id(&self) -> PortId {
        self.id
    }

    /// Waits until the uplink ends: because its device did, the switch is gone, or the port was
    /// removed. May be called any number of times, with the same result.
    ///
    /// # Errors
    ///
    /// The error of the device, or that it was removed or panicked; none if it ended normally.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn ended(&self) -> io::Result<()> {
        self.ending.wait().await
    }
}

impl Drop for Uplink {
    fn drop(&mut self) {
        self.hub.remove_port(self.id);
    }
}

/// Moves frames between a port and its device.
struct Driver<D> {
    hub: Arc<Hub>,
    port: Arc<Port>,
    device: D,
    /// Frames that the device takes next.
    outgoing: VecDeque<Carried>,
}

/// How many frames go in one direction before it is the other's turn.
const BATCH_FRAMES: usize = 64;

impl<D: Device> Driver<D> {
    async fn run(mut self, ended: Ended) {
        // The hub catches its own panics.
        let outcome = isolated_future(self.move_frames()).await.unwrap_or_else(|panic| {
            Err(io::Error::other(format!("the device of the uplink panicked: {panic}")))
        });
        self.hub.remove_port(self.port.id);
        let name = self.port.name.clone();
        if let Err(panic) = isolated(|| drop(self)) {
            tracing::error!(port = %name, %panic, "a device panicked when it was dropped");
        }
        ended.set(match outcome {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            Err(error) => {
                tracing::warn!(port = %name, %error, "an uplink ended");
                Err(error)
            }
            Ok(()) => Ok(()),
        });
    }

    async fn move_frames(&mut self) -> io::Result<()> {
        while !self.port.queue.is_closed() {
            let has_worked = self.take_in() | self.pass_on();
            self.device.flush();
            if has_worked {
                // Others on this runtime get their turn as often as with any other busy task.
                tokio::task::consume_budget().await;
            } else {
                future::poll_fn(|cx| self.poll_work(cx)).await?;
            }
        }
        // Frames that other ports sent before.
        while self.pass_on() {}
        self.device.flush();
        Ok(())
    }

    fn take_in(&mut self) -> bool {
        let device = &mut self.device;
        let frames = std::iter::from_fn(|| device.receive()).take(BATCH_FRAMES);
        let frames: Vec<_> = frames.map(Carried::received).collect();
        let has_any = !frames.is_empty();
        if has_any {
            self.hub.forward(&self.port, frames.into_iter());
        }
        has_any
    }

    fn pass_on(&mut self) -> bool {
        let link = self.device.capabilities();
        for sent in 0..BATCH_FRAMES {
            while self.outgoing.is_empty() {
                let Some(frame) = self.port.queue.pop() else { return sent > 0 };
                frame.into_frames_for(&link, &mut |frame| self.outgoing.push_back(frame));
            }
            let Some(slot) = self.device.transmit() else { return sent > 0 };
            if let Some(frame) = self.outgoing.pop_front() {
                slot.send(frame.data.len(), |buffer| ((), frame.write(buffer, link.mtu)));
            }
        }
        true
    }

    /// Waits until there is something to do, or the port is removed.
    fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(received) = self.device.poll_receive(cx) {
            return Poll::Ready(received);
        }
        if self.outgoing.is_empty() {
            if self.port.queue.poll_receive(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            if self.port.queue.is_delivery_awaited() && self.device.poll_delivered(cx).is_ready() {
                self.port.queue.set_delivered();
            }
            return Poll::Pending;
        }
        if self.port.queue.poll_closed(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        self.device.poll_room(cx)
    }
}
