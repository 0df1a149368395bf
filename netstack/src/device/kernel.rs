//! A device on an interface of the Linux kernel, a TUN or a TAP.

use super::carrier::Carrier;
use super::flows::Flows;
use super::interface::{Interface, Layer, Queues};
use super::queue::Queue;
use super::queue_counters::QueueCounters;
use super::receiver::Receiver;
use super::{Device, InterfaceConfig, host, refusal, virtio};
use crate::machine;
use bytes::Bytes;
use ipnet::IpNet;
use netcore::{Frame, Link, LinkCapabilities, Offload, Slot};
use netlink_packet_route::link::LinkFlags;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Sleep;

/// A device on an interface, which reads or writes one frame for each system call.
pub(super) struct KernelDevice {
    layer: Layer,
    queues: Vec<Queue>,
    /// The queue of each flow, if there are several.
    flows: Option<Flows>,
    /// The next queue to read, and that of the outgoing frame.
    next_queue: usize,
    outgoing_queue: usize,
    counters: QueueCounters,
    mtu: usize,
    receiver: Receiver,
    /// The frame to send, behind its header if there is offload, in the first `outgoing_len` bytes.
    outgoing: Box<[u8]>,
    outgoing_len: usize,
    /// What follows it elsewhere.
    outgoing_rest: Vec<Bytes>,
    /// The last write of `outgoing` ended with `WouldBlock`.
    is_stuck: bool,
    /// The error that ended the device, until `poll_receive` returns it.
    failure: Option<io::Error>,
    /// The kernel's addresses on this interface, as configured.
    host_addresses: Vec<IpAddr>,
    /// Frames were sent since `linger` began.
    has_sent: bool,
    linger: Option<Pin<Box<Sleep>>>,
    /// Set once the device is attached to a runtime.
    carrier: Option<Carrier>,
}

/// Twice the time from a packet to the wake-up of the thread that sleeps for it, in the kernel or
/// here.
const SPIN: Duration = Duration::from_micros(100);
/// The time in which programs on the host read the last packets before the interface is deleted: a
/// DHCP server, for one, looks up the interface of a message. The kernel does not report the read.
const LINGER: Duration = Duration::from_millis(100);
/// The largest IP packet.
const PACKET_BYTES_MAX: usize = 65_535;
/// The error of a descriptor whose interface was deleted.
const EBADFD: i32 = 77;
/// The errors of an interface that is down, and of a packet socket on one.
const EIO: i32 = 5;
const ENXIO: i32 = 6;
const ENETDOWN: i32 = 100;

impl KernelDevice {
    pub(super) fn open(layer: Layer, config: &InterfaceConfig) -> io::Result<Self> {
        refusal::check_name(&config.name)?;
        let mtu = refusal::check_mtu(config.mtu)?;
        refusal::check_queues(config.queues)?;
        let queues = if config.queues == 1 { Queues::One } else { Queues::Several };
        let mut interfaces = vec![Interface::open(&config.name, layer, config.offload, queues)?];
        while interfaces.len() < config.queues {
            let name = interfaces[0].name();
            interfaces.push(Interface::open(name, layer, config.offload, queues)?);
        }
        let name = interfaces[0].name();
        let configure = || {
            host::set_mtu(name, u32::from(mtu))?;
            host::lengthen_queue(name)?;
            if !config.host_addresses.is_empty() {
                host::bring_up(name, &config.host_addresses)?;
            }
            Ok(())
        };
        configure().map_err(|error: io::Error| {
            io::Error::new(error.kind(), format!("setting up {name}: {error}"))
        })?;
        let host_addresses = config.host_addresses.iter().map(IpNet::addr).collect();
        Ok(Self::new(layer, interfaces, config.mtu, host_addresses))
    }

    /// A device on the queues of an interface that is configured, one at least.
    pub(super) fn new(
        layer: Layer,
        interfaces: Vec<Interface>,
        mtu: usize,
        host_addresses: Vec<IpAddr>,
    ) -> Self {
        let frame_bytes_max = match interfaces[0].has_offload() {
            true => virtio::HEADER_BYTES + layer.header_bytes_max() + PACKET_BYTES_MAX,
            false => layer.header_bytes_max() + mtu,
        };
        Self {
            layer,
            flows: (interfaces.len() > 1).then(|| Flows::new(layer.medium(), interfaces.len())),
            counters: QueueCounters::new(interfaces.len()),
            queues: interfaces.into_iter().map(Queue::new).collect(),
            next_queue: 0,
            outgoing_queue: 0,
            mtu,
            receiver: Receiver::new(layer, frame_bytes_max),
            outgoing: vec![0; frame_bytes_max].into_boxed_slice(),
            outgoing_len: 0,
            outgoing_rest: Vec::new(),
            is_stuck: false,
            failure: None,
            host_addresses,
            has_sent: false,
            linger: None,
            carrier: None,
        }
    }

    pub(super) fn with_mtu_max(self, mtu: usize) -> Self {
        Self { mtu: self.mtu.min(mtu), ..self }
    }

    pub(super) fn has_offload(&self) -> bool {
        self.open_interface().is_some_and(Interface::has_offload)
    }

    pub(super) fn queue_counters(&self) -> QueueCounters {
        self.counters.clone()
    }

    pub(super) fn name(&self) -> &str {
        self.open_interface().map_or("", Interface::name)
    }

    fn open_interface(&self) -> Option<&Interface> {
        self.queues.first().and_then(Queue::interface)
    }

    fn removed(&self) -> io::Error {
        let message = format!("the network device {} was removed", self.name());
        io::Error::new(io::ErrorKind::NotConnected, message)
    }

    /// Reads a batch of the next queue.
    fn read_next(
        &mut self,
        read: impl FnOnce(&mut Queue, &mut Receiver) -> io::Result<()>,
    ) -> io::Result<()> {
        let queue = self.next_queue;
        self.next_queue = (queue + 1) % self.queues.len();
        let before = self.receiver.frames.len();
        let outcome = read(&mut self.queues[queue], &mut self.receiver);
        let frames = self.receiver.frames.range(before..);
        self.counters.count_received(queue, frames.len());
        if let Some(flows) = &mut self.flows {
            frames.for_each(|frame| flows.note(&frame.data, queue));
        }
        outcome
    }

    /// Sends the packet in `outgoing`.
    fn push(&mut self) {
        let queue = &mut self.queues[self.outgoing_queue];
        // A packet often has an answer at once.
        queue.look();
        let Some(interface) = queue.interface() else { return };
        let packet = &self.outgoing[..self.outgoing_len];
        let sent = match self.outgoing_rest.is_empty() {
            true => interface.send(packet),
            false => interface.send_gathered(packet, &self.outgoing_rest),
        };
        self.is_stuck = false;
        match sent {
            Ok(_) => {
                self.has_sent = !interface.is_of_others();
                self.counters.count_sent(self.outgoing_queue);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_stuck = true,
            Err(error) if is_deleted(&error) => self.failure = Some(error),
            // An interface that is down loses packets, as a wire does.
            Err(error) if matches!(error.raw_os_error(), Some(EIO | ENXIO | ENETDOWN)) => {}
            Err(error) => tracing::debug!(%error, "the kernel refused a packet"),
        }
        if !self.is_stuck {
            self.outgoing_rest.clear();
        }
    }

    /// Sends a frame of `len` bytes, which `fill` writes, and of the rest that is there.
    fn send<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        let start = if self.has_offload() { virtio::HEADER_BYTES } else { 0 };
        self.outgoing_len = start + len;
        let buffer = &mut self.outgoing[..start + len];
        let (result, offload) = fill(&mut buffer[start..]);
        if let Some(flows) = &mut self.flows {
            self.outgoing_queue = flows.queue(&buffer[start..]);
        }
        if start > 0 {
            virtio::write_header(buffer, self.layer.header_bytes(), offload);
        }
        self.push();
        result
    }
}

impl fmt::Debug for KernelDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelDevice").field("name", &self.name()).field("mtu", &self.mtu).finish()
    }
}

impl Link for KernelDevice {
    type Slot<'a> = KernelSlot<'a>;

    fn capabilities(&self) -> LinkCapabilities {
        LinkCapabilities::new(self.layer.medium(), self.mtu)
            .with_offload(self.has_offload().then_some(PACKET_BYTES_MAX))
            .with_scatter_gather()
    }

    fn has_carrier(&self) -> bool {
        self.carrier.as_ref().is_none_or(Carrier::is_up)
    }

    fn receive(&mut self) -> Option<Frame> {
        if let Some(frame) = self.receiver.frames.pop_front() {
            return Some(frame);
        }
        for _ in 0..self.queues.len() {
            let read = self.read_next(Queue::read);
            if let Err(error) = read
                && is_deleted(&error)
            {
                self.failure = Some(error);
            }
            if !self.receiver.frames.is_empty() {
                break;
            }
        }
        self.receiver.frames.pop_front()
    }

    fn transmit(&mut self) -> Option<KernelSlot<'_>> {
        if self.is_stuck {
            self.push();
        }
        (!self.is_stuck).then_some(KernelSlot(self))
    }
}

impl Device for KernelDevice {
    fn attach(&mut self) -> io::Result<()> {
        self.queues.iter_mut().try_for_each(Queue::attach)?;
        // One that others have made may have a cable.
        let flags = match self.open_interface() {
            Some(interface) if interface.is_of_others() => LinkFlags::Up | LinkFlags::LowerUp,
            _ => LinkFlags::Up,
        };
        match Carrier::watch(self.name(), flags) {
            Ok(carrier) => self.carrier = Some(carrier),
            Err(error) => tracing::debug!(%error, "the carrier of the interface is not watched"),
        }
        Ok(())
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.receiver.frames.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if let Some(failure) = self.failure.take() {
            tracing::debug!(error = %failure, "the interface was deleted");
            return Poll::Ready(Err(self.removed()));
        }
        loop {
            let mut has_more = false;
            for _ in 0..self.queues.len() {
                match self.read_next(Queue::read_ready) {
                    Ok(()) => has_more = true,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) if is_deleted(&error) => return Poll::Ready(Err(self.removed())),
                    // A packet socket whose interface has gone down; the event tells whether it is
                    // gone.
                    Err(error) if error.raw_os_error() == Some(ENETDOWN) => {}
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            if has_more || !self.receiver.frames.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if let Some(carrier) = &mut self.carrier
                && carrier.poll_changed(cx).is_ready()
            {
                // Before it is deleted, it goes down: the error of a packet socket may be gone by now.
                // A TUN or TAP lives on in another namespace, and has an error once it is deleted.
                if carrier.is_removed()
                    && self.open_interface().is_some_and(Interface::is_of_others)
                {
                    return Poll::Ready(Err(self.removed()));
                }
                return Poll::Ready(Ok(()));
            }
            let mut is_readable = false;
            for queue in &mut self.queues {
                match queue.poll_readable(cx) {
                    Poll::Ready(Ok(())) => is_readable = true,
                    Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::NotConnected => {
                        return Poll::Ready(Err(self.removed()));
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {}
                }
            }
            if !is_readable {
                return Poll::Pending;
            }
        }
    }

    fn poll_delivered(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_stuck {
            self.push();
        }
        if std::mem::take(&mut self.has_sent) {
            self.linger = Some(Box::pin(tokio::time::sleep(LINGER)));
        }
        if let Some(linger) = &mut self.linger {
            ready!(linger.as_mut().poll(cx));
            self.linger = None;
        }
        Poll::Ready(())
    }

    fn look(&mut self) {
        self.queues.iter_mut().for_each(Queue::look);
    }

    fn peer_addresses(&self) -> Vec<IpAddr> {
        // Other programs may have added addresses.
        host::own_addresses(self.name(), self.layer).unwrap_or_else(|error| {
            tracing::debug!(%error, "the kernel's addresses are not listed");
            self.host_addresses.clone()
        })
    }

    fn spin(&self) -> Duration {
        // On a single processor no sender runs while this thread spins.
        if machine::has_several_processors() { SPIN } else { Duration::ZERO }
    }

    fn flush(&mut self) {
        self.queues.iter_mut().for_each(Queue::end_round);
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.queues[self.outgoing_queue].poll_writable(cx)
    }
}

/// The slot for one frame.
#[derive(Debug)]
pub struct KernelSlot<'a>(&'a mut KernelDevice);

impl Slot for KernelSlot<'_> {
    fn send<R>(self, len: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        self.0.send(len, fill)
    }

    fn send_gathered<R>(
        self,
        len: usize,
        payload: &mut Vec<Bytes>,
        fill: impl FnOnce(&mut [u8]) -> (R, Offload),
    ) -> R {
        std::mem::swap(&mut self.0.outgoing_rest, payload);
        self.0.send(len, fill)
    }
}

fn is_deleted(error: &io::Error) -> bool {
    error.raw_os_error() == Some(EBADFD)
}

/// Implements [`Device`] for a tuple of one [`KernelDevice`].
macro_rules! is_a_kernel_device {
    ($device:ident) => {
        impl Link for $device {
            type Slot<'a> = KernelSlot<'a>;

            fn capabilities(&self) -> LinkCapabilities {
                self.0.capabilities()
            }

            fn has_carrier(&self) -> bool {
                self.0.has_carrier()
            }

            fn receive(&mut self) -> Option<Frame> {
                self.0.receive()
            }

            fn transmit(&mut self) -> Option<KernelSlot<'_>> {
                self.0.transmit()
            }
        }

        impl Device for $device {
            fn attach(&mut self) -> io::Result<()> {
                self.0.attach()
            }

            fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.0.poll_receive(cx)
            }

            fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.0.poll_room(cx)
            }

            fn poll_delivered(&mut self, cx: &mut Context<'_>) -> Poll<()> {
                self.0.poll_delivered(cx)
            }

            fn look(&mut self) {
                self.0.look();
            }

            fn peer_addresses(&self) -> Vec<std::net::IpAddr> {
                self.0.peer_addresses()
            }

            fn spin(&self) -> Duration {
                self.0.spin()
            }

            fn flush(&mut self) {
                self.0.flush();
            }
        }
    };
}

pub(super) use is_a_kernel_device;
