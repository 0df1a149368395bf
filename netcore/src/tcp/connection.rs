//! One TCP connection: smoltcp's state machine, and the queues between it and its handle.

use super::guard::{self, Segment, Verdict};
use super::keepalive::{Activity, PeerTimeouts};
use super::reclaim::BufferReclaim;
use super::sink::ConnectionSink;
use super::wire::Wire;
use crate::channel::Responder;
use crate::command::tcp::Options;
use crate::config::Config;
use crate::counters::DropReason;
use crate::deadlines::Armed;
use crate::error::Error;
use crate::id::SocketId;
use crate::ip::addressing::NextHop;
use crate::ip::path_mtu::PathMtu;
use crate::link::{self, Link};
use crate::output::Output;
use crate::queue::{Received, StreamQueue};
use crate::snapshot::Timer;
use crate::sync::Arc;
use crate::tcp::buffer::SoloSocket;
use crate::tcp::engine::{CongestionControl, State};
use crate::tcp::engine::{Engine, Segments};
use crate::tcp::reservation::Reservation;
use crate::time::Instant;
use crate::wire::TcpPacket;
use bytes::Bytes;
use std::collections::VecDeque;
use std::task::Waker;
use std::time::Duration;

/// A TCP connection, from its first SYN until its ends may be used again.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) solo: SoloSocket,
    pub(crate) wire: Wire,
    pub(crate) stage: Stage,
    pub(crate) way: NextHop,
    pub(crate) armed: Armed,
    /// Which of its timers it was armed for.
    pub(crate) timer: Option<Timer>,
    /// The handle is gone: nobody will read.
    pub(crate) is_orphan: bool,
    /// A panic has left its socket in any state whatever: it must not be used any more.
    pub(crate) is_broken: bool,
    /// Makes the next use of the socket panic.
    #[cfg(test)]
    pub(crate) is_to_panic: bool,
    /// No more bytes will be given to smoltcp: the FIN is its business now.
    is_send_done: bool,
    /// Why it ended, if it was not by closing.
    pub(crate) failure: Option<Error>,
    /// The options until the handle has them.
    options: Option<Box<Options>>,
    /// When the stack gives it up, whatever smoltcp thinks.
    expires: Option<Instant>,
    /// When the peer was last heard, or was first sent something that it should answer.
    last_heard: Instant,
    /// When it last acknowledged something new, or was first sent something.
    progressed: Instant,
    /// Keep-alive and user timeout, if the application has set any.
    peer_timeouts: Option<Box<PeerTimeouts>>,
    /// The peer is silent and smoltcp probes it.
    is_probing: bool,
    /// Bytes not yet acknowledged when that last became less, for a connection without handle.
    unsent: usize,
    /// Segments still to be acknowledged at once, since the peer's window is small at first.
    quick_acks: u8,
    /// When the peer may be sent the next challenge.
    challenges_from: Instant,
    reclaim: BufferReclaim,
    /// The port that it was connected from, if that was reserved for it.
    pub(crate) reservation: Option<Reservation>,
    /// Commands that wait, which only those have who drive the stack by hand.
    pub(crate) parked: Option<Box<Parked>>,
}

/// How far a connection has come.
#[derive(Debug)]
pub(crate) enum Stage {
    /// A SYN was sent; somebody waits for the outcome.
    Connecting { responder: Option<Responder> },
    /// A SYN was answered; the listener waits for the last step. The tickets are those of the
    /// listener's and of all half-open connections. Of a SYN that was held, somebody waits for the
    /// outcome; others go to the listener's queue.
    HalfOpen { listener: SocketId, tickets: (u64, u64), responder: Option<Responder> },
    /// The handshake is done.
    Open(Arc<StreamQueue>),
}

/// What came of serving a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Served {
    Done {
        /// Whether it may want to send more at once.
        has_more: bool,
    },
    /// Its handshake has taken too long.
    Unanswered,
}

/// Commands that wait for a connection.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    pub(crate) recv: VecDeque<(Option<usize>, Responder)>,
    pub(crate) send: VecDeque<(Bytes, Responder)>,
}

impl Parked {
    pub(crate) fn len(&self) -> usize {
        self.recv.len() + self.send.len()
    }

    pub(crate) fn forget_abandoned(&mut self) {
        self.recv.retain(|(_, responder)| !responder.is_abandoned());
        self.send.retain(|(_, responder)| !responder.is_abandoned());
    }
}

/// How many bytes one connection may send before it is another's turn.
const QUANTUM_BYTES: usize = 64 * 1024;
/// Larger copies are made before the queue's lock is taken.
const COPY_UNLOCKED: usize = 8 * 1024;
/// How long a lone segment may wait for its acknowledgement (RFC 9293 section 3.8.6.3).
const ACK_DELAY: Duration = Duration::from_millis(10);

/// How far apart a connection's challenges are (Linux: `tcp_invalid_ratelimit`).
pub(crate) const CHALLENGE_INTERVAL: Duration = Duration::from_millis(500);
/// How many segments of a new connection are acknowledged at once (Linux: `TCP_MAX_QUICKACKS`).
const QUICK_ACKS: u8 = 16;
/// As many as come.
const QUICK_ACKS_ALL: u8 = u8::MAX;

impl Connection {
    pub(crate) fn new(
        mut solo: SoloSocket,
        wire: Wire,
        stage: Stage,
        (way, now): (NextHop, Instant),
        options: Options,
    ) -> Self {
        let tcp = solo.tcp_mut();
        tcp.set_congestion_control(CongestionControl::Cubic);
        tcp.set_ack_delay(Some(ACK_DELAY.into()));
        let mut connection = Self {
            solo,
            wire,
            stage,
            way,
            armed: Armed::default(),
            timer: None,
            is_orphan: false,
            is_broken: false,
            #[cfg(test)]
            is_to_panic: false,
            is_send_done: false,
            failure: None,
            options: None,
            expires: None,
            last_heard: now,
            progressed: now,
            peer_timeouts: None,
            is_probing: false,
            unsent: 0,
            quick_acks: QUICK_ACKS,
            challenges_from: now,
            reclaim: BufferReclaim::default(),
            reservation: None,
            parked: None,
        };
        connection.apply(&options);
        connection.options = Some(Box::new(options));
        connection
    }

    pub(crate) fn queue(&self) -> Option<&Arc<StreamQueue>> {
        match &self.stage {
            Stage::Open(queue) => Some(queue),
            _ => None,
        }
    }

    pub(crate) fn state(&self) -> State {
        self.solo.tcp().state()
    }

    /// Whether smoltcp has forgotten the connection, and has nothing left to send for it.
    pub(crate) fn is_finished(&self) -> bool {
        let tcp = self.solo.tcp();
        match tcp.state() {
            State::Closed => tcp.remote_endpoint().is_none(),
            // A reset during the handshake sends the socket back to where it came from.
            State::Listen => true,
            _ => false,
        }
    }

    /// Says what becomes of a segment, before anything is done with it.
    #[inline]
    pub(crate) fn judge(&self, packet: &[u8], tcp_start: usize) -> Verdict {
        let segment = Segment::new(&packet[tcp_start..]);
        let tcp = self.solo.tcp();
        match tcp.state() {
            // Given up, and about to be removed.
            State::Closed | State::Listen => Verdict::Drop(DropReason::Unacceptable),
            State::SynSent => match self.wire.sent_end() {
                Some(sent_end) => guard::judge_answer(sent_end, &segment),
                None => Verdict::Drop(DropReason::Unacceptable),
            },
            state => match self.wire.sequences(tcp) {
                Some(at) if segment.syn && state == State::SynReceived && self.is_connecting() => {
                    let shift = self.wire.remote_shift();
                    guard::judge_crossed(&at, &segment, shift)
                        .unwrap_or_else(|| guard::judge(state, &at, &segment))
                }
                Some(at) => guard::judge(state, &at, &segment),
                None => Verdict::Drop(DropReason::Unacceptable),
            },
        }
    }

    /// Whether this end has begun the handshake, and it is not done.
    fn is_connecting(&self) -> bool {
        matches!(self.stage, Stage::Connecting { .. })
    }

    /// Whether the peer may be sent a challenge again.
    pub(crate) fn may_challenge(&mut self, now: Instant) -> bool {
        let may = self.challenges_from <= now;
        if may {
            self.challenges_from = now + CHALLENGE_INTERVAL;
        }
        may
    }

    /// Tells the peer at once what has arrived and what the window is.
    ///
    /// Only smoltcp knows all of that, so it is shown a byte that it has already.
    pub(crate) fn acknowledge<L: Link>(
        &mut self,
        engine: &mut Engine,
        now: Instant,
        output: &mut Output<'_, L>,
    ) {
        if matches!(self.state(), State::Closed | State::Listen) {
            // What was just received has ended it.
            return;
        }
        let Some(at) = self.wire.sequences(self.solo.tcp()) else { return };
        let flow = self.wire.flow();
        let ends = (flow.remote(), flow.local());
        let byte = guard::stale_byte(ends, at.expected, at.unacknowledged);
        let mut sink = ConnectionSink::new(&mut self.wire, self.way, output);
        engine.receive(now, &byte, self.solo.set_mut(), &mut sink);
    }

    /// When smoltcp wants to be polled again.
    ///
    /// If a window closes while data is under way, smoltcp stops its timer when that is due to be
    /// sent again, and waits for a peer that may have said already that the window is open. It is
    /// the sender that has to ask (RFC 9293 section 3.8.6.1): smoltcp does once it is shown the
    /// closed window again.
    pub(super) fn poll_at<L: Link>(
        &mut self,
        engine: &mut Engine,
        now: Instant,
        output: &mut Output<'_, L>,
    ) -> Option<Instant> {
        let due = engine.poll_at(now, self.solo.set());
        if due.is_some() || self.solo.tcp().send_queue() == 0 {
            return due;
        }
        let at = self.wire.sequences(self.solo.tcp())?;
        let flow = self.wire.flow();
        let ends = (flow.remote(), flow.local());
        let segment = guard::closed_window(ends, at.expected, at.unacknowledged);
        let mut sink = ConnectionSink::new(&mut self.wire, self.way, output);
        engine.receive(now, &segment, self.solo.set_mut(), &mut sink);
        engine.poll_at(now, self.solo.set())
    }

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
        // A packet of several segments is acknowledged at once, as the several would be.
        let is_quick = self.quick_acks > 0 || payload_len > self.wire.segment_bytes();
        if payload_len > 0 && (1..QUICK_ACKS_ALL).contains(&self.quick_acks) {
            self.quick_acks -= 1;
        }
        if self.is_probing {
            self.is_probing = false;
            self.solo.tcp_mut().set_keep_alive(None);
        }
        if payload_len == 0 && !is_syn && !is_fin && !is_reset && self.waits_for_fin_alone(&segment)
        {
            self.last_heard = now;
            return;
        }
        let unacknowledged = self.solo.tcp().send_queue();
        let delay = if is_quick { Duration::ZERO } else { ACK_DELAY };
        self.solo.tcp_mut().set_ack_delay(Some(delay.into()));
        // Only the SYN that answers ours says anything; any other may be anybody's.
        let is_answer = is_syn && before == State::SynSent;
        if !is_syn && !is_reset {
            self.wire.received(&segment);
        }
        let clamped = is_answer.then(|| self.wire.received_syn(packet, tcp_start));
        let shown = clamped.as_deref().unwrap_or(packet);
        let was_empty = self.solo.tcp().recv_queue() == 0;
        let mut sink = ConnectionSink::new(&mut self.wire, self.way, output);
        engine.receive(now, shown, self.solo.set_mut(), &mut sink);
        self.last_heard = now;
        if self.solo.tcp().send_queue() < unacknowledged {
            self.progressed = now;
        }
        if is_fin
            && self.wire.sequences(self.solo.tcp()).is_some_and(|at| self.wire.is_past_edge(&at))
        {
            // smoltcp takes a FIN for which the window has no room, and until that is acknowledged
            // its arithmetic is off: it would take segments from half the sequence space away.
            self.acknowledge(engine, now, output);
        }

        if is_reset && before != State::Closed && self.is_finished() {
            self.failure = Some(match self.stage {
                Stage::Connecting { .. } => Error::Refused,
                // As Linux has it: nothing that was to be read is missing.
                _ if before == State::CloseWait => Error::PeerClosed,
                _ => Error::Reset,
            });
        }
        if let Some((packet, buffer_bytes)) = buffer
            && let Some(kept) = link::kept_bytes(payload_len, buffer_bytes)
            && was_empty
            && self.wire.next_expected() == Some(sequence)
        {
            self.keep_payload(packet.slice(payload_start..), kept, wakes);
        }
    }

    /// Whether a bare acknowledgement says nothing new, and nothing but the FIN is left for it to
    /// acknowledge. For three of those smoltcp takes its timer away to retransmit data at once, of
    /// which there is none, and the FIN is never sent again.
    fn waits_for_fin_alone(&self, segment: &TcpPacket<&[u8]>) -> bool {
        let tcp = self.solo.tcp();
        matches!(tcp.state(), State::FinWait1 | State::Closing | State::LastAck)
            && tcp.send_queue() == 0
            && self
                .wire
                .sequences(tcp)
                .is_some_and(|at| at.unacknowledged == segment.ack_number().0 as u32)
    }

    /// Shows the first SYN to the socket, which listens and takes `isn` as its sequence number.
    pub(crate) fn receive_syn<L: Link>(
        &mut self,
        isn: u32,
        now: Instant,
        packet: &[u8],
        tcp_start: usize,
        output: &mut Output<'_, L>,
    ) {
        let shown = self.wire.received_syn(packet, tcp_start);
        let mut sink = ConnectionSink::new(&mut self.wire, self.way, output);
        Engine::receive_syn(isn, now, &shown, self.solo.set_mut(), &mut sink);
    }

    /// Moves bytes between the handle, smoltcp and the link, and looks at the deadlines.
    pub(crate) fn serve<L: Link>(
        &mut self,
        engine: &mut Engine,
        now: Instant,
        config: &Config,
        output: &mut Output<'_, L>,
        wakes: &mut Vec<Waker>,
    ) -> Served {
        self.pump_received(wakes);
        self.pump_to_send(now, wakes);
        if self.is_given_up(now, config) {
            if !matches!(self.stage, Stage::Open(_)) {
                return Served::Unanswered;
            }
            self.abort(Error::TimedOut);
        }
        self.probe_if_idle(now);
        if self.reclaim.is_due(now) {
            self.cool();
        }
        let mut has_more = self.emit(engine, now, output);
        if self.finish_sending(now) {
            has_more |= self.emit(engine, now, output);
        }
        Served::Done { has_more }
    }

    /// Gives the memory behind the buffers back, if there is nothing in them.
    fn cool(&mut self) {
        let tcp = self.solo.tcp();
        let is_empty = tcp.send_queue() == 0
            && tcp.recv_queue() == 0
            && self.wire.sequences(tcp).is_some_and(|at| self.reclaim.is_without_gaps(at.expected));
        if is_empty {
            self.solo.forget_contents();
            self.reclaim.reclaimed();
        }
    }

    /// Hands the payload of the packet that smoltcp has just taken to the queue as it is, instead
    /// of a copy out of the receive buffer; for what it keeps alive the queue counts `kept`. Without
    /// room for all of it, a copy of a part does.
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

    /// Whether an ICMP error that quotes this sequence number can be about the connection. One that
    /// is not under way is from somebody who guesses (RFC 5927 section 4.1).
    pub(crate) fn is_under_way(&self, sequence: u32) -> bool {
        self.wire.is_under_way(self.solo.tcp(), sequence)
    }

    /// Cuts segments from now on, those too that smoltcp repeats, so that they fit the path.
    pub(crate) fn narrow(&mut self, path: PathMtu) {
        self.wire.narrow(path);
    }

    /// Resets the connection: nothing that is queued is sent, and the peer is told.
    pub(crate) fn abort(&mut self, reason: Error) {
        self.failure.get_or_insert(reason);
        self.solo.tcp_mut().abort();
    }

    /// Takes the options that the handle has changed.
    pub(crate) fn apply_options(&mut self) {
        if let Some(options) = self.queue().map(|queue| queue.options()) {
            self.apply(&options);
        }
    }

    fn apply(&mut self, options: &Options) {
        let tcp = self.solo.tcp_mut();
        tcp.set_nagle_enabled(!options.nodelay);
        tcp.set_hop_limit(options.hop_limit.filter(|hops| *hops > 0));
        self.wire.traffic_class = options.traffic_class;
        self.quick_acks = match (options.quickack, self.quick_acks) {
            (true, _) => QUICK_ACKS_ALL,
            (false, QUICK_ACKS_ALL) => 0,
            (false, left) => left,
        };
        self.peer_timeouts = PeerTimeouts::new(options).map(Box::new);
    }

    /// Marks the end of the handshake and hands out the options, which are the handle's from now
    /// on.
    pub(crate) fn establish(&mut self) -> Options {
        self.expires = None;
        self.options.take().map(|options| *options).unwrap_or_default()
    }

    /// Looks at the deadlines that smoltcp knows nothing of; returns whether one has passed.
    pub(crate) fn is_given_up(&mut self, now: Instant, config: &Config) -> bool {
        self.set_expiry(now, config);
        self.gives_up_at(config).is_some_and(|at| at <= now)
    }

    /// When the memory behind its buffers may be given back.
    pub(super) fn reclaims_at(&self) -> Option<Instant> {
        self.reclaim.reclaims_at()
    }

    /// Has smoltcp probe a peer that has been silent for long enough.
    pub(crate) fn probe_if_idle(&mut self, now: Instant) {
        if let Some((at, interval)) = self.probes_from()
            && at <= now
        {
            self.is_probing = true;
            // Sends the first probe at once.
            self.solo.tcp_mut().set_keep_alive(Some(interval.into()));
        }
    }

    pub(super) fn probes_from(&self) -> Option<(Instant, Duration)> {
        if self.is_probing || !matches!(self.stage, Stage::Open(_)) {
            return None;
        }
        self.peer_timeouts.as_ref()?.probes_from(self.activity())
    }

    pub(super) fn gives_up_at(&self, config: &Config) -> Option<Instant> {
        if self.state() == State::Closed {
            // Given up already; only the reset has to leave.
            return None;
        }
        let (activity, timeout) = (self.activity(), config.retransmit_timeout);
        let silence = match &self.peer_timeouts {
            Some(peer_timeouts) => peer_timeouts.ends_at(activity, timeout),
            None => activity.is_unanswered.then_some(activity.heard + timeout),
        };
        self.expires.into_iter().chain(silence).min()
    }

    fn activity(&self) -> Activity {
        Activity {
            heard: self.last_heard,
            progressed: self.progressed,
            is_unanswered: self.solo.tcp().send_queue() > 0 || self.awaits_fin_ack(),
        }
    }

    /// Whether the FIN was given to smoltcp and the peer has not acknowledged it.
    pub(super) fn awaits_fin_ack(&self) -> bool {
        matches!(self.state(), State::FinWait1 | State::Closing | State::LastAck)
    }

    fn set_expiry(&mut self, now: Instant, config: &Config) {
        let timeout = match &self.stage {
            Stage::Connecting { .. } => {
                let chosen = self.options.as_ref().and_then(|options| options.connect_timeout);
                chosen.unwrap_or(config.connect_timeout)
            }
            Stage::HalfOpen { .. } => config.handshake_timeout,
            Stage::Open(_) if !self.is_orphan => return,
            Stage::Open(_) => {
                // A peer that goes on taking what was sent gets the time to take the rest.
                let unsent = self.solo.tcp().send_queue();
                if unsent < self.unsent {
                    self.expires = None;
                }
                self.unsent = unsent;
                config.close_timeout
            }
        };
        self.expires.get_or_insert(now + timeout);
    }

    /// Whether there is something that the handle will never read, now that it is gone.
    pub(crate) fn has_unread(&self) -> bool {
        self.solo.tcp().can_recv() || self.queue().is_some_and(|queue| queue.has_unread())
    }

    /// Whether the peer has sent its last byte and all of it was moved to the handle.
    pub(crate) fn is_receive_finished(&self) -> bool {
        self.has_received_fin() && !self.solo.tcp().can_recv()
    }

    fn has_received_fin(&self) -> bool {
        matches!(self.state(), State::CloseWait | State::LastAck | State::Closing | State::TimeWait)
    }
}

fn push_copy(queue: &StreamQueue, bytes: &[u8], wakes: &mut Vec<Waker>) {
    match bytes.len() {
        0 => {}
        1..COPY_UNLOCKED => queue.push_received(Received::Copy(bytes), wakes),
        len => queue.push_received(Received::Kept(Bytes::copy_from_slice(bytes), len), wakes),
    }
}
