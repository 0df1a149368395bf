//! Bytes that arrive in any order.

mod harness;

use harness::raw_peer::RawPeer;
use harness::{Pair, Side, read};
use netcore::device::smoltcp::wire::TcpRepr;
use netcore::tcp;

/// Five segments, each of which repeats some of the one before.
const SEGMENTS: [std::ops::Range<usize>; 5] =
    [0..700, 600..1400, 1400..1401, 1300..2000, 1950..3000];

#[test]
fn five_overlapping_segments_reassemble_in_every_order() {
    let stream: Vec<u8> = (0..3000u32).map(|n| (n * n / 7) as u8).collect();
    for (local, remote) in [("10.0.0.1:1000", "10.0.0.2:80"), ("[fd00::1]:1000", "[fd00::2]:80")] {
        let orders = orders(&[0, 1, 2, 3, 4]);
        assert_eq!(orders.len(), 120);
        for order in orders {
            let mut pair = Pair::new();
            let listener = pair.listen(Side::Far, remote).expect("a free port");
            let mut peer = RawPeer::new(&mut pair, local, remote);
            peer.shake_hands(&mut pair);
            let far = pair.accept(Side::Far, listener).expect("a connection");

            for index in &order {
                let range = SEGMENTS[*index].clone();
                let sequence = 1 + range.start as u32;
                let segment = TcpRepr { payload: &stream[range], ..peer.segment(sequence, 0) };
                peer.put(&mut pair, &segment);
                pair.run();
            }

            assert_eq!(read(&far, 10_000).as_deref(), Ok(&stream[..]), "{order:?}");
            peer.send(&mut pair, 3001, 0);
            assert_eq!(peer.acknowledged, 3001, "{order:?}");
            far.abort();
            far.close();
            pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
        }
    }
}

/// All orders of some numbers.
fn orders(numbers: &[usize]) -> Vec<Vec<usize>> {
    if numbers.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for first in numbers {
        let rest: Vec<_> = numbers.iter().copied().filter(|number| number != first).collect();
        for mut order in orders(&rest) {
            order.insert(0, *first);
            all.push(order);
        }
    }
    all
}
