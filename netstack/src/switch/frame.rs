//! Frames inside a switch.

use super::queue::Compact;
use crate::frame_layout::{ETHERNET_HEADER, Layout, TAG, TAG_BYTES, complete_partial};
use crate::frame_layout::{ethernet_payload, moved};
use bytes::{Bytes, BytesMut};
use netcore::{FRAME_BUFFER_BYTES, Frame, FrameChecksum, LinkCapabilities, MacAddr, Offload};
use std::num::NonZeroU16;

/// An Ethernet frame, with the offload work that is left before it can go on a wire.
#[derive(Debug, Clone)]
pub(super) struct Carried {
    pub(super) data: Bytes,
    checksum: FrameChecksum,
    offload: Offload,
}

impl Carried {
    /// A frame as it is on a wire.
    pub(super) fn plain(data: Bytes) -> Self {
        Self { data, checksum: FrameChecksum::Unknown, offload: Offload::default() }
    }

    pub(super) fn sent((frame, offload): (Frame, Offload)) -> Self {
        let frame = frame.linearize();
        Self { data: frame.data, checksum: frame.checksum, offload }
    }

    pub(super) fn received(frame: Frame) -> Self {
        let frame = frame.linearize();
        Self { data: frame.data, checksum: frame.checksum, offload: Offload::default() }
    }

    pub(super) fn into_frame(self) -> Frame {
        Frame::new(self.data, self.checksum)
    }

    /// Where it goes, and where it comes from.
    pub(super) fn addresses(&self) -> Option<(MacAddr, MacAddr)> {
        let header = self.data.get(..ETHERNET_HEADER)?;
        let address = |at: usize| header[at..at + 6].try_into().map(MacAddr).ok();
        Some((address(0)?, address(6)?))
    }

    /// The control information of its tag (IEEE 802.1Q section 9.6), if it has one.
    pub(super) fn tag(&self) -> Option<u16> {
        let tag = self.data.get(TYPE..TYPE + TAG_BYTES)?;
        (tag[..2] == TAG).then(|| u16::from_be_bytes([tag[2], tag[3]]))
    }

    /// A copy without its tag.
    pub(super) fn without_tag(&self) -> Self {
        let mut data = BytesMut::with_capacity(self.data.len());
        data.extend_from_slice(&self.data[..TYPE]);
        data.extend_from_slice(&self.data[TYPE + TAG_BYTES..]);
        let offload = moved(self.offload, -(TAG_BYTES as i16));
        Self { data: data.freeze(), checksum: self.checksum, offload }
    }

    /// A copy with a tag.
    pub(super) fn with_tag(&self, control: u16) -> Self {
        let mut data = BytesMut::with_capacity(self.data.len() + TAG_BYTES);
        data.extend_from_slice(&self.data[..TYPE]);
        data.extend_from_slice(&TAG);
        data.extend_from_slice(&control.to_be_bytes());
        data.extend_from_slice(&self.data[TYPE..]);
        let offload = moved(self.offload, TAG_BYTES as i16);
        Self { data: data.freeze(), checksum: self.checksum, offload }
    }

    /// Whether a link of this MTU can carry it, if need be in pieces.
    pub(super) fn fits(&self, mtu: usize) -> bool {
        if !self.is_oversized(mtu) {
            return true;
        }
        Layout::of(&self.data).is_some_and(|layout| layout.piece_bytes(None, mtu).is_some())
    }

    /// Makes of it frames as they are on a wire, for a link of this MTU. None if it does not fit.
    pub(super) fn into_pieces(self, mtu: usize, sink: &mut impl FnMut(Bytes)) {
        let is_oversized = self.is_oversized(mtu);
        if self.is_complete() && !is_oversized {
            return sink(self.data);
        }
        let layout = Layout::of(&self.data);
        let to_cut = layout.and_then(|layout| Some((layout, self.piece_bytes(&layout, mtu)?)));
        if let Some((layout, piece_bytes)) = to_cut {
            return layout.cut(&self.data, piece_bytes, sink);
        }
        if is_oversized {
            return;
        }
        let mut data = BytesMut::from(&self.data[..]);
        match (self.offload.checksum, layout) {
            (Some(partial), _) => complete_partial(&mut data, partial),
            (None, Some(layout)) => layout.complete(&mut data),
            (None, None) => {}
        }
        sink(data.freeze());
    }

    /// Cuts and completes it only as far as a link with these capabilities cannot.
    pub(super) fn into_frames_for(self, link: &LinkCapabilities, sink: &mut impl FnMut(Carried)) {
        let max = link.segment_bytes_max.unwrap_or(0).max(link.mtu);
        let is_taken = link.checksum_offload
            && !self.is_oversized(max)
            && (link.segment_bytes_max.is_some() || !self.has_to_be_cut(link.mtu))
            && self.fits(link.mtu);
        if is_taken {
            return sink(self);
        }
        self.into_pieces(link.mtu, &mut |data| sink(Self::plain(data)));
    }

    /// Writes it; returns the work left to a link that completes checksums and cuts segments.
    pub(super) fn write(&self, buffer: &mut [u8], mtu: usize) -> Offload {
        buffer.copy_from_slice(&self.data);
        if self.is_complete() && !self.is_oversized(mtu) {
            return Offload::default();
        }
        let Some(layout) = Layout::of(buffer) else {
            return Offload { checksum: self.offload.checksum, segment_bytes: None };
        };
        let piece_bytes = self.piece_bytes(&layout, mtu);
        if piece_bytes.is_none() && layout.has_padding(buffer) {
            // The link would sum up the padding, too.
            layout.complete(buffer);
            return Offload::default();
        }
        let segment_bytes = piece_bytes.and_then(|size| NonZeroU16::new(size as u16));
        Offload { checksum: layout.begin(buffer), segment_bytes }
    }

    /// Whether its checksum is complete.
    fn is_complete(&self) -> bool {
        self.checksum == FrameChecksum::Unknown && self.offload == Offload::default()
    }

    fn is_oversized(&self, mtu: usize) -> bool {
        ethernet_payload(&self.data).is_some_and(|start| self.data.len() - start > mtu)
    }

    fn has_to_be_cut(&self, mtu: usize) -> bool {
        self.is_oversized(mtu) || self.offload.segment_bytes.is_some()
    }

    /// The payload of each piece, if the frame must be cut.
    fn piece_bytes(&self, layout: &Layout, mtu: usize) -> Option<usize> {
        if !self.has_to_be_cut(mtu) {
            return None;
        }
        let size = layout.piece_bytes(self.offload.segment_bytes, mtu)?;
        (layout.payload_bytes() > size).then_some(size)
    }
}

impl Compact for Carried {
    fn compact(&mut self) {
        compact(&mut self.data);
    }
}

/// Copies a frame that is small beside the largest buffer that it may be a part of.
pub(super) fn compact(data: &mut Bytes) {
    if data.len() < FRAME_BUFFER_BYTES / 2 {
        *data = Bytes::copy_from_slice(data);
    }
}

/// Offset of the EtherType of an untagged frame.
const TYPE: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame_layout::tests::{assert_whole, tcp};
    use netcore::Medium;

    /// As a stack sends it with offload.
    fn begun(frame: &[u8], segment_bytes: Option<u16>) -> Carried {
        let mut frame = frame.to_vec();
        let checksum = Layout::of(&frame).expect("it is TCP").begin(&mut frame);
        let segment_bytes = segment_bytes.and_then(NonZeroU16::new);
        let frame = Frame::new(frame.into(), FrameChecksum::Trusted);
        Carried::sent((frame, Offload { checksum, segment_bytes }))
    }

    fn pieces(carried: Carried, mtu: usize) -> Vec<Bytes> {
        let mut pieces = Vec::new();
        carried.into_pieces(mtu, &mut |piece| pieces.push(piece));
        pieces
    }

    #[test]
    fn complete_frames_that_fit_pass_unchanged() {
        let data = Bytes::from(tcp(true, 0, 0, b"abc"));
        let pieces = pieces(Carried::plain(data.clone()), 1500);
        assert_eq!(pieces[0].as_ptr(), data.as_ptr());
    }

    #[test]
    fn partial_checksum_is_completed_with_and_without_offset() {
        for is_v4 in [true, false] {
            let whole = tcp(is_v4, 0, 3, b"abc");
            let sent = begun(&whole, None);
            let vouched = Carried::received(sent.clone().into_frame());

            assert_eq!(pieces(sent, 1500), [&whole[..]]);
            assert_eq!(pieces(vouched, 1500), [&whole[..]]);
        }
    }

    #[test]
    fn partial_checksum_moves_with_an_added_and_removed_tag() {
        let whole = tcp(false, 0, 0, b"abc");
        let tagged = begun(&whole, None).with_tag(0x2007);
        assert_eq!(tagged.tag(), Some(0x2007));
        assert_whole(&pieces(tagged.clone(), 1500)[0]);

        let untagged = tagged.without_tag();

        assert_eq!(untagged.tag(), None);
        assert_eq!(pieces(untagged, 1500), [&whole[..]]);
    }

    #[test]
    fn jumbo_packet_is_cut_to_its_senders_size_or_the_mtu() {
        let whole = tcp(true, 0, 0, &[7; 5000]);
        let lens = |pieces: Vec<Bytes>| -> Vec<_> {
            pieces.iter().for_each(|piece| assert_whole(piece));
            pieces.iter().map(|piece| piece.len() - 54).collect()
        };

        assert_eq!(lens(pieces(begun(&whole, Some(2000)), 9000)), [2000, 2000, 1000]);
        assert_eq!(lens(pieces(begun(&whole, Some(2000)), 1500)), [1460, 1460, 1460, 620]);
        assert_eq!(lens(pieces(Carried::plain(whole.into()), 2540)), [2500, 2500]);
    }

    #[test]
    fn frame_that_cannot_be_cut_does_not_fit() {
        let mut frame = tcp(true, 0, 0, &[7; 5000]);
        frame[14 + 9] = 99;
        let carried = Carried::plain(frame.into());
        assert!(!carried.fits(1500));
        assert_eq!(pieces(carried, 1500).len(), 0);
    }

    #[test]
    fn offload_is_passed_on_to_a_link_that_has_it() {
        let mut link = LinkCapabilities::new(Medium::Ethernet, 1500).with_offload(Some(65_535));
        let carried = begun(&tcp(true, 0, 0, &[7; 5000]), Some(1400));
        let mut frames = Vec::new();

        carried.clone().into_frames_for(&link, &mut |frame| frames.push(frame));
        let mut buffer = vec![0; frames[0].data.len()];
        let offload = frames[0].write(&mut buffer, link.mtu);

        assert_eq!(frames.len(), 1);
        assert_eq!(offload, carried.offload);
        // Without a word from its sender, it is as the MTU allows.
        let vouched = Carried::received(carried.clone().into_frame());
        let left = vouched.write(&mut buffer, link.mtu);
        assert_eq!(left.checksum, carried.offload.checksum);
        assert_eq!(left.segment_bytes, NonZeroU16::new(1460));

        link.segment_bytes_max = None;
        carried.into_frames_for(&link, &mut |frame| assert_whole(&frame.data));
    }
}
