//! Bounds of the Ethernet layer: neighbours, and packets that wait for them.

use crate::harness::{Pair, Side};
use crate::{bind, send};
use netcore::{Config, DropReason, EthernetConfig};
use std::time::Duration;

#[test]
pub(crate) fn least_recently_used_neighbour_is_evicted() {
    let config = Config {
        ethernet: EthernetConfig {
            neighbours_max: 4,
            dad_transmits: 0,
            ..EthernetConfig::default()
        },
        ..Config::default()
    };
    let mut pair = Pair::ethernet(config);
    let near = bind(&mut pair, Side::Near, "10.0.0.1:1000");

    for last in 2..=9 {
        send(&near, &format!("10.0.0.{last}:9"), b"hello").expect("room");
        pair.run();
    }

    let known = pair.near.stack.snapshot().neighbours;
    let known: Vec<_> = known.iter().map(|neighbour| neighbour.address.to_string()).collect();
    assert_eq!(known, ["10.0.0.9", "10.0.0.8", "10.0.0.7", "10.0.0.6"]);
    // The evicted neighbour is resolved again.
    let far = bind(&mut pair, Side::Far, "10.0.0.2:9");
    send(&near, "10.0.0.2:9", b"hello").expect("room");
    pair.run();
    assert!(far.try_recv().is_ok());
    near.close();
    far.close();
}

#[test]
pub(crate) fn unresolved_neighbour_queues_only_the_newest_packets() {
    let config = Config {
        ethernet: EthernetConfig {
            neighbour_queue_bytes: 1024,
            dad_transmits: 0,
            ..EthernetConfig::default()
        },
        ..Config::default()
    };
    let mut pair = Pair::ethernet(config);
    pair.run();
    let near = bind(&mut pair, Side::Near, "10.0.0.1:1000");
    let far = bind(&mut pair, Side::Far, "10.0.0.2:9");
    pair.wire = Box::new(|_| None);

    for number in 0..100u8 {
        send(&near, "10.0.0.2:9", &[number; 100]).expect("room");
        pair.run();
    }
    pair.wire = Box::new(Some);
    pair.advance(Duration::from_secs(2));

    let received: Vec<_> =
        std::iter::from_fn(|| far.try_recv().ok()).map(|datagram| datagram.payload[0]).collect();
    assert_eq!(received, [96, 97, 98, 99]);
    let dropped = pair.near.stack.counters().dropped(DropReason::NeighbourUnknown);
    assert_eq!(dropped, 96);
    near.close();
    far.close();
}
