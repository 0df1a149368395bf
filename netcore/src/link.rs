//! Links, which carry frames.

use crate::observer::Observer;
use bytes::{Bytes, BytesMut};
use std::cell::Cell;
use std::num::NonZeroU16;

/// Carries frames to and from a stack.
///
/// Every [`Device`](crate::device::smoltcp::phy::Device) of smoltcp is one, through
/// [`Netstack::poll_device_io`](crate::Netstack::poll_device_io). A driver with frames as
/// [`Bytes`], or with segmentation and checksum offloads, implements this trait and calls
/// [`Netstack::poll_link`](crate::Netstack::poll_link).
pub trait Link {
    /// The slot for one outgoing frame.
    type Slot<'a>: Slot
    where
        Self: 'a;

    /// The capabilities of the link; read once a round.
    fn capabilities(&self) -> LinkCapabilities;

    /// Whether the link has a carrier, as far as known; read once a round. Without one, sent frames
    /// are lost.
    fn has_carrier(&self) -> bool {
        true
    }

    /// The next received frame, if there is one now.
    fn receive(&mut self) -> Option<Frame>;

    /// A slot for one frame, if there is room now.
    fn transmit(&mut self) -> Option<Self::Slot<'_>>;

    /// Who learns what the stack decides about each frame; by default nobody, which costs nothing.
    fn observer(&mut self) -> Option<&mut dyn Observer> {
        None
    }
}

/// The slot for one outgoing frame.
pub trait Slot {
    /// Sends one frame of `len` bytes, which `fill` writes. The buffer need not be zeroed.
    ///
    /// `fill` is called exactly once, and returns the work left to the link.
    fn send<R>(self, len: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R;

    /// Sends one frame of `len` bytes of headers, which `fill` writes, with `payload` behind them.
    ///
    /// Only called if the link [gathers](LinkCapabilities::scatter_gather). By default the payload
    /// is copied.
    fn send_gathered<R>(
        self,
        len: usize,
        payload: &mut Vec<Bytes>,
        fill: impl FnOnce(&mut [u8]) -> (R, Offload),
    ) -> R
    where
        Self: Sized,
    {
        let total = payload.iter().fold(len, |total, slice| total + slice.len());
        self.send(total, |frame| {
            let (headers, mut rest) = frame.split_at_mut(len);
            for slice in payload.drain(..) {
                let (here, behind) = rest.split_at_mut(slice.len());
                here.copy_from_slice(&slice);
                rest = behind;
            }
            fill(headers)
        })
    }
}

/// The frames of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Medium {
    /// Bare IP packets, as a TUN does.
    Ip,
    /// Ethernet frames, as a TAP does.
    Ethernet,
}

/// The capabilities of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkCapabilities {
    /// Bare IP packets, or Ethernet frames.
    pub medium: Medium,
    /// The largest IP packet, in bytes.
    pub mtu: usize,
    /// Whether the link completes TCP and UDP checksums
    /// ([`Offload::checksum`](Offload::checksum)).
    pub checksum_offload: bool,
    /// The largest TCP packet that the link segments itself (TSO), in bytes; `None` without
    /// segmentation offload.
    pub segment_bytes_max: Option<usize>,
    /// Whether the link takes the payload of a frame by reference, in slices
    /// ([`Slot::send_gathered`]), and may give it so ([`Frame::rest`]).
    pub scatter_gather: bool,
}

impl LinkCapabilities {
    /// A link with packets of up to `mtu` bytes and without offloads.
    pub const fn new(medium: Medium, mtu: usize) -> Self {
        Self {
            medium,
            mtu,
            checksum_offload: false,
            segment_bytes_max: None,
            scatter_gather: false,
        }
    }

    /// The same with checksum offload and segmentation of TCP packets of up to `segment_bytes_max`
    /// bytes; with `None` without both.
    #[must_use]
    pub const fn with_offload(self, segment_bytes_max: Option<usize>) -> Self {
        Self { checksum_offload: segment_bytes_max.is_some(), segment_bytes_max, ..self }
    }

    /// The same with payloads by reference, if the link has checksum offload: without, they are read
    /// anyway.
    #[must_use]
    pub const fn with_scatter_gather(self) -> Self {
        Self { scatter_gather: self.checksum_offload, ..self }
    }
}

/// A received frame.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The frame: an IP packet or an Ethernet frame, depending on the link's medium. May be larger
    /// than the MTU if the link coalesces segments (GRO).
    ///
    /// The stack copies queued data of frames below half of [`FRAME_BUFFER_BYTES`], which may
    /// therefore share a buffer of any size. It may queue larger frames by reference: a link must
    /// split them off buffers of at most [`FRAME_BUFFER_BYTES`], since the stack cannot see the
    /// size of a buffer that it keeps alive.
    pub data: Bytes,
    /// The rest of the frame behind `data`, in slices; only of a link that
    /// [scatters and gathers](LinkCapabilities::scatter_gather).
    pub rest: Vec<Bytes>,
    /// The state of the TCP or UDP checksum.
    pub checksum: FrameChecksum,
}

impl Frame {
    /// A frame in one piece.
    pub const fn new(data: Bytes, checksum: FrameChecksum) -> Self {
        Self { data, rest: Vec::new(), checksum }
    }

    /// The length of the frame in bytes, with the rest.
    #[inline]
    pub fn len(&self) -> usize {
        match self.rest.is_empty() {
            true => self.data.len(),
            false => self.rest.iter().fold(self.data.len(), |len, slice| len + slice.len()),
        }
    }

    /// Whether there is not a byte in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The frame in one piece: a copy if it has a rest.
    #[must_use]
    pub fn linearize(self) -> Self {
        match self.rest.is_empty() {
            true => self,
            false => Self::new(linear(&self.data, &self.rest), self.checksum),
        }
    }
}

/// A copy of bytes that stand in several places.
pub(crate) fn linear(first: &[u8], rest: &[Bytes]) -> Bytes {
    let len = rest.iter().fold(first.len(), |len, slice| len + slice.len());
    let mut whole = BytesMut::with_capacity(len);
    whole.extend_from_slice(first);
    rest.iter().for_each(|slice| whole.extend_from_slice(slice));
    whole.freeze()
}

/// The state of a received frame's TCP or UDP checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameChecksum {
    /// Unknown: the stack verifies it.
    Unknown,
    /// Trusted: the link verified it, or the frame was never on a wire and its checksum may be
    /// incomplete.
    Trusted,
}

/// The work that an outgoing frame leaves to the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offload {
    /// The checksum to complete, which holds the sum of the pseudo header.
    pub checksum: Option<PartialChecksum>,
    /// Payload bytes of each segment, if the packet is to be segmented.
    pub segment_bytes: Option<NonZeroU16>,
}

/// A checksum to complete: over everything from `start`, stored `offset` bytes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartialChecksum {
    /// Offset of the transport header in the frame.
    pub start: u16,
    /// Offset of the checksum field in the transport header.
    pub offset: u16,
}

/// A link that records whether its own code runs, to distinguish its panics from the stack's.
pub(crate) struct Watched<'l, L> {
    link: &'l mut L,
    is_inside: Cell<bool>,
}

impl<'l, L: Link> Watched<'l, L> {
    pub(crate) fn new(link: &'l mut L) -> Self {
        Self { link, is_inside: Cell::new(false) }
    }

    /// Whether the link's own code was entered and not left.
    pub(crate) fn is_inside(&self) -> bool {
        self.is_inside.get()
    }
}

impl<L: Link> Link for Watched<'_, L> {
    type Slot<'a>
        = WatchedSlot<'a, L::Slot<'a>>
    where
        Self: 'a;

    fn capabilities(&self) -> LinkCapabilities {
        self.is_inside.set(true);
        let capabilities = self.link.capabilities();
        self.is_inside.set(false);
        capabilities
    }

    fn has_carrier(&self) -> bool {
        self.is_inside.set(true);
        let has_carrier = self.link.has_carrier();
        self.is_inside.set(false);
        has_carrier
    }

    fn receive(&mut self) -> Option<Frame> {
        self.is_inside.set(true);
        let frame = self.link.receive();
        self.is_inside.set(false);
        frame
    }

    fn transmit(&mut self) -> Option<Self::Slot<'_>> {
        self.is_inside.set(true);
        let slot = self.link.transmit();
        self.is_inside.set(false);
        Some(WatchedSlot { slot: slot?, is_inside: &self.is_inside })
    }

    fn observer(&mut self) -> Option<&mut dyn Observer> {
        self.link.observer()
    }
}

pub(crate) struct WatchedSlot<'a, S> {
    slot: S,
    is_inside: &'a Cell<bool>,
}

impl<S: Slot> Slot for WatchedSlot<'_, S> {
    fn send<R>(self, len: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        let is_inside = self.is_inside;
        is_inside.set(true);
        let result = self.slot.send(len, |frame| {
            is_inside.set(false);
            let filled = fill(frame);
            is_inside.set(true);
            filled
        });
        is_inside.set(false);
        result
    }

    fn send_gathered<R>(
        self,
        len: usize,
        payload: &mut Vec<Bytes>,
        fill: impl FnOnce(&mut [u8]) -> (R, Offload),
    ) -> R {
        let is_inside = self.is_inside;
        is_inside.set(true);
        let result = self.slot.send_gathered(len, payload, |headers| {
            is_inside.set(false);
            let filled = fill(headers);
            is_inside.set(true);
            filled
        });
        is_inside.set(false);
        result
    }
}

/// Recommended size of a driver's buffer from which received frames are split off, in bytes.
pub const CHUNK_BYTES: usize = 64 * 1024;

/// The largest buffer that a large frame may be a part of, in bytes: see [`Frame::data`]. It holds
/// the largest IP packet with its Ethernet header and a header of the link.
pub const FRAME_BUFFER_BYTES: usize = 68 * 1024;

/// The bytes that a queue counts for a slice of `len` bytes of a buffer; `None` if the slice is so
/// small a part of the buffer that it is copied.
pub(crate) fn kept_bytes(len: usize, buffer_bytes: usize) -> Option<usize> {
    if len < buffer_bytes / 2 {
        return None;
    }
    // Headers are ignored, like the rounding of an allocator.
    Some(if len >= buffer_bytes / 8 * 7 { len } else { buffer_bytes })
}
