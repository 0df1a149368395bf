//! Offload in software, for frames to a receiver without it: completing checksums, and cutting TCP
//! packets.

use crate::wire::{
    IpAddress, IpProtocol, Ipv4Packet, Ipv6ExtHeader, Ipv6Packet, TcpPacket, UdpPacket, checksum,
};
use bytes::Bytes;
use netcore::raw::Version;
use netcore::{Offload, PartialChecksum, TcpHeaders};
use std::num::{NonZeroU16, NonZeroUsize};

/// Where the parts of an Ethernet frame with a TCP or UDP packet in it begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    version: Version,
    transport: Transport,
    /// Where the IP header begins, behind the Ethernet header and its tags.
    ip: usize,
    /// Where the TCP or UDP header begins.
    header: usize,
    payload: usize,
    /// Where the IP packet ends; the rest is padding.
    end: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Tcp,
    Udp,
}

/// Destination, source and type.
pub(crate) const ETHERNET_HEADER: usize = 14;
/// A tag of IEEE 802.1Q.
pub(crate) const TAG_BYTES: usize = 4;
/// The EtherType of a customer's tag (802.1Q), and of a provider's (802.1ad).
pub(crate) const TAG: [u8; 2] = [0x81, 0x00];
const PROVIDER_TAG: [u8; 2] = [0x88, 0xa8];
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
/// The maximum number of IPv6 extension headers before the transport's.
const EXTENSIONS_MAX: usize = 4;

/// Where the payload of an Ethernet frame begins, behind one or two tags if there are any.
pub(crate) fn ethernet_payload(frame: &[u8]) -> Option<usize> {
    let mut start = ETHERNET_HEADER;
    for _ in 0..2 {
        let kind = frame.get(start - 2..start)?;
        if kind != TAG && kind != PROVIDER_TAG {
            break;
        }
        start += TAG_BYTES;
    }
    (frame.len() >= start).then_some(start)
}

impl Layout {
    /// Finds the parts; `None` if this is no whole TCP or UDP packet. A fragment is none.
    pub(crate) fn of(frame: &[u8]) -> Option<Self> {
        let ip = ethernet_payload(frame)?;
        let packet = &frame[ip..];
        let (version, protocol, header, len) = match <[u8; 2]>::try_from(&frame[ip - 2..ip]) {
            Ok(IPV4) => {
                let packet = Ipv4Packet::new_checked(packet).ok()?;
                if packet.more_frags() || packet.frag_offset() != 0 || packet.version() != 4 {
                    return None;
                }
                let header = usize::from(packet.header_len());
                (Version::V4, packet.next_header(), header, usize::from(packet.total_len()))
            }
            Ok(IPV6) => {
                let packet = Ipv6Packet::new_checked(packet).ok()?;
                let (protocol, extensions) = behind_extensions(&packet)?;
                let header = packet.header_len() + extensions;
                (Version::V6, protocol, header, packet.total_len())
            }
            _ => return None,
        };
        let segment = packet.get(header..len)?;
        let (transport, header_len, len) = match protocol {
            IpProtocol::Tcp => {
                let tcp = TcpPacket::new_checked(segment).ok()?;
                (Transport::Tcp, usize::from(tcp.header_len()), segment.len())
            }
            IpProtocol::Udp => {
                let udp = UdpPacket::new_checked(segment).ok()?;
                (Transport::Udp, UDP_HEADER, usize::from(udp.len()))
            }
            _ => return None,
        };
        if header_len < if transport == Transport::Tcp { TCP_HEADER } else { UDP_HEADER } {
            return None;
        }
        let header = ip + header;
        let payload = header + header_len;
        Some(Self { version, transport, ip, header, payload, end: header + len })
    }

    /// The payload of each piece, cut for a link of this MTU; `None` if the frame cannot be cut.
    pub(crate) fn piece_bytes(&self, wanted: Option<NonZeroU16>, mtu: usize) -> Option<usize> {
        let room = mtu.checked_sub(self.payload - self.ip).filter(|room| *room > 0)?;
        let wanted = wanted.map_or(room, |wanted| room.min(wanted.get().into()));
        (self.transport == Transport::Tcp).then_some(wanted)
    }

    pub(crate) fn payload_bytes(&self) -> usize {
        self.end - self.payload
    }

    /// Whether more follows behind the IP packet.
    pub(crate) fn has_padding(&self, frame: &[u8]) -> bool {
        self.end < frame.len()
    }

    /// Writes a whole checksum.
    pub(crate) fn complete(&self, frame: &mut [u8]) {
        let (source, destination) = self.addresses(frame);
        let segment = &mut frame[self.header..self.end];
        match self.transport {
            Transport::Tcp => {
                TcpPacket::new_unchecked(segment).fill_checksum(&source, &destination);
            }
            Transport::Udp => {
                UdpPacket::new_unchecked(segment).fill_checksum(&source, &destination);
            }
        }
    }

    /// Writes the sum of the pseudo header into the checksum field; returns the checksum left to
    /// complete.
    pub(crate) fn begin(&self, frame: &mut [u8]) -> Option<PartialChecksum> {
        let sum = self.pseudo_header_sum(frame)?;
        let offset = self.checksum_offset();
        frame[self.header + offset..][..2].copy_from_slice(&sum);
        Some(PartialChecksum { start: u16::try_from(self.header).ok()?, offset: offset as u16 })
    }

    /// Whether the checksum field has the sum of the pseudo header, so that it is left to complete.
    #[cfg(any(test, all(target_os = "linux", feature = "tun")))]
    pub(crate) fn is_begun(&self, frame: &[u8]) -> bool {
        let field = &frame[self.header + self.checksum_offset()..][..2];
        self.pseudo_header_sum(frame).is_some_and(|sum| sum == field)
    }

    fn pseudo_header_sum(&self, frame: &[u8]) -> Option<[u8; 2]> {
        let (source, destination) = self.addresses(frame);
        let protocol = match self.transport {
            Transport::Tcp => IpProtocol::Tcp,
            Transport::Udp => IpProtocol::Udp,
        };
        let len = u32::try_from(self.end - self.header).ok()?;
        Some(checksum::pseudo_header(&source, &destination, protocol, len).to_be_bytes())
    }

    /// Where the checksum is in the TCP or UDP header.
    fn checksum_offset(&self) -> usize {
        match self.transport {
            Transport::Tcp => 16,
            Transport::Udp => 6,
        }
    }

    /// Cuts a TCP packet into pieces with so much payload, each whole with its checksums.
    ///
    /// # Panics
    ///
    /// If `piece_bytes` is zero.
    pub(crate) fn cut(&self, frame: &[u8], piece_bytes: usize, sink: &mut impl FnMut(Bytes)) {
        let piece_bytes = NonZeroUsize::new(piece_bytes).expect("it is not zero");
        self.cut_into(frame, piece_bytes, |piece| sink(Bytes::copy_from_slice(piece)));
    }

    /// The same, with pieces to copy.
    pub(crate) fn cut_into(
        &self,
        frame: &[u8],
        piece_bytes: NonZeroUsize,
        sink: impl FnMut(&[u8]),
    ) {
        let at = TcpHeaders { ip: self.ip, tcp: self.header };
        netcore::cut_segments(&frame[..self.end], at, piece_bytes, sink);
    }

    fn addresses(&self, frame: &[u8]) -> (IpAddress, IpAddress) {
        let packet = &frame[self.ip..];
        match self.version {
            Version::V4 => {
                let ip = Ipv4Packet::new_unchecked(packet);
                (ip.src_addr().into(), ip.dst_addr().into())
            }
            Version::V6 => {
                let ip = Ipv6Packet::new_unchecked(packet);
                (ip.src_addr().into(), ip.dst_addr().into())
            }
        }
    }
}

const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;

/// Completes a checksum that the sender left to the link, without parsing the frame. An offset
/// beyond the frame is ignored.
pub(crate) fn complete_partial(frame: &mut [u8], partial: PartialChecksum) {
    let (start, offset) = (usize::from(partial.start), usize::from(partial.offset));
    let field = start + offset..start + offset + 2;
    if frame.len() < field.end {
        return;
    }
    let sum = match !checksum::data(&frame[start..]) {
        // As UDP must (RFC 768) and TCP may, since both are zero.
        0 => 0xffff,
        sum => sum,
    };
    frame[field].copy_from_slice(&sum.to_be_bytes());
}

/// Offload information after the payload has moved by `bytes`.
pub(crate) fn moved(offload: Offload, bytes: i16) -> Offload {
    let checksum = offload.checksum.map(|partial| PartialChecksum {
        start: partial.start.saturating_add_signed(bytes),
        ..partial
    });
    Offload { checksum, ..offload }
}

/// The transport protocol behind the extension headers, and the length of those. Unlike a host
/// (`netcore`'s parser), a switch does not judge their options: it only looks past them.
fn behind_extensions(packet: &Ipv6Packet<&[u8]>) -> Option<(IpProtocol, usize)> {
    let (mut protocol, mut len) = (packet.next_header(), 0);
    for _ in 0..EXTENSIONS_MAX {
        // Behind a routing header the pseudo header is of another destination.
        if !matches!(protocol, IpProtocol::HopByHop | IpProtocol::Ipv6Opts) {
            break;
        }
        let header = Ipv6ExtHeader::new_checked(packet.payload().get(len..)?).ok()?;
        protocol = header.next_header();
        len += 8 * (usize::from(header.header_len()) + 1);
    }
    Some((protocol, len))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::wire::TcpSeqNumber;
    use proptest::prelude::*;

    /// A TCP packet in an Ethernet frame, with options and a whole checksum.
    pub(crate) fn tcp(is_v4: bool, tags: usize, options: usize, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![2; 12];
        for _ in 0..tags {
            frame.extend([0x81, 0x00, 0x00, 0x05]);
        }
        let tcp_len = TCP_HEADER + 4 * options;
        if is_v4 {
            frame.extend(IPV4);
            let len = (20 + tcp_len + payload.len()) as u16;
            frame.extend([0x45, 0]);
            frame.extend(len.to_be_bytes());
            frame.extend([0xff, 0xfe, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        } else {
            frame.extend(IPV6);
            frame.extend([0x60, 0, 0, 0]);
            frame.extend(((tcp_len + payload.len()) as u16).to_be_bytes());
            frame.extend([6, 64]);
            frame.extend([0xfd; 32]);
        }
        let start = frame.len();
        frame.extend([0x12, 0x34, 0, 80, 0xff, 0xff, 0xff, 0x00, 0, 0, 0, 9]);
        frame.extend([((tcp_len / 4) << 4) as u8, 0x99, 0x10, 0, 0, 0, 0, 0]);
        frame.extend(std::iter::repeat_n(1, 4 * options));
        frame.extend(payload);
        assert_eq!(frame.len(), start + tcp_len + payload.len());
        if is_v4 {
            let ip = start - 20;
            Ipv4Packet::new_unchecked(&mut frame[ip..]).fill_checksum();
        }
        Layout::of(&frame).expect("it is TCP").complete(&mut frame);
        frame
    }

    pub(crate) fn assert_whole(frame: &[u8]) {
        let layout = Layout::of(frame).expect("it is TCP or UDP");
        let (source, destination) = layout.addresses(frame);
        let segment = &frame[layout.header..layout.end];
        let verifies = match layout.transport {
            Transport::Tcp => {
                TcpPacket::new_unchecked(segment).verify_checksum(&source, &destination)
            }
            Transport::Udp => {
                UdpPacket::new_unchecked(segment).verify_checksum(&source, &destination)
            }
        };
        assert!(verifies, "{layout:?}");
        if layout.version == Version::V4 {
            assert!(Ipv4Packet::new_unchecked(&frame[layout.ip..]).verify_checksum());
        }
    }

    fn seq(frame: &[u8]) -> TcpSeqNumber {
        let layout = Layout::of(frame).expect("it is TCP");
        TcpPacket::new_unchecked(&frame[layout.header..]).seq_number()
    }

    proptest! {
        #[test]
        fn pieces_are_whole_and_give_the_payload_again(
            is_v4: bool,
            tags in 0..3_usize,
            options in 0..11_usize,
            payload in proptest::collection::vec(any::<u8>(), 0..9000),
            mtu in 200..3000_usize,
            wanted: Option<NonZeroU16>,
        ) {
            let frame = tcp(is_v4, tags, options, &payload);
            let layout = Layout::of(&frame).expect("it is TCP");
            let size = layout.piece_bytes(wanted, mtu).expect("there is room for data");
            let mut pieces = Vec::new();

            layout.cut(&frame, size, &mut |piece| pieces.push(piece));

            let mut again = Vec::new();
            for (index, piece) in pieces.iter().enumerate() {
                let is_last = index + 1 == pieces.len();
                assert_whole(piece);
                prop_assert!(piece.len() - layout.ip <= mtu);
                let part = Layout::of(piece).expect("it is TCP");
                prop_assert_eq!(part.payload_bytes() == size || is_last, true);
                prop_assert_eq!(seq(piece), seq(&frame) + again.len());
                let tcp = TcpPacket::new_unchecked(&piece[part.header..]);
                prop_assert_eq!((tcp.fin(), tcp.psh()), (is_last, is_last));
                prop_assert_eq!(tcp.cwr(), index == 0);
                prop_assert_eq!(&piece[..layout.ip], &frame[..layout.ip]);
                prop_assert_eq!(tcp.options(), &frame[layout.header + TCP_HEADER..layout.payload]);
                again.extend_from_slice(&piece[part.payload..part.end]);
            }
            prop_assert_eq!(again, payload);
        }

        #[test]
        fn partial_checksum_is_completed(
            is_v4: bool,
            tags in 0..3_usize,
            payload in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let whole = tcp(is_v4, tags, 0, &payload);
            let layout = Layout::of(&whole).expect("it is TCP");
            let mut frame = whole.clone();

            let partial = layout.begin(&mut frame).expect("it is TCP");
            prop_assert!(layout.is_begun(&frame));
            complete_partial(&mut frame, partial);

            prop_assert_eq!(frame, whole);
        }

        #[test]
        fn no_frame_panics(frame in proptest::collection::vec(any::<u8>(), 0..120), flip: bool) {
            let mut frame = frame;
            if flip && frame.len() > 24 {
                // What looks like IP gets further.
                frame[12..15].copy_from_slice(&[8, 0, 0x45]);
                frame[23] = 6;
            }
            if let Some(layout) = Layout::of(&frame) {
                let mut pieces = 0;
                if let Some(size) = layout.piece_bytes(None, 100) {
                    layout.cut(&frame, size, &mut |_| pieces += 1);
                    prop_assert!(pieces > 0);
                }
                layout.complete(&mut frame);
                layout.begin(&mut frame);
            }
            complete_partial(&mut frame, PartialChecksum { start: 100, offset: u16::MAX });
        }
    }

    #[test]
    fn a_fragment_is_left_alone() {
        let mut frame = tcp(true, 0, 0, &[7; 100]);
        frame[ETHERNET_HEADER + 6] = 0x20;
        assert_eq!(Layout::of(&frame), None);
    }

    #[test]
    fn padding_is_no_payload() {
        let mut frame = tcp(true, 0, 0, b"x");
        frame.resize(60, 0);
        assert_eq!(Layout::of(&frame).map(|layout| layout.payload_bytes()), Some(1));
    }
}
