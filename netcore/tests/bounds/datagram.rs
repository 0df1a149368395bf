//! Bounds of datagram sockets.

use crate::harness::{Pair, Side, addr};
use crate::{bind, opened, would_block};
use bytes::Bytes;
use netcore::queue::Datagram;
use netcore::{Config, DatagramConfig, DropReason, Error, icmp, raw};
use std::net::IpAddr;

#[test]
pub(crate) fn full_datagram_queues_drop_input_and_refuse_output() {
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
pub(crate) fn memory_of_all_sockets_is_bounded() {
    const SOCKETS: u16 = 20;
    const BOUND: usize = 256 * 1024;
    let datagram = DatagramConfig { memory_bytes_max: Some(BOUND), ..DatagramConfig::default() };
    let mut pair = Pair::with(Config { datagram, ..Config::default() }, 1500);
    let from = bind(&mut pair, Side::Near, "10.0.0.1:2000");
    let sockets: Vec<_> = (0..SOCKETS)
        .map(|n| bind(&mut pair, Side::Far, &format!("10.0.0.2:{}", 2000 + n)))
        .collect();

    // Nobody reads: each alone has room for as much as all may hold.
    for port in (2000..2000 + SOCKETS).flat_map(|port| [port; 100]) {
        let peer = addr(&format!("10.0.0.2:{port}"));
        from.try_send(Datagram::new(peer, Bytes::from_static(&[7; 1000]))).expect("room");
        pair.run();
    }
    let held =
        pair.far.stack.snapshot().sockets.iter().map(|socket| socket.receive_queue).sum::<usize>();
    assert!((BOUND / 2..=BOUND * 11 / 10).contains(&held), "{held} bytes");
    assert!(crate::dropped(&pair, DropReason::QueueFull) > 0);
    // None is without one, and there is room again where somebody has read.
    for socket in &sockets {
        assert!(socket.try_recv().is_ok(), "{:?}", socket.id());
        while socket.try_recv().is_ok() {}
    }
    from.try_send(Datagram::new(addr("10.0.0.2:2000"), Bytes::from_static(&[7; 1000])))
        .expect("room");
    pair.run();
    assert!(sockets[0].try_recv().is_ok());

    from.close();
    sockets.iter().for_each(|socket| socket.close());
}

#[test]
pub(crate) fn group_memberships_of_a_socket_are_limited() {
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
