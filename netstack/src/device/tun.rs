//! A TUN device.

use super::{Device, host};
use bytes::BytesMut;
use ipnet::IpNet;
use netcore::smoltcp::phy::Medium;
use netcore::{CHUNK_BYTES, Frame, FrameChecksum, Link, LinkCapabilities, Offload, Slot};
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tun_tap::{Iface, Mode};

/// What a TUN device is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunConfig {
    /// The name of the kernel's interface; empty for one that the kernel chooses. `%d` in it is
    /// replaced by a number that makes it new.
    pub name: String,
    /// The largest IP packet, in bytes.
    pub mtu: usize,
    /// Addresses for the kernel's end. With any, it is brought up; without, that is left to
    /// somebody else (`ip address add`, `ip link set up`).
    pub host_addresses: Vec<IpNet>,
}

impl Default for TunConfig {
    fn default() -> Self {
        Self { name: String::new(), mtu: 1500, host_addresses: Vec::new() }
    }
}

/// A TUN device of the Linux kernel, through the `tun-tap` crate: one system call a packet.
///
/// Making one needs the capability `CAP_NET_ADMIN` in the network namespace, which root has, and
/// everybody in a namespace of their own (`unshare --user --net --map-root-user`).
pub struct Tun {
    interface: Interface,
    mtu: usize,
    /// Received packets are carved from this buffer.
    chunk: BytesMut,
    /// A packet that was received while waiting for one.
    received: Option<Frame>,
    /// Packets are written here before they are sent.
    outgoing: Vec<u8>,
    /// `outgoing` found no room in the kernel.
    is_stuck: bool,
    /// Why the device is of no more use.
    failure: Option<io::Error>,
    /// A wait for the next packet that has begun.
    waiting: Option<Waiting>,
}

type Waiting = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// The interface before and after a runtime is there to wait with.
#[derive(Debug)]
enum Interface {
    Plain(Iface),
    Attached(Arc<AsyncFd<Descriptor>>),
    Gone,
}

/// What tokio can wait for.
#[derive(Debug)]
struct Descriptor(Iface);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// An interface's name has at most this many bytes: `IFNAMSIZ` without the final zero.
const NAME_BYTES_MAX: usize = 15;
/// The descriptor of an interface that was deleted gives this error.
const EBADFD: i32 = 77;
/// The interface is down.
const EIO: i32 = 5;

impl Tun {
    /// Makes the device.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` without `CAP_NET_ADMIN`; `AddrInUse` if the name is taken; `InvalidInput`
    /// for a name, an MTU or a host address that the kernel refuses; `NotFound` if the kernel has
    /// no TUN driver. The text says what to do.
    pub fn open(config: &TunConfig) -> io::Result<Self> {
        check_name(&config.name)?;
        let mtu = u16::try_from(config.mtu).ok().filter(|mtu| *mtu >= 68);
        let mtu = mtu.ok_or_else(|| {
            let message = format!("an MTU is from 68 to 65535, not {}", config.mtu);
            io::Error::new(io::ErrorKind::InvalidInput, message)
        })?;
        let interface = Iface::without_packet_info(&config.name, Mode::Tun)
            .map_err(|error| explain(error, &config.name))?;
        interface.set_non_blocking()?;
        let name = interface.name();
        let configure = || {
            host::set_mtu(name, u32::from(mtu))?;
            if !config.host_addresses.is_empty() {
                host::bring_up(name, &config.host_addresses)?;
            }
            Ok(())
        };
        configure().map_err(|error: io::Error| {
            io::Error::new(error.kind(), format!("setting up {name}: {error}"))
        })?;
        Ok(Self {
            interface: Interface::Plain(interface),
            mtu: config.mtu,
            chunk: BytesMut::new(),
            received: None,
            outgoing: Vec::new(),
            is_stuck: false,
            failure: None,
            waiting: None,
        })
    }

    /// The name of the kernel's interface.
    pub fn name(&self) -> &str {
        self.iface().map_or("", Iface::name)
    }

    fn iface(&self) -> Option<&Iface> {
        match &self.interface {
            Interface::Plain(iface) => Some(iface),
            Interface::Attached(fd) => Some(&fd.get_ref().0),
            Interface::Gone => None,
        }
    }

    /// Sends the packet in `outgoing`.
    fn push(&mut self) {
        let Some(iface) = self.iface() else { return };
        let sent = iface.send(&self.outgoing);
        self.is_stuck = false;
        match sent {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_stuck = true,
            Err(error) if is_deleted(&error) => self.failure = Some(error),
            // As on any wire: an interface that is down loses what is sent.
            Err(error) if error.raw_os_error() == Some(EIO) => {}
            Err(error) => tracing::debug!(%error, "the kernel refused a packet"),
        }
    }
}

impl fmt::Debug for Tun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tun").field("name", &self.name()).field("mtu", &self.mtu).finish()
    }
}

impl Link for Tun {
    type Slot<'a> = TunSlot<'a>;

    fn capabilities(&self) -> LinkCapabilities {
        LinkCapabilities {
            medium: Medium::Ip,
            mtu: self.mtu,
            checksum_offload: false,
            segment_bytes_max: None,
        }
    }

    fn receive(&mut self) -> Option<Frame> {
        if let Some(frame) = self.received.take() {
            return Some(frame);
        }
        let mut chunk = std::mem::take(&mut self.chunk);
        let received = match self.iface() {
            Some(iface) => read_packet(iface, &mut chunk, self.mtu),
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        self.chunk = chunk;
        match received {
            Ok(frame) => Some(frame),
            Err(error) => {
                if is_deleted(&error) {
                    self.failure = Some(error);
                }
                None
            }
        }
    }

    fn transmit(&mut self) -> Option<TunSlot<'_>> {
        if self.is_stuck {
            self.push();
        }
        (!self.is_stuck).then_some(TunSlot(self))
    }
}

impl Device for Tun {
    fn attach(&mut self) -> io::Result<()> {
        if let Interface::Plain(iface) = std::mem::replace(&mut self.interface, Interface::Gone) {
            // SAFETY: the interface owns its open descriptor, and neither closes nor replaces it
            // while `AsyncFd` has it.
            #[allow(unsafe_code)]
            let attached = unsafe { AsyncFd::register(Descriptor(iface)) }?;
            self.interface = Interface::Attached(Arc::new(attached));
        }
        Ok(())
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.received.is_some() {
            return Poll::Ready(Ok(()));
        }
        if let Some(failure) = self.failure.take() {
            return Poll::Ready(Err(ended(failure)));
        }
        let Interface::Attached(fd) = &self.interface else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        // `receive` found nothing, but tokio does not know that. It learns it from an attempt that
        // it watches; should that find a packet after all, it is kept.
        loop {
            let (chunk, mtu) = (&mut self.chunk, self.mtu);
            match fd.try_io(Interest::READABLE, |fd| read_packet(&fd.0, chunk, mtu)) {
                Ok(frame) => {
                    self.received = Some(frame);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let waiting = self.waiting.get_or_insert_with(|| Box::pin(wait(fd.clone())));
                    let waited = ready!(waiting.as_mut().poll(cx));
                    self.waiting = None;
                    waited?;
                }
                Err(error) if is_deleted(&error) => return Poll::Ready(Err(ended(error))),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Interface::Attached(fd) = &self.interface else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let mut guard = ready!(fd.poll_write_ready(cx))?;
        guard.clear_ready();
        Poll::Ready(Ok(()))
    }
}

/// The place for one packet.
#[derive(Debug)]
pub struct TunSlot<'a>(&'a mut Tun);

impl Slot for TunSlot<'_> {
    fn send<R>(self, len: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        self.0.outgoing.resize(len, 0);
        let (result, _) = fill(&mut self.0.outgoing);
        self.0.push();
        result
    }
}

/// Waits until there is a packet, or the interface is gone. The latter shows as an error of the
/// descriptor, for which `AsyncFd::poll_read_ready` does not wait.
async fn wait(fd: Arc<AsyncFd<Descriptor>>) -> io::Result<()> {
    let mut guard = fd.ready(Interest::READABLE | Interest::ERROR).await?;
    let is_gone = guard.ready().is_error();
    guard.retain_ready();
    if is_gone { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

/// Reads one packet.
fn read_packet(iface: &Iface, chunk: &mut BytesMut, mtu: usize) -> io::Result<Frame> {
    if chunk.capacity() < mtu {
        *chunk = BytesMut::with_capacity(CHUNK_BYTES.max(mtu));
    }
    chunk.resize(mtu, 0);
    let received = iface.recv(chunk);
    chunk.truncate(received.as_ref().map_or(0, |len| *len));
    received?;
    Ok(Frame { data: chunk.split().freeze(), checksum: FrameChecksum::Unknown })
}

fn check_name(name: &str) -> io::Result<()> {
    let is_valid = name.len() <= NAME_BYTES_MAX
        && !matches!(name, "." | "..")
        && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c == '\0');
    if is_valid {
        return Ok(());
    }
    let message = format!(
        "\"{name}\" cannot be the name of an interface: at most {NAME_BYTES_MAX} bytes, \
         without '/', ':' or white space"
    );
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

/// Says what to do about an error of making the device.
fn explain(error: io::Error, name: &str) -> io::Error {
    let name = if name.is_empty() { "a TUN device" } else { name };
    let (kind, message) = match error.kind() {
        io::ErrorKind::PermissionDenied => (
            io::ErrorKind::PermissionDenied,
            format!(
                "making {name} needs the capability CAP_NET_ADMIN: run as root, or in a network \
                 namespace of your own (unshare --user --net --map-root-user)"
            ),
        ),
        io::ErrorKind::ResourceBusy => (
            io::ErrorKind::AddrInUse,
            format!("{name} is in use by another program: choose another name"),
        ),
        io::ErrorKind::InvalidInput => (
            io::ErrorKind::AddrInUse,
            format!("{name} is taken by an interface that is no TUN: choose another name"),
        ),
        io::ErrorKind::NotFound => (
            io::ErrorKind::NotFound,
            "there is no /dev/net/tun: load the kernel's tun module, or hand the device into the \
             container"
                .to_owned(),
        ),
        kind => (kind, format!("making {name}: {error}")),
    };
    io::Error::new(kind, message)
}

fn is_deleted(error: &io::Error) -> bool {
    error.raw_os_error() == Some(EBADFD)
}

fn ended(_deleted: io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the interface was deleted")
}
