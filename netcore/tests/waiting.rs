//! The event and the timer that an idle socket waits for, in the snapshot.

mod harness;

use harness::{Pair, Side, addr, read};
use netcore::queue::StreamQueue;
use netcore::{
    Channel, Config, EthernetConfig, HasChannel, Instant, SocketId, SocketInfo, Timer, Waiting, tcp,
};
use std::sync::Arc;
use std::time::Duration;

/// What the one connection of a side waits for, and its timer.
fn connection(pair: &mut Pair, side: Side) -> (Waiting, Option<(Timer, Instant)>) {
    let sockets = pair.host(side).stack.snapshot().sockets;
    let connections: Vec<SocketInfo> =
        sockets.into_iter().filter(|socket| socket.peer.is_some()).collect();
    assert_eq!(connections.len(), 1, "{connections:?}");
    (connections[0].waiting, connections[0].timer)
}

/// Closes everything, as the harness wants it.
fn finish(pair: &mut Pair, (near, far, listener): (Arc<StreamQueue>, Arc<StreamQueue>, SocketId)) {
    pair.wire = Box::new(Some);
    near.abort();
    far.abort();
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
    pair.advance(Duration::from_secs(60));
}

/// Begins to connect from near, without waiting for it.
fn begin_connecting(pair: &mut Pair, remote: &str) {
    let command = tcp::Command::Connect {
        remote: addr(remote),
        local: None,
        options: tcp::Options::default(),
    };
    let channel: Channel = pair.near.stack.command_channel();
    let handle: Option<SocketId> = None;
    channel.request_nonblocking(handle, command).expect("a stack");
    pair.run();
}

#[test]
fn idle_connection_waits_for_data_without_timer() {
    let mut pair = Pair::new();
    let ends = pair.connected();
    pair.advance(Duration::from_secs(60));

    assert_eq!(connection(&mut pair, Side::Near), (Waiting::Data, None));

    finish(&mut pair, ends);
}

#[test]
fn lost_data_waits_for_acknowledgement_until_retransmission() {
    let mut pair = Pair::new();
    let ends = pair.connected();
    let near = &ends.0;
    pair.wire = Box::new(|_| None);
    assert_eq!(near.try_send(b"lost"), Ok(4));
    pair.run();

    let (waiting, timer) = connection(&mut pair, Side::Near);
    assert_eq!(waiting, Waiting::Acknowledgement);
    let (timer, at) = timer.expect("a retransmission");
    assert_eq!(timer, Timer::Segment);
    assert!(at > pair.now && at <= pair.now + Duration::from_secs(1), "{at} at {}", pair.now);
    assert_eq!(pair.near.stack.poll_at(pair.now), Some(at));

    finish(&mut pair, ends);
}

#[test]
fn full_reader_closes_the_window_of_its_peer() {
    let mut pair = Pair::new();
    let ends = pair.connected();
    let (near, far) = (&ends.0, &ends.1);
    let data = vec![7; 64 * 1024];
    while near.try_send(&data).is_ok() {
        pair.run();
    }
    pair.advance(Duration::from_secs(5));

    assert_eq!(connection(&mut pair, Side::Near).0, Waiting::Window);
    assert_eq!(connection(&mut pair, Side::Far).0, Waiting::Reader);

    pair.advance_until(|_| {
        while read(far, 1 << 20).is_ok() {}
        near.try_send(b"x").is_ok()
    });
    finish(&mut pair, ends);
}

#[test]
fn unanswered_syn_waits_for_the_handshake() {
    let mut pair = Pair::new();
    pair.wire = Box::new(|_| None);
    begin_connecting(&mut pair, "10.0.0.2:80");

    let (waiting, timer) = connection(&mut pair, Side::Near);
    assert_eq!(waiting, Waiting::Handshake);
    assert!(timer.is_some());

    pair.advance(Config::default().tcp.connect_timeout + Duration::from_secs(1));
}

#[test]
fn missing_route_and_neighbour_are_named() {
    let mut pair = Pair::ethernet(Config {
        ethernet: EthernetConfig { dad_transmits: 0, ..EthernetConfig::default() },
        ..Config::default()
    });
    pair.run();
    begin_connecting(&mut pair, "10.0.0.9:80");
    assert_eq!(connection(&mut pair, Side::Near).0, Waiting::Neighbour);
    pair.advance(Duration::from_secs(10));

    let ends = pair.connected();
    pair.advance(Duration::from_secs(1));
    pair.near.stack.set_link_up(false);
    pair.run();
    assert_eq!(connection(&mut pair, Side::Near).0, Waiting::Route);

    pair.near.stack.set_link_up(true);
    finish(&mut pair, ends);
}

#[test]
fn keepalive_timer_is_named() {
    let mut pair = Pair::new();
    let ends = pair.connected();
    let near = &ends.0;
    pair.advance(Duration::from_secs(60));
    near.set_options(|options| {
        let keep_alive = tcp::KeepAlive {
            idle: Duration::from_secs(100),
            interval: Duration::from_secs(1),
            count: 3,
        };
        options.keep_alive = Some(keep_alive);
    });
    pair.run();

    let (waiting, timer) = connection(&mut pair, Side::Near);
    assert_eq!(waiting, Waiting::Data);
    assert_eq!(timer.map(|(timer, _)| timer), Some(Timer::KeepAlive));

    finish(&mut pair, ends);
}
