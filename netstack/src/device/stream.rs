//! Ethernet frames over a byte stream of the program.

use super::Device;
use super::framing::Framing;
use netcore::{Frame, Link, LinkCapabilities, Medium, Offload, Slot};
use std::fmt;
use std::io;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite};

/// A device that carries Ethernet frames over a byte stream: a socket, a pipe of a process, a TLS
/// connection. Each frame stands behind its length in four bytes, big-endian, as with QEMU's
/// `-netdev stream` and passt.
///
/// The end of the stream ends the stack in good order, a length below 14 or above 65,553 with
/// `InvalidData`. A frame that is larger than the MTU and its header is dropped and counted.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// use netstack::{Builder, device::StreamDevice};
///
/// let (near, far) = tokio::io::duplex(64 * 1024);
/// let stack = |address: &str, stream| {
///     let builder = Builder::new().address(address.parse().unwrap());
///     builder.spawn(StreamDevice::new(stream, 1500))
/// };
/// let (near, far) = (stack("10.0.0.1/24", near)?, stack("10.0.0.2/24", far)?);
///
/// let receiver = far.net().udp_bind("10.0.0.2:1000").await?;
/// near.net().udp_bind("10.0.0.1:1000").await?.send_to(b"hello", "10.0.0.2:1000").await?;
/// let mut buffer = [0; 16];
/// assert_eq!(receiver.recv_from(&mut buffer).await?.0, 5);
/// # Ok(())
/// # }
/// ```
pub struct StreamDevice<S> {
    stream: S,
    framing: Framing,
    mtu: usize,
    /// A write has failed: what is sent from now on is lost.
    is_broken: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> StreamDevice<S> {
    /// A device on a stream, for IP packets of up to `mtu` bytes.
    pub fn new(stream: S, mtu: usize) -> Self {
        Self { stream, framing: Framing::new(mtu), mtu, is_broken: false }
    }

    /// Frames that were dropped because they were larger than the MTU and its header.
    pub fn oversized_frames(&self) -> u64 {
        self.framing.oversized()
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Err(error) = ready!(self.framing.poll_write(&mut self.stream, cx)) {
            // What has arrived is still read, up to the end.
            tracing::debug!(%error, "the stream takes no more frames");
            self.is_broken = true;
            self.framing.discard_outgoing();
        }
        Poll::Ready(())
    }
}

impl<S> fmt::Debug for StreamDevice<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamDevice").field("mtu", &self.mtu).finish_non_exhaustive()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Link for StreamDevice<S> {
    type Slot<'a> = StreamSlot<'a, S>;

    fn capabilities(&self) -> LinkCapabilities {
        LinkCapabilities::new(Medium::Ethernet, self.mtu)
    }

    fn receive(&mut self) -> Option<Frame> {
        self.framing.pop().or_else(|| {
            // `poll_receive` registers the waker that counts, and returns an error again.
            let mut cx = Context::from_waker(Waker::noop());
            let _ = self.framing.poll_read(&mut self.stream, &mut cx);
            self.framing.pop()
        })
    }

    fn transmit(&mut self) -> Option<StreamSlot<'_, S>> {
        if !self.framing.has_room() {
            // `poll_room` registers the waker that counts.
            let _ = self.poll_write(&mut Context::from_waker(Waker::noop()));
        }
        self.framing.has_room().then_some(StreamSlot(self))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Device for StreamDevice<S> {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nobody waits for room while there is some, but the rest is to be written.
        let _ = self.poll_write(cx);
        self.framing.poll_read(&mut self.stream, cx).map_err(|error| match error.kind() {
            // The peer has ended with frames unread.
            io::ErrorKind::ConnectionReset => io::ErrorKind::UnexpectedEof.into(),
            _ => error,
        })
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.framing.has_room() {
            ready!(self.poll_write(cx));
        }
        Poll::Ready(Ok(()))
    }

    fn flush(&mut self) {
        // `poll_receive` registers the waker that counts.
        let _ = self.poll_write(&mut Context::from_waker(Waker::noop()));
    }

    fn poll_delivered(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_write(cx)
    }
}

/// The slot for one frame.
#[derive(Debug)]
pub struct StreamSlot<'a, S: 'static>(&'a mut StreamDevice<S>);

impl<S> Slot for StreamSlot<'_, S> {
    fn send<R>(self, len: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        let result = self.0.framing.push(len, fill);
        if self.0.is_broken {
            self.0.framing.discard_outgoing();
        }
        result
    }
}
