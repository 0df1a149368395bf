//! Every bound of `Config`: the behaviour at the bound, and the recovery from it.

mod harness;

use bytes::Bytes;
use harness::peer::{PORT, Peer, Tap};
use harness::{Host, Pair, Side, addr, read};
use netcore::Instant;
use netcore::Medium;
use netcore::device::smoltcp::wire::TcpControl;
use netcore::queue::{Datagram, DatagramQueue, SocketQueue};
use netcore::{
    Command, Config, DatagramConfig, DropReason, Error, EthernetConfig, Frame, HasChannel,
    IpConfig, Link, LinkCapabilities, Netstack, Offload, Pipe, PipeDev, Response, Route, Slot,
    SocketId, TcpConfig, control, icmp, raw, tcp, udp,
};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Each field of `Config` that is a bound, and its test.
const TESTS: [(&str, fn()); 23] = [
    ("commands_max", full_command_queue_returns_would_block),
    ("commands_per_socket_max", pending_commands_of_a_socket_are_limited),
    ("sockets_max", full_socket_table_refuses_sockets_and_drops_syns),
    ("tcp.recv_buffer_bytes", receive_buffer_and_queue_bound_unread_bytes),
    ("tcp.send_buffer_bytes", send_buffer_bounds_bytes_in_flight),
    ("tcp.buffer_bytes_max", full_buffer_memory_refuses_connects_and_drops_syns),
    ("tcp.stream_queue_bytes", full_stream_queue_blocks_the_writer),
    ("tcp.backlog_max", full_backlog_drops_syns),
    ("tcp.half_open_per_listener_max", full_listener_evicts_its_oldest_half_open_connection),
    ("tcp.half_open_max", full_stack_evicts_its_oldest_half_open_connection),
    ("datagram.queue_bytes", full_datagram_queues_drop_input_and_refuse_output),
    ("ip.addresses_max", full_address_table_refuses_new_addresses),
    ("ip.routes_max", full_route_table_refuses_new_routes),
    ("tcp.mss_max", mss_max_limits_segments_in_both_directions),
    ("ip.path_mtus_max", least_recently_used_path_mtu_is_evicted),
    ("ip.name_servers_max", name_servers_and_search_domains_are_limited),
    ("datagram.groups_per_socket_max", group_memberships_of_a_socket_are_limited),
    ("ip.loopback_packets_max", loopback_packets_wait_for_space_in_the_queue),
    ("ip.replies_max", full_reply_queue_drops_replies),
    ("ip.fragments_bytes_max", full_reassembly_evicts_the_oldest_incomplete_packet),
    ("ethernet.neighbours_max", least_recently_used_neighbour_is_evicted),
    ("ethernet.neighbour_queue_bytes", unresolved_neighbour_queues_only_the_newest_packets),
    ("tcp.time_wait_max", full_time_wait_evicts_its_oldest_connection),
];

#[test]
fn every_bound_of_the_configuration_has_a_test() {
    let sources = [
        ("", include_str!("../src/config/mod.rs")),
        ("datagram.", include_str!("../src/config/datagram.rs")),
        ("ethernet.", include_str!("../src/config/ethernet.rs")),
        ("ip.", include_str!("../src/config/ip.rs")),
        ("tcp.", include_str!("../src/config/tcp.rs")),
    ];
    let fields = sources.iter().flat_map(|(group, source)| {
        source.lines().filter_map(move |line| {
            let name = line.trim().strip_prefix("pub ")?.split_once(':')?.0;
            let is_bound = name.ends_with("_max") || name.ends_with("_bytes");
            is_bound.then(|| format!("{group}{name}"))
        })
    });

    let tested: BTreeSet<_> = TESTS.iter().map(|(field, _)| (*field).to_owned()).collect();

    assert_eq!(fields.collect::<BTreeSet<_>>(), tested);
}

#[test]
fn least_recently_used_neighbour_is_evicted() {
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
fn unresolved_neighbour_queues_only_the_newest_packets() {
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

#[test]
fn full_command_queue_returns_would_block() {
    let mut pair = Pair::with(Config { commands_max: 3, ..Config::default() }, 1500);
    let channel = pair.far.stack.command_channel();
    let send = || channel.request_nonblocking(None, control::Command::Snapshot);

    for _ in 0..2 {
        assert_eq!([send(), send(), send(), send()], [Ok(()), Ok(()), Ok(()), would_block()]);
        pair.run();
    }
}

#[test]
fn pending_commands_of_a_socket_are_limited() {
    let config = Config { commands_per_socket_max: 3, ..Config::default() };
    let mut pair = Pair::with(config, 1500);
    let (near, far, listener) = pair.connected();
    let socket = bind(&mut pair, Side::Far, "10.0.0.2:2000");
    while near.try_send(&[7; 1000]).is_ok() {
        pair.run();
    }
    let receive: Command = tcp::Command::Recv { max_len: None }.into();
    let send = tcp::Command::Send { buf: Bytes::from_static(b"more") };
    for (side, handle, command) in [
        (Side::Far, socket.id(), udp::Command::Recv { max_len: None }.into()),
        (Side::Far, listener, tcp::Command::Accept.into()),
        (Side::Near, near.id(), receive.clone()),
        (Side::Near, near.id(), send.into()),
    ] {
        let channel = pair.host(side).stack.command_channel();
        let mut waiting = Vec::new();
        for number in 1..=5 {
            let mut reply = Box::pin(channel.call(Some(handle), command.clone()));
            let refused = (number > 3).then_some(Error::LimitReached);
            assert_eq!(failure(&mut pair, reply.as_mut()), refused, "{command:?}, the {number}.");
            waiting.push(reply);
        }
        // A cancelled command frees one slot, and not two.
        drop(waiting.remove(0));
        for refused in [None, Some(Error::LimitReached)] {
            let mut reply = Box::pin(channel.call(Some(handle), command.clone()));
            assert_eq!(failure(&mut pair, reply.as_mut()), refused, "{command:?}");
            waiting.push(reply);
        }
    }
    // A command that completes at once needs no slot.
    pair.call(Side::Far, Some(far.id()), receive).expect("there is data");
    near.close();
    far.close();
    socket.close();
    close(&mut pair, listener);
}

/// The error of a command; `None` while it is pending.
fn failure(
    pair: &mut Pair,
    mut reply: Pin<&mut impl Future<Output = Result<(Response, Option<SocketQueue>), Error>>>,
) -> Option<Error> {
    let mut context = Context::from_waker(Waker::noop());
    // Once to send it, and once to see what came of that.
    assert!(reply.as_mut().poll(&mut context).is_pending());
    pair.run();
    match reply.poll(&mut context) {
        Poll::Ready(answer) => Some(answer.expect_err("nothing answers it")),
        Poll::Pending => None,
    }
}

#[test]
fn full_socket_table_refuses_sockets_and_drops_syns() {
    let mut pair = Pair::with(Config { sockets_max: 2, ..Config::default() }, 1500);
    let tap = Tap::new(&mut pair);
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("room");
    let socket = bind(&mut pair, Side::Far, "10.0.0.2:2000");
    let any = addr("10.0.0.2:0");
    let commands: [Command; 5] = [
        udp::Command::Bind { endpoint: any }.into(),
        tcp::Command::Listen { local: any, options: Default::default() }.into(),
        tcp::Command::Connect {
            remote: addr("10.0.0.1:80"),
            local: None,
            options: Default::default(),
        }
        .into(),
        icmp::Command::Open { local: any.ip() }.into(),
        raw::Command::Open { version: raw::Version::V4, protocol: 253 }.into(),
    ];

    for command in commands {
        let answer = pair.call(Side::Far, None, command.clone());
        assert_eq!(answer.err(), Some(Error::LimitReached), "{command:?}");
    }
    let mut peer = Peer::new(Ipv4Addr::new(10, 0, 0, 3), 1000);
    let syn = peer.segment(TcpControl::Syn, &[]);
    pair.inject(Side::Far, syn);
    pair.run();
    assert_eq!(dropped(&pair, DropReason::TooManySockets), 1);

    socket.close();
    pair.run();
    peer.connect(&mut pair, &tap);
    pair.accept(Side::Far, listener).expect("there is room again").abort();
    close(&mut pair, listener);
}

#[test]
fn mss_max_limits_segments_in_both_directions() {
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
            let seen = harness::icmp::narrow_hop(&mut pair, usize::MAX);
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
fn least_recently_used_path_mtu_is_evicted() {
    let mut pair = Pair::with(
        Config { ip: IpConfig { path_mtus_max: 2, ..IpConfig::default() }, ..Config::default() },
        1500,
    );
    let socket = bind(&mut pair, Side::Near, "10.0.0.1:1000");
    let inlet = pair.inlets()[0].clone();
    let sent: Rc<RefCell<Vec<Bytes>>> = Rc::default();
    let sink = sent.clone();
    pair.wire = Box::new(move |packet| {
        if packet.len() > 1300 {
            inlet.send(harness::icmp::too_big(&packet, 1300).into()).expect("it is there");
        }
        sink.borrow_mut().push(packet);
        None
    });
    let mut packets = |to: &str| {
        let payload = Bytes::from_static(&[7; 1400]);
        socket.try_send(Datagram::new(addr(to), payload)).expect("room");
        pair.run();
        sent.take().len()
    };

    let [first, second, third] = ["10.0.0.11:1", "10.0.0.12:1", "10.0.0.13:1"];
    assert_eq!([first, second, third].map(&mut packets), [1, 1, 1], "each is learned");
    assert_eq!([second, third].map(&mut packets), [2, 2], "each is known");
    assert_eq!(packets(first), 1, "it has made room");
    assert_eq!([first, third, second].map(&mut packets), [2, 2, 1]);
    socket.close();
    pair.run();
}

#[test]
fn full_address_table_refuses_new_addresses() {
    let mut pair = Pair::with(
        Config { ip: IpConfig { addresses_max: 2, ..IpConfig::default() }, ..Config::default() },
        1500,
    );
    let [known, new] = ["10.0.0.1/8", "10.0.0.9/24"].map(|text| text.parse().expect("a network"));
    let mut add =
        |address| pair.call(Side::Near, None, control::Command::AddAddress { address }).map(|_| ());

    assert_eq!(add(new), Err(Error::LimitReached));
    assert_eq!(add(known), Ok(()), "one that is there may change its prefix");

    let address = addr("[fd00::1]:0").ip();
    pair.call(Side::Near, None, control::Command::RemoveAddress { address }).expect("it is there");
    let address = new;
    pair.call(Side::Near, None, control::Command::AddAddress { address }).expect("there is room");
}

#[test]
fn full_route_table_refuses_new_routes() {
    let mut pair = Pair::with(
        Config { ip: IpConfig { routes_max: 1, ..IpConfig::default() }, ..Config::default() },
        1500,
    );
    let default = Route::default_via(addr("10.0.0.2:0").ip());
    let other = Route { destination: "192.0.2.0/24".parse().expect("a network"), ..default };
    let mut add =
        |route| pair.call(Side::Near, None, control::Command::AddRoute { route }).map(|_| ());

    assert_eq!([add(default), add(other)], [Ok(()), Err(Error::LimitReached)]);
    assert_eq!(add(default), Ok(()), "one that is there may change");

    let destination = default.destination;
    pair.call(Side::Near, None, control::Command::RemoveRoute { destination })
        .expect("it is there");
    pair.call(Side::Near, None, control::Command::AddRoute { route: other }).expect("room");
}

#[test]
fn name_servers_and_search_domains_are_limited() {
    let mut pair = Pair::with(
        Config { ip: IpConfig { name_servers_max: 2, ..IpConfig::default() }, ..Config::default() },
        1500,
    );
    let server = addr("10.0.0.2:0").ip();
    let mut set = |servers: usize, domains: usize| {
        let command = control::Command::SetNameServers {
            servers: vec![server; servers],
            search_domains: vec!["test".into(); domains],
        };
        pair.call(Side::Near, None, command).map(|_| ())
    };

    assert_eq!(set(2, 2), Ok(()));
    assert_eq!([set(3, 0), set(0, 3)], [Err(Error::LimitReached); 2]);
    assert_eq!(pair.near.stack.network().name_servers.len(), 2);
}

#[test]
fn receive_buffer_and_queue_bound_unread_bytes() {
    let (recv_buffer_bytes, stream_queue_bytes) = (64 * 1024, 16 * 1024);
    let config = Config {
        tcp: TcpConfig { recv_buffer_bytes, stream_queue_bytes, ..TcpConfig::default() },
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
fn send_buffer_bounds_bytes_in_flight() {
    let (send_buffer_bytes, stream_queue_bytes) = (16 * 1024, 4096);
    let config = Config {
        tcp: TcpConfig { send_buffer_bytes, stream_queue_bytes, ..TcpConfig::default() },
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
fn full_buffer_memory_refuses_connects_and_drops_syns() {
    let (recv_buffer_bytes, send_buffer_bytes) = (64 * 1024, 64 * 1024);
    let buffer_bytes_max = 2 * (recv_buffer_bytes + send_buffer_bytes);
    let config = Config {
        tcp: TcpConfig {
            recv_buffer_bytes,
            send_buffer_bytes,
            buffer_bytes_max,
            ..TcpConfig::default()
        },
        ..Config::default()
    };
    let mut pair = Pair::with(config, 1500);
    let tap = Tap::new(&mut pair);
    let near_listener = pair.listen(Side::Near, "10.0.0.1:80").expect("a free port");
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
    let streams = [(); 2].map(|()| pair.connect(Side::Far, "10.0.0.1:80").expect("room"));
    assert_eq!(pair.far.stack.snapshot().buffer_bytes, buffer_bytes_max);

    assert_eq!(pair.connect(Side::Far, "10.0.0.1:80").err(), Some(Error::LimitReached));
    let mut peer = Peer::new(Ipv4Addr::new(10, 0, 0, 3), 1000);
    let syn = peer.segment(TcpControl::Syn, &[]);
    pair.inject(Side::Far, syn);
    pair.run();
    assert_eq!(dropped(&pair, DropReason::NoBuffers), 1);

    // A half-open connection is evicted for the next.
    streams[0].abort();
    pair.run();
    Peer::new(Ipv4Addr::new(10, 0, 0, 4), 1000).send(&mut pair, TcpControl::Syn, &[]);
    pair.run();
    peer.connect(&mut pair, &tap);
    assert_eq!(dropped(&pair, DropReason::HalfOpenEvicted), 1);
    pair.accept(Side::Far, listener).expect("there was room").abort();
    streams[1].abort();
    for _ in 0..2 {
        pair.accept(Side::Near, near_listener).expect("a connection").close();
    }
    pair.call(Side::Near, Some(near_listener), tcp::Command::Close).expect("a listener");
    close(&mut pair, listener);
}

#[test]
fn full_stream_queue_blocks_the_writer() {
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
fn full_backlog_drops_syns() {
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
fn full_listener_evicts_its_oldest_half_open_connection() {
    let config = Config {
        tcp: TcpConfig { half_open_per_listener_max: 2, ..TcpConfig::default() },
        ..Config::default()
    };
    half_open_connections_are_two(config, [PORT, PORT, PORT]);
}

#[test]
fn full_stack_evicts_its_oldest_half_open_connection() {
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
        peer.hear(&tap);
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
fn full_datagram_queues_drop_input_and_refuse_output() {
    static PAYLOAD: [u8; 60_000] = [7; 60_000];
    // Two such datagrams fit, three do not.
    let config = Config {
        datagram: DatagramConfig { queue_bytes: 150_000, ..DatagramConfig::default() },
        ..Config::default()
    };
    let mut pair = Pair::with(config, 65_535);
    let open = raw::Command::Open { version: raw::Version::V4, protocol: 253 };
    let mut raw_packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 253, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    raw_packet.extend(PAYLOAD);
    let udp =
        [bind(&mut pair, Side::Near, "10.0.0.1:2000"), bind(&mut pair, Side::Far, "10.0.0.2:2000")];
    let raw = [Side::Near, Side::Far].map(|side| opened(&mut pair, side, open.clone()));
    // The echo replies come back to the socket itself.
    let ping = opened(&mut pair, Side::Near, icmp::Command::Open { local: [10, 0, 0, 1].into() });
    let ping = [ping.clone(), ping];
    let payload = Bytes::from_static(&PAYLOAD);

    for ([from, to], side, payload) in [
        (udp, Side::Far, payload.clone()),
        (raw, Side::Far, raw_packet.into()),
        (ping, Side::Near, payload),
    ] {
        let send = || {
            let peer = addr("10.0.0.2:2000");
            let payload = payload.clone();
            from.try_send(Datagram::new(peer, payload))
        };
        let before = pair.host(side).stack.counters().dropped(DropReason::QueueFull);
        for _ in 0..2 {
            assert_eq!([send(), send(), send()], [Ok(()), Ok(()), would_block()]);
            pair.run();
        }
        let received = std::iter::from_fn(|| to.try_recv().ok()).count();
        let after = pair.host(side).stack.counters().dropped(DropReason::QueueFull);
        assert_eq!((received, after - before), (2, 2), "{:?}", from.id());

        send().expect("room again");
        pair.run();
        assert!(to.try_recv().is_ok());
        from.close();
        to.close();
    }
}

#[test]
fn group_memberships_of_a_socket_are_limited() {
    let mut pair = Pair::with(
        Config {
            datagram: DatagramConfig { groups_per_socket_max: 2, ..DatagramConfig::default() },
            ..Config::default()
        },
        1500,
    );
    let socket = bind(&mut pair, Side::Near, "0.0.0.0:0");
    let group = |last| IpAddr::from([239, 0, 0, last]);
    socket.join(group(1)).expect("room");
    socket.join(group(2)).expect("room");

    assert_eq!(socket.join(group(3)), Err(Error::LimitReached));

    socket.leave(group(1)).expect("a member");
    assert_eq!(socket.join(group(3)), Ok(()));
    socket.close();
}

#[test]
fn loopback_packets_wait_for_space_in_the_queue() {
    let mut pair = Pair::with(
        Config {
            ip: IpConfig { loopback_packets_max: 4, ..IpConfig::default() },
            ..Config::default()
        },
        1500,
    );
    let from = bind(&mut pair, Side::Near, "10.0.0.1:2000");
    let to = bind(&mut pair, Side::Near, "10.0.0.1:2001");
    for number in 0..100u8 {
        send(&from, "10.0.0.1:2001", &[number]).expect("room in the queue");
    }

    let mut rounds = 0;
    while pair.near.stack.poll_link(Instant::ZERO, &mut Nothing) {
        rounds += 1;
        assert!(pair.near.stack.counters().loopback_packets <= 4 * rounds);
    }

    let received: Vec<_> =
        std::iter::from_fn(|| to.try_recv().ok()).map(|datagram| datagram.payload[0]).collect();
    assert_eq!(received, (0..100).collect::<Vec<_>>());
    from.close();
    to.close();
}

#[test]
fn full_reply_queue_drops_replies() {
    let (pipe, wire) = Pipe::bounded(1);
    let config =
        Config { ip: IpConfig { replies_max: 3, ..IpConfig::default() }, ..Config::default() };
    let mut stack = Netstack::new(config, Instant::ZERO);
    stack.add_address("10.0.0.2/24".parse().expect("a network")).expect("a host's");
    let mut host = Host { stack, device: PipeDev { pipe, medium: Medium::Ip.into(), mtu: 1500 } };
    let mut peers = peers(1000, 6).into_iter();
    // A SYN to a port without a listener.
    let mut knock = |host: &mut Host| {
        let peer = peers.next().expect("there are enough");
        wire.tx.try_send(peer.segment(TcpControl::Syn, &[]).into()).expect("room");
        host.stack.poll_device_io(Instant::ZERO, &mut host.device);
    };

    // One is in the pipe, three wait, the fifth is one too many.
    for _ in 0..5 {
        knock(&mut host);
    }
    assert_eq!(host.stack.counters().dropped(DropReason::ReplyQueueFull), 1);

    let mut answered = Vec::new();
    while let Ok(reset) = wire.rx.try_recv() {
        answered.push(u16::from_be_bytes([reset[22], reset[23]]));
        host.stack.poll_device_io(Instant::ZERO, &mut host.device);
    }
    assert_eq!(answered, [1000, 1001, 1002, 1003]);
    knock(&mut host);
    assert_eq!(wire.rx.len(), 1, "and the next is answered again");
    assert_eq!(host.stack.counters().dropped(DropReason::ReplyQueueFull), 1);
}

#[test]
fn full_reassembly_evicts_the_oldest_incomplete_packet() {
    for (local, remote) in
        [("10.0.0.1:2000", "10.0.0.2:2000"), ("[fd00::1]:2000", "[fd00::2]:2000")]
    {
        let config = Config {
            ip: IpConfig { fragments_bytes_max: 11 * 1024, ..IpConfig::default() },
            ..Config::default()
        };
        let mut pair = Pair::with(config, 1500);
        let near = bind(&mut pair, Side::Near, local);
        let far = bind(&mut pair, Side::Far, remote);
        // Ten datagrams of two fragments each.
        let fragments = Rc::new(RefCell::new(Vec::new()));
        let sink = fragments.clone();
        pair.wire = Box::new(move |packet| {
            sink.borrow_mut().push(packet);
            None
        });
        for number in 0..10 {
            send(&near, remote, &[number; 2000]).expect("room");
        }
        pair.run();
        let fragments = fragments.take();
        let (first, second): (Vec<_>, Vec<_>) =
            fragments.chunks(2).map(|pair| (pair[0].to_vec(), pair[1].to_vec())).unzip();
        assert_eq!(first.len(), 10);
        pair.wire = Box::new(Some);

        for fragment in first {
            pair.inject(Side::Far, fragment);
        }
        pair.run();
        let evicted = dropped(&pair, DropReason::FragmentExpired);
        // Five of about 1,500 bytes fit, with what each costs besides.
        assert_eq!(evicted, 5, "{local}");

        // The newest are whole once their other halves are there; those of the others wait.
        for fragment in second.into_iter().rev() {
            pair.inject(Side::Far, fragment);
        }
        pair.run();
        let whole: Vec<_> = std::iter::from_fn(|| far.try_recv().ok())
            .map(|datagram| datagram.payload[0])
            .collect();
        assert_eq!(whole, (5..10).rev().collect::<Vec<_>>(), "{local}");

        pair.advance(Duration::from_secs(61));
        assert_eq!(dropped(&pair, DropReason::FragmentExpired), 10);
        send(&near, remote, &[10; 2000]).expect("room");
        pair.run();
        assert_eq!(far.try_recv().map(|datagram| datagram.payload.len()), Ok(2000));
        near.close();
        far.close();
    }
}

#[test]
fn full_time_wait_evicts_its_oldest_connection() {
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
        peer.hear(&tap);
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

/// A link that receives nothing and must transmit nothing.
struct Nothing;

impl Link for Nothing {
    type Slot<'a> = Nowhere;

    fn capabilities(&self) -> LinkCapabilities {
        LinkCapabilities::new(Medium::Ip, 1500)
    }

    fn receive(&mut self) -> Option<Frame> {
        None
    }

    fn transmit(&mut self) -> Option<Nowhere> {
        Some(Nowhere)
    }
}

struct Nowhere;

impl Slot for Nowhere {
    fn send<R>(self, _: usize, _: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        panic!("packets to oneself do not leave");
    }
}

fn would_block() -> Result<(), Error> {
    Err(Error::WouldBlock)
}

fn dropped(pair: &Pair, reason: DropReason) -> u64 {
    pair.far.stack.counters().dropped(reason)
}

fn close(pair: &mut Pair, listener: SocketId) {
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

/// Peers on ports from here on.
fn peers(port: u16, count: u16) -> Vec<Peer> {
    let address = Ipv4Addr::new(10, 0, 0, 3);
    (port..port + count).map(|port| Peer::new(address, port)).collect()
}

fn bind(pair: &mut Pair, side: Side, endpoint: &str) -> Arc<DatagramQueue> {
    opened(pair, side, udp::Command::Bind { endpoint: addr(endpoint) })
}

fn opened(pair: &mut Pair, side: Side, command: impl Into<Command>) -> Arc<DatagramQueue> {
    match pair.call(side, None, command) {
        Ok((_, Some(SocketQueue::Datagram(queue)))) => queue,
        other => panic!("opening gave {other:?}"),
    }
}

fn send(socket: &DatagramQueue, to: &str, payload: &[u8]) -> Result<(), Error> {
    let payload = Bytes::copy_from_slice(payload);
    socket.try_send(Datagram::new(addr(to), payload))
}
