//! The impairments of a simulated link in front of a real device.

use super::counters::LinkCounters;
use super::lane::{Flight, Lane};
use super::link::LinkConfig;
use crate::device::Device;
use crate::direction::Direction;
use crate::frame_layout::ETHERNET_HEADER;
use bytes::{Bytes, BytesMut};
use netcore::{Frame, FrameChecksum, LinkCapabilities, Medium, Offload, Slot};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::time::{Instant, Sleep};

/// A device behind a [`LinkConfig`] that delays, loses and damages its packets, in both directions.
///
/// It follows tokio's clock: real time in a program, virtual time in a test that pauses it.
///
/// It offers no offload, since a packet must be complete to be damaged, and the smaller of the
/// link's and the device's MTU. Packets in flight when the stack ends are lost.
///
/// ```no_run
/// # fn device() -> netstack::device::PipeDevice { unimplemented!() }
/// # async fn make() -> std::io::Result<()> {
/// use netstack::sim::{Impaired, LinkConfig};
/// use std::time::Duration;
///
/// let link = LinkConfig::new().loss(0.05).delay(Duration::from_millis(10));
/// let device = Impaired::new(device(), link, 1);
/// let impairment = device.impairment();
/// let stack = netstack::Builder::new().address("10.0.0.2/24".parse().unwrap()).spawn(device)?;
///
/// impairment.set_link(impairment.link().down());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Impaired<D> {
    device: D,
    capabilities: LinkCapabilities,
    impairment: Impairment,
    /// Fires when the first packet in flight arrives.
    timer: Option<Pin<Box<Sleep>>>,
}

/// The maximum number of packets in flight in each direction: 100 Mbit/s for seven seconds. At that
/// many the link has no room, and the device is not read.
const UNDER_WAY_MAX: usize = 1 << 16;
/// How many packets are taken from the device before the stack gets one.
const BATCH_FRAMES: usize = 64;

impl<D: Device> Impaired<D> {
    /// Puts a link in front of a device. The seed determines which packets are lost and damaged.
    ///
    /// [`Builder::spawn`](crate::Builder::spawn) fails with `InvalidInput` if the device computes
    /// checksums or cuts and joins segments, because its frames may be incomplete or contain
    /// several packets: open a TUN with `InterfaceOffload::Off`.
    pub fn new(device: D, link: LinkConfig, seed: u64) -> Self {
        let theirs = device.capabilities();
        let capabilities = LinkCapabilities::new(theirs.medium, theirs.mtu.min(link.mtu));
        let now = Instant::now();
        let header_bytes = match theirs.medium {
            Medium::Ethernet => ETHERNET_HEADER,
            _ => 0,
        };
        let lane = |link, seed| Lane::new(link, seed, now).with_header(header_bytes);
        let outgoing = Course::new(lane(link.clone(), seed));
        let incoming = Course::new(lane(link, seed.wrapping_add(1 << 63)));
        let state = State { outgoing, incoming, waker: None };
        Self {
            device,
            capabilities,
            impairment: Impairment(Arc::new(Mutex::new(state))),
            timer: None,
        }
    }

    /// What changes and observes the link once the stack has the device.
    pub fn impairment(&self) -> Impairment {
        self.impairment.clone()
    }

    /// Passes arrived packets to the device, as far as it has room.
    fn pass_on(&mut self) {
        let now = Instant::now();
        let outgoing = &mut self.impairment.lock().outgoing;
        outgoing.advance(now);
        while outgoing.is_due(now)
            && let Some(slot) = self.device.transmit()
            && let Some(packet) = outgoing.pop_due(now)
        {
            slot.send(packet.len(), |buffer| {
                buffer.copy_from_slice(&packet);
                ((), Offload::default())
            });
        }
        self.device.flush();
    }

    /// Receives packets from the device.
    fn take_in(&mut self) {
        let now = Instant::now();
        let incoming = &mut self.impairment.lock().incoming;
        incoming.advance(now);
        for _ in 0..BATCH_FRAMES {
            if incoming.is_full() {
                return;
            }
            let Some(frame) = self.device.receive() else { return };
            incoming.carry(now, frame.linearize().data);
        }
    }

    /// Passes on due packets, and arranges a wake-up for the next.
    fn poll_flights(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.impairment.lock().await_change(cx.waker());
        loop {
            self.pass_on();
            let now = Instant::now();
            let mut state = self.impairment.lock();
            state.incoming.advance(now);
            if state.incoming.is_due(now) {
                return Poll::Ready(Ok(()));
            }
            let outgoing = if state.outgoing.is_due(now) {
                match self.device.poll_room(cx) {
                    Poll::Ready(Ok(())) => continue,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => None,
                }
            } else {
                state.outgoing.next()
            };
            let Some(next) = outgoing.into_iter().chain(state.incoming.next()).min() else {
                return Poll::Pending;
            };
            drop(state);
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next)));
            if timer.deadline() != next {
                timer.as_mut().reset(next);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl<D: Device> netcore::Link for Impaired<D> {
    type Slot<'a> = ImpairedSlot<'a, D>;

    fn has_carrier(&self) -> bool {
        self.device.has_carrier()
    }

    fn capabilities(&self) -> LinkCapabilities {
        self.capabilities
    }

    fn receive(&mut self) -> Option<Frame> {
        self.take_in();
        let data = self.impairment.lock().incoming.pop_due(Instant::now())?;
        Some(Frame::new(data, FrameChecksum::Unknown))
    }

    fn transmit(&mut self) -> Option<ImpairedSlot<'_, D>> {
        let is_full = self.impairment.lock().outgoing.is_full();
        if is_full { None } else { Some(ImpairedSlot(self)) }
    }
}

impl<D: Device> Device for Impaired<D> {
    fn attach(&mut self) -> io::Result<()> {
        let theirs = self.device.capabilities();
        if theirs.checksum_offload || theirs.segment_bytes_max.is_some() {
            let message = "an impaired device must leave checksums and segments to the stack";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        self.device.attach()
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(due) = self.poll_flights(cx) {
            return Poll::Ready(due);
        }
        let is_full = self.impairment.lock().incoming.is_full();
        if is_full { Poll::Pending } else { self.device.poll_receive(cx) }
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(Err(error)) = self.poll_flights(cx) {
            return Poll::Ready(Err(error));
        }
        let is_full = self.impairment.lock().outgoing.is_full();
        if is_full { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn flush(&mut self) {
        self.pass_on();
    }

    fn poll_delivered(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.device.poll_delivered(cx)
    }
}

/// A slot for one frame at an impaired device.
#[derive(Debug)]
pub struct ImpairedSlot<'a, D>(&'a mut Impaired<D>);

impl<D: Device> Slot for ImpairedSlot<'_, D> {
    fn send<R>(self, len: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        let mut packet = BytesMut::zeroed(len);
        let (result, _) = fill(&mut packet);
        self.0.impairment.lock().outgoing.carry(Instant::now(), packet.freeze());
        result
    }
}

/// Changes and observes the link of an [`Impaired`] device. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Impairment(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    outgoing: Course,
    incoming: Course,
    /// Of the task that has the device, for when the link changes.
    waker: Option<Waker>,
}

impl State {
    fn course(&mut self, direction: Direction) -> &mut Course {
        match direction {
            Direction::Outbound => &mut self.outgoing,
            Direction::Inbound => &mut self.incoming,
        }
    }

    fn await_change(&mut self, waker: &Waker) {
        match &mut self.waker {
            Some(known) => known.clone_from(waker),
            None => self.waker = Some(waker.clone()),
        }
    }
}

impl Impairment {
    /// The current configuration of the link: of the outbound direction, if they differ.
    pub fn link(&self) -> LinkConfig {
        self.link_of(Direction::Outbound)
    }

    /// The current configuration of one direction of the link.
    pub fn link_of(&self, direction: Direction) -> LinkConfig {
        self.lock().course(direction).lane.link().clone()
    }

    /// Changes the link in both directions. Packets that wait in a queue leave as the new link has
    /// it; those that have left it are not affected.
    pub fn set_link(&self, link: LinkConfig) {
        self.set_link_of(Direction::Outbound, link.clone());
        self.set_link_of(Direction::Inbound, link);
    }

    /// Changes one direction of the link, as [`set_link`](Self::set_link) does.
    pub fn set_link_of(&self, direction: Direction, link: LinkConfig) {
        let mut state = self.lock();
        state.course(direction).set_link(link, Instant::now());
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The counters of one direction so far.
    pub fn counters(&self, direction: Direction) -> LinkCounters {
        let mut state = self.lock();
        let course = state.course(direction);
        course.advance(Instant::now());
        course.lane.counters
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One direction: a lane, and the packets that have left its queue.
#[derive(Debug)]
struct Course {
    lane: Lane,
    /// In order of arrival.
    flights: BinaryHeap<Reverse<Flight>>,
    /// Packets sent.
    begun: u64,
}

impl Course {
    fn new(lane: Lane) -> Self {
        Self { lane, flights: BinaryHeap::new(), begun: 0 }
    }

    fn carry(&mut self, now: Instant, packet: Bytes) {
        self.begun += 1;
        let flights = &mut self.flights;
        self.lane.carry(now, self.begun, packet, |flight| flights.push(Reverse(flight)));
    }

    /// Takes what has left the queue by now.
    fn advance(&mut self, now: Instant) {
        let flights = &mut self.flights;
        self.lane.advance(now, |flight| flights.push(Reverse(flight)));
    }

    fn set_link(&mut self, link: LinkConfig, now: Instant) {
        self.advance(now);
        self.lane.set_link(link, now);
        self.advance(now);
    }

    fn is_full(&self) -> bool {
        self.flights.len() + self.lane.len() >= UNDER_WAY_MAX
    }

    /// When the next may arrive.
    fn next(&self) -> Option<Instant> {
        let flight = self.flights.peek().map(|Reverse(flight)| flight.at);
        flight.into_iter().chain(self.lane.next()).min()
    }

    /// Whether one has arrived that was taken out of the queue.
    fn is_due(&self, now: Instant) -> bool {
        self.flights.peek().is_some_and(|Reverse(flight)| flight.at <= now)
    }

    fn pop_due(&mut self, now: Instant) -> Option<Bytes> {
        if !self.is_due(now) {
            return None;
        }
        let Reverse(flight) = self.flights.pop()?;
        self.lane.counters.arrived += 1;
        Some(flight.packet)
    }
}

#[cfg(test)]
mod tests;
