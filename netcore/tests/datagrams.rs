//! UDP, ping and raw sockets.

mod harness;

use bytes::Bytes;
use harness::{Pair, Side, addr};
use netcore::queue::{Datagram, DatagramQueue, SocketQueue};
use netcore::raw::Version;
use netcore::{Config, DatagramConfig, DropReason, Error, Response, icmp, raw, udp};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

#[test]
fn received_datagram_carries_its_source_address() {
    let mut pair = Pair::new();
    for (from, to, reported) in [
        ("10.0.0.1:1000", "10.0.0.2:2000", "10.0.0.1:1000"),
        ("[fd00::1]:1000", "[fd00::2]:2000", "[fd00::1]:1000"),
    ] {
        let (near, far) = (bind(&mut pair, Side::Near, from), bind(&mut pair, Side::Far, to));

        send(&near, to, b"hello").expect("room");
        send(&near, to, b"").expect("room");
        pair.run();

        let first = far.try_recv().expect("a datagram");
        assert_eq!((first.peer, &first.payload[..]), (addr(reported), &b"hello"[..]));
        assert_eq!(first.local, Some(addr(to)));
        assert_eq!(far.try_recv().expect("an empty datagram is one").payload, "");
        assert_eq!(far.try_recv().err(), Some(Error::WouldBlock));
        near.close();
        far.close();
    }
}

#[test]
fn a_port_is_free_as_soon_as_its_handle_is_closed() {
    let mut pair = Pair::new();
    let first = bind(&mut pair, Side::Near, "10.0.0.1:1000");
    send(&first, "10.0.0.2:2000", b"still to be sent").expect("room");

    // The stack has not run since, and carries out the command first.
    first.close();
    let second = bind(&mut pair, Side::Near, "10.0.0.1:1000");

    assert_eq!(second.local_address(), addr("10.0.0.1:1000"));
    assert_eq!(pair.near.stack.counters().frames_sent, 1);
    second.close();
}

#[test]
fn dual_stack_socket_reports_ipv4_mapped_addresses() {
    let mut pair = Pair::new();
    let near = bind(&mut pair, Side::Near, "10.0.0.1:1000");
    let far = bind(&mut pair, Side::Far, "[::]:2000");

    send(&near, "10.0.0.2:2000", b"ping").expect("room");
    pair.run();
    let received = far.try_recv().expect("a datagram");
    assert_eq!(received.peer, addr("[::ffff:10.0.0.1]:1000"));
    send(&far, &received.peer.to_string(), b"pong").expect("room");
    pair.run();

    let answer = near.try_recv().expect("a datagram");
    assert_eq!((answer.peer, &answer.payload[..]), (addr("10.0.0.2:2000"), &b"pong"[..]));
    near.close();
    far.close();
}

#[test]
fn large_datagrams_are_fragmented_in_both_families() {
    let mut pair = Pair::new();
    for (from, to) in [("10.0.0.1:0", "10.0.0.2:2000"), ("[fd00::1]:0", "[fd00::2]:2000")] {
        let (near, far) = (bind(&mut pair, Side::Near, from), bind(&mut pair, Side::Far, to));
        for len in [1472, 1473, 10_000, 65_507] {
            let payload: Vec<u8> = (0..len).map(|index| (index * 3) as u8).collect();

            send(&near, to, &payload).expect("room");
            pair.run();

            let received = far.try_recv().expect("the whole datagram");
            assert!(received.payload == payload, "{len} bytes to {to}");
        }
        assert_eq!(send(&near, to, &[0; 65_508]), Err(Error::MessageTooLarge));
        near.close();
        far.close();
    }
    assert_eq!(pair.far.stack.counters().drops().count(), 0);
}

#[test]
fn invalid_send_fails_at_once() {
    let mut pair = Pair::new();
    let v4 = bind(&mut pair, Side::Near, "10.0.0.1:0");
    let v6 = bind(&mut pair, Side::Near, "[fd00::1]:0");
    let dual = bind(&mut pair, Side::Near, "[::]:0");

    for (socket, to, error) in [
        (&v4, "10.0.0.2:0", Error::ZeroPort),
        (&v4, "[fd00::2]:1", Error::WrongFamily),
        (&v6, "10.0.0.2:1", Error::WrongFamily),
    ] {
        assert_eq!(send(socket, to, b"x"), Err(error), "{to}");
    }
    send(&v4, "192.0.2.1:1", b"x").expect("the handle knows no routes");
    pair.run();
    assert_eq!(v4.try_recv().err(), Some(Error::NetworkUnreachable), "told by the next call");
    for socket in [v4, v6, dual] {
        socket.close();
    }
}

#[test]
fn connected_udp_receives_only_from_its_peer_and_gets_errors() {
    let mut pair = Pair::new();
    let near = bind(&mut pair, Side::Near, "10.0.0.1:1000");
    let far = bind(&mut pair, Side::Far, "10.0.0.2:2000");
    let other = bind(&mut pair, Side::Far, "10.0.0.2:2001");
    near.set_peer(Some(addr("10.0.0.2:2000")));

    send(&other, "10.0.0.1:1000", b"stranger").expect("room");
    send(&far, "10.0.0.1:1000", b"peer").expect("room");
    pair.run();
    assert_eq!(near.try_recv().expect("a datagram").payload, "peer");
    assert_eq!(near.try_recv().err(), Some(Error::WouldBlock));

    far.close();
    pair.run();
    send(&near, "10.0.0.2:2000", b"anybody?").expect("room");
    pair.run();
    assert_eq!(near.try_recv().err(), Some(Error::Refused));
    assert_eq!(near.try_recv().err(), Some(Error::WouldBlock), "told once");
    near.close();
    other.close();
}

#[test]
fn multicast_is_delivered_to_group_members_only() {
    for (group, from, local) in
        [("224.0.0.200", "10.0.0.1:0", "0.0.0.0:2000"), ("ff02::200", "[fd00::1]:0", "[::]:2000")]
    {
        let mut pair = Pair::new();
        let sender = bind(&mut pair, Side::Near, from);
        let (member, other) =
            (bind(&mut pair, Side::Far, local), bind(&mut pair, Side::Near, local));
        let to = match group.contains(':') {
            true => format!("[{group}]:2000"),
            false => format!("{group}:2000"),
        };
        let hears = |pair: &mut Pair, socket: &DatagramQueue| {
            send(&sender, &to, b"all").expect("room");
            pair.run();
            socket.try_recv().map(|datagram| datagram.hop_limit)
        };

        assert_eq!(hears(&mut pair, &member), Err(Error::WouldBlock), "before it joins");
        assert_eq!(member.join(ip(group)), Ok(()));
        pair.run();
        assert_eq!(hears(&mut pair, &member), Ok(Some(1)), "they stay on the link");
        assert_eq!(other.try_recv().err(), Some(Error::WouldBlock));

        // One on the sender's own stack.
        assert_eq!(other.join(ip(group)), Ok(()));
        pair.run();
        sender.set_options(|options| options.multicast_hop_limit = 9);
        assert_eq!(hears(&mut pair, &other), Ok(Some(9)));
        sender.set_options(|options| {
            options.multicast_loop_v4 = false;
            options.multicast_loop_v6 = false;
        });
        assert_eq!(hears(&mut pair, &other), Err(Error::WouldBlock));

        while member.try_recv().is_ok() {}
        assert_eq!(member.leave(ip(group)), Ok(()));
        pair.run();
        assert_eq!(hears(&mut pair, &member), Err(Error::WouldBlock), "after it has left");
        [sender, member, other].iter().for_each(|socket| socket.close());
    }
}

#[test]
fn invalid_and_excess_group_joins_are_refused() {
    let mut pair = Pair::with(
        Config {
            datagram: DatagramConfig { groups_per_socket_max: 2, ..DatagramConfig::default() },
            ..Config::default()
        },
        1500,
    );
    let socket = bind(&mut pair, Side::Near, "0.0.0.0:0");

    assert_eq!(socket.join(ip("10.0.0.2")), Err(Error::Malformed));
    assert_eq!(socket.leave(ip("224.0.0.5")), Err(Error::AddressNotAvailable));
    assert_eq!(socket.join(ip("224.0.0.5")), Ok(()));
    assert_eq!(socket.join(ip("224.0.0.5")), Err(Error::AddressInUse));
    assert_eq!(socket.join(ip("224.0.0.6")), Ok(()));
    assert_eq!(socket.join(ip("224.0.0.7")), Err(Error::LimitReached));
    socket.close();
}

#[test]
fn broadcast_requires_the_broadcast_option() {
    let mut pair = Pair::new();
    let near = bind(&mut pair, Side::Near, "10.0.0.1:0");
    let far = bind(&mut pair, Side::Far, "0.0.0.0:2000");

    assert_eq!(send(&near, "255.255.255.255:2000", b"x"), Err(Error::BroadcastForbidden));
    // Only the stack knows that this is one.
    assert_eq!(send(&near, "10.0.0.255:2000", b"x"), Ok(()));
    pair.run();
    assert_eq!(near.take_error(), Some(Error::BroadcastForbidden));
    assert_eq!(far.try_recv().err(), Some(Error::WouldBlock));

    near.set_options(|options| options.broadcast = true);
    for to in ["255.255.255.255:2000", "10.0.0.255:2000"] {
        send(&near, to, b"all").expect("room");
        pair.run();
        assert_eq!(far.try_recv().expect("a datagram").payload, "all");
    }
    near.close();
    far.close();
}

#[test]
fn ports_conflict_if_their_addresses_overlap() {
    let mut pair = Pair::new();
    let first = bind(&mut pair, Side::Near, "10.0.0.1:1000");
    for (address, expected) in [
        ("10.0.0.1:1000", Err(Error::AddressInUse)),
        ("0.0.0.0:1000", Err(Error::AddressInUse)),
        ("[::]:1000", Err(Error::AddressInUse)),
        ("10.0.0.9:1000", Err(Error::AddressNotAvailable)),
        ("127.0.0.1:1000", Ok(())),
        ("[fd00::1]:1000", Ok(())),
    ] {
        let endpoint = addr(address);
        match pair.call(Side::Near, None, udp::Command::Bind { endpoint }) {
            Ok((_, Some(SocketQueue::Datagram(queue)))) => {
                assert_eq!(expected, Ok(()), "{address}");
                queue.close();
            }
            result => assert_eq!(result.map(drop), expected, "{address}"),
        }
    }
    // TCP's ports are others.
    let listener = pair.listen(Side::Near, "10.0.0.1:1000").expect("free for TCP");
    pair.call(Side::Near, Some(listener), netcore::tcp::Command::Close).expect("a listener");
    first.close();
}

#[test]
fn a_full_queue_drops_and_counts() {
    let config = Config {
        datagram: DatagramConfig { queue_bytes: 1, ..DatagramConfig::default() },
        ..Config::default()
    };
    let mut pair = Pair::with(config, 1500);
    let near = bind(&mut pair, Side::Near, "10.0.0.1:0");
    let far = bind(&mut pair, Side::Far, "10.0.0.2:2000");

    for _ in 0..2000 {
        while send(&near, "10.0.0.2:2000", &[7; 1000]) == Err(Error::WouldBlock) {
            pair.run();
        }
    }
    pair.run();

    let mut received = 0;
    while far.try_recv().is_ok() {
        received += 1;
    }
    let dropped = pair.far.stack.counters().dropped(DropReason::QueueFull);
    assert_eq!(received + dropped, 2000);
    assert!((30..=66).contains(&received), "{received} fit into one datagram of the largest size");
    near.close();
    far.close();
}

#[test]
fn dont_fragment_refuses_datagrams_larger_than_the_link() {
    let mut pair = Pair::new();
    for (near, far, largest) in
        [("10.0.0.1:0", "10.0.0.2:2000", 1472), ("[fd00::1]:0", "[fd00::2]:2000", 1452)]
    {
        let near = bind(&mut pair, Side::Near, near);
        let receiver = bind(&mut pair, Side::Far, far);
        near.set_options(|options| options.dont_fragment = true);

        send(&near, far, &vec![7; largest]).expect("room");
        send(&near, far, &vec![7; largest + 1]).expect("room");
        pair.run();

        assert_eq!(near.take_error(), Some(Error::MessageTooLarge));
        assert_eq!(receiver.try_recv().expect("the one that fits").payload.len(), largest);
        assert_eq!(receiver.try_recv().err(), Some(Error::WouldBlock));
        near.close();
        receiver.close();
    }
}

#[test]
fn echo_requests_are_answered_and_replies_find_their_socket() {
    let mut pair = Pair::new();
    for (unspecified, target) in [("0.0.0.0", "10.0.0.2"), ("::", "fd00::2")] {
        let (local, remote) = (ip(unspecified), ip(target));
        let first = open_ping(&mut pair, local);
        let second = open_ping(&mut pair, local);
        for (size, socket) in [(0, &first), (56, &second), (1473, &first), (60_000, &second)] {
            let payload: Bytes = vec![size as u8; size].into();
            let command = icmp::Command::Send { remote, sequence: 7, buf: payload.clone() };
            pair.call(Side::Near, Some(socket.id()), command).expect("room");

            let answer = pair.call(Side::Near, Some(socket.id()), icmp::Command::Recv);

            let Ok((Response::Icmp(reply), _)) = answer else { panic!("{answer:?}") };
            let expected =
                icmp::Response::Received { remote, sequence: 7, hop_limit: 64, buf: payload };
            assert_eq!(reply, expected);
        }
        first.close();
        second.close();
    }
}

#[test]
fn raw_socket_receives_and_sends_whole_packets() {
    let mut pair = Pair::new();
    let open = raw::Command::Open { version: Version::V4, protocol: 253 };
    let [near, far] =
        [Side::Near, Side::Far].map(|side| match pair.call(side, None, open.clone()) {
            Ok((_, Some(SocketQueue::Datagram(queue)))) => queue,
            other => panic!("{other:?}"),
        });
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 253, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    packet.extend(b"experiment");
    let packet = Bytes::from(packet);

    let send = raw::Command::Send { packet };
    pair.call(Side::Near, Some(near.id()), send).expect("room");
    let answer = pair.call(Side::Far, Some(far.id()), raw::Command::Recv);

    let Ok((Response::Raw(raw::Response::Received { packet }), _)) = answer else {
        panic!("{answer:?}")
    };
    assert!(packet.ends_with(b"experiment"));
    assert_eq!(packet[2..4], [0, 30], "the length was filled in");
    near.close();
    far.close();
}

#[test]
fn unknown_protocol_is_answered_by_an_icmp_error() {
    let mut pair = Pair::new();
    let open = raw::Command::Open { version: Version::V4, protocol: 253 };
    let Ok((_, Some(SocketQueue::Datagram(near)))) = pair.call(Side::Near, None, open) else {
        panic!("no raw socket")
    };
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 253, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    packet.extend(b"hello");
    let send = raw::Command::Send { packet: packet.into() };
    pair.call(Side::Near, Some(near.id()), send).expect("room");
    pair.run();

    assert_eq!(pair.far.stack.counters().icmp_sent, 1);
    near.close();
}

#[test]
fn a_dropped_receive_loses_no_datagram() {
    use netcore::HasChannel;
    let mut pair = Pair::new();
    let near = bind(&mut pair, Side::Near, "10.0.0.1:0");
    let far = bind(&mut pair, Side::Far, "10.0.0.2:2000");
    let channel = pair.far.stack.command_channel();
    {
        let receive = udp::Command::Recv { max_len: None };
        let mut receiving = std::pin::pin!(channel.request(Some(far.id()), receive));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(receiving.as_mut().poll(&mut context).is_pending());
        pair.run();
        // The reply is ready, and its receiver is dropped.
        send(&near, "10.0.0.2:2000", b"first").expect("room");
        send(&near, "10.0.0.2:2000", b"second").expect("room");
        pair.run();
    }
    pair.run();

    assert_eq!(far.try_recv().expect("given back").payload, "first");
    assert_eq!(far.try_recv().expect("behind it").payload, "second");
    near.close();
    far.close();
}

#[test]
fn commands_for_the_wrong_or_a_closed_socket_fail() {
    let mut pair = Pair::new();
    let socket = bind(&mut pair, Side::Near, "10.0.0.1:0");
    let id = socket.id();

    let wrong = pair.call(Side::Near, Some(id), raw::Command::Recv).err();
    let none = pair.call(Side::Near, None, udp::Command::Recv { max_len: None }).err();
    socket.close();
    pair.run();
    let closed = pair.call(Side::Near, Some(id), udp::Command::Recv { max_len: None }).err();
    let again = bind(&mut pair, Side::Near, "10.0.0.1:0");
    let stale = pair.call(Side::Near, Some(id), udp::Command::Recv { max_len: None }).err();

    assert_eq!((wrong, none), (Some(Error::WrongSocket), Some(Error::Closed)));
    assert_eq!((closed, stale), (Some(Error::Closed), Some(Error::Closed)));
    again.close();
}

fn bind(pair: &mut Pair, side: Side, endpoint: &str) -> Arc<DatagramQueue> {
    let endpoint = addr(endpoint);
    match pair.call(side, None, udp::Command::Bind { endpoint }) {
        Ok((_, Some(SocketQueue::Datagram(queue)))) => queue,
        other => panic!("binding {endpoint} gave {other:?}"),
    }
}

fn open_ping(pair: &mut Pair, local: IpAddr) -> Arc<DatagramQueue> {
    match pair.call(Side::Near, None, icmp::Command::Open { local }) {
        Ok((_, Some(SocketQueue::Datagram(queue)))) => queue,
        other => panic!("{other:?}"),
    }
}

fn send(socket: &DatagramQueue, to: &str, payload: &[u8]) -> Result<(), Error> {
    let peer: SocketAddr = addr(to);
    let payload = Bytes::copy_from_slice(payload);
    socket.try_send(Datagram::new(peer, payload))
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}
