//! Segments to connections in TIME-WAIT.

use crate::context::Context;
use crate::counters::DropReason;
use crate::ip::layer::IpLayer;
use crate::ip::packet::Packet;
use crate::link::Link;
use crate::observer::Fate;
use crate::tcp::flow_table::FlowKey;
use crate::tcp::layer::TcpLayer;
use crate::tcp::options;
use crate::tcp::resets::send_control;
use crate::tcp::wire::LastWords;
use crate::wire::{TcpControl, TcpPacket, TcpSeqNumber};

impl TcpLayer {
    /// Takes a segment for a connection in TIME-WAIT.
    pub(crate) fn receive_late_segment<L: Link>(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        flow: FlowKey,
        packet: &Packet,
        link: &mut L,
    ) -> Result<Fate, DropReason> {
        let segment = TcpPacket::new_unchecked(packet.payload());
        let Some(words) = self.time_wait.get(&flow) else {
            self.flows.remove(&flow);
            return Err(DropReason::NoListener);
        };
        let sequence = segment.seq_number();
        let expected = TcpSeqNumber(words.acknowledgement as i32);
        let start = (sequence.0 as u32).wrapping_sub(words.acknowledgement) as i32;
        let room = words.edge.wrapping_sub(words.acknowledgement) as i32;
        if segment.rst() {
            // Only one that knows the exact number (RFC 5961 section 3). A peer that wants to
            // begin anew with an older number sends it, in answer to the acknowledgement below;
            // without it, it would be kept out until the time is over (against RFC 1337).
            if start == 0 {
                self.time_wait.remove(&flow);
                self.flows.remove(&flow);
                return Ok(Fate::Handled);
            }
            let reason = DropReason::UnexpectedReset;
            if start < 0 || start >= room {
                return Err(reason);
            }
            return Err(self.challenge_late(cx, ip, (flow, words), packet, reason, link));
        }
        let stamp = options::stamp(segment.options());
        let is_stale = words.stamps.is_some_and(|stamps| stamps.is_newer_than(stamp));
        if segment.syn() {
            let is_first = !segment.ack() && !segment.fin();
            let listener = self.ports.find(flow.local(), flow.remote());
            let is_new =
                start > 0 || words.stamps.is_some_and(|stamps| stamps.is_older_than(stamp));
            if is_first && is_new && !is_stale && listener.is_some() {
                // A new connection, recognisable by a sequence number that the old one has not
                // used, or by its timestamp (RFC 9293 section 3.10.7.4, RFC 6191). It takes the place
                // of this entry.
                return self.receive_syn(cx, ip, flow, packet, link);
            }
            let reason = DropReason::UnexpectedSyn;
            return Err(self.challenge_late(cx, ip, (flow, words), packet, reason, link));
        }
        if is_stale {
            let reason = DropReason::OldTimestamp;
            return Err(self.challenge_late(cx, ip, (flow, words), packet, reason, link));
        }
        if segment.segment_len() > 0 {
            if !segment.ack() && 0 <= start && start < room {
                return Err(DropReason::Unacceptable);
            }
            // The peer may have missed the last acknowledgement.
            if segment.fin() && sequence + segment.segment_len() == expected {
                self.keep_in_time_wait(cx, flow, words);
            }
            answer_late(cx, ip, words, packet, link);
            return Ok(Fate::Handled);
        }
        if let Some(reason) = misplaced(&segment, words, (start, room)) {
            return Err(self.challenge_late(cx, ip, (flow, words), packet, reason, link));
        }
        Ok(Fate::Handled)
    }

    /// Acknowledges for a connection in TIME-WAIT, unless rate-limited;
    /// returns why the packet is dropped, which is for `reason` if it was answered.
    fn challenge_late<L: Link>(
        &mut self,
        cx: &mut Context,
        ip: &mut IpLayer,
        (flow, words): (FlowKey, LastWords),
        packet: &Packet,
        reason: DropReason,
        link: &mut L,
    ) -> DropReason {
        let may = self.time_wait.may_challenge(&flow, cx.now);
        if may && self.challenges.allows(&mut cx.random, cx.now) {
            answer_late(cx, ip, words, packet, link);
            reason
        } else {
            DropReason::RateLimited
        }
    }
}

/// The acknowledgement of a connection in TIME-WAIT.
fn answer_late<L: Link>(
    cx: &mut Context,
    ip: &mut IpLayer,
    words: LastWords,
    packet: &Packet,
    link: &mut L,
) {
    let expected = TcpSeqNumber(words.acknowledgement as i32);
    let sequences = (TcpSeqNumber(words.sequence as i32), Some(expected));
    let stamp = words.stamps.map(|stamps| stamps.stamp(cx.now));
    send_control(cx, ip, packet, TcpControl::None, (sequences, words.window, stamp), link);
}

/// Why a segment without data cannot be one of its connection, which `start` bytes behind what was
/// acknowledged and with so much `room` in the window stands.
fn misplaced(
    segment: &TcpPacket<&[u8]>,
    words: LastWords,
    (start, room): (i32, i32),
) -> Option<DropReason> {
    let is_at_edge = start == room && room > 0;
    if start < 0 || start > room.max(0) || (is_at_edge && !segment.ack()) {
        return Some(DropReason::OutsideWindow);
    }
    let is_ahead = segment.ack() && segment.ack_number() > TcpSeqNumber(words.sequence as i32);
    is_ahead.then_some(DropReason::BadAcknowledgement)
}
