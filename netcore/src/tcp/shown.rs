//! Segments that smoltcp is shown in place of the peer's, or besides them.

use crate::wire::{IpProtocol, Ipv4Packet, Ipv6Packet, TCP_HEADER_LEN, TcpPacket, TcpSeqNumber};
use std::net::{IpAddr, SocketAddr};

/// Writes the length of a packet into its IP header, which ends at `start`.
pub(crate) fn set_payload_len(packet: &mut [u8], start: usize) {
    let len = packet.len();
    match packet[0] >> 4 {
        4 => Ipv4Packet::new_unchecked(packet).set_total_len(len as u16),
        _ => Ipv6Packet::new_unchecked(packet).set_payload_len((len - start) as u16),
    }
}

/// A segment from `remote` to `local` that a connection can do nothing with but acknowledge: a byte
/// before the next expected one.
pub(crate) fn stale_byte(
    ends: (SocketAddr, SocketAddr),
    expected: u32,
    acknowledgement: u32,
) -> Vec<u8> {
    segment(ends, expected.wrapping_sub(1), acknowledgement, 1)
}

/// A segment from `remote` to `local` that does nothing but acknowledge.
pub(crate) fn bare_ack(
    ends: (SocketAddr, SocketAddr),
    expected: u32,
    acknowledgement: u32,
) -> Vec<u8> {
    segment(ends, expected, acknowledgement, 0)
}

/// The packet with another window. Its checksums are wrong; they have been verified.
#[cold]
pub(crate) fn with_window(packet: &[u8], tcp_start: usize, window: u16) -> Vec<u8> {
    let mut packet = packet.to_vec();
    TcpPacket::new_unchecked(&mut packet[tcp_start..]).set_window_len(window);
    packet
}

/// A segment with so many bytes of payload, and an open window.
fn segment(
    (remote, local): (SocketAddr, SocketAddr),
    sequence: u32,
    acknowledgement: u32,
    payload_len: usize,
) -> Vec<u8> {
    let (source, destination): (IpAddr, IpAddr) = (remote.ip(), local.ip());
    let protocol = IpProtocol::Tcp;
    let header = crate::ip::repr(source, destination, protocol, TCP_HEADER_LEN + payload_len, 1);
    let start = header.header_len();
    let mut packet = vec![0; start + TCP_HEADER_LEN + payload_len];
    header.emit(&mut packet[..], &crate::wire::ChecksumCapabilities::ignored());
    let mut segment = TcpPacket::new_unchecked(&mut packet[start..]);
    segment.set_header_len(TCP_HEADER_LEN as u8);
    segment.set_src_port(remote.port());
    segment.set_dst_port(local.port());
    segment.set_seq_number(TcpSeqNumber(sequence as i32));
    segment.set_ack_number(TcpSeqNumber(acknowledgement as i32));
    segment.set_ack(true);
    segment.set_window_len(1);
    packet
}
