//! Port mirroring.

use super::PortId;
use super::frame::{self, Carried};
use super::hub::{Hub, Port};
use super::queue::{Compact, Queue};
use bytes::Bytes;
use std::future;
use std::sync::Arc;
use tokio::time::Instant;

/// Receives a copy of every frame that enters a switch, once and unchanged, even if it is then
/// dropped.
///
/// A segment that a stack sends with offload appears as one frame, with a checksum that may be
/// incomplete. A monitor that is too slow misses frames and delays no port. Dropping it ends the
/// mirroring.
#[derive(Debug)]
pub struct Monitor {
    hub: Arc<Hub>,
    queue: Arc<Queue<Seen>>,
}

/// A frame that a monitor saw.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Seen {
    /// Where it came in.
    pub port: PortId,
    /// The name of that port.
    pub name: Arc<str>,
    /// When.
    pub at: Instant,
    /// The frame.
    pub frame: Bytes,
}

impl Seen {
    pub(super) fn new(port: &Port, frame: &Carried, at: Instant) -> Self {
        Self { port: port.id, name: port.name.clone(), at, frame: frame.data.clone() }
    }
}

impl Compact for Seen {
    fn compact(&mut self) {
        frame::compact(&mut self.frame);
    }
}

impl Monitor {
    pub(super) fn new(hub: Arc<Hub>) -> Self {
        let queue = hub.add_monitor();
        Self { hub, queue }
    }

    /// The next frame; `None` once the switch is gone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready loses no frame.
    pub async fn recv(&self) -> Option<Seen> {
        loop {
            if let Some(seen) = self.try_recv() {
                return Some(seen);
            }
            if !future::poll_fn(|cx| self.queue.poll_receive(cx)).await {
                return None;
            }
        }
    }

    /// The next frame, if there is one now.
    pub fn try_recv(&self) -> Option<Seen> {
        self.queue.pop()
    }

    /// How many frames found the monitor's queue full.
    pub fn missed(&self) -> u64 {
        self.queue.refused()
    }

    /// Records every frame until the switch is gone; the ports are interfaces of the file.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready loses no frame.
    #[cfg(feature = "capture")]
    pub async fn record(&self, recorder: &crate::capture::Recorder) {
        use crate::Direction;
        use netcore::Medium;
        let mut interfaces = std::collections::HashMap::new();
        while let Some(seen) = self.recv().await {
            let interface = interfaces
                .entry(seen.port)
                .or_insert_with(|| recorder.interface(&seen.name, Medium::Ethernet));
            interface.record(seen.at, Direction::Inbound, &seen.frame);
        }
        // The recorder reports failures itself.
        let _ = recorder.flush();
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.hub.remove_monitor(&self.queue);
        self.queue.close();
    }
}
