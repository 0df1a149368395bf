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

/// A segment that smoltcp is shown in place of the peer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    Ack,
    Fin,
    Reset,
}

/// The longest headers of a segment without options.
const HEADERS_MAX: usize = 40 + TCP_HEADER_LEN;

/// The segment from `remote` to `local`, with an open window and without payload: a packet at the
/// end of the buffer, and where it begins.
pub(crate) fn segment(
    shown: Shown,
    (remote, local): (SocketAddr, SocketAddr),
    (sequence, acknowledgement): (u32, u32),
) -> ([u8; HEADERS_MAX], usize) {
    let (source, destination): (IpAddr, IpAddr) = (remote.ip(), local.ip());
    let header = crate::ip::repr(source, destination, IpProtocol::Tcp, TCP_HEADER_LEN, 1);
    let start = header.header_len();
    let mut buffer = [0; HEADERS_MAX];
    let begin = HEADERS_MAX - TCP_HEADER_LEN - start;
    let packet = &mut buffer[begin..];
    header.emit(&mut *packet, &crate::wire::ChecksumCapabilities::ignored());
    let mut segment = TcpPacket::new_unchecked(&mut packet[start..]);
    segment.set_header_len(TCP_HEADER_LEN as u8);
    segment.set_src_port(remote.port());
    segment.set_dst_port(local.port());
    segment.set_seq_number(TcpSeqNumber(sequence as i32));
    segment.set_ack_number(TcpSeqNumber(acknowledgement as i32));
    segment.set_ack(true);
    segment.set_fin(shown == Shown::Fin);
    segment.set_rst(shown == Shown::Reset);
    segment.set_window_len(1);
    (buffer, begin)
}
