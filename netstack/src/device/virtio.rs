//! The header in front of each frame of a TUN or TAP with offload, as virtio-net has it.

use crate::wire::{Ipv4Packet, Ipv6Packet, UdpPacket};
use bytes::{Bytes, BytesMut};
use netcore::{Frame, FrameChecksum, Offload};

/// `struct virtio_net_hdr` (virtio 1.3, section 5.1.6), in the byte order of the machine, without
/// the count of buffers: the driver's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct VirtioHeader {
    flags: u8,
    gso_type: u8,
    hdr_len: u16,
    gso_size: u16,
    csum_start: u16,
    csum_offset: u16,
}

pub(super) const HEADER_BYTES: usize = 10;
/// Flags: the checksum is incomplete, or the kernel has verified it.
const NEEDS_CHECKSUM: u8 = 1;
const DATA_VALID: u8 = 2;
/// Segmentation types.
const GSO_TCP_V4: u8 = 1;
const GSO_TCP_V6: u8 = 4;
const GSO_UDP: u8 = 5;
/// A bit of the segmentation type: TCP's explicit congestion notification is on.
const GSO_ECN: u8 = 0x80;

impl VirtioHeader {
    fn encode(self) -> [u8; HEADER_BYTES] {
        let words = [self.hdr_len, self.gso_size, self.csum_start, self.csum_offset];
        let mut bytes = [self.flags, self.gso_type, 0, 0, 0, 0, 0, 0, 0, 0];
        for (room, word) in bytes[2..].chunks_exact_mut(2).zip(words) {
            room.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    /// The header at the front of `packet`, if it is whole.
    fn decode(packet: &[u8]) -> Option<Self> {
        let bytes = packet.first_chunk::<HEADER_BYTES>()?;
        let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        Some(Self {
            flags: bytes[0],
            gso_type: bytes[1],
            hdr_len: word(2),
            gso_size: word(4),
            csum_start: word(6),
            csum_offset: word(8),
        })
    }
}

/// Writes the header for the frame that follows it in `buffer`, whose IP packet begins at
/// `ip_start`.
pub(super) fn write_header(buffer: &mut [u8], ip_start: usize, offload: Offload) {
    let (header, packet) = buffer.split_at_mut(HEADER_BYTES);
    let mut virtio = VirtioHeader::default();
    if let Some(checksum) = offload.checksum {
        virtio.flags = NEEDS_CHECKSUM;
        virtio.csum_start = checksum.start;
        virtio.csum_offset = checksum.offset;
        if let Some(segment_bytes) = offload.segment_bytes {
            let is_v4 = packet[ip_start] >> 4 == 4;
            virtio.gso_type = if is_v4 { GSO_TCP_V4 } else { GSO_TCP_V6 };
            virtio.gso_size = segment_bytes.get();
            // The high half of this byte is the TCP header's length in words.
            let tcp_len = packet[usize::from(checksum.start) + 12] >> 4;
            virtio.hdr_len = checksum.start + u16::from(tcp_len) * 4;
        }
    }
    header.copy_from_slice(&virtio.encode());
}

/// Takes the header off a frame, whose IP packet begins at `ip_start`, and gives the frames in it
/// to `sink`. A TCP packet stays whole, however large; several UDP datagrams in one packet are
/// split, because their boundaries matter.
pub(super) fn read_frames(packet: Bytes, ip_start: usize, sink: &mut impl FnMut(Frame)) {
    let Some(virtio) = VirtioHeader::decode(&packet) else {
        return;
    };
    let data = packet.slice(HEADER_BYTES..);
    let checksum = match virtio.flags & (NEEDS_CHECKSUM | DATA_VALID) {
        0 => FrameChecksum::Unknown,
        _ => FrameChecksum::Trusted,
    };
    if virtio.gso_type & !GSO_ECN == GSO_UDP {
        let (start, size) = (usize::from(virtio.csum_start), usize::from(virtio.gso_size));
        let starts = (ip_start, start);
        split_datagrams(&data, starts, size, &mut |data| sink(Frame::new(data, checksum)));
    } else {
        sink(Frame::new(data, checksum));
    }
}

const UDP_HEADER: usize = 8;

/// Splits a frame whose IP and UDP headers are at these offsets into datagrams of `size` bytes of
/// payload. Their checksums stay incomplete: the kernel guarantees the payload.
fn split_datagrams(
    packet: &[u8],
    (ip_start, start): (usize, usize),
    size: usize,
    sink: &mut impl FnMut(Bytes),
) {
    let payload_start = start + UDP_HEADER;
    let Some((headers, payload)) = packet.split_at_checked(payload_start) else {
        return;
    };
    if start < ip_start + 20 || size == 0 {
        return;
    }
    for chunk in payload.chunks(size) {
        let mut datagram = BytesMut::with_capacity(payload_start + chunk.len());
        datagram.extend_from_slice(headers);
        datagram.extend_from_slice(chunk);
        let total = datagram.len() - ip_start;
        let mut udp = UdpPacket::new_unchecked(&mut datagram[start..]);
        udp.set_len((UDP_HEADER + chunk.len()) as u16);
        if headers[ip_start] >> 4 == 4 {
            let mut ip = Ipv4Packet::new_unchecked(&mut datagram[ip_start..]);
            ip.set_total_len(total as u16);
            ip.fill_checksum();
        } else {
            // IPv6 does not count its own header.
            let mut ip = Ipv6Packet::new_unchecked(&mut datagram[ip_start..]);
            ip.set_payload_len(total.saturating_sub(40) as u16);
        }
        sink(datagram.freeze());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netcore::PartialChecksum;
    use std::num::NonZeroU16;

    fn udp_v4(payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 28 + payload.len()];
        packet[0] = 0x45;
        packet[9] = 17;
        packet[28..].copy_from_slice(payload);
        packet
    }

    #[test]
    fn joined_datagrams_are_split() {
        let virtio = VirtioHeader {
            flags: NEEDS_CHECKSUM,
            gso_type: GSO_UDP,
            gso_size: 4,
            csum_start: 20,
            csum_offset: 6,
            ..VirtioHeader::default()
        };
        let mut buffer = virtio.encode().to_vec();
        buffer.extend(udp_v4(b"aaaabbbbcc"));

        let mut frames = Vec::new();
        read_frames(buffer.into(), 0, &mut |frame| frames.push(frame));

        let payloads: Vec<_> = frames.iter().map(|frame| frame.data.slice(28..)).collect();
        assert_eq!(payloads, ["aaaa", "bbbb", "cc"]);
        for frame in &frames {
            let ip = Ipv4Packet::new_checked(&frame.data[..]).expect("whole");
            assert!(ip.verify_checksum());
            let udp = UdpPacket::new_checked(ip.payload()).expect("whole");
            assert_eq!(usize::from(udp.len()), frame.data.len() - 20);
            assert_eq!(frame.checksum, FrameChecksum::Trusted);
        }
    }

    #[test]
    fn malformed_packets_give_no_frames() {
        let virtio =
            VirtioHeader { gso_type: GSO_UDP, csum_start: 60_000, ..VirtioHeader::default() };
        let mut buffer = virtio.encode().to_vec();
        buffer.extend(udp_v4(b"abc"));
        let mut frames = 0;

        read_frames(buffer.into(), 0, &mut |_| frames += 1);
        read_frames(Bytes::from_static(b"short"), 0, &mut |_| frames += 1);

        assert_eq!(frames, 0);
    }

    #[test]
    fn a_header_has_the_segment_size_and_the_checksum_offsets() {
        let mut buffer = vec![0; HEADER_BYTES + 40];
        buffer[HEADER_BYTES] = 0x45;
        buffer[HEADER_BYTES + 20 + 12] = 8 << 4;
        let offload = Offload {
            checksum: Some(PartialChecksum { start: 20, offset: 16 }),
            segment_bytes: NonZeroU16::new(1460),
        };

        write_header(&mut buffer, 0, offload);

        let virtio = VirtioHeader::decode(&buffer).expect("whole");
        assert_eq!((virtio.gso_type, virtio.gso_size), (GSO_TCP_V4, 1460));
        assert_eq!((virtio.csum_start, virtio.csum_offset, virtio.hdr_len), (20, 16, 52));
    }

    #[test]
    fn ip_headers_are_found_behind_an_ethernet_header() {
        let ethernet = [2; 14];
        let virtio = VirtioHeader {
            flags: NEEDS_CHECKSUM,
            gso_type: GSO_UDP,
            gso_size: 4,
            csum_start: 14 + 20,
            csum_offset: 6,
            ..VirtioHeader::default()
        };
        let mut buffer = virtio.encode().to_vec();
        buffer.extend(ethernet);
        buffer.extend(udp_v4(b"aaaabb"));

        let mut frames = Vec::new();
        read_frames(buffer.into(), 14, &mut |frame| frames.push(frame.data));

        for (frame, payload) in frames.iter().zip(["aaaa", "bb"]) {
            assert_eq!((&frame[..14], &frame[14 + 28..]), (&ethernet[..], payload.as_bytes()));
            let ip = Ipv4Packet::new_checked(&frame[14..]).expect("whole");
            assert!(ip.verify_checksum());
        }
        assert_eq!(frames.len(), 2);

        let mut buffer = vec![0; HEADER_BYTES + 14 + 60];
        buffer[HEADER_BYTES + 14] = 0x60;
        buffer[HEADER_BYTES + 14 + 40 + 12] = 5 << 4;
        let checksum = Some(PartialChecksum { start: 14 + 40, offset: 16 });
        let offload = Offload { checksum, segment_bytes: NonZeroU16::new(1440) };
        write_header(&mut buffer, 14, offload);
        let virtio = VirtioHeader::decode(&buffer).expect("whole");
        assert_eq!((virtio.gso_type, virtio.gso_size), (GSO_TCP_V6, 1440));
        assert_eq!((virtio.csum_start, virtio.hdr_len), (54, 74));
    }
}
