//! The impairments of a simulated link in front of a real device.

use super::lane::Lane;
use super::link::{LinkConfig, LinkCounters};
use crate::device::Device;
use crate::direction::Direction;
use bytes::{Bytes, BytesMut};
use netcore::{Frame, FrameChecksum, LinkCapabilities, Offload, Slot};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
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
    outgoing: Flights,
    incoming: Flights,
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
        let lanes = [Lane::new(seed), Lane::new(seed.wrapping_add(1 << 63))];
        let [from_host, to_host] = lanes;
        let state = State { link, from_host, to_host };
        Self {
            device,
            capabilities,
            impairment: Impairment(Arc::new(Mutex::new(state))),
            outgoing: Flights::default(),
            incoming: Flights::default(),
            timer: None,
        }
    }

    /// What changes and observes the link once the stack has the device.
    pub fn impairment(&self) -> Impairment {
        self.impairment.clone()
    }

    fn send(&mut self, packet: Bytes) {
        let mut state = self.impairment.lock();
        let State { link, from_host, .. } = &mut *state;
        self.outgoing.extend(from_host.carry(link, Instant::now(), packet));
    }

    /// Passes arrived packets to the device, as far as it has room.
    fn pass_on(&mut self) {
        let now = Instant::now();
        while self.outgoing.is_due(now)
            && let Some(slot) = self.device.transmit()
            && let Some(packet) = self.outgoing.pop_due(now)
        {
            slot.send(packet.len(), |buffer| {
                buffer.copy_from_slice(&packet);
                ((), Offload::default())
            });
            self.impairment.lock().from_host.counters.arrived += 1;
        }
        self.device.flush();
    }

    /// Receives packets from the device.
    fn take_in(&mut self) {
        let now = Instant::now();
        for _ in 0..BATCH_FRAMES {
            if self.incoming.is_full() {
                return;
            }
            let Some(frame) = self.device.receive() else { return };
            let mut state = self.impairment.lock();
            let State { link, to_host, .. } = &mut *state;
            self.incoming.extend(to_host.carry(link, now, frame.data));
        }
    }

    /// Passes on due packets, and arranges a wake-up for the next.
    fn poll_flights(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            self.pass_on();
            let now = Instant::now();
            if self.incoming.is_due(now) {
                return Poll::Ready(Ok(()));
            }
            let outgoing = if self.outgoing.is_due(now) {
                match self.device.poll_room(cx) {
                    Poll::Ready(Ok(())) => continue,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => None,
                }
            } else {
                self.outgoing.next()
            };
            let Some(next) = outgoing.into_iter().chain(self.incoming.next()).min() else {
                return Poll::Pending;
            };
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
        let data = self.incoming.pop_due(Instant::now())?;
        self.impairment.lock().to_host.counters.arrived += 1;
        Some(Frame { data, checksum: FrameChecksum::Unknown })
    }

    fn transmit(&mut self) -> Option<ImpairedSlot<'_, D>> {
        (!self.outgoing.is_full()).then_some(ImpairedSlot(self))
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
        if self.incoming.is_full() { Poll::Pending } else { self.device.poll_receive(cx) }
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(Err(error)) = self.poll_flights(cx) {
            return Poll::Ready(Err(error));
        }
        if self.outgoing.is_full() { Poll::Pending } else { Poll::Ready(Ok(())) }
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
        self.0.send(packet.freeze());
        result
    }
}

/// Changes and observes the link of an [`Impaired`] device. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Impairment(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    link: LinkConfig,
    from_host: Lane,
    to_host: Lane,
}

impl Impairment {
    /// The current configuration of the link.
    pub fn link(&self) -> LinkConfig {
        self.lock().link.clone()
    }

    /// Changes the link. Packets in flight are not affected.
    pub fn set_link(&self, link: LinkConfig) {
        self.lock().link = link;
    }

    /// The counters of one direction so far.
    pub fn counters(&self, direction: Direction) -> LinkCounters {
        let state = self.lock();
        match direction {
            Direction::Outbound => state.from_host.counters,
            Direction::Inbound => state.to_host.counters,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Packets in flight in one direction, in order of arrival.
#[derive(Debug, Default)]
struct Flights {
    heap: BinaryHeap<Reverse<(Instant, u64, Bytes)>>,
    /// Packets sent, as a tie-breaker for those that arrive at the same time.
    begun: u64,
}

impl Flights {
    fn extend(&mut self, packets: Vec<(Instant, Bytes)>) {
        for (at, packet) in packets {
            self.begun += 1;
            self.heap.push(Reverse((at, self.begun, packet)));
        }
    }

    fn is_full(&self) -> bool {
        self.heap.len() >= UNDER_WAY_MAX
    }

    /// When the first arrives.
    fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    fn is_due(&self, now: Instant) -> bool {
        self.next().is_some_and(|at| at <= now)
    }

    fn pop_due(&mut self, now: Instant) -> Option<Bytes> {
        if !self.is_due(now) {
            return None;
        }
        self.heap.pop().map(|Reverse((_, _, packet))| packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{PipeEnd, pipe};
    use crate::{Builder, Stack};
    use netcore::Link as _;
    use netcore::Medium;
    use std::time::Duration;

    const DELAY: Duration = Duration::from_millis(10);

    fn stack_behind(link: LinkConfig) -> (Stack, PipeEnd, Impairment) {
        let (device, far) = pipe(1 << 12, 1500);
        let device = Impaired::new(device, link, 7);
        let impairment = device.impairment();
        let stack = Builder::new().address("10.0.0.2/24".parse().expect("an address"));
        (stack.spawn(device).expect("a valid device"), far, impairment)
    }

    /// Sends this many datagrams from the stack; returns those that arrive at the pipe, and when.
    async fn send(stack: &Stack, far: &PipeEnd, count: u32) -> Vec<(Duration, Bytes)> {
        let socket = stack.net().udp_bind("10.0.0.2:9").await.expect("free");
        let start = Instant::now();
        for number in 0..count {
            socket.send_to(&number.to_be_bytes(), "10.0.0.1:9").await.expect("room");
        }
        let mut received = Vec::new();
        let patience = Duration::from_secs(1);
        while let Ok(Some(packet)) = tokio::time::timeout(patience, far.recv()).await {
            received.push((start.elapsed(), packet));
        }
        received
    }

    fn near_200(count: u64) -> bool {
        (140..260).contains(&count)
    }

    #[tokio::test(start_paused = true)]
    async fn outbound_packets_are_delayed_lost_and_damaged() {
        let link =
            LinkConfig::new().delay(DELAY).loss(0.2).duplicate(0.2).corrupt(0.2).reorder(0.2);
        let (stack, far, impairment) = stack_behind(link);

        let received = send(&stack, &far, 1000).await;

        let counters = impairment.counters(Direction::Outbound);
        assert_eq!(counters.sent, 1000);
        assert_eq!(counters.arrived, received.len() as u64);
        assert_eq!(counters.arrived, 1000 - counters.lost + counters.duplicated);
        assert!(near_200(counters.lost), "{counters:?}");
        assert!(near_200(counters.duplicated) && near_200(counters.corrupted), "{counters:?}");
        assert!(near_200(counters.reordered), "{counters:?}");
        let late = received.iter().filter(|(at, _)| *at > DELAY + Duration::from_millis(2)).count();
        assert!(received.iter().all(|(at, _)| *at >= DELAY));
        assert!(late as u64 <= counters.reordered, "{late} are late");
        let order: Vec<&[u8]> = received.iter().map(|(_, packet)| &packet[28..]).collect();
        assert!(!order.is_sorted(), "some were overtaken");
    }

    #[tokio::test(start_paused = true)]
    async fn inbound_packets_are_delayed_lost_and_damaged() {
        let link = LinkConfig::new().delay(DELAY).loss(0.2).duplicate(0.2).corrupt(0.2);
        let (there, from, _) = stack_behind(LinkConfig::new());
        let packets = send(&there, &from, 1000).await;
        let (stack, far, impairment) = stack_behind(link);
        for (_, packet) in packets {
            assert!(far.send(packet).await);
        }
        tokio::time::sleep(DELAY / 2).await;
        assert_eq!(impairment.counters(Direction::Inbound).arrived, 0);
        tokio::time::sleep(DELAY).await;

        let counters = impairment.counters(Direction::Inbound);
        assert_eq!(counters.sent, 1000);
        assert_eq!(counters.arrived, 1000 - counters.lost + counters.duplicated);
        assert!(near_200(counters.lost) && near_200(counters.corrupted), "{counters:?}");
        let frames = stack.net().snapshot().await.expect("running").counters.frames_received;
        assert_eq!(frames, counters.arrived);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_spreads_packets_and_a_short_queue_loses_them() {
        // A datagram of 4 bytes and its 28 of headers take 2.56 ms.
        let (stack, far, impairment) = stack_behind(LinkConfig::new().bandwidth(100_000).queue(5));

        let received = send(&stack, &far, 20).await;

        let counters = impairment.counters(Direction::Outbound);
        assert_eq!((received.len(), counters.lost_queue), (6, 14));
        let times: Vec<u128> = received.iter().map(|(at, _)| at.as_millis()).collect();
        assert!(times[0] >= 2 && times[5] >= 15, "{times:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_can_be_taken_down_and_up_again() {
        let (stack, far, impairment) = stack_behind(LinkConfig::new());
        impairment.set_link(impairment.link().down());
        assert_eq!(send(&stack, &far, 3).await.len(), 0);

        impairment.set_link(impairment.link().up());

        assert_eq!(send(&stack, &far, 3).await.len(), 3);
        let counters = impairment.counters(Direction::Outbound);
        assert_eq!((counters.lost_down, counters.arrived), (3, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn device_with_checksum_offload_is_refused() {
        let (device, _far) = crate::device::join(16, Medium::Ip, 1500, true);
        let device = Impaired::new(device, LinkConfig::new(), 1);
        assert_eq!(device.capabilities().segment_bytes_max, None);
        assert!(!device.capabilities().checksum_offload);

        let refused = Builder::new().spawn(device).expect_err("it offloads");

        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    }
}
