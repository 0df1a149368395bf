//! How long a dead or unresponsive peer can hold resources.

mod harness;

use harness::peer::{Peer, Tap};
use harness::{Pair, Side, addr, read};
use netcore::device::smoltcp::wire::TcpControl;
use netcore::queue::{SocketQueue, StreamQueue};
use netcore::{Config, Error, HasChannel, SocketId, TcpConfig, tcp};
use std::net::Ipv4Addr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);

/// A connection of far with a peer that has no stack.
struct Scene {
    pair: Pair,
    tap: Tap,
    peer: Peer,
    far: Arc<StreamQueue>,
    listener: SocketId,
}

impl Scene {
    fn new() -> Self {
        let mut pair = Pair::new();
        let tap = Tap::new(&mut pair);
        let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
        let mut peer = Peer::new(PEER, 1000);
        peer.connect(&mut pair, &tap);
        let far = pair.accept(Side::Far, listener).expect("a connection");
        Self { pair, tap, peer, far, listener }
    }

    /// Sends the peer's next segment, with an acknowledgement of the received segments.
    fn send(&mut self, control: TcpControl, payload: &[u8]) {
        self.peer.send(&mut self.pair, control, payload);
        self.pair.run();
    }

    fn receive(&mut self) {
        self.pair.run();
        self.peer.receive(&self.tap);
    }

    fn state(&mut self) -> &'static str {
        let (states, time_wait) = self.pair.states(Side::Far);
        match (&states[..], time_wait) {
            ([state], 0) => state,
            ([], 1) => "TIME-WAIT",
            ([], 0) => "CLOSED",
            other => panic!("one connection, and no more: {other:?}"),
        }
    }

    /// Lets time pass until the connection is removed; returns the seconds.
    fn lifetime(&mut self) -> u64 {
        let start = self.pair.now;
        self.pair.advance_until(|pair| pair.states(Side::Far).0.is_empty());
        let time = self.pair.now - start;
        assert_eq!(self.pair.states(Side::Far).1, 0, "it was not closed in order");
        time.as_secs()
    }

    fn end(mut self) {
        self.far.close();
        let close = tcp::Command::Close;
        self.pair.call(Side::Far, Some(self.listener), close).expect("a listener");
    }
}

/// Brings a connection, whose write half the program has just given up, into a state.
type Course = fn(&mut Scene);

fn fin_wait_1(scene: &mut Scene) {
    scene.pair.run();
}

fn fin_wait_2(scene: &mut Scene) {
    scene.receive();
    scene.send(TcpControl::None, &[]);
}

/// The peer's FIN crosses ours.
fn closing(scene: &mut Scene) {
    scene.pair.run();
    scene.send(TcpControl::Fin, &[]);
}

fn last_ack(scene: &mut Scene) {
    scene.pair.run();
}

/// Whether the peer closed first, the steps to the state, and its name.
const CLOSING_STATES: [(bool, Course, &str); 4] = [
    (false, fin_wait_1, "FIN-WAIT-1"),
    (false, fin_wait_2, "FIN-WAIT-2"),
    (false, closing, "CLOSING"),
    (true, last_ack, "LAST-ACK"),
];

#[test]
fn unacked_fin_without_a_handle_ends_by_close_timeout() {
    for (is_half_closed, course, state) in CLOSING_STATES {
        let mut scene = Scene::new();
        if is_half_closed {
            scene.send(TcpControl::Fin, &[]);
        }
        scene.far.close();
        course(&mut scene);
        assert_eq!(scene.state(), state);

        assert_eq!(scene.lifetime(), 60, "{state}");

        scene.end();
    }
}

#[test]
fn unacked_fin_with_a_handle_times_out_in_every_state() {
    for (is_half_closed, course, state) in CLOSING_STATES {
        if state == "FIN-WAIT-2" {
            // The FIN was acknowledged: the peer may send indefinitely.
            continue;
        }
        let mut scene = Scene::new();
        if is_half_closed {
            scene.send(TcpControl::Fin, &[]);
        }
        scene.pair.advance(Duration::from_secs(5000));
        scene.far.shutdown_send().expect("open");
        course(&mut scene);
        assert_eq!(scene.state(), state);

        assert_eq!(scene.lifetime(), 924, "{state}");

        let end = read(&scene.far, 10);
        // An end of stream from the peer stays readable.
        let expected = if state == "FIN-WAIT-1" { Err(Error::TimedOut) } else { Ok(Vec::new()) };
        assert_eq!((end, scene.far.error()), (expected, Some(Error::TimedOut)), "{state}");
        scene.end();
    }
}

#[test]
fn user_timeout_applies_to_a_closing_connection() {
    let mut scene = Scene::new();
    let timeout = Some(Duration::from_secs(7));
    scene.far.set_options(|options| options.user_timeout = timeout);
    scene.pair.advance(Duration::from_secs(100));

    scene.far.shutdown_send().expect("open");

    assert_eq!(scene.lifetime(), 7);
    assert_eq!(read(&scene.far, 10), Err(Error::TimedOut));
    scene.end();
}

#[test]
fn unacked_data_times_out_in_close_wait() {
    let mut scene = Scene::new();
    scene.send(TcpControl::Fin, &[]);
    assert_eq!(scene.state(), "CLOSE-WAIT");
    scene.pair.advance(Duration::from_secs(100_000));
    assert_eq!(scene.state(), "CLOSE-WAIT", "an idle connection may be half closed indefinitely");

    scene.far.try_send(b"anybody there?").expect("credit");

    assert_eq!(scene.lifetime(), 924);
    assert_eq!(scene.far.try_send(b"x"), Err(Error::TimedOut));
    scene.end();
}

#[test]
fn unacked_data_outlives_its_handle_by_the_close_timeout() {
    for is_half_closed in [false, true] {
        let mut scene = Scene::new();
        if is_half_closed {
            scene.send(TcpControl::Fin, &[]);
        }
        scene.far.try_send(b"last words").expect("credit");
        scene.pair.run();

        scene.far.close();

        assert_eq!(scene.lifetime(), 60, "{is_half_closed}");
        scene.end();
    }
}

#[test]
fn closed_connection_ends_despite_a_zero_window_peer() {
    let mut scene = Scene::new();
    scene.peer.window = 0;
    scene.send(TcpControl::None, &[]);
    scene.far.try_send(b"never taken").expect("credit");
    scene.pair.run();

    scene.far.close();
    for _ in 0..59 {
        scene.pair.advance(Duration::from_secs(1));
        scene.send(TcpControl::None, &[]);
        assert_ne!(scene.state(), "CLOSED");
    }
    scene.pair.advance(Duration::from_secs(1));

    assert_eq!(scene.state(), "CLOSED");
    scene.end();
}

#[test]
fn timed_out_connection_resets_its_peer() {
    let mut scene = Scene::new();
    scene.far.close();
    scene.receive();

    assert_eq!(scene.lifetime(), 60);

    let last = scene.tap.take().pop().expect("it was told");
    assert_eq!(last.control(), TcpControl::Rst);
    assert_eq!(Some(last.sequence), scene.peer.expected);
    scene.end();
}

#[test]
fn syn_ack_is_sent_six_times() {
    let mut pair = Pair::new();
    let tap = Tap::new(&mut pair);
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
    Peer::new(PEER, 1000).send(&mut pair, TcpControl::Syn, &[]);
    pair.run();
    assert_eq!(pair.states(Side::Far).0, ["SYN-RECEIVED"]);

    pair.advance(Duration::from_millis(59_999));
    assert_eq!(pair.states(Side::Far).0, ["SYN-RECEIVED"]);
    pair.advance(Duration::from_millis(1));

    assert!(pair.states(Side::Far).0.is_empty());
    let answers = tap.take();
    assert!(answers.iter().all(|segment| segment.control() == TcpControl::Syn), "{answers:?}");
    assert_eq!(answers.len(), 6);
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

#[test]
fn repeating_its_syn_does_not_keep_a_half_open_connection_alive() {
    let mut pair = Pair::new();
    let tap = Tap::new(&mut pair);
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
    let syn = Peer::new(PEER, 1000).segment(TcpControl::Syn, &[]);

    for _ in 0..60 {
        pair.inject(Side::Far, syn.clone());
        pair.advance(Duration::from_secs(1));
    }

    assert!(pair.states(Side::Far).0.is_empty());
    let answers = tap.take().iter().filter(|segment| segment.control() == TcpControl::Syn).count();
    assert!(answers <= 60 + 6, "{answers}: one for each, and those of the timer");
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

#[test]
fn stuck_simultaneous_open_times_out_like_a_connect() {
    let timeout = Duration::from_secs(10);
    let mut pair = Pair::with(
        Config {
            tcp: TcpConfig { connect_timeout: timeout, ..TcpConfig::default() },
            ..Config::default()
        },
        1500,
    );
    let tap = Tap::new(&mut pair);
    let channel = pair.far.stack.command_channel();
    let connect = tcp::Command::Connect {
        remote: addr("10.0.0.3:1000"),
        local: Some(addr("10.0.0.2:80")),
        options: tcp::Options::default(),
    };
    let mut connecting = pin!(channel.call(None, connect));
    let mut context = Context::from_waker(Waker::noop());
    assert!(connecting.as_mut().poll(&mut context).is_pending());
    pair.run();
    assert_eq!(pair.states(Side::Far).0, ["SYN-SENT"]);
    assert_eq!(tap.take()[0].to, (PEER, 1000).into());
    Peer::new(PEER, 1000).send(&mut pair, TcpControl::Syn, &[]);
    pair.run();
    assert_eq!(pair.states(Side::Far).0, ["SYN-RECEIVED"]);

    pair.advance(Duration::from_secs(10));

    let Poll::Ready(outcome) = connecting.as_mut().poll(&mut context) else {
        panic!("{:?}", pair.states(Side::Far))
    };
    assert_eq!(outcome.err(), Some(Error::TimedOut));
    assert!(pair.states(Side::Far).0.is_empty());
}

#[test]
fn healthy_connection_survives_a_million_seconds() {
    let mut pair = Pair::new();
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
    let mut ends: Vec<_> = (0..3)
        .map(|_| {
            let near = pair.connect(Side::Near, "10.0.0.2:80").expect("a listener");
            (near, pair.accept(Side::Far, listener).expect("a connection"))
        })
        .collect();
    // One is idle, one has one half closed, and one is probed now and then.
    ends[1].0.shutdown_send().expect("open");
    let keep_alive = Some(tcp::KeepAlive::default());
    ends[2].0.set_options(|options| options.keep_alive = keep_alive);
    pair.run();

    pair.advance(Duration::from_secs(1_000_000));

    for (near, far) in ends.drain(..) {
        far.try_send(b"still there").expect("credit");
        pair.run();
        assert_eq!(read(&near, 20), Ok(b"still there".to_vec()));
        near.close();
        far.close();
    }
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

#[test]
fn data_for_a_dropped_handle_is_answered_by_a_reset() {
    for (course, state) in
        [(fin_wait_1 as Course, "FIN-WAIT-1"), (fin_wait_2 as Course, "FIN-WAIT-2")]
    {
        let mut scene = Scene::new();
        scene.far.close();
        course(&mut scene);
        assert_eq!(scene.state(), state);
        scene.tap.take();

        scene.send(TcpControl::None, b"is anybody listening?");

        assert_eq!(scene.state(), "CLOSED", "{state}");
        let last = scene.tap.take().pop().expect("an answer");
        assert_eq!(last.control(), TcpControl::Rst, "{state}");
        scene.end();
    }
}

#[test]
fn time_wait_holds_no_buffers_and_yields_to_a_newer_syn() {
    let mut scene = Scene::new();
    scene.far.close();
    fin_wait_2(&mut scene);
    let old = scene.peer.clone();
    scene.send(TcpControl::Fin, &[]);
    assert_eq!(scene.state(), "TIME-WAIT");
    let snapshot = scene.pair.far.stack.snapshot();
    assert_eq!((snapshot.buffer_bytes, snapshot.sockets.len()), (0, 1), "only the listener");
    scene.receive();

    // One that the old connection may have sent: answered with where the old one stands.
    let stale = Peer { expected: None, ..old };
    scene.pair.inject(Side::Far, stale.segment(TcpControl::Syn, &[]));
    scene.pair.run();
    assert_eq!(scene.state(), "TIME-WAIT");
    let answer = scene.tap.take().pop().expect("an acknowledgement");
    assert_eq!(answer.control(), TcpControl::None);
    assert_eq!(answer.acknowledgement, Some(scene.peer.sequence));

    // One past everything that the old connection has sent (RFC 6191).
    scene.peer.sequence += 1;
    scene.peer.expected = None;
    let (mut peer, tap) = (scene.peer.clone(), scene.tap.clone());
    peer.connect(&mut scene.pair, &tap);

    assert_eq!(scene.pair.states(Side::Far), (vec!["ESTABLISHED"], 0));
    let again = scene.pair.accept(Side::Far, scene.listener).expect("a new connection");
    assert_eq!(again.peer_address(), addr("10.0.0.3:1000"));
    again.abort();
    scene.end();
}

#[test]
fn the_offered_window_does_not_shrink_in_time_wait() {
    let mut scene = Scene::new();
    scene.far.close();
    fin_wait_2(&mut scene);
    let fin = scene.peer.segment(TcpControl::Fin, &[]);
    scene.send(TcpControl::Fin, &[]);
    let before = scene.tap.take().pop().expect("an acknowledgement");
    assert_eq!(scene.state(), "TIME-WAIT");

    scene.pair.inject(Side::Far, fin);
    scene.pair.run();

    let again = scene.tap.take().pop().expect("an acknowledgement");
    assert_eq!((again.acknowledgement, again.window), (before.acknowledgement, before.window));
    assert!(again.window > 0);
    scene.end();
}

#[test]
fn only_a_repeated_fin_restarts_time_wait() {
    let mut scene = Scene::new();
    scene.far.close();
    fin_wait_2(&mut scene);
    let fin = scene.peer.segment(TcpControl::Fin, &[]);
    scene.send(TcpControl::Fin, &[]);

    scene.pair.advance(Duration::from_secs(50));
    scene.pair.inject(Side::Far, fin);
    scene.pair.advance(Duration::from_secs(50));
    assert_eq!(scene.state(), "TIME-WAIT");
    scene.send(TcpControl::None, &[]);
    scene.pair.advance(Duration::from_secs(10));

    assert_eq!(scene.state(), "CLOSED");
    scene.end();
}

#[test]
fn unaccepted_connections_live_as_long_as_their_listener() {
    let mut scene = Scene::new();
    let mut late = Peer::new(PEER, 1001);
    let tap = scene.tap.clone();
    late.connect(&mut scene.pair, &tap);
    late.send(&mut scene.pair, TcpControl::None, b"request");
    scene.pair.advance(Duration::from_secs(10_000));

    let accept = scene.pair.call(Side::Far, Some(scene.listener), tcp::Command::Accept);

    let (_, Some(SocketQueue::Stream(accepted))) = accept.expect("it waited") else {
        panic!("accepting gives a stream")
    };
    assert_eq!(read(&accepted, 10), Ok(b"request".to_vec()));
    accepted.abort();
    scene.end();
}
