//! A TUN that the `tun-rs` crate has opened, on any system that it knows.

use super::Device;
use crate::pool::{Buffer, Pool};
use netcore::{Frame, FrameChecksum, Link, LinkCapabilities, Medium, Offload, Slot};
use std::fmt;
use std::io;
use std::task::{Context, Poll, Waker, ready};
use tun_rs::{AsyncDevice, SyncDevice};

/// A device on a TUN of the [tun-rs](https://docs.rs/tun-rs) crate: on Linux, macOS, Windows, the
/// BSDs, and on descriptors of Android's and iOS's VPN services.
///
/// It carries IP packets, each by a system call and without offload: on Linux
/// [`Tun`](super::Tun) is faster. Name, addresses and routes are the affair of `tun_rs::DeviceBuilder`.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// use netstack::{Builder, device::TunRsDevice};
///
/// let tun = tun_rs::DeviceBuilder::new().ipv4("10.9.0.1", 24, None).mtu(1500).build_sync()?;
/// let builder = Builder::new().address("10.9.0.2/24".parse().unwrap());
/// let stack = builder.spawn(TunRsDevice::new(tun, 1500))?;
/// # Ok(())
/// # }
/// ```
pub struct TunRsDevice {
    tun: Tun,
    mtu: usize,
    pool: Pool,
    /// What the next packet is read into.
    buffer: Option<Buffer>,
    received: Option<Frame>,
    /// A packet, until the system has taken it; empty without one.
    outgoing: Vec<u8>,
}

enum Tun {
    Opened(SyncDevice),
    /// Registered with the runtime.
    Attached(AsyncDevice),
    /// The runtime has refused it.
    Refused,
}

impl TunRsDevice {
    /// A device on a TUN (`Layer::L3`) without offload and without packet information, the defaults
    /// of tun-rs. `mtu` is that of the interface, in bytes.
    pub fn new(tun: SyncDevice, mtu: usize) -> Self {
        Self {
            tun: Tun::Opened(tun),
            mtu,
            pool: Pool::new(mtu),
            buffer: None,
            received: None,
            outgoing: Vec::new(),
        }
    }

    /// Waits until the packet of before is sent.
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Tun::Attached(tun) = &self.tun else { return Poll::Ready(()) };
        if !self.outgoing.is_empty() {
            if let Err(error) = ready!(tun.poll_send(cx, &self.outgoing)) {
                // It is lost, as on a wire. A TUN that is gone is found out by reading.
                tracing::debug!(%error, "the TUN has not taken a packet");
            }
            self.outgoing.clear();
        }
        Poll::Ready(())
    }

    fn poll_received(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Tun::Attached(tun) = &self.tun else { return Poll::Pending };
        if self.received.is_none() {
            let mut buffer = self.buffer.take().unwrap_or_else(|| self.pool.take());
            let all = 0..buffer.len();
            let Poll::Ready(read) = tun.poll_recv(cx, buffer.slice_mut(all)) else {
                self.buffer = Some(buffer);
                return Poll::Pending;
            };
            self.received = Some(Frame::new(buffer.freeze(read?), FrameChecksum::Unknown));
        }
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for TunRsDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunRsDevice").field("mtu", &self.mtu).finish_non_exhaustive()
    }
}

impl Link for TunRsDevice {
    type Slot<'a> = TunRsSlot<'a>;

    fn capabilities(&self) -> LinkCapabilities {
        LinkCapabilities::new(Medium::Ip, self.mtu)
    }

    fn receive(&mut self) -> Option<Frame> {
        // `poll_receive` registers the waker that counts, and meets an error again.
        let _ = self.poll_received(&mut Context::from_waker(Waker::noop()));
        self.received.take()
    }

    fn transmit(&mut self) -> Option<TunRsSlot<'_>> {
        // `poll_room` registers the waker that counts.
        let sent = self.poll_sent(&mut Context::from_waker(Waker::noop()));
        sent.is_ready().then_some(TunRsSlot(self))
    }
}

impl Device for TunRsDevice {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nobody waits for room without something to send.
        let _ = self.poll_sent(cx);
        self.poll_received(cx)
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_sent(cx).map(Ok)
    }

    fn poll_delivered(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_sent(cx)
    }

    fn attach(&mut self) -> io::Result<()> {
        if let Tun::Opened(tun) = std::mem::replace(&mut self.tun, Tun::Refused) {
            self.tun = Tun::Attached(AsyncDevice::new(tun)?);
        }
        Ok(())
    }
}

/// The slot for one packet.
#[derive(Debug)]
pub struct TunRsSlot<'a>(&'a mut TunRsDevice);

impl Slot for TunRsSlot<'_> {
    fn send<R>(self, len: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        let device = self.0;
        device.outgoing.resize(len, 0);
        let (result, _) = fill(&mut device.outgoing);
        // `poll_receive` registers the waker that counts.
        let _ = device.poll_sent(&mut Context::from_waker(Waker::noop()));
        result
    }
}
