//! A device on an interface of the Linux kernel, a TUN or a TAP.

use super::carrier::Carrier;
use super::interface::{Interface, Layer};
use super::receiver::Receiver;
use super::{Device, InterfaceConfig, host, refusal, virtio};
use bytes::Bytes;
use ipnet::IpNet;
use netcore::{Frame, Link, LinkCapabilities, Offload, Slot};
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Sleep;

/// A device on an interface, which reads or writes one frame for each system call.
pub(super) struct KernelDevice {
    layer: Layer,
    interface: State,
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
    /// The pending wait for the next packet.
    waiting: Option<Waiting>,
    /// Rounds until a read without a readiness event of the runtime.
    look_in: u8,
    /// The last read ended with `WouldBlock`, and the next one would.
    is_drained: bool,
}

type Waiting = Pin<Box<dyn Future<Output = io::Result<bool>> + Send>>;

/// The interface before and after its registration with a runtime.
enum State {
    Open(Interface),
    Attached(Arc<AsyncFd<Interface>>),
    Gone,
}

/// Rounds between two reads without a readiness event: a stack that is never idle keeps the runtime
/// from polling for events.
const LOOK_EVERY: u8 = 8;
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
/// The error of an interface that is down.
const EIO: i32 = 5;

impl KernelDevice {
    pub(super) fn open(layer: Layer, config: &InterfaceConfig) -> io::Result<Self> {
        refusal::check_name(&config.name)?;
        let mtu = refusal::check_mtu(config.mtu)?;
        let interface = Interface::open(&config.name, layer, config.offload)?;
        let name = interface.name();
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
        Ok(Self::new(layer, interface, config.mtu, host_addresses))
    }

    /// A device on an interface that is configured.
    pub(super) fn new(
        layer: Layer,
        interface: Interface,
        mtu: usize,
        host_addresses: Vec<IpAddr>,
    ) -> Self {
        let frame_bytes_max = match interface.has_offload() {
            true => virtio::HEADER_BYTES + layer.header_bytes_max() + PACKET_BYTES_MAX,
            false => layer.header_bytes_max() + mtu,
        };
        Self {
            layer,
            interface: State::Open(interface),
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
            waiting: None,
            look_in: 0,
            is_drained: false,
        }
    }

    pub(super) fn has_offload(&self) -> bool {
        self.open_interface().is_some_and(Interface::has_offload)
    }

    pub(super) fn name(&self) -> &str {
        self.open_interface().map_or("", Interface::name)
    }

    fn open_interface(&self) -> Option<&Interface> {
        match &self.interface {
            State::Open(interface) => Some(interface),
            State::Attached(fd) => Some(fd.get_ref()),
            State::Gone => None,
        }
    }

    fn removed(&self) -> io::Error {
        let message = format!("the network device {} was removed", self.name());
        io::Error::new(io::ErrorKind::NotConnected, message)
    }

    /// Sends the packet in `outgoing`.
    fn push(&mut self) {
        // A packet often has an answer at once.
        self.look_in = 0;
        let Some(interface) = self.open_interface() else { return };
        let packet = &self.outgoing[..self.outgoing_len];
        let sent = match self.outgoing_rest.is_empty() {
            true => interface.send(packet),
            false => interface.send_gathered(packet, &self.outgoing_rest),
        };
        self.is_stuck = false;
        match sent {
            Ok(_) => self.has_sent = true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_stuck = true,
            Err(error) if is_deleted(&error) => self.failure = Some(error),
            // An interface that is down loses packets, as a wire does.
            Err(error) if error.raw_os_error() == Some(EIO) => {}
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
        if std::mem::take(&mut self.is_drained) {
            return None;
        }
        let read = match &self.interface {
            State::Open(interface) => self.receiver.read(interface),
            State::Attached(fd) if self.look_in == 0 => {
                self.look_in = LOOK_EVERY;
                self.receiver.read(fd.get_ref())
            }
            State::Attached(fd) => {
                let receiver = &mut self.receiver;
                fd.try_io(Interest::READABLE, |interface| receiver.read(interface))
            }
            State::Gone => Err(io::ErrorKind::NotConnected.into()),
        };
        match read {
            Err(error) if is_deleted(&error) => self.failure = Some(error),
            // Without frames the caller learns of it now.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.is_drained = !self.receiver.frames.is_empty();
            }
            _ => {}
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
        if let State::Open(interface) = std::mem::replace(&mut self.interface, State::Gone) {
            // SAFETY: the interface owns its open descriptor, and neither closes nor replaces it
            // while `AsyncFd` has it.
            #[expect(unsafe_code, reason = "AsyncFd wants a descriptor that stays open")]
            let attached = unsafe { AsyncFd::register(interface) }?;
            self.interface = State::Attached(Arc::new(attached));
            match Carrier::watch(self.name()) {
                Ok(carrier) => self.carrier = Some(carrier),
                Err(error) => {
                    tracing::debug!(%error, "the carrier of the interface is not watched")
                }
            }
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
        let State::Attached(fd) = &self.interface else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        // Only a failed `try_io` makes tokio wait for the next event; the frames that it reads are
        // kept.
        loop {
            let receiver = &mut self.receiver;
            let read = fd.try_io(Interest::READABLE, |interface| receiver.read(interface));
            if !receiver.frames.is_empty() {
                return Poll::Ready(Ok(()));
            }
            match read {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let carrier = self.carrier.as_mut();
                    if carrier.is_some_and(|carrier| carrier.poll_changed(cx).is_ready()) {
                        return Poll::Ready(Ok(()));
                    }
                    let waiting = self.waiting.get_or_insert_with(|| Box::pin(wait(fd.clone())));
                    let waited = ready!(waiting.as_mut().poll(cx));
                    self.waiting = None;
                    if !waited? {
                        return Poll::Ready(Err(self.removed()));
                    }
                }
                Err(error) if is_deleted(&error) => return Poll::Ready(Err(self.removed())),
                Err(error) => return Poll::Ready(Err(error)),
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
        self.look_in = 0;
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
        match std::thread::available_parallelism() {
            Ok(processors) if processors.get() > 1 => SPIN,
            _ => Duration::ZERO,
        }
    }

    fn flush(&mut self) {
        self.look_in = self.look_in.saturating_sub(1);
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let State::Attached(fd) = &self.interface else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let mut guard = ready!(fd.poll_write_ready(cx))?;
        guard.clear_ready();
        Poll::Ready(Ok(()))
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

/// Waits for a packet (`true`) or for the deletion of the interface (`false`), which is an error
/// event of the descriptor: `AsyncFd::poll_read_ready` does not wait for those.
async fn wait(fd: Arc<AsyncFd<Interface>>) -> io::Result<bool> {
    let mut guard = fd.ready(Interest::READABLE | Interest::ERROR).await?;
    let is_gone = guard.ready().is_error();
    guard.retain_ready();
    Ok(!is_gone)
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
