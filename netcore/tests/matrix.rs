//! Every segment in every state: the answer and the next state.
//!
//! The expectation is computed from RFC 9293 section 3.10.7 with RFC 5961's changes. Where this
//! stack does something else, [`DEVIATIONS`] has it with the reason; a deviation that is not in the
//! table fails the test, and so does one in the table that is none.

#![allow(clippy::print_stdout, reason = "the figures are a result of the test")]

mod harness;

use harness::raw_peer::RawPeer;
use harness::{Pair, Side};
use netcore::device::smoltcp::wire::TcpRepr;
use netcore::{Error, HasChannel, Response, TcpState, tcp};
use std::fmt::Write;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Listen,
    SynSent,
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
}

use State::{
    CloseWait, Closed, Closing, Established, FinWait1, FinWait2, LastAck, Listen, SynReceived,
    SynSent, TimeWait,
};

const STATES: [State; 11] = [
    Closed,
    Listen,
    SynSent,
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
];

/// The flags of a segment. An acknowledgement is always one of everything that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flags {
    name: &'static str,
    syn: bool,
    fin: bool,
    rst: bool,
    ack: bool,
}

const fn flags(name: &'static str, [syn, fin, rst, ack]: [bool; 4]) -> Flags {
    Flags { name, syn, fin, rst, ack }
}

const SYN: Flags = flags("SYN", [true, false, false, false]);
const SYN_ACK: Flags = flags("SYN|ACK", [true, false, false, true]);
const SYN_FIN: Flags = flags("SYN|FIN", [true, true, false, false]);
const ACK: Flags = flags("ACK", [false, false, false, true]);
const FIN: Flags = flags("FIN", [false, true, false, false]);
const FIN_ACK: Flags = flags("FIN|ACK", [false, true, false, true]);
const RST: Flags = flags("RST", [false, false, true, false]);
const RST_ACK: Flags = flags("RST|ACK", [false, false, true, true]);

const NONE: Flags = flags("none", [false, false, false, false]);
const SYN_FIN_ACK: Flags = flags("SYN|FIN|ACK", [true, true, false, true]);
const SYN_RST: Flags = flags("SYN|RST", [true, false, true, false]);
const SYN_RST_ACK: Flags = flags("SYN|RST|ACK", [true, false, true, true]);
const FIN_RST: Flags = flags("FIN|RST", [false, true, true, false]);
const FIN_RST_ACK: Flags = flags("FIN|RST|ACK", [false, true, true, true]);
const SYN_FIN_RST: Flags = flags("SYN|FIN|RST", [true, true, true, false]);
const ALL: Flags = flags("SYN|FIN|RST|ACK", [true, true, true, true]);

/// Every combination of the four.
const SEGMENTS: [Flags; 16] = [
    NONE,
    SYN,
    SYN_ACK,
    SYN_FIN,
    SYN_FIN_ACK,
    ACK,
    FIN,
    FIN_ACK,
    RST,
    RST_ACK,
    SYN_RST,
    SYN_RST_ACK,
    FIN_RST,
    FIN_RST_ACK,
    SYN_FIN_RST,
    ALL,
];

/// Where a segment begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    /// One before the window.
    OutsideLeft,
    /// At the next expected number.
    LeftEdge,
    /// At the last number in the window.
    RightEdge,
    /// At the first number behind the window.
    OutsideRight,
}

use Position::{LeftEdge, OutsideLeft, OutsideRight, RightEdge};

const POSITIONS: [Position; 4] = [OutsideLeft, LeftEdge, RightEdge, OutsideRight];
const IN_WINDOW: &[Position] = &[LeftEdge, RightEdge];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Nothing,
    Ack,
    SynAck,
    Rst,
}

/// Deviations of this stack from the RFCs, and the reasons.
struct Deviation {
    states: &'static [State],
    segments: &'static [Flags],
    positions: &'static [Position],
    /// The state that follows; `None` if it is the one that the RFCs ask for.
    outcome: (Answer, Option<State>),
    #[allow(dead_code, reason = "it is for the reader")]
    why: &'static str,
}

const DEVIATIONS: &[Deviation] = &[
    Deviation {
        states: &[Listen],
        segments: &[SYN_FIN],
        positions: &POSITIONS,
        outcome: (Answer::Nothing, Some(Listen)),
        why: "No peer sends it, port scanners do; Linux drops it as well.",
    },
    Deviation {
        states: &[SynSent],
        segments: &[SYN_FIN, SYN_FIN_ACK],
        positions: &POSITIONS,
        outcome: (Answer::Nothing, Some(SynSent)),
        why: "As in LISTEN: nobody who means to open a connection sends it.",
    },
    Deviation {
        states: &[SynReceived],
        segments: &[SYN, SYN_ACK, SYN_FIN, SYN_FIN_ACK],
        positions: IN_WINDOW,
        outcome: (Answer::Ack, Some(SynReceived)),
        why: "RFC 9293 lets any SYN in the window end a handshake that a listener takes part in. \
              It is challenged as in the synchronised states: whoever cannot see the connection \
              must not be able to end it (RFC 5961 section 4).",
    },
    Deviation {
        states: &[SynReceived],
        segments: &[SYN],
        positions: &[OutsideLeft],
        outcome: (Answer::SynAck, Some(SynReceived)),
        why: "The SYN once more: its answer is lost, or late. The peer can do nothing with a bare \
              acknowledgement, so it gets the SYN|ACK at once, as from Linux.",
    },
    Deviation {
        states: &[
            SynReceived,
            Established,
            FinWait1,
            FinWait2,
            CloseWait,
            Closing,
            LastAck,
            TimeWait,
        ],
        segments: &[ACK],
        positions: &[OutsideRight],
        // What the acknowledgement does: see `taken`.
        outcome: (Answer::Nothing, None),
        why: "A peer that has filled the window sends its acknowledgements from the number right \
              behind it. Not to look at them would stop this end's sending until the peer's bytes \
              are through; Linux takes them too.",
    },
];

/// The state after an acknowledgement of all sent data.
fn taken(state: State) -> State {
    match state {
        SynReceived => Established,
        FinWait1 => FinWait2,
        Closing => TimeWait,
        LastAck => Closed,
        state => state,
    }
}

/// The behaviour that the RFCs require.
fn by_the_rfcs(state: State, segment: Flags, position: Position) -> (Answer, State) {
    match state {
        Closed if segment.rst => (Answer::Nothing, Closed),
        Closed => (Answer::Rst, Closed),
        Listen if segment.rst => (Answer::Nothing, Listen),
        Listen if segment.ack => (Answer::Rst, Listen),
        Listen if segment.syn => (Answer::SynAck, SynReceived),
        Listen => (Answer::Nothing, Listen),
        SynSent if segment.rst && segment.ack => (Answer::Nothing, Closed),
        SynSent if segment.rst => (Answer::Nothing, SynSent),
        SynSent if segment.syn && segment.ack => (Answer::Ack, Established),
        SynSent if segment.syn => (Answer::SynAck, SynReceived),
        SynSent => (Answer::Nothing, SynSent),
        state => by_the_rfcs_once_synchronised(state, segment, position),
    }
}

/// RFC 9293 section 3.10.7.4, with RFC 5961.
fn by_the_rfcs_once_synchronised(
    state: State,
    segment: Flags,
    position: Position,
) -> (Answer, State) {
    let is_in_window = IN_WINDOW.contains(&position);
    if segment.rst {
        return match position {
            LeftEdge if state == SynReceived => (Answer::Nothing, Listen),
            LeftEdge => (Answer::Nothing, Closed),
            RightEdge => (Answer::Ack, state),
            OutsideLeft | OutsideRight => (Answer::Nothing, state),
        };
    }
    if segment.syn && state == SynReceived && is_in_window {
        return (Answer::Nothing, Listen);
    }
    if segment.syn || !is_in_window {
        return (Answer::Ack, state);
    }
    if !segment.ack {
        return (Answer::Nothing, state);
    }
    let acknowledged = taken(state);
    if !segment.fin || acknowledged == Closed {
        return (Answer::Nothing, acknowledged);
    }
    // A FIN that comes before bytes is kept, or sent again.
    let next = match acknowledged {
        state if position == RightEdge => state,
        Established => CloseWait,
        FinWait2 => TimeWait,
        state => state,
    };
    (Answer::Ack, next)
}

/// The expected behaviour, and whether it is the RFCs'.
fn expected(state: State, segment: Flags, position: Position) -> ((Answer, State), bool) {
    let by_the_rfcs = by_the_rfcs(state, segment, position);
    let deviation = DEVIATIONS.iter().find(|deviation| {
        deviation.states.contains(&state)
            && deviation.segments.contains(&segment)
            && deviation.positions.contains(&position)
    });
    let Some(deviation) = deviation else {
        return (by_the_rfcs, true);
    };
    let (answer, next) = deviation.outcome;
    let expected = (answer, next.unwrap_or(taken(state)));
    assert_ne!(expected, by_the_rfcs, "no deviation: {state:?} {} {position:?}", segment.name);
    (expected, false)
}

type Connecting = Pin<Box<dyn Future<Output = Result<Response, Error>>>>;

/// A connection of far in some state, and its peer.
struct Bench {
    /// The state that it began in.
    began: State,
    pair: Pair,
    peer: RawPeer,
    /// The next sequence number of the peer.
    next: u32,
    /// The end of far's window.
    edge: u32,
    /// The pending connect command of far.
    connecting: Option<Connecting>,
}

impl Bench {
    fn new(state: State) -> Self {
        let mut pair = Pair::new();
        let peer = RawPeer::new(&mut pair, "10.0.0.1:1000", "10.0.0.2:80");
        let mut bench = Self { began: state, pair, peer, next: 1, edge: 1000, connecting: None };
        match state {
            Closed => {}
            SynSent => bench.let_far_connect(),
            Listen => bench.listen(),
            state => bench.let_far_accept(state),
        }
        bench.pair.advance(Duration::from_millis(20));
        bench.peer.collect();
        if !matches!(state, Closed | Listen | SynSent) {
            bench.edge = bench.peer.edge();
        }
        assert_eq!(bench.state(), state);
        bench
    }

    fn listen(&mut self) {
        self.pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
    }

    fn let_far_connect(&mut self) {
        let command = tcp::Command::Connect {
            remote: self.peer.local,
            local: Some(self.peer.remote),
            options: tcp::Options::default(),
        };
        let channel = self.pair.far.stack.command_channel();
        let mut connecting = Box::pin(async move { channel.request(None, command).await });
        assert!(connecting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        self.connecting = Some(connecting);
    }

    fn let_far_accept(&mut self, state: State) {
        let listener = self.pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
        if state == SynReceived {
            self.peer.put_syn(&mut self.pair, None);
            return;
        }
        self.peer.shake_hands(&mut self.pair);
        let stream = self.pair.accept(Side::Far, listener).expect("a connection");
        let close = |bench: &mut Self| {
            stream.shutdown_send().expect("open");
            bench.pair.advance(Duration::from_millis(20));
        };
        match state {
            FinWait1 => close(self),
            FinWait2 => {
                close(self);
                self.peer.collect();
                self.acknowledge();
            }
            CloseWait => self.finish(),
            Closing => {
                close(self);
                self.finish();
            }
            LastAck => {
                self.finish();
                close(self);
            }
            TimeWait => {
                close(self);
                self.peer.collect();
                self.finish();
                // So that a SYN is one for the old connection.
                let close = tcp::Command::Close;
                self.pair.call(Side::Far, Some(listener), close).expect("a listener");
            }
            _ => {}
        }
    }

    /// Acknowledges everything.
    fn acknowledge(&mut self) {
        self.peer.put(&mut self.pair, &self.peer.segment(self.next, 0));
    }

    /// Sends the peer's FIN.
    fn finish(&mut self) {
        let fin = self.peer.segment(self.next, 0);
        self.peer.put_altered(&mut self.pair, &fin, |segment| segment.set_fin(true));
        self.next += 1;
        self.pair.advance(Duration::from_millis(20));
    }

    /// Sends a segment and returns the answer and the next state.
    fn try_segment(&mut self, segment: Flags, position: Position) -> (Answer, State) {
        let sequence = match position {
            OutsideLeft => self.next - 1,
            LeftEdge => self.next,
            RightEdge => self.edge - 1,
            OutsideRight => self.edge,
        };
        let end = self.peer.expected;
        let repr = TcpRepr { window_len: 1000, ..self.peer.segment(sequence, 0) };
        self.peer.put_altered(&mut self.pair, &repr, |packet| {
            packet.set_syn(segment.syn);
            packet.set_fin(segment.fin);
            packet.set_rst(segment.rst);
            packet.set_ack(segment.ack);
        });
        self.pair.advance(Duration::from_millis(20));

        let replies = self.peer.replies();
        assert!(replies.len() <= 1, "{segment:?} {position:?}: {replies:?}");
        let answer = match replies.first() {
            None => Answer::Nothing,
            Some(reply) => {
                assert!(reply.payload.is_empty() && !reply.fin, "{reply:?}");
                match (reply.syn, reply.rst) {
                    (false, false) => {
                        assert_eq!(reply.sequence, end);
                        assert!(reply.acknowledgement.is_some());
                        Answer::Ack
                    }
                    (true, false) => {
                        assert_eq!(reply.acknowledgement, Some(sequence + 1));
                        Answer::SynAck
                    }
                    (_, true) if segment.ack => {
                        assert_eq!((reply.sequence, reply.acknowledgement), (end, None));
                        Answer::Rst
                    }
                    (_, true) => {
                        let len = u32::from(segment.syn) + u32::from(segment.fin);
                        assert_eq!(reply.acknowledgement, Some(sequence + len));
                        Answer::Rst
                    }
                }
            }
        };
        (answer, self.state())
    }

    fn state(&mut self) -> State {
        let snapshot = self.pair.far.stack.snapshot();
        let names: Vec<_> =
            snapshot.sockets.iter().map(|socket| socket.state.map_or("", TcpState::name)).collect();
        let states = [
            ("SYN-SENT", SynSent),
            ("SYN-RECEIVED", SynReceived),
            ("ESTABLISHED", Established),
            ("FIN-WAIT-1", FinWait1),
            ("FIN-WAIT-2", FinWait2),
            ("CLOSE-WAIT", CloseWait),
            ("CLOSING", Closing),
            ("LAST-ACK", LastAck),
        ];
        let connection = states.iter().find(|(name, _)| names.contains(name));
        match connection {
            Some((_, state)) => *state,
            None if !snapshot.time_wait.is_empty() => TimeWait,
            // A listener stays when a connection that came of it goes.
            None if matches!(self.began, Listen | SynReceived) => Listen,
            None => Closed,
        }
    }

    /// Removes the sockets of the test.
    fn end(mut self) {
        self.connecting = None;
        let ids: Vec<_> =
            self.pair.far.stack.snapshot().sockets.iter().map(|socket| socket.id).collect();
        for id in ids {
            // A connection that nobody has accepted goes with its listener.
            let _ = self.pair.call(Side::Far, Some(id), tcp::Command::Abort);
            let _ = self.pair.call(Side::Far, Some(id), tcp::Command::Close);
        }
    }
}

#[test]
fn every_segment_in_every_state_has_the_right_answer() {
    let (mut cells, mut right) = (0, 0);
    let (mut hostile_cells, mut hostile_right) = (0, 0);
    let mut wrong = String::new();
    for state in STATES {
        for segment in SEGMENTS {
            for position in POSITIONS {
                let mut bench = Bench::new(state);
                let (wanted, is_by_the_rfcs) = expected(state, segment, position);

                let found = bench.try_segment(segment, position);

                if found != wanted {
                    let name = segment.name;
                    writeln!(wrong, "{state:?} {name} {position:?}: {found:?}, not {wanted:?}")
                        .expect("a string");
                }
                cells += 1;
                right += u32::from(found == wanted && is_by_the_rfcs);
                let is_synchronised = !matches!(state, Closed | Listen | SynSent | SynReceived);
                if is_synchronised && [RST, SYN].contains(&segment) {
                    hostile_cells += 1;
                    hostile_right += u32::from(found == wanted && is_by_the_rfcs);
                }
                bench.end();
            }
        }
    }
    println!("{hostile_right} of {hostile_cells} RST/SYN cells in synchronised states");
    println!("{right} of {cells} cells in all");
    assert!(wrong.is_empty(), "{wrong}");
    assert!((hostile_cells, hostile_right) >= (56, 54));
}
