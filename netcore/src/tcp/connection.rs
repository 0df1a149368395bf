//! One TCP connection: smoltcp's state machine, and the queues between it and its handle.

mod describe;
mod limits;
mod observe;
mod parked;
mod receive;
mod send;
mod state;
mod timers;
mod usage;

pub(crate) use describe::state_of;
pub(crate) use parked::Parked;

use super::keepalive::PeerTimeouts;
use super::receiver::{Receiver, RecvBuffer};
use super::reclaim::Reclaim;
use super::sender::Sender;
use super::shown::{self, Shown};
use super::sink::ConnectionSink;
use super::wire::Wire;
use crate::command::tcp::Options;
use crate::config::Config;
use crate::deadlines::Armed;
use crate::error::Error;
use crate::id::SocketId;
use crate::ip::HOP_LIMIT;
use crate::ip::addressing::NextHop;
use crate::ip::path_mtu::PathMtu;
use crate::link::Link;
use crate::memory::Charge;
use crate::observer::SendCause;
use crate::output::Output;
use crate::queue::StreamQueue;
use crate::rate_limit::CHALLENGE_INTERVAL;
use crate::reply::Responder;
use crate::snapshot::Timer;
use crate::sync::Arc;
use crate::tcp::congestion::CongestionControl;
use crate::tcp::connection_span::ConnectionSpan;
use crate::tcp::engine::Engine;
use crate::tcp::engine::State;
use crate::tcp::reservation::Reservation;
use crate::tcp::solo::SoloSocket;
use crate::time::Instant;
use std::task::Waker;
use usage::Usage;

/// A TCP connection, from its first SYN up to TIME-WAIT.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) solo: SoloSocket,
    pub(crate) wire: Wire,
    pub(crate) stage: Stage,
    pub(crate) way: NextHop,
    pub(crate) armed: Armed,
    pub(crate) span: ConnectionSpan,
    /// Which of its timers it was armed for.
    pub(crate) timer: Option<Timer>,
    /// The handle is gone: received data has no reader.
    pub(crate) is_orphan: bool,
    /// A panic has left its socket in any state whatever: it must not be used any more.
    pub(crate) is_broken: bool,
    /// Makes the next use of the socket panic.
    #[cfg(test)]
    pub(crate) is_to_panic: bool,
    /// When smoltcp has something to send, or a timer of its own.
    engine_due: Option<Instant>,
    receiver: Receiver,
    /// Something has arrived, or was read, since the window was last looked at.
    has_received: bool,
    /// What is sent, from the first byte on.
    sender: Option<Box<Sender>>,
    /// What the receiver and the sender hold.
    charge: Charge,
    /// The least and the most bytes that may be unacknowledged.
    send_buffer: (u32, u32),
    /// When it began, and how many microseconds its handshake took.
    began: Instant,
    handshake_micros: u32,
    /// Segments received.
    pub(crate) segs_in: u64,
    usage: Usage,
    /// The handle has ended the stream, and the FIN has its place behind the last byte.
    is_send_done: bool,
    /// Both ends have sent a FIN before either got the other's: the end is TIME-WAIT for both.
    is_simultaneous_close: bool,
    /// The sender had no room for more when the connection was last served.
    is_send_buffer_full: bool,
    /// There is no room for another segment of the peer's.
    is_receive_buffer_full: bool,
    /// Something could not leave for want of room on the link.
    is_blocked: bool,
    nodelay: bool,
    /// As the configuration has it, and as the options do.
    pub(crate) default_congestion_control: CongestionControl,
    congestion_control: Option<CongestionControl>,
    /// See [`TcpConfig::split_segments_max`](crate::TcpConfig::split_segments_max).
    pub(crate) split_segments_max: u32,
    /// Why it failed, if it did.
    pub(crate) failure: Option<Error>,
    /// The options until the handle has them.
    options: Option<Box<Options>>,
    /// When the stack gives it up.
    expires: Option<Instant>,
    /// When the peer was last heard.
    last_heard: Instant,
    /// When it last acknowledged something new, or was first sent something.
    progressed: Instant,
    /// Keep-alive and user timeout, if the application has set any.
    peer_timeouts: Option<Box<PeerTimeouts>>,
    /// When the silent peer is probed again (keep-alive).
    next_probe: Option<Instant>,
    /// Bytes not yet acknowledged when that last became less, for a connection without handle.
    unsent: u32,
    /// When the peer may be sent the next challenge.
    challenges_from: Instant,
    reclaim: Reclaim,
    /// The port that it was connected from, if that was reserved for it.
    pub(crate) reservation: Option<Reservation>,
    /// Parked commands, of programs that drive the stack by hand.
    pub(crate) parked: Option<Box<Parked>>,
}

/// How far a connection has come.
#[derive(Debug)]
pub(crate) enum Stage {
    /// A SYN was sent; a requester waits for the outcome.
    Connecting { responder: Option<Responder> },
    /// A SYN was answered; the listener waits for the last step. The tickets are those of the
    /// listener's and of all half-open connections. Of a SYN that was held, a requester waits for
    /// the outcome; others go to the listener's queue.
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

/// How many bytes one connection may send before it is another's turn.
const QUANTUM_BYTES: usize = 64 * 1024;
/// Payloads of less are copied, and gathered: a reference to each would cost more.
const COPY_MAX: usize = 4 * 1024;

impl Connection {
    pub(crate) fn new(
        wire: Wire,
        stage: Stage,
        (way, now): (NextHop, Instant),
        (recv_buffer, send_buffer): (RecvBuffer, (u32, u32)),
        options: Options,
        charge: Charge,
    ) -> Self {
        let mut solo = SoloSocket::new();
        // Its acknowledgements are written here.
        solo.tcp_mut().set_ack_delay(None);
        if wire.stamps.is_offered() {
            // So that smoltcp's segments have the option, which is filled in on the wire.
            solo.tcp_mut().set_tsval_generator(Some(|| 0));
        }
        let mut connection = Self {
            solo,
            wire,
            stage,
            way,
            armed: Armed::default(),
            span: ConnectionSpan::default(),
            timer: None,
            is_orphan: false,
            is_broken: false,
            #[cfg(test)]
            is_to_panic: false,
            engine_due: Some(now),
            receiver: Receiver::new(recv_buffer),
            has_received: true,
            sender: None,
            charge,
            send_buffer,
            began: now,
            handshake_micros: 0,
            segs_in: 0,
            usage: Usage::new(now),
            is_send_done: false,
            is_simultaneous_close: false,
            is_send_buffer_full: false,
            is_receive_buffer_full: false,
            is_blocked: false,
            nodelay: false,
            default_congestion_control: CongestionControl::default(),
            congestion_control: None,
            split_segments_max: u32::MAX,
            failure: None,
            options: None,
            expires: None,
            last_heard: now,
            progressed: now,
            peer_timeouts: None,
            next_probe: None,
            unsent: 0,
            challenges_from: now,
            reclaim: Reclaim::default(),
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

    /// The congestion control in force.
    pub(crate) fn congestion_control(&self) -> CongestionControl {
        self.congestion_control.unwrap_or(self.default_congestion_control)
    }

    /// Bytes that the peer has not acknowledged, sent or not.
    pub(crate) fn unacknowledged_bytes(&self) -> usize {
        self.sender.as_ref().map_or(0, |sender| sender.len())
    }

    /// Whether the peer may be sent a challenge again.
    pub(crate) fn may_challenge(&mut self, now: Instant) -> bool {
        let may = self.challenges_from <= now;
        if may {
            self.challenges_from = now + CHALLENGE_INTERVAL;
        }
        may
    }

    /// Acknowledges at once, with the current window.
    pub(crate) fn acknowledge<L: Link>(&mut self, output: &mut Output<'_, L>) {
        let is_over = matches!(self.solo.tcp().state(), State::Closed | State::Listen);
        if is_over && !self.is_in_time_wait() {
            // What was just received has ended it.
            return;
        }
        self.wire.acks.owe();
        self.send_owed_ack(output);
    }

    /// Shows smoltcp a segment of the peer's, as it looks to smoltcp: without data before it.
    fn show<L: Link>(
        &mut self,
        shown: Shown,
        engine: &mut Engine,
        now: Instant,
        output: &mut Output<'_, L>,
    ) {
        let flow = self.wire.flow();
        let sequence = self.wire.engine_expected(self.solo.tcp()).unwrap_or_default();
        let Some(acknowledgement) = self.wire.engine_unacknowledged() else { return };
        let ends = (flow.remote(), flow.local());
        let (buffer, begin) = shown::segment(shown, ends, (sequence, acknowledgement));
        output.explain(|outgoing| self.segment(SendCause::Control, outgoing));
        let sink = ConnectionSink::new(&mut self.wire, self.way, output);
        engine.receive(now, &buffer[begin..], self.solo.set_mut(), &mut sink.absorb_acks());
        self.engine_due = Some(now);
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
        self.segs_in += 1;
        self.wire.stamps.set_time(now);
        let shown = self.wire.received_syn(packet, tcp_start);
        output.explain(|outgoing| self.segment(SendCause::Control, outgoing));
        let mut sink = ConnectionSink::new(&mut self.wire, self.way, output);
        Engine::receive_syn(isn, now, &shown, self.solo.set_mut(), &mut sink);
        self.engine_due = Some(now);
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
        self.wire.stamps.set_time(now);
        self.pump_received(now, wakes);
        self.pump_to_send(now, wakes);
        if self.is_given_up(now, config) {
            if !matches!(self.stage, Stage::Open(_)) {
                return Served::Unanswered;
            }
            self.abort(Error::TimedOut);
        }
        if self.reclaim.is_due(self.sender.is_some(), now) {
            self.cool();
        }
        self.probe_if_idle(now, output);
        let has_more = self.emit(engine, now, output);
        self.charge.set(self.unacknowledged_bytes() + self.receiver.held());
        Served::Done { has_more }
    }

    /// Forgets the sender, if nothing is unacknowledged: what it knows of the path is old by now.
    fn cool(&mut self) {
        if self.unacknowledged_bytes() == 0
            && !self.is_send_done
            && let Some(sender) = self.sender.take()
        {
            self.usage.keep(&sender);
        }
    }

    /// Whether an ICMP error that quotes this sequence number can be about the connection. One that
    /// is not in flight is a guess (RFC 5927 section 4.1).
    pub(crate) fn is_under_way(&self, sequence: u32) -> bool {
        self.wire.is_under_way(sequence)
    }

    /// Sends smaller segments from now on, so that they fit the path, and those again that are in
    /// flight.
    pub(crate) fn narrow(&mut self, path: PathMtu, link_mtu: usize) {
        let before = self.wire.piece_bytes(link_mtu);
        self.wire.narrow(path);
        let piece = self.wire.piece_bytes(link_mtu);
        if let Some(sender) = self.sender.as_mut().filter(|_| piece < before) {
            sender.on_path_narrowed(piece as u32);
        }
    }

    /// Resets the connection: queued data is dropped, and a reset is sent.
    pub(crate) fn abort(&mut self, reason: Error) {
        self.failure.get_or_insert(reason);
        self.solo.tcp_mut().abort();
        self.engine_due = Some(Instant::ZERO);
    }

    /// Takes the options that the handle has changed.
    pub(crate) fn apply_options(&mut self) {
        if let Some(options) = self.queue().map(|queue| queue.options()) {
            self.apply(&options);
        }
    }

    fn apply(&mut self, options: &Options) {
        let tcp = self.solo.tcp_mut();
        let hop_limit = options.hop_limit.filter(|hops| *hops > 0);
        tcp.set_hop_limit(hop_limit);
        self.nodelay = options.nodelay;
        if self.congestion_control != options.congestion_control {
            self.congestion_control = options.congestion_control;
            let control = self.congestion_control();
            if let Some(sender) = &mut self.sender {
                sender.set_congestion_control(control);
            }
        }
        self.wire.hop_limit = hop_limit.unwrap_or(HOP_LIMIT);
        self.wire.traffic_class = options.traffic_class;
        self.wire.acks.set_quick(options.quickack);
        self.peer_timeouts = PeerTimeouts::new(options).map(Box::new);
    }

    /// Marks the end of the handshake and hands out the options, which are the handle's from now
    /// on.
    pub(crate) fn establish(&mut self, now: Instant) -> Options {
        self.expires = None;
        // The first round trip, unless something was lost.
        self.handshake_micros = now.micros_since(self.began).try_into().unwrap_or(u32::MAX);
        self.options.take().map(|options| *options).unwrap_or_default()
    }

    /// Whether there is something that the handle will never read, now that it is gone.
    pub(crate) fn has_unread(&self) -> bool {
        self.has_unqueued() || self.queue().is_some_and(|queue| queue.has_unread())
    }

    /// Whether bytes have arrived for which there is no handle.
    pub(crate) fn has_unqueued(&self) -> bool {
        self.receiver.has_unqueued()
    }

    /// A part of the same memory.
    pub(crate) fn charge(&self) -> Charge {
        self.charge.sibling()
    }

    /// Memory that is held for what has arrived or waits to be acknowledged, in bytes.
    pub(crate) fn held_bytes(&self) -> usize {
        let queued = self.queue().map_or(0, |queue| queue.held());
        queued + self.unacknowledged_bytes() + self.receiver.held()
    }
}
