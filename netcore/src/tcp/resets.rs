//! Segments that the stack sends without a connection: resets, and acknowledgements in TIME-WAIT.

use crate::context::Context;
use crate::counters::DropReason;
use crate::ip::layer::IpLayer;
use crate::ip::packet::Packet;
use crate::link::Link;
use crate::tcp::layer::TcpLayer;
use crate::tcp::timestamps::Stamp;
use crate::wire::ChecksumCapabilities;
use crate::wire::{IpProtocol, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber, TcpTimestampRepr};

impl TcpLayer {
    /// Answers a segment that no connection takes with a reset (RFC 9293 section 3.10.7.1); returns
    /// why the segment is dropped, which is for `reason` unless the answer is one too many.
    pub(crate) fn answer_reset<L: Link>(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        packet: &Packet,
        reason: DropReason,
        link: &mut L,
    ) -> DropReason {
        let segment = TcpPacket::new_unchecked(packet.payload());
        if segment.rst() {
            return reason;
        }
        if !self.resets.allows(cx.now) {
            return DropReason::RateLimited;
        }
        self.send_reset(cx, ip, packet, link);
        reason
    }

    /// Answers a segment with a reset (RFC 9293 section 3.10.7.1).
    pub(crate) fn send_reset<L: Link>(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        packet: &Packet,
        link: &mut L,
    ) {
        let segment = TcpPacket::new_unchecked(packet.payload());
        let (sequence, acknowledgement) = if segment.ack() {
            (segment.ack_number(), None)
        } else {
            (TcpSeqNumber(0), Some(segment.seq_number() + segment.segment_len()))
        };
        let sequences = (sequence, acknowledgement);
        send_control(cx, ip, packet, TcpControl::Rst, (sequences, 0, None), link);
        ip.outgoing.counters.resets_sent += 1;
    }
}

/// Sends a segment without data back to where `packet` came from, with timestamps if there are any.
pub(crate) fn send_control<L: Link>(
    cx: &mut Context,
    ip: &mut IpLayer,
    packet: &Packet,
    control: TcpControl,
    (sequences, window, stamp): ((TcpSeqNumber, Option<TcpSeqNumber>), u16, Option<Stamp>),
    link: &mut L,
) {
    let received = TcpPacket::new_unchecked(packet.payload());
    let segment = TcpRepr {
        src_port: received.dst_port(),
        dst_port: received.src_port(),
        control,
        seq_number: sequences.0,
        ack_number: sequences.1,
        window_len: window,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: stamp.map(|stamp| TcpTimestampRepr::new(stamp.value, stamp.echo)),
        payload: &[],
    };
    let ends = (packet.header.destination, packet.header.source);
    ip.send_answer(cx, ends, IpProtocol::Tcp, segment.buffer_len(), link, |buffer| {
        let mut out = TcpPacket::new_unchecked(buffer);
        let ignored = ChecksumCapabilities::ignored();
        segment.emit(&mut out, &ends.0.into(), &ends.1.into(), &ignored);
    });
}
