//! Bounds of TCP: buffers, listeners and TIME-WAIT.

use crate::harness::peer::{PORT, Peer, Tap};
use crate::harness::raw_peer::RawPeer;
use crate::harness::{Pair, Side, icmp, read};
use crate::{close, dropped, peers};
use bytes::Bytes;
use netcore::device::smoltcp::wire::{TcpControl, TcpRepr, TcpSeqNumber};
use netcore::tcp::Command;
use netcore::{Config, DropReason, Error, Response, TcpConfig};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

#[test]
pub(crate) fn mss_max_limits_segments_in_both_directions() {
    for remote in ["10.0.0.2:80", "[fd00::2]:80"] {
        for (mss_max, side) in [(Some(1000), Side::Near), (None, Side::Far)] {
            let headers = if remote.starts_with('[') { 60 } else { 40 };
            let mut pair = Pair::new();
            let config =
                Config { tcp: TcpConfig { mss_max, ..TcpConfig::default() }, ..Config::default() };
            // A limit at one side is enough: it announces and sends a smaller MSS.
            let mut limited = Pair::with(config, 1500);
            std::mem::swap(&mut pair.near.stack, &mut limited.near.stack);
            drop(limited);
            let seen = icmp::narrow_hop(&mut pair, usize::MAX);
            let listener = pair.listen(Side::Far, remote).expect("a free port");
            let near = pair.connect(Side::Near, remote).expect("a listener");
            let far = pair.accept(Side::Far, listener).expect("a connection");
            let expected = headers + usize::from(mss_max.unwrap_or(1500 - headers as u16));
            for (from, to) in [(&near, &far), (&far, &near)] {
                from.try_send(&[7; 5000]).expect("room");
                pair.run();
                let largest = seen.take().iter().map(Bytes::len).max();
                assert_eq!(largest, Some(expected), "{side:?} {remote}");
                assert_eq!(read(to, 5000).map(|bytes| bytes.len()), Ok(5000));
            }
            near.close();
            far.close();
            close(&mut pair, listener);
        }
    }
}

#[test]
pub(crate) fn receive_buffer_and_queue_bound_unread_bytes() {
    let (recv_buffer_bytes, stream_queue_bytes) = (64 * 1024, 16 * 1024);
    let config = Config {
        tcp: TcpConfig {
            recv_buffer_bytes,
            recv_buffer_bytes_max: recv_buffer_bytes,
            stream_queue_bytes,
            ..TcpConfig::default()
        },
        ..Config::default()
    };
    let mut pair = Pair::with(config, 1500);
    let (near, far, listener) = pair.connected();

    let mut written = 0;
    while let Ok(sent) = near.try_send(&[7; 1000]) {
        written += sent;
        pair.advance(Duration::from_millis(20));
    }

    let snapshot = pair.far.stack.snapshot();
    let held: usize = snapshot.sockets.iter().map(|socket| socket.receive_queue).sum();
    let bound = recv_buffer_bytes + stream_queue_bytes;
    assert!((bound / 2..=bound).contains(&held), "{held} of {bound}");
    let mut received = 0;
    pair.advance_until(|_| {
        received += read(&far, written).map_or(0, |bytes| bytes.len());
        received == written
    });
    near.close();
    far.close();
    close(&mut pair, listener);
}

#[test]
pub(crate) fn send_buffer_bounds_bytes_in_flight() {
    let (send_buffer_bytes, stream_queue_bytes) = (16 * 1024, 4096);
    let config = Config {
        tcp: TcpConfig {
            send_buffer_bytes,
            send_buffer_bytes_max: send_buffer_bytes,
            stream_queue_bytes,
            ..TcpConfig::default()
        },
        ..Config::default()
    };
    let mut pair = Pair::with(config, 1500);
    let (near, far, listener) = pair.connected();
    let in_flight = Rc::new(RefCell::new(0));
    let count = in_flight.clone();
    pair.wire = Box::new(move |packet| {
        *count.borrow_mut() += packet.len();
        None
    });

    let mut written = 0;
    while let Ok(sent) = near.try_send(&[7; 1000]) {
        written += sent;
        pair.run();
    }

    assert_eq!(written, send_buffer_bytes + stream_queue_bytes);
    assert!(*in_flight.borrow() <= send_buffer_bytes * 1500 / 1460);
    pair.wire = Box::new(Some);
    let mut received = 0;
    pair.advance_until(|_| {
        received += read(&far, written).map_or(0, |bytes| bytes.len());
        received == written
    });
    near.close();
    far.close();
    close(&mut pair, listener);
}

#[test]
pub(crate) fn full_stream_queue_blocks_the_writer() {
    let mut pair = Pair::with(
        Config {
            tcp: TcpConfig { stream_queue_bytes: 4096, ..TcpConfig::default() },
            ..Config::default()
        },
        1500,
    );
    let (near, far, listener) = pair.connected();

    for _ in 0..3 {
        assert_eq!(near.try_send(&[7; 5000]), Ok(4096));
        assert_eq!(near.try_send(&[7]), Err(Error::WouldBlock));
        pair.run();
        assert_eq!(read(&far, 5000).map(|bytes| bytes.len()), Ok(4096));
        pair.advance(Duration::from_millis(100));
    }
    near.close();
    far.close();
    close(&mut pair, listener);
}

#[test]
pub(crate) fn full_backlog_drops_syns() {
    let mut pair = Pair::with(
        Config { tcp: TcpConfig { backlog_max: 2, ..TcpConfig::default() }, ..Config::default() },
        1500,
    );
    let tap = Tap::new(&mut pair);
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
    let mut peers = peers(1000, 4);
    for peer in &mut peers[..3] {
        peer.connect(&mut pair, &tap);
    }
    assert_eq!(dropped(&pair, DropReason::BacklogFull), 1);
    assert_eq!(pair.states(Side::Far).0.len(), 2);

    pair.accept(Side::Far, listener).expect("the first").abort();
    peers[3].connect(&mut pair, &tap);

    for port in [1001, 1003] {
        let stream = pair.accept(Side::Far, listener).expect("the others");
        assert_eq!(stream.peer_address().port(), port);
        stream.abort();
    }
    close(&mut pair, listener);
}

#[test]
pub(crate) fn full_listener_evicts_its_oldest_half_open_connection() {
    let config = Config {
        tcp: TcpConfig { half_open_per_listener_max: 2, ..TcpConfig::default() },
        ..Config::default()
    };
    half_open_connections_are_two(config, [PORT, PORT, PORT]);
}

#[test]
pub(crate) fn full_stack_evicts_its_oldest_half_open_connection() {
    let config =
        Config { tcp: TcpConfig { half_open_max: 2, ..TcpConfig::default() }, ..Config::default() };
    half_open_connections_are_two(config, [PORT, PORT + 1, PORT]);
}

fn half_open_connections_are_two(config: Config, ports: [u16; 3]) {
    let mut pair = Pair::with(config, 1500);
    let tap = Tap::new(&mut pair);
    let listeners =
        ["10.0.0.2:80", "10.0.0.2:81"].map(|at| pair.listen(Side::Far, at).expect("free"));
    let mut peers = peers(1000, 3);
    for (peer, port) in peers.iter_mut().zip(ports) {
        peer.to = port;
        peer.send(&mut pair, TcpControl::Syn, &[]);
        pair.run();
        peer.receive(&tap);
    }
    assert_eq!(pair.states(Side::Far).0.len(), 2);
    assert_eq!(dropped(&pair, DropReason::HalfOpenEvicted), 1);

    // The first was evicted; the others are still half open.
    for peer in &mut peers {
        peer.send(&mut pair, TcpControl::None, &[]);
    }
    pair.run();

    assert_eq!(pair.states(Side::Far).0, ["ESTABLISHED"; 2]);
    assert_eq!(pair.far.stack.counters().resets_sent, 1);
    for (peer, port) in peers.iter().zip(ports).skip(1) {
        let listener = listeners[usize::from(port - PORT)];
        let stream = pair.accept(Side::Far, listener).expect("a connection");
        assert_eq!(stream.peer_address().port(), peer.port);
        stream.abort();
    }
    for listener in listeners {
        close(&mut pair, listener);
    }
}

#[test]
pub(crate) fn full_time_wait_evicts_its_oldest_connection() {
    let mut pair = Pair::with(
        Config { tcp: TcpConfig { time_wait_max: 2, ..TcpConfig::default() }, ..Config::default() },
        1500,
    );
    let tap = Tap::new(&mut pair);
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
    let mut peers = peers(1000, 3);

    for peer in &mut peers {
        peer.connect(&mut pair, &tap);
        pair.accept(Side::Far, listener).expect("a connection").close();
        pair.run();
        peer.receive(&tap);
        peer.send(&mut pair, TcpControl::Fin, &[]);
        pair.run();
    }

    let kept: BTreeSet<_> =
        pair.far.stack.snapshot().time_wait.iter().map(|(_, peer)| peer.port()).collect();
    assert_eq!(kept, BTreeSet::from([1001, 1002]));
    // The 4-tuple of the first is free: a SYN with an old sequence number is accepted.
    let mut again = Peer::new(peers[0].address, 1000);
    again.sequence -= 500;
    again.connect(&mut pair, &tap);
    pair.accept(Side::Far, listener).expect("a new connection").abort();
    close(&mut pair, listener);
}

#[test]
pub(crate) fn receive_window_grows_up_to_its_bound() {
    let (recv_buffer_bytes, recv_buffer_bytes_max) = (64 * 1024, 256 * 1024);
    let config = Config {
        tcp: TcpConfig { recv_buffer_bytes, recv_buffer_bytes_max, ..TcpConfig::default() },
        ..Config::default()
    };
    let mut pair = Pair::with(config, 1500);
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
    let round_trip = Duration::from_millis(50);
    let mut peer = RawPeer::new(&mut pair, "10.0.0.1:1000", "10.0.0.2:80");
    peer.put_syn(&mut pair, None);
    pair.run();
    peer.collect();
    pair.advance(round_trip);
    peer.put(&mut pair, &peer.segment(1, 0));
    pair.run();
    let far = pair.accept(Side::Far, listener).expect("a connection");

    // An application that reads all at once, and a peer that fills each window.
    let mut windows = Vec::new();
    for _ in 0..20 {
        pair.run();
        peer.collect();
        let (mut sequence, edge) = (peer.acknowledged, peer.edge());
        windows.push((edge - sequence) as usize);

        while sequence < edge {
            let len = (edge - sequence).min(1460);
            peer.put(&mut pair, &peer.segment(sequence, len as usize));
            sequence += len;
        }
        pair.run();
        while read(&far, 1 << 20).is_ok() {}
        pair.advance(round_trip);
    }

    let last = windows[19];
    assert!(windows[0] <= recv_buffer_bytes && windows.is_sorted(), "{windows:?}");
    assert!(last <= recv_buffer_bytes_max && last > recv_buffer_bytes_max / 2, "{windows:?}");
    far.abort();
    close(&mut pair, listener);
}

#[test]
pub(crate) fn send_buffer_grows_up_to_its_bound() {
    let (send_buffer_bytes, send_buffer_bytes_max) = (16 * 1024, 64 * 1024);
    let stream_queue_bytes = 4096;
    let config = Config {
        tcp: TcpConfig {
            send_buffer_bytes,
            send_buffer_bytes_max,
            stream_queue_bytes,
            ..TcpConfig::default()
        },
        ..Config::default()
    };
    let mut pair = Pair::with(config, 1500);
    let (near, far, listener) = pair.connected();
    // The congestion window opens.
    for _ in 0..20 {
        while near.try_send(&[7; 1000]).is_ok() {
            pair.run();
        }
        pair.run();
        while read(&far, 1 << 20).is_ok() {}
        pair.run();
    }
    pair.wire = Box::new(|_| None);

    let mut written = 0;
    while let Ok(sent) = near.try_send(&[7; 1000]) {
        written += sent;
        pair.run();
    }

    assert_eq!(written, send_buffer_bytes_max + stream_queue_bytes);
    near.abort();
    far.abort();
    close(&mut pair, listener);
}

#[test]
pub(crate) fn memory_of_all_connections_is_bounded() {
    const CONNECTIONS: usize = 30;
    const BOUND: usize = 1 << 20;
    let config = Config {
        tcp: TcpConfig { memory_bytes_max: Some(BOUND), ..TcpConfig::default() },
        ..Config::default()
    };
    let mut pair = Pair::with(config, 1500);
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
    let streams: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let near = pair.connect(Side::Near, "10.0.0.2:80").expect("a listener");
            (near, pair.accept(Side::Far, listener).expect("a connection"))
        })
        .collect();
    let client = pair.connect(Side::Near, "10.0.0.2:80").expect("a listener");
    let server = pair.accept(Side::Far, listener).expect("a connection");

    // Nobody reads, and all write what they may.
    let mut written = [0; CONNECTIONS];
    for _ in 0..100 {
        for ((near, _), written) in streams.iter().zip(&mut written) {
            *written += near.try_send(&[7; 20_000]).unwrap_or(0);
        }
        pair.advance(Duration::from_millis(50));
        for host in [&pair.near, &pair.far] {
            let held = host.stack.snapshot().buffer_bytes;
            assert!(held <= BOUND * 11 / 10, "{held} bytes");
        }
    }
    assert!(written.iter().all(|written| *written > 0), "{written:?}");
    assert!(written.iter().sum::<usize>() > BOUND, "{written:?}");

    // Who reads is served meanwhile, and none of its segments is sent again.
    for trip in 0..5 {
        for (from, to) in [(&client, &server), (&server, &client)] {
            assert_eq!(from.try_send(&[7; 64]), Ok(64), "trip {trip}");
            pair.run();
            assert_eq!(read(to, 64).map(|bytes| bytes.len()), Ok(64), "trip {trip}");
        }
    }
    for stream in [client, server] {
        stream.close();
    }

    // And all of it arrives once there are readers.
    let mut received = [0; CONNECTIONS];
    pair.advance_until(|_| {
        for ((_, far), received) in streams.iter().zip(&mut received) {
            *received += read(far, 1 << 20).map_or(0, |bytes| bytes.len());
        }
        received == written
    });
    for (near, far) in &streams {
        near.close();
        far.close();
    }
    close(&mut pair, listener);
}

#[test]
pub(crate) fn acknowledged_bytes_split_so_many_segments() {
    let tcp = TcpConfig { split_segments_max: 16, ..TcpConfig::default() };
    let mut pair = Pair::with(Config { tcp, ..Config::default() }, 1500);
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
    let mut peer = RawPeer::connect(&mut pair);
    let far = pair.accept(Side::Far, listener).expect("a connection");
    far.try_send(&[7; 10 * 1460]).expect("room");
    pair.run();
    let first = peer.expected;
    peer.collect();
    let sacked = |pair: &mut Pair, left: u32, len: u32| {
        let start = first.wrapping_add(left);
        let sack_ranges = [Some((start, start.wrapping_add(len))), None, None];
        let bare = TcpRepr { ack_number: Some(TcpSeqNumber(first as i32)), ..peer.segment(1, 0) };
        peer.put(pair, &TcpRepr { sack_ranges, ..bare });
        pair.run();
        let info = pair.call(Side::Far, Some(far.id()), Command::Info).expect("open").0;
        let Response::Tcp(netcore::tcp::Response::Info(info)) = info else { panic!("{info:?}") };
        info.sacked
    };

    // Every second byte of the sixth segment: each splits it before itself and behind.
    let bytes: Vec<_> = (0..20).map(|byte| sacked(&mut pair, 5 * 1460 + 2 * byte, 1)).collect();

    assert_eq!(bytes.last(), Some(&3), "10 segments, and what 6 splits make: {bytes:?}");
    assert_eq!(sacked(&mut pair, 8 * 1460, 1460), 1463, "a whole one counts");
    far.abort();
    pair.run();
    close(&mut pair, listener);
}
