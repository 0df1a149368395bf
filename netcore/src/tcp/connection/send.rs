//! Bytes to the peer.

use super::observe::observed;
use super::{COPY_MAX, Connection, QUANTUM_BYTES};
use crate::counters::DropReason;
use crate::ip::PACKET_BYTES_MAX;
use crate::ip::addressing::NextHop;
use crate::link::Link;
use crate::memory::Pressure;
use crate::observer::{ObservedSegment, SendCause};
use crate::output::Output;
use crate::tcp::RetransmitRule;
use crate::tcp::engine::{Engine, State};
use crate::tcp::receiver::SackOption;
use crate::tcp::sender::{Limits, Sender};
use crate::tcp::sink::ConnectionSink;
use crate::tcp::wire::{Flags, ip_header_len};
use crate::time::Instant;
use std::task::Waker;

/// smoltcp has at most an acknowledgement and a probe to send; more than this in a turn is a
/// mistake, which must not keep the stack from its other connections.
const EMITTED_MAX: usize = 8;

/// Bytes that may be unacknowledged under memory pressure.
const CAPACITY_UNDER_PRESSURE: usize = 32 * 1024;

impl Connection {
    /// Moves what the handle wants sent to the sender, as far as that has room, and the end of the
    /// stream after it.
    pub(crate) fn pump_to_send(&mut self, now: Instant, wakes: &mut Vec<Waker>) {
        let Some(queue) = self.queue().cloned() else {
            return;
        };
        self.is_send_buffer_full = false;
        if self.is_send_done || !self.solo.tcp().may_send() {
            return;
        }
        let capacity = self.send_capacity();
        loop {
            let room = capacity.saturating_sub(self.unacknowledged_bytes());
            self.is_send_buffer_full = room == 0;
            let Some(chunk) = (room > 0).then(|| queue.take_to_send(room, wakes)).flatten() else {
                break;
            };
            self.note_first_unacknowledged(now);
            self.reclaim.on_queued(now);
            self.sender(now).push(chunk);
        }
        if queue.is_send_finished() {
            self.note_first_unacknowledged(now);
            self.sender(now).finish();
            self.is_send_done = true;
        }
    }

    /// Bytes that may be unacknowledged, sent or not: what may be in flight, and what is not in flight
    /// any more. More waits in the queue.
    pub(super) fn send_capacity(&self) -> usize {
        let (least, most) = (self.send_buffer.0 as usize, self.send_buffer.1 as usize);
        let window = self.sender.as_ref().map_or(0, |sender| sender.usable_window());
        let window = window.min(self.wire.offered_max().into());
        let capacity = usize::try_from(window).unwrap_or(usize::MAX).clamp(least, most);
        match self.charge.pressure() {
            Pressure::None => capacity,
            Pressure::High => capacity.min(CAPACITY_UNDER_PRESSURE),
            Pressure::Full => capacity.min(self.wire.segment_bytes()),
        }
    }

    /// From now on the peer has something to acknowledge.
    fn note_first_unacknowledged(&mut self, now: Instant) {
        if self.unacknowledged_bytes() == 0 {
            self.progressed = now;
        }
    }

    fn sender(&mut self, now: Instant) -> &mut Sender {
        if self.sender.is_none() {
            self.sender = Some(Box::new(self.new_sender(now)));
        }
        self.sender.as_mut().expect("it was just made")
    }

    pub(super) fn new_sender(&self, now: Instant) -> Sender {
        let mss = self.wire.segment_bytes() as u32;
        let split_max = self.split_segments_max as usize;
        Sender::new(self.congestion_control(), mss, self.wire.has_sack(), split_max, now)
    }

    /// Sends what may leave now, up to the quantum; returns whether there may be more at once.
    pub(crate) fn emit<L: Link>(
        &mut self,
        engine: &mut Engine,
        now: Instant,
        output: &mut Output<'_, L>,
    ) -> bool {
        #[cfg(test)]
        assert!(!self.is_to_panic, "as the test wants");
        self.is_blocked = false;
        self.wire.forget_path(now);
        let is_open = self.queue().is_some();
        let mut has_more = false;
        if self.engine_due.is_some_and(|due| due <= now) {
            output.explain(|outgoing| self.segment(self.control_cause(), outgoing));
            let cause = self.control_cause();
            let mut sink = ConnectionSink::new(&mut self.wire, self.way, output);
            if is_open {
                sink = sink.absorb_acks();
            }
            // Handshakes and resets.
            let mut emitted = 0;
            while emitted < EMITTED_MAX && engine.emit(now, self.solo.set_mut(), &mut sink) {
                emitted += 1;
            }
            if emitted > 0 && cause != SendCause::Control {
                self.span.syn_repeated();
                output.state.counters.retransmit(RetransmitRule::Handshake);
            }
            has_more = emitted == EMITTED_MAX;
            self.engine_due = engine.poll_at(now, self.solo.set());
        }
        self.wire.acks.on_timer(now);
        if self.receiver.has_sack() {
            // Data has no room for the option beside it.
            self.send_owed_ack(output);
        }
        let may_send = is_open && self.solo.tcp().may_send();
        has_more |= may_send && self.send(now, output);
        self.send_owed_ack(output);
        has_more
    }

    /// Why smoltcp has something to send: a SYN that has left before has found no answer.
    fn control_cause(&self) -> SendCause {
        match self.solo.tcp().state() {
            State::SynSent | State::SynReceived if self.wire.sent_end().is_some() => {
                SendCause::Retransmit(RetransmitRule::Handshake)
            }
            _ => SendCause::Control,
        }
    }

    /// Sends data, new or again; returns whether there may be more at once.
    fn send<L: Link>(&mut self, now: Instant, output: &mut Output<'_, L>) -> bool {
        let capabilities = output.state.capabilities;
        let piece = self.wire.piece_bytes(capabilities.mtu) as u64;
        let headers = self.wire.headers();
        let state = output.is_observed().then(|| self.state());
        let Some(unacknowledged) = self.wire.unacknowledged() else { return false };
        let Some(sender) = self.sender.as_deref_mut() else { return false };
        sender.set_mss(piece as u32);
        sender.on_timer(now);
        let packet = match (self.way, capabilities.segment_bytes_max) {
            (NextHop::Link(_), Some(most)) => most.min(PACKET_BYTES_MAX).saturating_sub(headers),
            _ => 0,
        };
        let window = self.wire.offered_window().unwrap_or(0);
        let limits = Limits {
            window_end: sender.unacknowledged() + u64::from(window),
            window_max: u64::from(self.wire.offered_max()),
            piece,
            packet: (packet as u64 / piece * piece).max(piece),
            nodelay: self.nodelay,
        };
        let gathers = capabilities.scatter_gather && matches!(self.way, NextHop::Link(_));
        let (mut sent_bytes, mut payload) = (0, Vec::new());
        while let Some(segment) = sender.next(now, &limits) {
            if sent_bytes >= QUANTUM_BYTES {
                return true;
            }
            let position = segment.start.wrapping_sub(sender.unacknowledged());
            let sequence = unacknowledged.wrapping_add(position as u32);
            let is_gathered =
                gathers && segment.len >= COPY_MAX && sender.slices(&segment, &mut payload);
            let (copied, rest) = if is_gathered { (0, segment.len) } else { (segment.len, 0) };
            output.explain(|outgoing| ObservedSegment {
                cause: segment.cause(),
                connection: observed(
                    state.expect("it is observed"),
                    &self.wire,
                    Some(sender),
                    outgoing.capabilities.mtu,
                    now,
                ),
            });
            let wire = &mut self.wire;
            let write = |packet: &mut [u8], checksums| {
                let fill = |payload: &mut [u8]| {
                    if !is_gathered {
                        sender.copy(&segment, payload);
                    }
                };
                let with = (checksums, &capabilities);
                ((), wire.write((packet, rest), (sequence, &[]), segment.flags(), fill, with))
            };
            let sent = output.send_with(self.way, headers + copied, &mut payload, write);
            payload.clear();
            if sent.is_none() {
                self.is_blocked = true;
                return false;
            }
            sent_bytes += headers + segment.len;
            sender.sent(&segment, &limits, now);
            if let Some(rule) = segment.again {
                let end = segment.start + segment.len as u64;
                self.span.repeated(rule, segment.start..end);
                output.state.counters.retransmit(rule);
            }
        }
        sender.watch_window(now);
        false
    }

    /// Sends a byte that the peer has acknowledged: it answers (RFC 9293 section 3.8.4).
    pub(super) fn send_probe<L: Link>(&mut self, output: &mut Output<'_, L>) {
        let Some(unacknowledged) = self.wire.unacknowledged() else { return };
        let capabilities = output.state.capabilities;
        output.explain(|outgoing| self.segment(SendCause::KeepAlive, outgoing));
        let wire = &mut self.wire;
        let sent = output.send(self.way, wire.headers() + 1, |packet, checksums| {
            let sequence = unacknowledged.wrapping_sub(1);
            let with = (checksums, &capabilities);
            let fill = |payload: &mut [u8]| payload.fill(0);
            ((), wire.write((packet, 0), (sequence, &[]), Flags::default(), fill, with))
        });
        self.is_blocked |= sent.is_none();
    }

    /// Sends the SYN of this end once more.
    pub(crate) fn repeat_syn<L: Link>(&mut self, output: &mut Output<'_, L>) {
        let Some(syn) = self.wire.syn() else { return };
        let capabilities = output.state.capabilities;
        let wire = &mut self.wire;
        let len = ip_header_len(wire.flow().local()) + syn.buffer_len();
        let sent = output.send(self.way, len, |packet, checksums| {
            ((), wire.write_syn(packet, &syn, (checksums, &capabilities)))
        });
        if sent.is_none() {
            output.state.counters.drop(DropReason::ReplyQueueFull);
        }
    }

    /// Sends the acknowledgement that is due, if no segment has carried it.
    pub(super) fn send_owed_ack<L: Link>(&mut self, output: &mut Output<'_, L>) {
        if !self.wire.acks.is_owed() {
            return;
        }
        let (Some(next), Some(expected)) = (self.wire.next(), self.wire.expected()) else { return };
        let capabilities = output.state.capabilities;
        let sack = match self.wire.has_sack() {
            true => self.receiver.take_sack(expected),
            false => SackOption::default(),
        };
        output.explain(|outgoing| self.segment(SendCause::Ack, outgoing));
        let (wire, options) = (&mut self.wire, sack.as_slice());
        let sent = output.send(self.way, wire.headers() + options.len(), |packet, checksums| {
            let with = (checksums, &capabilities);
            ((), wire.write((packet, 0), (next, options), Flags::default(), |_| (), with))
        });
        self.is_blocked |= sent.is_none();
    }
}
