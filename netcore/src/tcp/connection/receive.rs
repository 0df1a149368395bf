//! Segments and bytes from the peer.

use super::{ACK_DELAY, COPY_UNLOCKED, Connection, QUICK_ACKS_ALL, Stage};
use crate::error::Error;
use crate::link::{self, Link};
use crate::output::Output;
use crate::queue::{Received, StreamQueue};
use crate::tcp::engine::Engine;
use crate::tcp::engine::State;
use crate::tcp::shown;
use crate::tcp::sink::ConnectionSink;
use crate::time::Instant;
use crate::wire::{TCP_HEADER_LEN, TcpPacket};
use bytes::Bytes;
use std::borrow::Cow;
use std::task::Waker;
use std::time::Duration;

impl Connection {
    /// Shows a segment to the connection. `buffer` is the packet once more, if it may be kept, and
    /// the size of the buffer that it is a part of.
    pub(crate) fn receive<L: Link>(
        &mut self,
        engine: &mut Engine,
        now: Instant,
        packet: &[u8],
        (tcp_start, buffer): (usize, Option<(&Bytes, usize)>),
        output: &mut Output<'_, L>,
        wakes: &mut Vec<Waker>,
    ) {
        #[cfg(test)]
        assert!(!self.is_to_panic, "as the test wants");
        let segment = TcpPacket::new_unchecked(&packet[tcp_start..]);
        let (is_syn, is_fin, is_reset) = (segment.syn(), segment.fin(), segment.rst());
        let sequence = segment.seq_number().0 as u32;
        let payload_start = tcp_start + usize::from(segment.header_len());
        let payload_len = packet.len() - payload_start;
        let before = self.state();

        if payload_len > 0 {
            self.reclaim.on_received(sequence.wrapping_add(payload_len as u32), now);
        }
        self.stop_probing();
        let ack_delay = self.ack_delay(payload_len);
        self.solo.tcp_mut().set_ack_delay(Some(ack_delay.into()));
        // Only the SYN that answers ours is looked at; any other may be forged.
        let is_answer = is_syn && before == State::SynSent;
        if !is_syn && !is_reset {
            let is_bare = payload_len == 0 && !is_fin;
            self.acknowledged(&segment, is_bare, now);
            self.wire.received(&segment);
        }
        let shown = if is_answer {
            Cow::Owned(self.wire.received_syn(packet, tcp_start))
        } else if segment.window_len() == 0 && !is_syn && !is_reset {
            // smoltcp would probe a closed window, which is the sender's business.
            Cow::Owned(shown::with_window(packet, tcp_start, 1))
        } else {
            Cow::Borrowed(packet)
        };
        let was_empty = self.solo.tcp().recv_queue() == 0;
        let mut sink = ConnectionSink::new(&mut self.wire, self.way, output);
        engine.receive(now, &shown, self.solo.set_mut(), &mut sink);
        self.last_heard = now;
        if self.solo.tcp().send_queue() > 0 {
            self.show_acknowledgement(engine, now, output);
        }
        if is_fin {
            // The FIN of this end had left by then, and this segment does not acknowledge it.
            self.is_simultaneous_close |=
                self.is_send_done && self.solo.tcp().state() == State::CloseWait;
            self.acknowledge_past_edge(engine, now, output);
        }
        if is_reset && before != State::Closed && self.has_ended() {
            self.failure = Some(self.reset_error(before));
        }
        if let Some((packet, buffer_bytes)) = buffer
            && let Some(kept) = link::kept_bytes(payload_len, buffer_bytes)
            && was_empty
            && self.wire.next_expected() == Some(sequence)
        {
            self.keep_payload(packet.slice(payload_start..), kept, wakes);
        }
    }

    /// The peer has answered: ends the keep-alive probes.
    fn stop_probing(&mut self) {
        if self.is_probing {
            self.is_probing = false;
            self.solo.tcp_mut().set_keep_alive(None);
        }
    }

    /// Acknowledges a FIN for which the window had no room. smoltcp takes it, and until it is
    /// acknowledged its arithmetic is off: it would take segments from half the sequence space
    /// away.
    #[cold]
    fn acknowledge_past_edge<L: Link>(
        &mut self,
        engine: &mut Engine,
        now: Instant,
        output: &mut Output<'_, L>,
    ) {
        if self.wire.sequences(self.solo.tcp()).is_some_and(|at| self.wire.is_past_edge(&at)) {
            self.acknowledge(engine, now, output);
        }
    }

    /// How long the acknowledgement of so many bytes may wait. A packet of several segments is
    /// acknowledged at once, as the several would be.
    fn ack_delay(&mut self, payload_len: usize) -> Duration {
        let is_quick = self.quick_acks > 0 || payload_len > self.wire.segment_bytes();
        if payload_len > 0 && (1..QUICK_ACKS_ALL).contains(&self.quick_acks) {
            self.quick_acks -= 1;
        }
        if is_quick { Duration::ZERO } else { ACK_DELAY }
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

    /// Takes the acknowledgement of a segment that smoltcp is shown next, and gives smoltcp what
    /// that acknowledges: it never has more, and so nothing to send.
    fn acknowledged(&mut self, segment: &TcpPacket<&[u8]>, is_bare: bool, now: Instant) {
        let Some(sender) = self.sender.as_deref_mut() else { return };
        let Some(unacknowledged) = self.wire.unacknowledged() else { return };
        let base = sender.unacknowledged();
        let position = |sequence: u32| {
            base.checked_add_signed(i64::from(sequence.wrapping_sub(unacknowledged) as i32))
        };
        let acknowledgement = segment.ack_number().0 as u32;
        let Some(ack) = position(acknowledgement).filter(|ack| *ack >= base) else { return };
        let mut blocks = [(0, 0); 3];
        let mut count = 0;
        if usize::from(segment.header_len()) > TCP_HEADER_LEN
            && let Ok(ranges) = segment.selective_ack_ranges()
        {
            for (left, right) in ranges.into_iter().flatten() {
                let ends = (position(left), position(right));
                if let (Some(left), Some(right)) = ends
                    && left > ack
                    && left < right
                {
                    blocks[count] = (left, right);
                    count += 1;
                }
            }
        }
        let is_duplicate = is_bare
            && acknowledgement == unacknowledged
            && self.wire.offered() == segment.window_len();
        let progress = sender.on_ack(ack, &blocks[..count], is_duplicate, now);
        if progress.bytes == 0 && !progress.fin {
            return;
        }
        self.progressed = now;
        self.wire.acknowledged_by_peer(progress.bytes + usize::from(progress.fin));
        let tcp = self.solo.tcp_mut();
        let mut bytes = progress.bytes;
        while bytes > 0 {
            let taken = tcp.send(|room| (room.len().min(bytes), room.len().min(bytes)));
            match taken {
                Ok(taken) if taken > 0 => bytes -= taken,
                _ => break,
            }
        }
        if progress.fin {
            tcp.close();
        }
    }

    /// Shows smoltcp an acknowledgement that it has not taken with its segment.
    #[cold]
    fn show_acknowledgement<L: Link>(
        &mut self,
        engine: &mut Engine,
        now: Instant,
        output: &mut Output<'_, L>,
    ) {
        let Some(at) = self.wire.sequences(self.solo.tcp()) else { return };
        let flow = self.wire.flow();
        let ends = (flow.remote(), flow.local());
        let shown = shown::bare_ack(ends, at.expected, at.unacknowledged);
        let mut sink = ConnectionSink::new(&mut self.wire, self.way, output);
        engine.receive(now, &shown, self.solo.set_mut(), &mut sink);
    }

    /// Hands the payload of the packet that smoltcp has just taken to the queue as it is, instead
    /// of a copy out of the receive buffer; for what it keeps alive the queue counts `kept`.
    /// Without room for all of it, a copy of a part does.
    fn keep_payload(&mut self, payload: Bytes, kept: usize, wakes: &mut Vec<Waker>) {
        let Some(queue) = self.queue().cloned() else {
            return;
        };
        let len = payload.len();
        if len <= self.solo.tcp().recv_queue() && kept <= queue.recv_room() {
            queue.push_received(Received::Kept(payload, kept), wakes);
            self.discard_received(len);
        }
    }

    fn discard_received(&mut self, mut bytes: usize) {
        self.wire.took(bytes);
        while bytes > 0 {
            let skip = |buffer: &mut [u8]| (buffer.len().min(bytes), buffer.len().min(bytes));
            bytes -= self.solo.tcp_mut().recv(skip).expect("so much was received");
        }
    }

    /// Moves received bytes to the handle, if there still is one, as far as it has room.
    pub(crate) fn pump_received(&mut self, wakes: &mut Vec<Waker>) {
        if self.is_orphan {
            return;
        }
        let Some(queue) = self.queue().cloned() else {
            return;
        };
        while self.solo.tcp().can_recv() {
            let room = queue.recv_room();
            let moved = self.solo.tcp_mut().recv(|buffer| {
                let bytes = &buffer[..buffer.len().min(room)];
                push_copy(&queue, bytes, wakes);
                (bytes.len(), bytes.len())
            });
            match moved {
                Ok(moved) if moved > 0 => self.wire.took(moved),
                _ => break,
            }
        }
    }

    /// Moves all received bytes to the handle, whether or not it has room.
    pub(crate) fn drain_received(&mut self, wakes: &mut Vec<Waker>) {
        let Some(queue) = self.queue().cloned() else {
            return;
        };
        let tcp = self.solo.tcp_mut();
        while tcp.can_recv() {
            let moved = tcp.recv(|buffer| {
                push_copy(&queue, buffer, wakes);
                (buffer.len(), ())
            });
            if moved.is_err() {
                break;
            }
        }
    }
}

fn push_copy(queue: &StreamQueue, bytes: &[u8], wakes: &mut Vec<Waker>) {
    match bytes.len() {
        0 => {}
        1..COPY_UNLOCKED => queue.push_received(Received::Copy(bytes), wakes),
        len => queue.push_received(Received::Kept(Bytes::copy_from_slice(bytes), len), wakes),
    }
}
