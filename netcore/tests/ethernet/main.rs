//! Stacks on an Ethernet link: neighbour resolution and invalid frames.

#[path = "../harness/mod.rs"]
mod harness;

mod arrivals;
mod frames;
mod hostile;
mod resolution;

use bytes::Bytes;
use harness::{Pair, Side, addr};
use netcore::queue::{Datagram, DatagramQueue, SocketQueue};
use netcore::{Config, DropReason, MacAddr, NeighbourInfo, udp};
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

const NEAR: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const FAR: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 3]);
const ALL_NODES: MacAddr = MacAddr([0x33, 0x33, 0, 0, 0, 1]);

fn v4(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

fn v6(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last)
}

/// A link whose addresses are in use.
fn settled() -> Pair {
    settled_with(Config::default())
}

fn settled_with(config: Config) -> Pair {
    let mut pair = Pair::ethernet(config);
    pair.advance(Duration::from_secs(2));
    pair
}

/// The neighbours of one side by address, without those that announce themselves.
fn neighbours(pair: &mut Pair, side: Side) -> Vec<(IpAddr, Option<MacAddr>, &'static str)> {
    let snapshot = pair.host(side).stack.snapshot();
    let all = snapshot.neighbours.into_iter();
    let mut all: Vec<_> = all
        .map(|NeighbourInfo { address, hardware_address, state, .. }| {
            let Cow::Borrowed(state) = state else { unreachable!("it was not deserialized") };
            (address, hardware_address, state)
        })
        .collect();
    all.sort();
    all
}

fn dropped(pair: &mut Pair, side: Side, reason: DropReason) -> u64 {
    pair.host(side).stack.counters().dropped(reason)
}

fn bind(pair: &mut Pair, side: Side, endpoint: &str) -> Arc<DatagramQueue> {
    match pair.call(side, None, udp::Command::Bind { endpoint: addr(endpoint) }) {
        Ok((_, Some(SocketQueue::Datagram(queue)))) => queue,
        other => panic!("binding gave {other:?}"),
    }
}

fn open(pair: &mut Pair, side: Side, command: impl Into<netcore::Command>) -> Arc<DatagramQueue> {
    match pair.call(side, None, command) {
        Ok((_, Some(SocketQueue::Datagram(queue)))) => queue,
        other => panic!("opening gave {other:?}"),
    }
}

fn send(queue: &DatagramQueue, to: &str, payload: &'static [u8]) {
    let datagram = Datagram::new(addr(to), Bytes::from_static(payload));
    queue.try_send(datagram).expect("room");
}

fn received(queue: &DatagramQueue) -> Option<Bytes> {
    queue.try_recv().ok().map(|datagram| datagram.payload)
}

/// Sends a datagram from near to far, and has it arrive.
fn exchange(pair: &mut Pair, from: &str, to: &str) {
    let near = bind(pair, Side::Near, from);
    let far = bind(pair, Side::Far, to);
    send(&near, to, b"hello");
    pair.run();
    assert_eq!(received(&far).as_deref(), Some(&b"hello"[..]));
    near.close();
    far.close();
    pair.run();
}
