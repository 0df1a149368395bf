//! Segments and bytes from the peer.

use super::{COPY_MAX, Connection, Stage};
use crate::error::Error;
use crate::ip::packet::Packet;
use crate::link::{self, Link};
use crate::memory::Pressure;
use crate::observer::SendCause;
use crate::output::Output;
use crate::queue::Received;
use crate::tcp::engine::{Engine, State};
use crate::tcp::guard::{Part, Segment, is_past_fin};
use crate::tcp::receiver::Arrival;
use crate::tcp::shown::Shown;
use crate::tcp::sink::ConnectionSink;
use crate::tcp::timestamps::STAMP_BYTES;
use crate::time::Instant;
use crate::wire::{TCP_HEADER_LEN, TcpPacket};
use bytes::Bytes;
use std::ops::Range;
use std::task::Waker;

/// The receive window under memory pressure, in bytes.
const WINDOW_UNDER_PRESSURE: usize = 64 * 1024;

impl Connection {
    /// Takes the part of a segment that was found to be acceptable.
    pub(crate) fn receive<L: Link>(
        &mut self,
        engine: &mut Engine,
        now: Instant,
        packet: &Packet,
        (segment, part): (&Segment, &Part),
        output: &mut Output<'_, L>,
        wakes: &mut Vec<Waker>,
    ) {
        #[cfg(test)]
        assert!(!self.is_to_panic, "as the test wants");
        let before = self.state();
        self.last_heard = now;
        self.next_probe = None;
        if segment.rst {
            self.show(Shown::Reset, engine, now, output);
            if before != State::Closed && self.has_ended() {
                self.failure = Some(self.reset_error(before));
            }
            return;
        }
        let tcp_start = packet.header.payload.start;
        if before == State::SynSent {
            // Its SYN. Any other may be forged.
            let shown = self.wire.received_syn(&packet.bytes, tcp_start);
            output.explain(|outgoing| self.segment(SendCause::Control, outgoing));
            let mut sink = ConnectionSink::new(&mut self.wire, self.way, output);
            engine.receive(now, &shown, self.solo.set_mut(), &mut sink);
            self.engine_due = Some(now);
            return;
        }
        if before == State::SynReceived {
            self.show(Shown::Ack, engine, now, output);
        }
        let header = TcpPacket::new_unchecked(packet.payload());
        self.wire.on_stamp(segment.stamp, segment.sequence);
        let age = self.wire.stamps.age(segment.stamp);
        let is_fin_acknowledged = self.acknowledged(&header, part, age, now);
        self.wire.on_window(part.window);
        if is_fin_acknowledged {
            self.solo.tcp_mut().close();
            self.show(Shown::Ack, engine, now, output);
        }
        if !part.payload.is_empty() || part.fin {
            self.has_received = true;
            let payload_start = tcp_start + usize::from(header.header_len());
            self.take_data(packet, payload_start, part, now, wakes);
            if self.receiver.is_at_fin() && !is_past_fin(self.state()) {
                self.take_fin(engine, now, output);
            }
            if self.receiver.has_gap() || self.receiver.lacks_fin() {
                // Each segment behind a gap is answered, for peers that count (RFC 5681 section
                // 4.2).
                self.send_owed_ack(output);
            }
        }
    }

    /// The error that a reset gives the application, by the state before it.
    #[cold]
    fn reset_error(&self, before: State) -> Error {
        match self.stage {
            Stage::Connecting { .. } => Error::Refused,
            // As Linux has it: nothing that was to be read is missing.
            _ if before == State::CloseWait => Error::PeerClosed,
            _ => Error::Reset,
        }
    }

    /// Takes an acknowledgement, in answer to what left `age` milliseconds ago if that is known;
    /// returns whether it is of the FIN for the first time.
    fn acknowledged(
        &mut self,
        header: &TcpPacket<&[u8]>,
        part: &Part,
        age: Option<u32>,
        now: Instant,
    ) -> bool {
        let Some(sender) = self.sender.as_deref_mut() else { return false };
        let Some(unacknowledged) = self.wire.unacknowledged() else { return false };
        let Some(acknowledgement) = part.acknowledgement else { return false };
        let base = sender.unacknowledged();
        let position = |sequence: u32| {
            base.checked_add_signed(i64::from(sequence.wrapping_sub(unacknowledged) as i32))
        };
        let Some(ack) = position(acknowledgement).filter(|ack| *ack >= base) else { return false };
        let mut blocks = [(0, 0); 3];
        let mut count = 0;
        // Nearly all segments have timestamps alone.
        let usual = TCP_HEADER_LEN + if age.is_some() { STAMP_BYTES } else { 0 };
        if usize::from(header.header_len()) > usual
            && let Ok(ranges) = header.selective_ack_ranges()
        {
            for (left, right) in ranges.into_iter().flatten() {
                let ends = (position(left), position(right));
                if let (Some(left), Some(right)) = ends
                    && left > ack
                    && left < right
                {
                    blocks[count] = (left, right);
                    count += 1;
                } else if ends.1.is_none_or(|right| right <= ack) {
                    sender.on_duplicate_report(ends.0.unwrap_or(0), ends.1.unwrap_or(0));
                }
            }
        }
        let is_bare = part.payload.is_empty() && !part.fin;
        let is_duplicate =
            is_bare && acknowledgement == unacknowledged && self.wire.offered() == part.window;
        let progress = sender.on_ack(ack, &blocks[..count], is_duplicate, age, now);
        if progress.bytes > 0 || progress.fin {
            // That a window probe is taken is no progress while the window stays closed.
            if progress.bytes > 1 || progress.fin || part.window > 0 {
                self.progressed = now;
            }
            self.wire.acknowledged_by_peer(progress.bytes, progress.fin);
        }
        progress.fin
    }

    /// Takes the bytes of a segment, and those that have waited for them.
    fn take_data(
        &mut self,
        packet: &Packet,
        payload_start: usize,
        part: &Part,
        now: Instant,
        wakes: &mut Vec<Waker>,
    ) {
        let Some(expected) = self.wire.expected() else { return };
        let offset = u64::from(part.sequence.wrapping_sub(expected));
        let len = part.payload.len();
        if part.fin {
            self.receiver.set_fin(offset + len as u64);
        }
        if len == 0 {
            self.wire.acks.owe();
            return;
        }
        // What the reader has left is looked up now: it does not ring for each byte that it takes.
        if self.charge.pressure() == Pressure::Full
            && (self.receiver.held() > 0 || self.queue().is_some_and(|queue| queue.has_unread()))
        {
            // It waits with the peer, which sends it again.
            self.wire.acks.owe();
            return;
        }
        self.usage.on_data(offset > 0, now);
        // What lies before was there already.
        self.receiver.set_duplicate(part.payload.start as u64, part.payload.start as u64);
        let (before, had_gap) = (self.receiver.received(), self.receiver.has_gap());
        if packet.rest.is_empty() {
            let payload = payload_start + part.payload.start..payload_start + part.payload.end;
            self.take_piece(offset, packet.buffer_bytes, &packet.bytes, payload, wakes);
        } else {
            self.take_slices(before + offset, packet, part.payload.clone(), wakes);
        }
        self.wire.on_received((self.receiver.received() - before) as usize);
        if had_gap || offset > 0 {
            self.wire.acks.owe();
        } else {
            self.wire.acks.on_data(len, self.wire.local_mss(), now);
        }
    }

    /// Takes a part of a payload in slices, which begins at `position` of the stream.
    #[inline(never)]
    fn take_slices(
        &mut self,
        mut position: u64,
        packet: &Packet,
        part: Range<usize>,
        wakes: &mut Vec<Waker>,
    ) {
        let mut start = 0;
        for slice in &packet.rest {
            let end = start + slice.len();
            let mut range = part.start.max(start)..part.end.min(end);
            if !range.is_empty() {
                // What has waited behind the slices before may go beyond them.
                let known = self.receiver.received().saturating_sub(position);
                let known = range.len().min(usize::try_from(known).unwrap_or(usize::MAX));
                position += range.len() as u64;
                range.start += known;
                if !range.is_empty() {
                    let offset = position - range.len() as u64 - self.receiver.received();
                    let range = range.start - start..range.end - start;
                    self.take_piece(offset, slice.len(), slice, range, wakes);
                }
            }
            start = end;
        }
    }

    /// Takes bytes that begin `offset` behind the next one, in a buffer of so many bytes.
    #[inline]
    fn take_piece(
        &mut self,
        offset: u64,
        buffer_bytes: usize,
        buffer: &Bytes,
        range: Range<usize>,
        wakes: &mut Vec<Waker>,
    ) {
        let len = range.len();
        let kept = || match link::kept_bytes(len, buffer_bytes) {
            Some(held) if len >= COPY_MAX => (buffer.slice(range.clone()), held),
            _ => (Bytes::copy_from_slice(&buffer[range.clone()]), len),
        };
        let Arrival::Next(waiting) = self.receiver.take(offset, len, kept) else { return };
        if len < COPY_MAX {
            self.deliver(Received::Copy(&buffer[range]), wakes);
        } else {
            let (bytes, held) = kept();
            self.deliver(Received::Kept(bytes, held), wakes);
        }
        for piece in waiting {
            self.deliver(piece.into(), wakes);
        }
    }

    /// Takes the peer's FIN, before which everything has arrived.
    fn take_fin<L: Link>(&mut self, engine: &mut Engine, now: Instant, output: &mut Output<'_, L>) {
        self.show(Shown::Fin, engine, now, output);
        self.wire.on_received(1);
        self.wire.acks.owe();
        // The FIN of this end had left by then, and this segment does not acknowledge it.
        self.is_simultaneous_close |=
            self.is_send_done && self.solo.tcp().state() == State::CloseWait;
    }

    /// Hands bytes in order to the queue, if there is one.
    fn deliver(&mut self, received: Received<'_>, wakes: &mut Vec<Waker>) {
        match &self.stage {
            Stage::Open(queue) if !self.is_orphan => queue.push_received(received, wakes),
            _ => self.receiver.hold(received),
        }
    }

    /// Notes that a segment that is not taken repeats what has arrived (RFC 2883).
    pub(crate) fn note_duplicate(&mut self, segment: &Segment) {
        let Some(expected) = self.wire.expected() else { return };
        let before = expected.wrapping_sub(segment.sequence);
        if segment.payload_len > 0 && before as i32 > 0 {
            self.receiver.set_duplicate(before.into(), segment.payload_len.into());
        }
    }

    /// Moves bytes that have arrived before there was a queue, and opens the window as far as the
    /// application has read, if there can be anything to do.
    pub(crate) fn pump_received(&mut self, now: Instant, wakes: &mut Vec<Waker>) {
        if !std::mem::take(&mut self.has_received) {
            return;
        }
        let limit = self.receiver.buffer.limit();
        let Stage::Open(queue) = &self.stage else {
            self.has_received = true;
            self.wire.set_room(limit as u32, 1);
            return;
        };
        if self.is_orphan {
            return;
        }
        while let Some(bytes) = self.receiver.take_held() {
            let held = bytes.len();
            queue.push_received(Received::Kept(bytes, held), wakes);
        }
        let (mss, left) = (self.wire.local_mss(), self.wire.window_left() as usize);
        let pressure = self.charge.pressure();
        // With all memory in use a reader that has read all still gets a little, so that all go on.
        let window = match pressure {
            Pressure::None => limit,
            Pressure::High => limit.min(WINDOW_UNDER_PRESSURE),
            Pressure::Full => limit.min(2 * mss),
        };
        // Whole units of the window field: the peer is told of no others, and a segment must fit.
        let step = mss.next_multiple_of(self.wire.window_unit()).min(window / 2).max(1);
        // With less the end of the window does not move, and the peer would be told nothing new. Either
        // end can be a part of a unit further than the other.
        let worth = (left * 2).max(left.max(self.wire.room_left() as usize) + step);
        let unread = queue.recv_unread(window, worth);
        let mut room = window.saturating_sub(unread.held);
        if pressure == Pressure::None {
            let read = self.receiver.received().saturating_sub(unread.len as u64);
            self.receiver.buffer.on_read(read, self.round_trip(), mss, now);
            room = self.receiver.buffer.limit().saturating_sub(unread.held);
        }
        self.is_receive_buffer_full = room < step;
        self.wire.set_room(room as u32, step as u32);
        // A window that has opened is announced when it is worth it (as Linux's
        // `tcp_cleanup_rbuf`), and at once if it was closed.
        let is_waited_for = unread.has_made_room || left < step;
        let offered = self.wire.room_left() as usize;
        if is_waited_for && offered >= (left * 2).max(left + step) {
            self.wire.acks.owe();
        }
    }

    /// The round trip, in microseconds, as far as it is known.
    fn round_trip(&self) -> Option<u64> {
        let smoothed = self.sender.as_ref().and_then(|sender| sender.round_trip());
        smoothed.into_iter().chain(self.handshake_rtt()).min()
    }

    /// The application has made room.
    pub(crate) fn on_read(&mut self) {
        self.has_received = true;
    }

    /// Bytes that may be unread.
    pub(crate) fn recv_limit(&self) -> usize {
        self.receiver.buffer.limit()
    }

    /// Whether the peer may send nothing until the application has read.
    pub(in crate::tcp) fn is_window_closed(&self) -> bool {
        let step = self.wire.local_mss().min(self.recv_limit() / 2);
        (self.wire.window_left() as usize) < step
    }
}
