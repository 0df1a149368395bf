//! Hostile and broken peers, and spoofed segments.

mod harness;

use harness::raw_peer::RawPeer;
use harness::segment::Segment;
use harness::{Pair, Side, read};
use netcore::device::smoltcp::wire::{TcpControl, TcpRepr, TcpSeqNumber};
use netcore::queue::StreamQueue;
use netcore::{Config, DropReason, Error, SocketId, TcpConfig, tcp};
use std::sync::Arc;
use std::time::Duration;

/// A connection of far with a peer by hand.
struct Bench {
    pair: Pair,
    peer: RawPeer,
    far: Arc<StreamQueue>,
    listener: SocketId,
}

impl Bench {
    fn new(config: Config) -> Self {
        let mut pair = Pair::with(config, 1500);
        let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
        let peer = RawPeer::connect(&mut pair);
        let far = pair.accept(Side::Far, listener).expect("a connection");
        Self { pair, peer, far, listener }
    }

    /// A connection whose receive window is full, and the number of bytes in it.
    fn full() -> (Self, u32) {
        // So small that windows are not scaled, and any length fits.
        let config = Config {
            tcp: TcpConfig {
                recv_buffer_bytes: 16 << 10,
                recv_buffer_bytes_max: 16 << 10,
                stream_queue_bytes: 4096,
                ..TcpConfig::default()
            },
            ..Config::default()
        };
        let mut bench = Self::new(config);
        let mut sent = 0;
        loop {
            let room = bench.window(sent);
            if room == 0 {
                return (bench, sent);
            }
            let len = room.min(1460);
            bench.peer.send(&mut bench.pair, 1 + sent, len as usize);
            sent += len;
        }
    }

    /// The receive window of far, in bytes.
    fn window(&self, sent: u32) -> u32 {
        match sent {
            0 => 1000,
            sent => self.peer.edge() - 1 - sent,
        }
    }

    fn put(&mut self, segment: &TcpRepr<'_>) {
        self.peer.put(&mut self.pair, segment);
    }

    /// Sends so many bytes and a FIN, and leaves the stack no time to answer.
    fn put_stream(&mut self, bytes: u32) {
        for start in (0..bytes).step_by(1024) {
            self.put(&self.peer.segment(1 + start, 1024));
        }
        self.put(&fin(self.peer.segment(1 + bytes, 0)));
    }

    /// Far's segments of the next moment.
    fn replies(&mut self) -> Vec<Segment> {
        self.pair.advance(Duration::from_millis(20));
        self.peer.replies()
    }

    fn state(&mut self) -> Vec<&'static str> {
        self.pair.states(Side::Far).0
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.pair.far.stack.counters().dropped(reason)
    }

    fn end(mut self) {
        self.far.abort();
        self.far.close();
        self.pair.call(Side::Far, Some(self.listener), tcp::Command::Close).expect("a listener");
    }
}

fn number(sequence: u32) -> TcpSeqNumber {
    TcpSeqNumber(sequence as i32)
}

/// The segment with a FIN.
fn fin(segment: TcpRepr<'static>) -> TcpRepr<'static> {
    TcpRepr { control: TcpControl::Fin, ..segment }
}

/// smoltcp shifts the window of its SYN|ACK later, as if it had been scaled, and then takes bytes
/// for which its buffer has no room.
#[test]
fn data_beyond_the_window_of_the_syn_ack_is_dropped() {
    let mut bench = Bench::new(Config {
        tcp: TcpConfig {
            recv_buffer_bytes: 640 << 10,
            recv_buffer_bytes_max: 640 << 10,
            ..TcpConfig::default()
        },
        ..Config::default()
    });
    let behind = bench.peer.segment(1 + 700_000, 1000);

    bench.put(&behind);
    let replies = bench.replies();

    assert_eq!(bench.dropped(DropReason::OutsideWindow), 1);
    assert_eq!(replies.len(), 1);
    assert_eq!(replies[0].acknowledgement, Some(1));
    bench.peer.send(&mut bench.pair, 1, 1000);
    assert_eq!(read(&bench.far, 10_000), Ok(vec![7; 1000]));
    bench.end();
}

/// smoltcp takes a FIN at the end of its buffer, and then subtracts a later sequence number from an
/// earlier one.
#[test]
fn far_empty_segment_after_fin_on_full_window_is_ignored() {
    const BYTES: u32 = 16 << 10;
    let config = Config {
        tcp: TcpConfig {
            recv_buffer_bytes: BYTES as usize,
            recv_buffer_bytes_max: BYTES as usize,
            ..TcpConfig::default()
        },
        ..Config::default()
    };
    let mut bench = Bench::new(config);
    assert_eq!(bench.peer.edge(), 1 + BYTES);

    // All before the stack gets to acknowledge anything.
    bench.put_stream(BYTES);
    bench.put(&bench.peer.segment((2 + BYTES).wrapping_add(1 << 31), 0));
    let replies = bench.replies();

    assert_eq!(bench.state(), ["CLOSE-WAIT"]);
    assert_eq!(replies.last().expect("an answer").acknowledgement, Some(2 + BYTES));
    assert_eq!(read(&bench.far, 100_000), Ok(vec![7; BYTES as usize]));
    assert_eq!(read(&bench.far, 100_000), Ok(vec![]));
    bench.end();
}

/// smoltcp probes a zero window without data to send, indefinitely.
#[test]
fn zero_window_is_not_probed_once_all_data_is_acked() {
    let mut bench = Bench::new(Config::default());
    bench.peer.offered = 0;
    bench.peer.send(&mut bench.pair, 1, 0);
    bench.far.try_send(&[1]).expect("room");
    bench.far.shutdown_send().expect("open");
    // The probe for the window takes the byte with it, and the FIN.
    bench.pair.advance(Duration::from_secs(3));
    let probe = bench.peer.replies().pop().expect("a probe");
    assert_eq!((&probe.payload[..], probe.fin), (&[1][..], true));

    bench.put(&bench.peer.segment(1, 0));
    bench.pair.run();
    let before = bench.pair.far.stack.counters().frames_sent;
    // By hand: the harness would never return if the probes did not stop.
    bench.pair.now += Duration::from_secs(10);
    bench.pair.far.stack.poll_device_io(bench.pair.now, &mut bench.pair.far.device);

    assert_eq!(bench.state(), ["FIN-WAIT-2"]);
    assert_eq!(bench.pair.far.stack.counters().frames_sent, before);
    bench.end();
}

#[test]
fn data_with_an_old_acknowledgement_is_accepted() {
    let mut bench = Bench::new(Config::default());
    let old = bench.peer.expected;
    bench.far.try_send(&[1; 1000]).expect("room");
    bench.replies();
    bench.peer.send(&mut bench.pair, 1, 0);

    // A reordered segment with an outdated window.
    let overtaken =
        TcpRepr { ack_number: Some(number(old)), window_len: 1, ..bench.peer.segment(1, 100) };
    bench.put(&overtaken);
    bench.replies();

    assert_eq!(read(&bench.far, 1000), Ok(vec![7; 100]));
    bench.far.try_send(&[2; 1000]).expect("room");
    let replies = bench.replies();
    assert_eq!(replies.last().expect("the window is as it was").payload, [2; 1000]);
    bench.end();
}

#[test]
fn old_acknowledgement_is_no_duplicate_ack() {
    let mut bench = Bench::new(Config::default());
    let old = bench.peer.expected;
    bench.far.try_send(&[1; 1000]).expect("room");
    bench.replies();
    bench.peer.send(&mut bench.pair, 1, 0);
    bench.far.try_send(&[2; 1000]).expect("room");
    bench.replies();

    for _ in 0..4 {
        bench.put(&TcpRepr { ack_number: Some(number(old)), ..bench.peer.segment(1, 0) });
    }

    assert_eq!(bench.replies(), [], "no retransmission");
    assert_eq!(bench.dropped(DropReason::OldAcknowledgement), 4);
    bench.end();
}

#[test]
fn acknowledgement_of_unsent_data_is_rejected() {
    let mut bench = Bench::new(Config::default());
    bench.peer.offered = 0;
    bench.peer.send(&mut bench.pair, 1, 0);
    let unsent = bench.peer.expected;
    bench.far.try_send(&[1; 1000]).expect("room");
    bench.replies();

    // smoltcp has these bytes, and would forget them.
    let premature =
        TcpRepr { ack_number: Some(number(unsent + 500)), ..bench.peer.segment(1, 100) };
    bench.put(&premature);
    let replies = bench.replies();

    assert_eq!(bench.dropped(DropReason::BadAcknowledgement), 1);
    assert_eq!(replies.len(), 1, "a challenge");
    assert_eq!(replies[0].acknowledgement, Some(1));
    assert_eq!(read(&bench.far, 1000), Err(Error::WouldBlock));
    bench.peer.expected = unsent;
    bench.peer.offered = 1000;
    bench.put(&bench.peer.segment(1, 0));
    let replies = bench.replies();
    assert_eq!((replies[0].sequence, &replies[0].payload[..]), (unsent, &[1; 1000][..]));
    bench.end();
}

#[test]
fn acknowledgement_is_accepted_while_the_window_is_zero() {
    let (mut bench, sent) = Bench::full();
    bench.far.try_send(&[1; 1000]).expect("room");
    bench.replies();

    // A probe for far's window that acknowledges what far has sent.
    bench.put(&bench.peer.segment(1 + sent, 1));
    let replies = bench.replies();

    assert_eq!(replies.len(), 1);
    assert_eq!(replies[0].acknowledgement, Some(1 + sent), "the byte was not taken");
    bench.pair.advance(Duration::from_secs(5));
    assert_eq!(bench.peer.replies(), [], "nothing is retransmitted");
    bench.end();
}

#[test]
fn fin_beyond_the_window_is_ignored() {
    let (mut bench, sent) = Bench::full();

    bench.put(&fin(bench.peer.segment(1 + sent - 10, 11)));
    let replies = bench.replies();

    assert_eq!(bench.state(), ["ESTABLISHED"]);
    assert_eq!(replies.last().expect("an answer").acknowledgement, Some(1 + sent));
    bench.end();
}

#[test]
fn data_after_the_fin_is_dropped() {
    let mut bench = Bench::new(Config::default());
    bench.put(&fin(bench.peer.segment(1, 10)));
    bench.replies();

    bench.put(&bench.peer.segment(12, 100));
    let replies = bench.replies();

    assert_eq!(replies.len(), 1);
    assert_eq!(replies[0].acknowledgement, Some(12));
    assert_eq!(read(&bench.far, 1000), Ok(vec![7; 10]));
    assert_eq!(read(&bench.far, 1000), Ok(vec![]));
    bench.end();
}

#[test]
fn reset_is_accepted_after_a_fin_past_the_window() {
    const BYTES: u32 = 16 << 10;
    let config = Config {
        tcp: TcpConfig {
            recv_buffer_bytes: BYTES as usize,
            recv_buffer_bytes_max: BYTES as usize,
            ..TcpConfig::default()
        },
        ..Config::default()
    };
    let mut bench = Bench::new(config);
    bench.put_stream(BYTES);
    let reset = TcpRepr { control: TcpControl::Rst, ..bench.peer.segment(2 + BYTES, 0) };

    bench.put(&reset);
    bench.replies();

    assert_eq!(bench.state(), Vec::<&str>::new());
    bench.end();
}

#[test]
fn challenge_acks_of_a_connection_are_rate_limited() {
    let mut bench = Bench::new(Config::default());
    let syn = TcpRepr { control: TcpControl::Syn, ..bench.peer.segment(1, 0) };
    let mut challenges = 0;

    for _ in 0..100 {
        bench.put(&syn);
        challenges += bench.replies().len();
    }

    assert_eq!(challenges, 4, "in two seconds");
    assert_eq!(bench.dropped(DropReason::UnexpectedSyn), 4);
    assert_eq!(bench.dropped(DropReason::RateLimited), 96);
    bench.end();
}

#[test]
fn challenge_acks_of_a_stack_are_rate_limited() {
    let mut bench = Bench::new(Config {
        tcp: TcpConfig { challenge_acks_per_second: 0, ..TcpConfig::default() },
        ..Config::default()
    });

    bench.put(&TcpRepr { control: TcpControl::Rst, ..bench.peer.segment(2, 0) });

    assert_eq!(bench.replies(), []);
    assert_eq!(bench.dropped(DropReason::RateLimited), 1);
    assert_eq!(bench.state(), ["ESTABLISHED"]);
    bench.end();
}

#[test]
fn resets_for_unknown_connections_are_rate_limited() {
    let config = Config {
        tcp: TcpConfig { resets_per_second: 10, ..TcpConfig::default() },
        ..Config::default()
    };
    let mut pair = Pair::with(config, 1500);
    let mut peer = RawPeer::new(&mut pair, "10.0.0.1:1000", "10.0.0.2:80");
    pair.advance(Duration::from_secs(1));

    let mut flood = |pair: &mut Pair| {
        for _ in 0..100 {
            peer.put(pair, &peer.segment(1, 0));
        }
        pair.run();
        peer.replies().len()
    };

    assert_eq!(flood(&mut pair), 10);
    pair.advance(Duration::from_millis(500));
    assert_eq!(flood(&mut pair), 5);
    let counters = pair.far.stack.counters();
    assert_eq!(counters.resets_sent, 15);
    assert_eq!(counters.dropped(DropReason::RateLimited), 185);
    assert_eq!(counters.dropped(DropReason::NoListener), 15);
}
