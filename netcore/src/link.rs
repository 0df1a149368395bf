//! The boundary to whatever carries frames.

use bytes::Bytes;
use std::cell::Cell;
use std::num::NonZeroU16;

/// Carries frames to and from a stack.
///
/// Every [`Device`](crate::device::smoltcp::phy::Device) of smoltcp is one, through
/// [`Netstack::poll_device_io`](crate::Netstack::poll_device_io). A driver that has frames as
/// [`Bytes`], or hardware that segments and sums, implements this trait and calls
/// [`Netstack::poll_link`](crate::Netstack::poll_link).
pub trait Link {
    /// The place for one outgoing frame.
    type Slot<'a>: Slot
    where
        Self: 'a;

    /// What the link can do; asked once a turn.
    fn capabilities(&self) -> LinkCapabilities;

    /// Whether somebody is there at the other end to take frames, as far as the link knows; asked
    /// once a turn. Without, what is sent is lost.
    fn has_carrier(&self) -> bool {
        true
    }

    /// The next received frame, if there is one now.
    fn receive(&mut self) -> Option<Frame>;

    /// A place for one frame, if there is room now.
    fn transmit(&mut self) -> Option<Self::Slot<'_>>;
}

/// The place for one outgoing frame.
pub trait Slot {
    /// Sends one frame of `len` bytes, which `fill` writes. The buffer need not be zeroed.
    ///
    /// `fill` is called exactly once, and says what is left to the link.
    fn send<R>(self, len: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R;
}

/// What a link carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Medium {
    /// Bare IP packets, as a TUN does.
    Ip,
    /// Ethernet frames, as a TAP does.
    Ethernet,
}

/// What a link can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkCapabilities {
    /// Whether frames are bare IP packets or have an Ethernet header.
    pub medium: Medium,
    /// The largest IP packet, in bytes.
    pub mtu: usize,
    /// Whether the link completes TCP and UDP checksums
    /// ([`Offload::checksum`](Offload::checksum)).
    pub checksum_offload: bool,
    /// The largest TCP packet that the link cuts into segments itself, in bytes; `None` if it
    /// cuts none.
    pub segment_bytes_max: Option<usize>,
}

impl LinkCapabilities {
    /// A link that carries packets of up to `mtu` bytes and does nothing with them.
    pub const fn new(medium: Medium, mtu: usize) -> Self {
        Self { medium, mtu, checksum_offload: false, segment_bytes_max: None }
    }

    /// The same of a link that completes checksums and cuts TCP packets of up to
    /// `segment_bytes_max` bytes; of one that does neither with `None`.
    #[must_use]
    pub const fn with_offload(self, segment_bytes_max: Option<usize>) -> Self {
        Self { checksum_offload: segment_bytes_max.is_some(), segment_bytes_max, ..self }
    }
}

/// A received frame.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The frame: an IP packet, or an Ethernet frame, as the link's medium says. May be larger
    /// than the MTU if the link joins segments.
    ///
    /// The stack copies what it queues of frames of less than half of [`FRAME_BUFFER_BYTES`], which
    /// may therefore share a buffer of any size. Larger ones it may queue by reference: a link
    /// cuts them from buffers of at most [`FRAME_BUFFER_BYTES`], since the stack cannot see how
    /// large a buffer is that it keeps alive.
    pub data: Bytes,
    /// Whether the link vouches for the TCP or UDP checksum.
    pub checksum: FrameChecksum,
}

/// What is known of a received frame's TCP or UDP checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameChecksum {
    /// Nothing: the stack verifies it.
    Unknown,
    /// The link verified it, or it was never on a wire and may be incomplete.
    Trusted,
}

/// What an outgoing frame leaves to the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offload {
    /// Where to complete a checksum, which so far holds the sum of the pseudo header.
    pub checksum: Option<PartialChecksum>,
    /// The payload bytes of each segment, if the packet is to be cut.
    pub segment_bytes: Option<NonZeroU16>,
}

/// A checksum to complete: over everything from `start`, stored `offset` bytes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartialChecksum {
    /// Where the transport header begins, from the beginning of the frame.
    pub start: u16,
    /// Where the checksum field is, from the beginning of the transport header.
    pub offset: u16,
}

/// A link that notes when its own code runs, so that a panic is known to be the link's.
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
}

/// How much a driver should allocate at once for the frames that it carves out of it.
pub const CHUNK_BYTES: usize = 64 * 1024;

/// The largest buffer that a large frame may be a part of, in bytes: see [`Frame::data`]. It holds
/// the largest IP packet with its Ethernet header and whatever a link puts in front of that.
pub const FRAME_BUFFER_BYTES: usize = 68 * 1024;

/// What a queue counts for a slice of `len` bytes of a buffer that it keeps alive; `None` if the
/// slice is so small a part of the buffer that a copy is kept in its place.
pub(crate) fn kept_bytes(len: usize, buffer_bytes: usize) -> Option<usize> {
    if len < buffer_bytes / 2 {
        return None;
    }
    // Headers and the like count as little as what an allocator rounds up.
    Some(if len >= buffer_bytes / 8 * 7 { len } else { buffer_bytes })
}
