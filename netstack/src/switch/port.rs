//! The ports that stacks and programs hold.

use super::frame::Carried;
use super::hub::{Hub, Port};
use super::{PortId, Switch};
use crate::batch::Batch;
use crate::device::Device;
use bytes::Bytes;
use netcore::Medium;
use netcore::{Frame, Link, LinkCapabilities, Offload, Slot};
use std::collections::VecDeque;
use std::future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

/// The largest IP packet.
const JUMBO_BYTES_MAX: usize = 65_535;

/// A port of a switch that a stack drives. Dropping it removes the port.
///
/// It always has room: frames that a destination's queue cannot take are dropped there.
#[derive(Debug)]
pub struct SwitchPort {
    connection: Connection,
    jumbo: bool,
    received: VecDeque<Carried>,
    /// The remaining pieces of the last packet that was cut.
    pieces: VecDeque<Bytes>,
    batch: Batch,
    /// A switch that lasts as long as its ports.
    _switch: Option<Arc<Switch>>,
}

/// A port of a switch that a program holds, with frames as they are on a wire. Dropping it removes
/// the port.
#[derive(Debug)]
pub struct RawPort {
    connection: Connection,
    /// The remaining pieces of the last packet that was cut.
    pieces: Mutex<VecDeque<Bytes>>,
}

/// A port, and its switch.
#[derive(Debug)]
struct Connection {
    hub: Arc<Hub>,
    port: Arc<Port>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.hub.remove_port(self.port.id);
    }
}

impl SwitchPort {
    pub(super) fn new(hub: Arc<Hub>, port: Arc<Port>, jumbo: bool) -> Self {
        let connection = Connection { hub, port };
        let (received, pieces) = (VecDeque::new(), VecDeque::new());
        Self { connection, jumbo, received, pieces, batch: Batch::new(), _switch: None }
    }

    /// Makes its switch last as long as it does.
    pub(super) fn keeping(mut self, switch: Arc<Switch>) -> Self {
        self._switch = Some(switch);
        self
    }

    /// Which port it is.
    pub fn id(&self) -> PortId {
        self.connection.port.id
    }

    fn pass_on(&mut self) {
        let Connection { hub, port } = &self.connection;
        hub.forward(port, self.batch.take().map(Carried::sent));
    }
}

impl Link for SwitchPort {
    type Slot<'a> = SwitchSlot<'a>;

    fn capabilities(&self) -> LinkCapabilities {
        LinkCapabilities::new(Medium::Ethernet, self.connection.hub.config.mtu)
            .with_offload(self.jumbo.then_some(JUMBO_BYTES_MAX))
    }

    fn receive(&mut self) -> Option<Frame> {
        loop {
            if let Some(data) = self.pieces.pop_front() {
                return Some(Carried::plain(data).into_frame());
            }
            if self.received.is_empty() {
                self.connection.port.queue.take(&mut self.received);
            }
            let frame = self.received.pop_front()?;
            if self.jumbo {
                return Some(frame.into_frame());
            }
            let mtu = self.connection.hub.config.mtu;
            frame.into_pieces(mtu, &mut |piece| self.pieces.push_back(piece));
        }
    }

    fn transmit(&mut self) -> Option<SwitchSlot<'_>> {
        if self.batch.is_full() {
            self.pass_on();
        }
        Some(SwitchSlot(self))
    }
}

impl Device for SwitchPort {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.pieces.is_empty() || !self.received.is_empty() {
            return Poll::Ready(Ok(()));
        }
        match ready!(self.connection.port.queue.poll_receive(cx)) {
            true => Poll::Ready(Ok(())),
            false => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    fn poll_room(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Frames sent to an uplink are delivered once its device has delivered them.
    fn poll_delivered(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for port in self.connection.hub.ports().iter() {
            ready!(port.queue.poll_delivered(cx));
        }
        Poll::Ready(())
    }

    fn flush(&mut self) {
        if !self.batch.is_empty() {
            self.pass_on();
        }
    }
}

impl Drop for SwitchPort {
    fn drop(&mut self) {
        self.flush();
    }
}

/// A slot for one frame at a port.
#[derive(Debug)]
pub struct SwitchSlot<'a>(&'a mut SwitchPort);

impl Slot for SwitchSlot<'_> {
    fn send<R>(self, len: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        let port = self.0;
        if !port.batch.has_room(len) {
            port.pass_on();
        }
        port.batch.add(len, fill)
    }
}

impl RawPort {
    pub(super) fn new(hub: Arc<Hub>, port: Arc<Port>) -> Self {
        Self { connection: Connection { hub, port }, pieces: Mutex::default() }
    }

    /// Which port it is.
    pub fn id(&self) -> PortId {
        self.connection.port.id
    }

    /// Sends a frame; returns whether the port still exists. Never waits: frames that a
    /// destination's queue cannot take are dropped there.
    pub fn send(&self, frame: Bytes) -> bool {
        let Connection { hub, port } = &self.connection;
        hub.forward(port, std::iter::once(Carried::plain(frame)));
        !port.queue.is_closed()
    }

    /// Receives the next frame; `None` once the port is removed or the switch is gone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready loses no frame.
    pub async fn recv(&self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.try_recv() {
                return Some(frame);
            }
            if !future::poll_fn(|cx| self.connection.port.queue.poll_receive(cx)).await {
                return None;
            }
        }
    }

    /// As [`recv`](Self::recv), blocking the thread.
    pub fn recv_blocking(&self) -> Option<Bytes> {
        pollster::block_on(self.recv())
    }

    /// The next frame, if there is one now.
    pub fn try_recv(&self) -> Option<Bytes> {
        let mut pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(piece) = pieces.pop_front() {
                return Some(piece);
            }
            let frame = self.connection.port.queue.pop()?;
            let mtu = self.connection.hub.config.mtu;
            frame.into_pieces(mtu, &mut |piece| pieces.push_back(piece));
        }
    }
}
