//! Bytes to the peer.

use super::{Connection, QUANTUM_BYTES};
use crate::ip::addressing::NextHop;
use crate::link::Link;
use crate::output::Output;
use crate::tcp::engine::State;
use crate::tcp::engine::{Engine, Segments};
use crate::tcp::sink::ConnectionSink;
use crate::time::Instant;
use std::task::Waker;

impl Connection {
    /// Moves what the handle wants sent into the send buffer, as far as it has room, and the end
    /// of the stream after it.
    pub(crate) fn pump_to_send(&mut self, now: Instant, wakes: &mut Vec<Waker>) {
        let Some(queue) = self.queue().cloned() else {
            return;
        };
        if self.is_send_done || !self.solo.tcp().may_send() {
            return;
        }
        let tcp = self.solo.tcp_mut();
        loop {
            let room = tcp.send_capacity() - tcp.send_queue();
            let Some(chunk) = (room > 0).then(|| queue.take_to_send(room, wakes)).flatten() else {
                break;
            };
            if tcp.send_queue() == 0 {
                self.last_heard = now;
                self.progressed = now;
            }
            let sent = tcp.send_slice(&chunk).expect("may_send was asked");
            debug_assert_eq!(sent, chunk.len(), "take_to_send was told the room");
            self.wire.put(sent);
            self.reclaim.on_queued(now);
        }
        self.finish_sending(now);
    }

    /// Closes the send side once everything for it has been given to smoltcp, if the time has come;
    /// returns whether it came now.
    ///
    /// In LAST-ACK smoltcp passes over window updates, so a connection that got there with unsent
    /// bytes and a closed window would never send them. After the peer has closed, the end
    /// therefore waits until all bytes have left once.
    pub(crate) fn finish_sending(&mut self, now: Instant) -> bool {
        let Some(queue) = self.queue() else { return false };
        if self.is_send_done || !queue.is_send_finished() || !self.solo.tcp().may_send() {
            return false;
        }
        if self.state() == State::CloseWait && !self.wire.has_sent_all() {
            return false;
        }
        if self.solo.tcp().send_queue() == 0 {
            self.last_heard = now;
            self.progressed = now;
        }
        self.solo.tcp_mut().close();
        self.is_send_done = true;
        true
    }

    /// Lets smoltcp send, up to the quantum; returns whether it may want to send more at once.
    pub(crate) fn emit<L: Link>(
        &mut self,
        engine: &mut Engine,
        now: Instant,
        output: &mut Output<'_, L>,
    ) -> bool {
        #[cfg(test)]
        assert!(!self.is_to_panic, "as the test wants");
        let segments = match (self.way, output.state.capabilities.segment_bytes_max) {
            (NextHop::Link(_), Some(_)) => Segments::Jumbo,
            _ => Segments::Mss,
        };
        self.wire.forget_path(now);
        let mut sink = ConnectionSink::new(&mut self.wire, self.way, output);
        if let (NextHop::Link(_), Segments::Mss) = (self.way, segments) {
            sink.cut_to_path();
        }
        while sink.sent_bytes() < QUANTUM_BYTES {
            if !engine.emit(now, segments, self.solo.set_mut(), &mut sink) {
                return false;
            }
        }
        true
    }
}
