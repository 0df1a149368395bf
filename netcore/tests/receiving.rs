//! What is said about received data.

mod harness;

use harness::raw_peer::RawPeer;
use harness::{Pair, Side, read};
use netcore::device::smoltcp::wire::{TcpControl, TcpRepr};
use netcore::queue::StreamQueue;
use netcore::{SocketId, tcp};
use std::sync::Arc;
use std::time::Duration;

/// A peer that acknowledges selectively, and far's end of the connection.
fn connected(pair: &mut Pair) -> (RawPeer, Arc<StreamQueue>, SocketId) {
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
    let mut peer = RawPeer::new(pair, "10.0.0.1:1000", "10.0.0.2:80");
    let syn = TcpRepr {
        control: TcpControl::Syn,
        ack_number: None,
        window_scale: Some(7),
        max_seg_size: Some(1460),
        sack_permitted: true,
        ..peer.segment(0, 0)
    };
    peer.put(pair, &syn);
    pair.run();
    peer.collect();
    peer.put(pair, &peer.segment(1, 0));
    pair.run();
    let far = pair.accept(Side::Far, listener).expect("a connection");
    (peer, far, listener)
}

/// Puts a segment on the wire; returns far's acknowledgement and blocks, if it answers at once.
fn answer(
    pair: &mut Pair,
    peer: &mut RawPeer,
    sequence: u32,
    len: usize,
) -> Option<(u32, Vec<(u32, u32)>)> {
    peer.put(pair, &peer.segment(sequence, len));
    pair.run();
    let segment = peer.replies().pop()?;
    Some((segment.acknowledgement?, segment.sack))
}

fn end(pair: &mut Pair, far: &StreamQueue, listener: SocketId) {
    far.abort();
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

#[test]
fn three_gaps_are_announced_the_newest_block_first() {
    let mut pair = Pair::new();
    let (mut peer, far, listener) = connected(&mut pair);

    for (sequence, blocks) in [
        (101, vec![(101, 201)]),
        (301, vec![(301, 401), (101, 201)]),
        (501, vec![(501, 601), (301, 401), (101, 201)]),
        (701, vec![(701, 801), (501, 601), (301, 401)]),
        (201, vec![(101, 401), (701, 801), (501, 601)]),
    ] {
        assert_eq!(answer(&mut pair, &mut peer, sequence, 100), Some((1, blocks)), "{sequence}");
    }
    let blocks = vec![(701, 801), (501, 601)];
    assert_eq!(answer(&mut pair, &mut peer, 1, 100), Some((401, blocks)));
    assert_eq!(read(&far, 1000).map(|bytes| bytes.len()), Ok(400));
    end(&mut pair, &far, listener);
}

#[test]
fn duplicates_are_announced_once_before_the_gaps() {
    let mut pair = Pair::new();
    let (mut peer, far, listener) = connected(&mut pair);
    assert_eq!(answer(&mut pair, &mut peer, 1, 100), Some((101, vec![])));

    // Acknowledged before, in part, and behind a gap (RFC 2883 section 4).
    assert_eq!(answer(&mut pair, &mut peer, 1, 100), Some((101, vec![(1, 101)])));
    assert_eq!(answer(&mut pair, &mut peer, 51, 100), Some((151, vec![(51, 101)])));
    assert_eq!(answer(&mut pair, &mut peer, 251, 100), Some((151, vec![(251, 351)])));
    let blocks = vec![(251, 351), (251, 351)];
    assert_eq!(answer(&mut pair, &mut peer, 251, 100), Some((151, blocks)));

    assert_eq!(answer(&mut pair, &mut peer, 151, 100), Some((351, vec![])));
    assert_eq!(read(&far, 1000).map(|bytes| bytes.len()), Ok(350));
    end(&mut pair, &far, listener);
}

#[test]
fn a_lone_segment_is_acknowledged_after_forty_milliseconds() {
    let mut pair = Pair::new();
    let (mut peer, far, listener) = connected(&mut pair);
    // The first sixteen are acknowledged at once.
    for segment in 0..16 {
        assert!(answer(&mut pair, &mut peer, 1 + segment * 1460, 1460).is_some(), "{segment}");
    }
    let first = 1 + 16 * 1460;

    assert_eq!(answer(&mut pair, &mut peer, first, 1460), None);
    pair.advance(Duration::from_millis(39));
    assert_eq!(peer.replies().len(), 0);
    pair.advance(Duration::from_millis(1));
    assert_eq!(peer.replies().len(), 1);

    // The second does not wait.
    assert_eq!(answer(&mut pair, &mut peer, first + 1460, 1460), None);
    let acknowledged = answer(&mut pair, &mut peer, first + 2920, 1460);
    assert_eq!(acknowledged, Some((first + 4380, vec![])));
    end(&mut pair, &far, listener);
}

#[test]
fn a_fin_before_its_data_ends_the_stream_in_its_place() {
    let mut pair = Pair::new();
    let (mut peer, far, listener) = connected(&mut pair);
    let fin = TcpRepr { control: TcpControl::Fin, ..peer.segment(101, 100) };
    peer.put(&mut pair, &fin);
    pair.run();
    let early = peer.replies().pop().expect("an acknowledgement");
    assert_eq!((early.acknowledgement, early.sack), (Some(1), vec![(101, 202)]));
    assert!(read(&far, 1000).is_err(), "nothing to be read yet");

    assert_eq!(answer(&mut pair, &mut peer, 1, 100), Some((202, vec![])));

    assert_eq!(read(&far, 1000).map(|bytes| bytes.len()), Ok(200));
    assert_eq!(read(&far, 1000), Ok(vec![]));
    end(&mut pair, &far, listener);
}

/// A reader that has taken everything has room, of which the peer must learn: it may say nothing
/// more by itself than that it waits (RFC 9293 section 3.8.6.1).
#[test]
fn a_window_opens_again_in_whatever_steps_it_was_read() {
    let mut state = 1_u64;
    let mut below = |end: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % end
    };
    for trial in 0..100 {
        let mut pair = Pair::new();
        let (mut peer, far, listener) = connected(&mut pair);
        let mut next = 1_u32;
        for cycle in 0..8 {
            loop {
                let left = peer.edge().wrapping_sub(next) as i32;
                let len = (1 + below(1460)).min(left.max(0) as usize);
                if len == 0 {
                    break;
                }
                peer.put(&mut pair, &peer.segment(next, len));
                next += len as u32;
                if below(8) == 0 {
                    pair.run();
                    peer.collect();
                }
            }
            pair.run();
            peer.collect();
            loop {
                let max = 1 << below(18);
                let Ok(bytes) = read(&far, 1 + below(max)) else { break };
                assert!(!bytes.is_empty());
                if below(3) == 0 {
                    pair.run();
                    peer.collect();
                }
            }
            pair.run();
            peer.collect();

            let left = peer.edge().wrapping_sub(next) as i32;
            assert!(left >= 1460, "trial {trial}, cycle {cycle}: a window of {left} bytes");
        }
        end(&mut pair, &far, listener);
    }
}
