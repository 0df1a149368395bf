//! Random walks of hostile segments through living connections.

mod harness;

use harness::raw_peer::RawPeer;
use harness::{Pair, Side, read};
use netcore::device::smoltcp::wire::{TcpRepr, TcpSeqNumber};
use netcore::{Config, Error, TcpConfig, tcp};
use proptest::prelude::*;
use std::time::Duration;

/// One step of a walk.
#[derive(Debug, Clone)]
enum Step {
    /// A segment, by how far its numbers are from where the connection stands.
    Segment {
        from: Edge,
        sequence: i32,
        acknowledgement: i32,
        is_far: bool,
        window: u16,
        len: usize,
        flags: [bool; 4],
    },
    /// The stack gets to do what it has to.
    Run,
    /// Time passes, in milliseconds.
    Wait(u64),
    Read(usize),
    Write(usize),
    ShutDown,
}

/// What a sequence number is near to.
#[derive(Debug, Clone, Copy)]
enum Edge {
    Left,
    Right,
}

fn step() -> impl Strategy<Value = Step> {
    let near = || prop_oneof![4 => Just(0), 3 => -3..4, 2 => -1500..1500, 1 => any::<i32>()];
    let segment = (
        prop_oneof![Just(Edge::Left), Just(Edge::Right)],
        near(),
        near(),
        prop::bool::weighted(0.05),
        prop_oneof![Just(0), Just(1), Just(1000), any::<u16>()],
        prop_oneof![Just(0), Just(1), 0..1460usize],
        // Nearly all have an acknowledgement, and few a SYN or a RST.
        [0.03, 0.1, 0.02, 0.95].map(prop::bool::weighted),
    );
    let segment =
        segment.prop_map(|(from, sequence, acknowledgement, is_far, window, len, flags)| {
            Step::Segment { from, sequence, acknowledgement, is_far, window, len, flags }
        });
    prop_oneof![
        20 => segment,
        3 => Just(Step::Run),
        2 => (0..3000u64).prop_map(Step::Wait),
        2 => (1..20_000usize).prop_map(Step::Read),
        2 => (1..20_000usize).prop_map(Step::Write),
        1 => Just(Step::ShutDown),
    ]
}

/// A byte of the peer's stream, by its sequence number.
fn byte_at(sequence: u32) -> u8 {
    (sequence.wrapping_mul(2_654_435_761) >> 24) as u8
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Any segments cause neither a panic nor an endless loop, and the bytes read are those sent.
    #[test]
    fn no_walk_breaks_a_connection(
        steps in prop::collection::vec(step(), 1..200),
        recv_buffer_bytes in prop_oneof![Just(4096usize), Just(16_384), Just(65_536), Just(640 << 10)],
    ) {
        let config = Config { tcp: TcpConfig { recv_buffer_bytes, recv_buffer_bytes_max: recv_buffer_bytes, stream_queue_bytes: 8192, ..TcpConfig::default() }, ..Config::default() };
        let mut pair = Pair::with(config, 1500);
        let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
        let mut peer = RawPeer::connect(&mut pair);
        let far = pair.accept(Side::Far, listener).expect("a connection");
        let mut edge = peer.edge();
        let mut position = 1u32;

        for step in steps {
            match step {
                Step::Segment { from, sequence, acknowledgement, is_far, window, len, flags } => {
                    let base = match from {
                        Edge::Left => peer.acknowledged,
                        Edge::Right => edge,
                    };
                    let far_away = if is_far { 1 << 31 } else { 0u32 };
                    let sequence =
                        base.wrapping_add(sequence as u32).wrapping_add(far_away);
                    let payload: Vec<u8> =
                        (0..len as u32).map(|at| byte_at(sequence.wrapping_add(at))).collect();
                    let acknowledgement = peer.expected.wrapping_add(acknowledgement as u32);
                    let segment = TcpRepr {
                        ack_number: Some(TcpSeqNumber(acknowledgement as i32)),
                        window_len: window,
                        payload: &payload,
                        ..peer.segment(sequence, 0)
                    };
                    let [syn, fin, rst, ack] = flags;
                    peer.put_altered(&mut pair, &segment, |segment| {
                        segment.set_syn(syn);
                        segment.set_fin(fin);
                        segment.set_rst(rst);
                        segment.set_ack(ack);
                    });
                }
                Step::Run => pair.run(),
                Step::Wait(millis) => pair.advance(Duration::from_millis(millis)),
                Step::Read(max) => {
                    let bytes = read(&far, max).unwrap_or_default();
                    for byte in bytes {
                        assert_eq!(byte, byte_at(position), "at {}", position);
                        position = position.wrapping_add(1);
                    }
                }
                Step::Write(len) => {
                    let _ = far.try_send(&vec![1; len]);
                }
                Step::ShutDown => {
                    let _ = far.shutdown_send();
                }
            }
            let sent = peer.replies();
            assert!(sent.len() < 2000, "{} segments at once", sent.len());
            if (peer.edge().wrapping_sub(edge) as i32) > 0 {
                edge = peer.edge();
            }
        }

        assert_eq!(pair.far.stack.counters().panics_caught, 0);
        far.abort();
        far.close();
        let closed = pair.call(Side::Far, Some(listener), tcp::Command::Close);
        assert!(matches!(closed, Ok(_) | Err(Error::Closed)));
    }
}
