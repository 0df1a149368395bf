//! Idle connections give the pages of their buffers back to the system, and lose no byte.

mod harness;

use harness::raw_peer::RawPeer;
use harness::{Pair, Side, read};
use netcore::queue::StreamQueue;
use netcore::tcp;
use std::time::Duration;

/// Long after pages are given back.
const LONG: Duration = Duration::from_secs(40);
/// More than the queue between a connection and its handle holds.
const MUCH: usize = 400_000;

fn noise(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8 + 1).collect()
}

fn read_all(pair: &mut Pair, stream: &StreamQueue) -> Vec<u8> {
    let mut all = Vec::new();
    while let Ok(bytes) = read(stream, MUCH) {
        all.extend(bytes);
        pair.advance(Duration::from_secs(2));
    }
    all
}

#[test]
fn out_of_order_bytes_survive_buffer_reclaim() {
    let mut pair = Pair::new();
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
    let mut peer = RawPeer::connect(&mut pair);
    let far = pair.accept(Side::Far, listener).expect("a connection");

    peer.send(&mut pair, 1461, 1460);
    pair.advance(LONG);
    peer.send(&mut pair, 1, 1460);

    assert_eq!(read(&far, 4000), Ok(vec![7; 2920]));
    far.abort();
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("it listens");
}

#[test]
fn unread_bytes_survive_buffer_reclaim() {
    let mut pair = Pair::new();
    let (near, far, listener) = pair.connected();
    let data = noise(MUCH);

    let mut sent = 0;
    while sent < MUCH {
        sent += near.try_send(&data[sent..]).unwrap_or(0);
        pair.advance(Duration::from_millis(100));
    }
    pair.advance(LONG);

    assert!(read_all(&mut pair, &far) == data);
    near.close();
    far.close();
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("it listens");
}

#[test]
fn unacked_bytes_survive_buffer_reclaim() {
    let mut pair = Pair::new();
    let (near, far, listener) = pair.connected();
    let data = noise(10_000);

    pair.wire = Box::new(|_| None);
    assert_eq!(near.try_send(&data), Ok(data.len()));
    pair.advance(LONG);
    pair.wire = Box::new(Some);
    pair.advance(LONG);

    assert!(read_all(&mut pair, &far) == data);
    near.close();
    far.close();
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("it listens");
}

/// smoltcp writes where it stopped the last time: the ring goes on in the middle.
#[test]
fn connection_transfers_both_ways_after_buffer_reclaim() {
    let mut pair = Pair::new();
    let (near, far, listener) = pair.connected();

    for round in 1..20 {
        for (from, to) in [(&near, &far), (&far, &near)] {
            let data = noise(round * 3_000);
            assert_eq!(from.try_send(&data), Ok(data.len()));
            pair.advance(Duration::from_secs(1));
            assert!(read_all(&mut pair, to) == data, "round {round}");
        }
        pair.advance(LONG);
        let timers = [Side::Near, Side::Far].map(|side| pair.host(side).stack.snapshot().timers);
        assert_eq!(timers, [0, 0], "an idle connection has no timer");
    }
    near.close();
    far.close();
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("it listens");
}
