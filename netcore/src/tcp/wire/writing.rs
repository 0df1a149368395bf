//! The segments of a connection as they leave.

use super::{Flags, WINDOW_SHIFT_MAX, Wire, ip_header_len};
use crate::ip;
use crate::link::{LinkCapabilities, Offload};
use crate::output::{Checksums, write_checksum};
use crate::tcp::options::{self, TIMESTAMP, WINDOW_SCALE, mss_option};
use crate::tcp::sequence::{is_after, later};
use crate::wire::{IpProtocol, TCP_HEADER_LEN, TcpPacket, TcpSeqNumber};
use std::num::NonZeroU16;

/// Flags of a TCP header.
const FIN: u8 = 1;
const PUSH: u8 = 8;
const ACK: u8 = 16;

impl Wire {
    /// Corrects the header of a segment that smoltcp wrote: it knows of no data, and of no window.
    fn correct(&self, segment: &mut TcpPacket<&mut [u8]>) {
        if let Some(stamp) = options::find(segment.options_mut(), TIMESTAMP) {
            stamp.copy_from_slice(&self.stamps.stamp().option()[4..]);
        }
        if segment.syn() {
            let room =
                self.window_end.zip(self.expected()).map(|(end, from)| end.wrapping_sub(from));
            let room = room.unwrap_or(self.window_first).min(u32::from(u16::MAX));
            segment.set_window_len(room as u16);
            if let Some(mss) = mss_option(segment.options_mut()) {
                *mss = self.local_mss.to_be_bytes();
            }
            if let Some([shift]) = options::find(segment.options_mut(), WINDOW_SCALE) {
                *shift = shift_for(self.window_max);
            }
            return;
        }
        if let (Some(expected), true) = (self.expected(), segment.ack()) {
            segment.set_ack_number(TcpSeqNumber(expected as i32));
            segment.set_window_len(self.window(expected));
        }
        // Acknowledgements and resets belong at SND.NXT (RFC 9293 section 3.10.7.4).
        if let Some(next) = self.next {
            segment.set_seq_number(TcpSeqNumber(next as i32));
        }
    }

    /// Notes a segment that smoltcp wrote.
    fn note_sent(&mut self, segment: &mut TcpPacket<&mut [u8]>) {
        self.segs_out += 1;
        if segment.rst() {
            // Its numbers may be those of an earlier connection.
            return;
        }
        let mut announced = u32::from(segment.window_len());
        if segment.syn() {
            self.local_isn = Some(segment.seq_number().0 as u32);
            if let Some([shift]) = options::find(segment.options_mut(), WINDOW_SCALE) {
                self.local_shift = *shift;
            }
        } else {
            // The window of a SYN is never scaled (RFC 7323 section 2.2).
            announced <<= self.local_shift;
        }
        let end = (segment.seq_number() + segment.segment_len()).0 as u32;
        self.next = later(self.next, end);
        self.sent_end = later(self.sent_end, end);
        if segment.ack() {
            self.note_acknowledged(segment.ack_number().0 as u32, announced);
        } else {
            self.announced = announced;
        }
    }

    /// Takes an acknowledgement that smoltcp wrote and that carries nothing else. It leaves with
    /// the next segment, or on its own; returns whether it was one.
    pub(crate) fn absorb(&mut self, packet: &mut [u8]) -> bool {
        let start = ip_header_len(self.flow.local());
        let segment = TcpPacket::new_unchecked(&mut packet[start..]);
        if segment.segment_len() > 0 || segment.rst() || !segment.ack() {
            return false;
        }
        self.acks.owe();
        true
    }

    /// Writes a segment from `sequence` on, with timestamps and `options` in its header, and lets `fill` write its
    /// payload, but for `rest` bytes that stand elsewhere.
    pub(crate) fn write(
        &mut self,
        (packet, rest): (&mut [u8], usize),
        (sequence, options): (u32, &[u8]),
        Flags { push, fin, is_window_probe }: Flags,
        fill: impl FnOnce(&mut [u8]),
        (checksums, capabilities): (Checksums, &LinkCapabilities),
    ) -> Offload {
        let (local, remote) = (self.flow.local(), self.flow.remote());
        let start = ip_header_len(local);
        let (source, destination) = (local.ip(), remote.ip());
        let len = packet.len() - start + rest;
        let header = ip::repr(source, destination, IpProtocol::Tcp, len, self.hop_limit);
        header.emit(&mut *packet, &ip::header_checksums_only());
        if self.traffic_class != 0 {
            ip::set_traffic_class(packet, self.traffic_class);
        }
        let stamp_bytes = self.stamps.option_bytes();
        let header_len = TCP_HEADER_LEN + stamp_bytes + options.len();
        let payload = len - header_len;
        // Written in one piece: a frame's buffer may hold anything.
        let mut fixed = [0; TCP_HEADER_LEN];
        fixed[..2].copy_from_slice(&local.port().to_be_bytes());
        fixed[2..4].copy_from_slice(&remote.port().to_be_bytes());
        fixed[4..8].copy_from_slice(&sequence.to_be_bytes());
        fixed[12] = (header_len as u8) << 2;
        fixed[13] = if push { PUSH } else { 0 } | if fin { FIN } else { 0 };
        if let Some(expected) = self.expected() {
            let window = self.window(expected);
            fixed[8..12].copy_from_slice(&expected.to_be_bytes());
            fixed[13] |= ACK;
            fixed[14..16].copy_from_slice(&window.to_be_bytes());
            self.note_acknowledged(expected, u32::from(window) << self.local_shift);
        }
        let (header, body) = packet[start..].split_at_mut(header_len);
        let (first, behind) = header.split_at_mut(TCP_HEADER_LEN);
        let (stamp, others) = behind.split_at_mut(stamp_bytes);
        first.copy_from_slice(&fixed);
        if !stamp.is_empty() {
            stamp.copy_from_slice(&self.stamps.stamp().option());
        }
        others.copy_from_slice(options);
        fill(body);
        let end = sequence.wrapping_add((payload + usize::from(fin)) as u32);
        self.segs_out += 1;
        if !is_window_probe {
            self.next = later(self.next, end);
        }
        self.sent_end = later(self.sent_end, end);
        self.acks.on_sent();
        let offload = self.complete((packet, rest), checksums, capabilities);
        if let Some(piece) = offload.segment_bytes {
            self.segs_out += (payload.saturating_sub(1) / usize::from(piece.get())) as u64;
        }
        offload
    }

    /// Notes an acknowledgement that leaves, and the window that it announces, in bytes.
    fn note_acknowledged(&mut self, acknowledgement: u32, window: u32) {
        self.announced = window;
        self.acknowledged = Some(acknowledgement);
        let edge = acknowledgement.wrapping_add(window);
        if self.edge.is_none_or(|before| is_after(edge, before)) {
            self.edge = Some(edge);
        }
    }

    /// The window field with an acknowledgement of `expected`. A window that was announced is
    /// rounded up, so that its end does not move back (as Linux's `tcp_select_window`), but no
    /// further than a unit beyond what there is room for.
    fn window(&self, expected: u32) -> u16 {
        let until = |end: Option<u32>| end.map_or(0, |end| end.wrapping_sub(expected) as i32);
        let (announced, room) = (until(self.edge).max(0), until(self.window_end));
        let unit = 1 << self.local_shift;
        let rounded = (announced as u32).next_multiple_of(unit) as i32;
        let window =
            if room <= announced && rounded <= room + unit as i32 { rounded } else { announced };
        u16::try_from(window.max(room) >> self.local_shift).unwrap_or(u16::MAX)
    }

    /// Completes a packet that smoltcp wrote.
    pub(crate) fn finish(
        &mut self,
        packet: &mut [u8],
        checksums: Checksums,
        capabilities: &LinkCapabilities,
    ) -> Offload {
        let start = ip_header_len(self.flow.local());
        if self.traffic_class != 0 {
            ip::set_traffic_class(packet, self.traffic_class);
        }
        let mut segment = TcpPacket::new_unchecked(&mut packet[start..]);
        self.correct(&mut segment);
        self.note_sent(&mut segment);
        self.acks.on_sent();
        self.complete((packet, 0), checksums, capabilities)
    }

    /// Leaves to the link what it does itself, and writes the checksum.
    fn complete(
        &self,
        (packet, rest): (&mut [u8], usize),
        checksums: Checksums,
        capabilities: &LinkCapabilities,
    ) -> Offload {
        let (local, remote) = (self.flow.local(), self.flow.remote());
        let start = ip_header_len(local);
        let mut segment = TcpPacket::new_unchecked(&mut packet[start..]);
        let segment_bytes = match capabilities.segment_bytes_max {
            Some(_) => {
                let piece = self.piece_bytes(capabilities.mtu);
                let is_jumbo = segment.payload_mut().len() + rest > piece;
                u16::try_from(piece).ok().and_then(NonZeroU16::new).filter(|_| is_jumbo)
            }
            None => None,
        };
        let ends = (local.ip(), remote.ip());
        Offload {
            checksum: write_checksum(packet, (start, rest), ends, IpProtocol::Tcp, checksums),
            segment_bytes,
        }
    }
}

/// By how many bits a window of so many bytes is shifted, so that it fits into its field.
fn shift_for(window: u32) -> u8 {
    let bits = u32::BITS - (window >> 16).leading_zeros();
    (bits as u8).min(WINDOW_SHIFT_MAX)
}
