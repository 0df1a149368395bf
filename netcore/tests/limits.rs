//! What limits a connection, and for how long: on a link without delay, each limit for itself.

mod harness;

use harness::{Pair, Side, addr, read};
use netcore::queue::StreamQueue;
use netcore::tcp::{self, Limit, TcpInfo};
use netcore::{Config, EthernetConfig, HasChannel, Pipe, Response, SocketId};
use std::sync::Arc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn info(pair: &mut Pair, side: Side, stream: &StreamQueue) -> TcpInfo {
    let info = match pair.call(side, Some(stream.id()), tcp::Command::Info).expect("open").0 {
        Response::Tcp(tcp::Response::Info(info)) => *info,
        other => panic!("the command answered {other:?}"),
    };
    assert_eq!(info.limited.total(), info.age, "{}", info.limited);
    info
}

/// What limits the one connection of near that the snapshot shows.
fn near_info(pair: &Pair) -> TcpInfo {
    let sockets = pair.near.stack.snapshot().sockets;
    let info = *sockets[0].tcp.clone().expect("a connection");
    assert_eq!(info.limited.total(), info.age, "{}", info.limited);
    info
}

fn begin_connecting(pair: &mut Pair, remote: &str) {
    let options = tcp::Options::default();
    let command = tcp::Command::Connect { remote: addr(remote), local: None, options };
    pair.near.stack.command_channel().request_nonblocking(None, command).expect("a stack");
    pair.run();
}

fn finish(pair: &mut Pair, (near, far, listener): (Arc<StreamQueue>, Arc<StreamQueue>, SocketId)) {
    pair.wire = Box::new(Some);
    near.abort();
    far.abort();
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
    pair.advance(60 * SECOND);
}

#[test]
fn unanswered_syn_is_limited_by_the_handshake() {
    let mut pair = Pair::new();
    pair.wire = Box::new(|_| None);
    begin_connecting(&mut pair, "10.0.0.2:80");
    pair.advance(5 * SECOND);

    let near = near_info(&pair);

    assert_eq!(near.limit, Limit::Handshake);
    assert_eq!(near.limited[Limit::Handshake], near.age);
    pair.advance(Config::default().tcp.connect_timeout);
}

#[test]
fn unused_connection_is_idle_after_its_handshake() {
    let mut pair = Pair::new();
    let mut dropped = 0;
    // The SYN is sent twice.
    pair.wire = Box::new(move |packet| {
        dropped += 1;
        (dropped > 1).then_some(packet)
    });
    let ends = pair.connected();
    let handshake = pair.now - netcore::Instant::ZERO;
    pair.advance(100 * SECOND);

    let near = info(&mut pair, Side::Near, &ends.0);

    assert_eq!(near.limit, Limit::Idle);
    assert_eq!(near.limited[Limit::Handshake], handshake);
    assert!(near.limited[Limit::Idle] >= 100 * SECOND && handshake >= SECOND / 2, "{handshake:?}");
    finish(&mut pair, ends);
}

#[test]
fn unread_data_limits_reader_and_writer() {
    let mut pair = Pair::new();
    let ends = pair.connected();
    while ends.0.try_send(&[7; 64 * 1024]).is_ok() {
        pair.run();
    }
    pair.advance(10 * SECOND);

    let near = info(&mut pair, Side::Near, &ends.0);
    let far = info(&mut pair, Side::Far, &ends.1);

    assert_eq!((near.limit, far.limit), (Limit::PeerWindow, Limit::ReceiveBuffer));
    assert!(near.limited[Limit::PeerWindow] >= 9 * SECOND, "{}", near.limited);
    assert_eq!(far.limited[Limit::ReceiveBuffer], far.age, "{}", far.limited);

    pair.advance_until(|_| {
        while read(&ends.1, 1 << 20).is_ok() {}
        ends.0.try_send(b"x").is_ok()
    });
    pair.advance(SECOND);
    while read(&ends.1, 1 << 20).is_ok() {}
    pair.advance(SECOND);
    assert_eq!(info(&mut pair, Side::Near, &ends.0).limit, Limit::Idle);
    assert_eq!(info(&mut pair, Side::Far, &ends.1).limit, Limit::Idle);
    finish(&mut pair, ends);
}

#[test]
fn lost_data_is_limited_by_the_retransmission_timer() {
    let mut pair = Pair::new();
    let ends = pair.connected();
    pair.wire = Box::new(|_| None);
    assert_eq!(ends.0.try_send(&[7; 100]), Ok(100));
    pair.advance(8 * SECOND);

    let near = info(&mut pair, Side::Near, &ends.0);

    // The first second too: it was the timer that ended it.
    assert_eq!(near.limit, Limit::RetransmissionTimer);
    assert_eq!(near.limited[Limit::RetransmissionTimer], 8 * SECOND, "{}", near.limited);

    pair.wire = Box::new(Some);
    pair.advance(20 * SECOND);
    let near = info(&mut pair, Side::Near, &ends.0);
    assert_eq!(near.limit, Limit::Idle);
    assert!(near.limited[Limit::RetransmissionTimer] < 20 * SECOND, "{}", near.limited);
    finish(&mut pair, ends);
}

#[test]
fn full_device_limits_a_connection() {
    let mut pair = Pair::new();
    let ends = pair.connected();
    let (stalled, _other_end) = Pipe::bounded(2);
    let working = std::mem::replace(&mut pair.near.device.pipe, stalled);
    assert_eq!(ends.0.try_send(&[7; 10_000]), Ok(10_000));
    pair.run();

    let near = info(&mut pair, Side::Near, &ends.0);
    assert_eq!(near.limit, Limit::Device);
    assert_eq!(near.data_segs_out, 2);

    pair.near.device.pipe = working;
    pair.advance(10 * SECOND);
    assert_eq!(info(&mut pair, Side::Near, &ends.0).limit, Limit::Idle);
    finish(&mut pair, ends);
}

#[test]
fn unknown_neighbour_and_missing_route_limit() {
    let mut pair = Pair::ethernet(Config {
        ethernet: EthernetConfig { dad_transmits: 0, ..EthernetConfig::default() },
        ..Config::default()
    });
    pair.run();
    begin_connecting(&mut pair, "10.0.0.9:80");
    pair.advance(SECOND);
    let near = near_info(&pair);
    assert_eq!(near.limit, Limit::Neighbour);
    assert_eq!(near.limited[Limit::Neighbour], SECOND);
    pair.advance(200 * SECOND);

    let ends = pair.connected();
    pair.near.stack.set_link_up(false);
    assert_eq!(ends.0.try_send(&[7; 100]), Ok(100));
    pair.advance(SECOND);
    let near = info(&mut pair, Side::Near, &ends.0);
    assert_eq!(near.limit, Limit::Neighbour);
    assert_eq!(near.limited[Limit::Neighbour], SECOND, "{}", near.limited);
    pair.near.stack.set_link_up(true);
    finish(&mut pair, ends);
}
