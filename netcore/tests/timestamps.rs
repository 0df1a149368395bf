//! Timestamps (RFC 7323).

mod harness;

use harness::raw_peer::RawPeer;
use harness::segment::Segment;
use harness::{Pair, Side, addr, read};
use netcore::device::smoltcp::wire::{TcpControl, TcpRepr, TcpSeqNumber, TcpTimestampRepr};
use netcore::queue::StreamQueue;
use netcore::{Config, DropReason, Error, SocketId, TcpConfig, tcp};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// What the scripted peer's clock shows when it connects.
const START: u32 = u32::MAX - 50;

fn stamped<'a>(segment: TcpRepr<'a>, (value, echo): (u32, u32)) -> TcpRepr<'a> {
    let timestamp = Some(TcpTimestampRepr::new(value, echo));
    TcpRepr { timestamp, ..segment }
}

fn at(ticks: u32) -> u32 {
    START.wrapping_add(ticks)
}

/// A scripted peer with timestamps, and far's end of its connection.
struct Scene {
    pair: Pair,
    peer: RawPeer,
    far: Arc<StreamQueue>,
    listener: SocketId,
    /// TSval of far's last segment.
    last: u32,
}

impl Scene {
    fn new() -> Self {
        let mut pair = Pair::new();
        let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
        let mut peer = RawPeer::new(&mut pair, "10.0.0.1:1000", "10.0.0.2:80");
        let last = Self::shake_hands(&mut pair, &mut peer, (0, START)).expect("a SYN|ACK");
        let far = pair.accept(Side::Far, listener).expect("a connection");
        Self { pair, peer, far, listener, last }
    }

    /// Connects from a sequence number at a time; returns far's TSval, if it answers with a SYN.
    fn shake_hands(pair: &mut Pair, peer: &mut RawPeer, (isn, now): (i32, u32)) -> Option<u32> {
        let syn = TcpRepr {
            control: TcpControl::Syn,
            seq_number: TcpSeqNumber(isn),
            ack_number: None,
            window_scale: Some(7),
            max_seg_size: Some(1460),
            ..peer.segment(0, 0)
        };
        peer.put(pair, &stamped(syn, (now, 0)));
        pair.run();
        let answer = peer.replies().pop().filter(|answer| answer.syn)?;
        let (value, echo) = answer.stamp.expect("it was offered");
        assert_eq!(echo, now);
        peer.put(pair, &stamped(peer.segment(isn as u32 + 1, 0), (now, value)));
        pair.run();
        Some(value)
    }

    /// Sends bytes at a time of the peer's clock; returns far's answer, if there is one.
    fn send(&mut self, sequence: u32, len: usize, now: u32) -> Option<Segment> {
        self.put(self.peer.segment(sequence, len), now)
    }

    fn put(&mut self, segment: TcpRepr<'_>, now: u32) -> Option<Segment> {
        self.peer.put(&mut self.pair, &stamped(segment, (now, self.last)));
        self.pair.run();
        let answer = self.peer.replies().pop()?;
        self.last = answer.stamp.map_or(self.last, |(value, _)| value);
        Some(answer)
    }

    fn dropped(&mut self) -> u64 {
        self.pair.far.stack.counters().dropped(DropReason::OldTimestamp)
    }

    fn end(mut self) {
        self.far.abort();
        self.pair.run();
        self.pair.call(Side::Far, Some(self.listener), tcp::Command::Close).expect("open");
    }
}

/// The segments that pass between two stacks.
fn watch(pair: &mut Pair) -> Rc<RefCell<Vec<Segment>>> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let sink = seen.clone();
    pair.wire = Box::new(move |packet| {
        sink.borrow_mut().push(Segment::parse(&packet));
        Some(packet)
    });
    seen
}

#[test]
fn every_segment_has_them_if_both_ends_offer_them() {
    let mut pair = Pair::new();
    let seen = watch(&mut pair);
    let (near, far, listener) = pair.connected();
    near.try_send(&[7; 5000]).expect("room");
    pair.advance(Duration::from_millis(70));
    assert_eq!(read(&far, 9000).map(|bytes| bytes.len()), Ok(5000));
    near.close();
    far.abort();
    pair.run();

    let seen = seen.take();
    assert!(seen.iter().any(|segment| segment.fin) && seen.iter().any(|segment| segment.rst));
    // A reset without acknowledgement answers for a connection that is no more.
    let is_of_connection = |it: &&Segment| it.acknowledgement.is_some() || !it.rst;
    for segment in seen.iter().filter(is_of_connection) {
        let (value, echo) = segment.stamp.unwrap_or_else(|| panic!("{segment:?}"));
        let back = seen.iter().filter(|other| other.from == segment.to);
        let is_first = segment.acknowledgement.is_none();
        assert!(is_first && echo == 0 || back.clone().any(|other| other.stamp.unwrap().0 == echo));
        assert!(segment.payload.len() <= 1448, "{value}: {}", segment.payload.len());
    }
    let values: Vec<_> =
        seen.iter().filter(is_of_connection).filter(|it| it.from == addr("10.0.0.2:80")).collect();
    let [first, last] = [values.first(), values.last()].map(|it| it.expect("some").stamp.unwrap());
    assert_eq!(last.0.wrapping_sub(first.0), 70, "milliseconds");
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

#[test]
fn no_segment_has_them_if_one_end_does_not() {
    for is_offered in [false, true] {
        let tcp = TcpConfig { timestamps: is_offered, ..TcpConfig::default() };
        let mut pair = Pair::with(Config { tcp, ..Config::default() }, 1500);
        let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
        let mut peer = RawPeer::new(&mut pair, "10.0.0.1:1000", "10.0.0.2:80");
        if is_offered {
            peer.shake_hands(&mut pair);
        } else {
            let syn = TcpRepr { control: TcpControl::Syn, ack_number: None, ..peer.segment(0, 0) };
            let syn = TcpRepr { max_seg_size: Some(1460), window_scale: Some(7), ..syn };
            peer.put(&mut pair, &stamped(syn, (START, 0)));
            pair.run();
            assert_eq!(peer.replies()[0].stamp, None);
            peer.put(&mut pair, &peer.segment(1, 0));
            pair.run();
        }
        let far = pair.accept(Side::Far, listener).expect("a connection");

        far.try_send(&[7; 2000]).expect("room");
        pair.run();

        let sent = peer.replies();
        assert!(sent.iter().all(|segment| segment.stamp.is_none()));
        assert_eq!(sent[0].payload.len(), 1460);
        far.abort();
        pair.run();
        pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
    }
}

#[test]
fn offsets_differ_by_connection_and_stay_for_a_4_tuple() {
    let mut values = Vec::new();
    let mut pair = Pair::new();
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
    for port in [1000, 1001, 1000] {
        let mut peer = RawPeer::new(&mut pair, &format!("10.0.0.1:{port}"), "10.0.0.2:80");
        values.extend(Scene::shake_hands(&mut pair, &mut peer, (0, START)));
        let far = pair.accept(Side::Far, listener).expect("a connection");
        far.abort();
        pair.run();
    }

    assert_eq!(values[0], values[2]);
    assert_ne!(values[0], values[1]);
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

#[test]
fn segment_behind_a_gap_is_not_echoed() {
    let mut scene = Scene::new();

    let behind = scene.send(101, 100, at(10)).expect("a duplicate acknowledgement");
    let filling = scene.send(1, 100, at(5)).expect("an acknowledgement");
    let next = scene.send(201, 100, at(12)).expect("an acknowledgement");

    // RFC 7323 section 4.3, examples B and C: what fills the gap was sent before, or again.
    let echoes = [behind, filling, next].map(|it| (it.acknowledgement, it.stamp.map(|it| it.1)));
    assert_eq!(
        echoes,
        [(Some(1), Some(START)), (Some(201), Some(at(5))), (Some(301), Some(at(12)))]
    );
    scene.end();
}

#[test]
fn old_segment_is_acknowledged_and_dropped() {
    let mut scene = Scene::new();
    scene.send(1, 100, at(100));
    assert_eq!(read(&scene.far, 1000).map(|bytes| bytes.len()), Ok(100));

    let answer = scene.send(101, 100, at(98)).expect("an acknowledgement");

    assert_eq!((answer.acknowledgement, answer.stamp.map(|it| it.1)), (Some(101), Some(at(100))));
    assert_eq!((scene.dropped(), read(&scene.far, 1000)), (1, Err(Error::WouldBlock)));
    // One tick may be a clock that was read in another order.
    scene.send(101, 100, at(99));
    assert_eq!(read(&scene.far, 1000).map(|bytes| bytes.len()), Ok(100));
    scene.end();
}

#[test]
fn overtaken_acknowledgement_is_not_answered() {
    let mut scene = Scene::new();
    scene.send(1, 100, at(100));

    assert_eq!(scene.send(101, 0, at(10)), None);

    assert_eq!(scene.dropped(), 0);
    scene.end();
}

#[test]
fn old_reset_ends_the_connection() {
    let mut scene = Scene::new();
    scene.send(1, 100, at(100));

    // RFC 7323 section 5.2: the clock of a peer that has restarted says nothing.
    let reset = TcpRepr { control: TcpControl::Rst, ..scene.peer.segment(101, 0) };
    scene.put(reset, at(10));

    assert_eq!(scene.pair.states(Side::Far).0, Vec::<&str>::new());
    scene.end();
}

#[test]
fn clock_is_not_compared_after_24_idle_days() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let mut scene = Scene::new();
    scene.send(1, 100, at(100));
    scene.pair.advance(23 * DAY);
    scene.send(101, 100, at(50));
    assert_eq!(scene.dropped(), 1);

    scene.pair.advance(DAY);
    scene.send(101, 100, at(50));

    assert_eq!((scene.dropped(), read(&scene.far, 1000).map(|bytes| bytes.len())), (1, Ok(200)));
    scene.end();
}

#[test]
fn newer_timestamp_reuses_a_4_tuple_in_time_wait() {
    let mut scene = Scene::new();
    scene.send(1, 1000, at(100));
    assert_eq!(read(&scene.far, 2000).map(|bytes| bytes.len()), Ok(1000));
    scene.far.close();
    scene.pair.run();
    scene.peer.collect();
    let fin = TcpRepr { control: TcpControl::Fin, ..scene.peer.segment(1001, 0) };
    let answer = scene.put(fin, at(110)).expect("an acknowledgement");
    assert_eq!(answer.stamp.map(|it| it.1), Some(at(110)));
    assert_eq!(scene.pair.states(Side::Far), (Vec::new(), 1));

    // Below the old sequence numbers.
    let mut connect = |now| Scene::shake_hands(&mut scene.pair, &mut scene.peer, (500, now));
    assert_eq!([connect(at(110)), connect(at(109))], [None, None]);
    let value = connect(at(111)).expect("a SYN|ACK");

    assert!(value.wrapping_sub(scene.last) < 1 << 31, "the clock of the 4-tuple goes on");
    scene.far = scene.pair.accept(Side::Far, scene.listener).expect("a connection");
    scene.end();
}
