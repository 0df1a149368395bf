//! How connections begin.

mod harness;

use harness::raw_peer::RawPeer;
use harness::{Pair, Side, addr, read};
use netcore::Instant;
use netcore::device::smoltcp::wire::{Ipv4Packet, TcpPacket};
use netcore::queue::SocketQueue;
use netcore::{Config, DropReason, Error, HasChannel, Response, TcpConfig, tcp};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

#[test]
fn both_ends_agree_on_their_addresses() {
    let mut pair = Pair::new();

    let (near, far, listener) = pair.connected();

    assert_eq!(near.local_address(), far.peer_address());
    assert_eq!(near.peer_address(), far.local_address());
    assert_eq!(far.local_address(), addr("10.0.0.2:80"));
    near.close();
    far.close();
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

#[test]
fn wildcard_listener_reports_the_destination_address() {
    let mut pair = Pair::new();
    for (wildcard, dialled, reported) in [
        ("0.0.0.0:80", "10.0.0.2:80", "10.0.0.2:80"),
        ("[::]:81", "[fd00::2]:81", "[fd00::2]:81"),
        // A socket on [::] sees IPv4 as the kernel shows it.
        ("[::]:82", "10.0.0.2:82", "[::ffff:10.0.0.2]:82"),
    ] {
        let listener = pair.listen(Side::Far, wildcard).expect("a free port");
        let near = pair.connect(Side::Near, dialled).expect("a listener");
        let far = pair.accept(Side::Far, listener).expect("a connection");

        assert_eq!(far.local_address(), addr(reported), "{wildcard}");

        near.close();
        far.close();
        pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
    }
}

#[test]
fn a_closed_port_refuses_at_once() {
    let mut pair = Pair::new();

    for remote in ["10.0.0.2:80", "[fd00::2]:80"] {
        let before = pair.now;
        assert_eq!(pair.connect(Side::Near, remote).err(), Some(Error::Refused));
        assert!(pair.now - before < Duration::from_millis(50));
    }

    assert_eq!(pair.far.stack.counters().resets_sent, 2);
    assert_eq!(pair.far.stack.counters().dropped(DropReason::NoListener), 2);
}

#[test]
fn unanswered_connect_times_out_and_frees_its_socket() {
    let timeout = Duration::from_secs(10);
    let mut pair = Pair::with(
        Config {
            tcp: TcpConfig { connect_timeout: timeout, ..TcpConfig::default() },
            ..Config::default()
        },
        1500,
    );
    pair.wire = Box::new(|_| None);

    assert_eq!(pair.connect(Side::Near, "10.0.0.2:80").err(), Some(Error::TimedOut));

    assert!(pair.now >= Instant::from_secs(10));
    assert!(pair.near.stack.snapshot().sockets.is_empty());
}

#[test]
fn any_lost_packet_only_delays_the_handshake() {
    for lost in 0..3 {
        let mut pair = Pair::new();
        let mut index = 0;
        pair.wire = Box::new(move |packet| {
            index += 1;
            (index != lost + 1).then_some(packet)
        });

        let (near, far, listener) = pair.connected();
        far.try_send(b"first").expect("credit");
        pair.advance_until(|_| {
            near.poll_readable(&mut Default::default(), Waker::noop()).is_ready()
        });

        assert_eq!(read(&near, 10), Ok(b"first".to_vec()), "packet {lost} lost");
        near.close();
        far.close();
        pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
    }
}

#[test]
fn connect_to_an_invalid_address_fails_at_once() {
    let mut pair = Pair::new();
    for (remote, error) in [
        ("10.0.0.2:0", Error::ZeroPort),
        // This host, on a port without a listener.
        ("0.0.0.0:80", Error::Refused),
        ("[::]:80", Error::Refused),
        ("[::ffff:0.0.0.0]:80", Error::Refused),
        ("192.0.2.1:80", Error::NetworkUnreachable),
        ("224.0.0.1:80", Error::NetworkUnreachable),
        ("255.255.255.255:80", Error::NetworkUnreachable),
        ("10.0.0.255:80", Error::NetworkUnreachable),
    ] {
        assert_eq!(pair.connect(Side::Near, remote).err(), Some(error), "{remote}");
    }
    for (local, error) in
        [("10.0.0.7:0", Error::AddressNotAvailable), ("[fd00::1]:0", Error::WrongFamily)]
    {
        let command = tcp::Command::Connect {
            remote: addr("10.0.0.2:80"),
            local: Some(addr(local)),
            options: tcp::Options::default(),
        };
        assert_eq!(pair.call(Side::Near, None, command).err(), Some(error), "{local}");
    }
}

#[test]
fn dropped_connect_frees_its_socket_and_resets_late_answers() {
    let mut pair = Pair::new();
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
    let channel = pair.near.stack.command_channel();
    {
        let (remote, options) = (addr("10.0.0.2:80"), tcp::Options::default());
        let command = tcp::Command::Connect { remote, local: None, options };
        let mut connecting = pin!(channel.request(None, command));
        let mut context = Context::from_waker(Waker::noop());
        assert!(connecting.as_mut().poll(&mut context).is_pending());
        pair.near.stack.process_cmds();
        pair.near.stack.poll_device_io(pair.now, &mut pair.near.device);
        assert_eq!(pair.states(Side::Near).0, ["SYN-SENT"]);
    }

    pair.near.stack.process_cmds();

    assert!(pair.states(Side::Near).0.is_empty());
    pair.run();
    assert_eq!(pair.near.stack.counters().resets_sent, 1);
    assert!(pair.states(Side::Far).0.is_empty(), "the reset ended the other end too");
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

#[test]
fn connection_to_an_own_address_stays_in_the_stack() {
    let mut pair = Pair::new();
    pair.wire = Box::new(|packet| panic!("on the wire: {packet:?}"));
    for address in ["10.0.0.1:80", "127.0.0.1:81", "[::1]:82", "[fd00::1]:83"] {
        let listener = pair.listen(Side::Near, address).expect("a free port");
        let client = pair.connect(Side::Near, address).expect("a listener");
        let server = pair.accept(Side::Near, listener).expect("a connection");

        client.try_send(&[7; 100_000]).expect("credit");
        pair.advance(Duration::from_secs(1));

        assert_eq!(read(&server, 200_000).map(|data| data.len()), Ok(100_000));
        client.close();
        server.close();
        pair.call(Side::Near, Some(listener), tcp::Command::Close).expect("a listener");
    }
}

#[test]
fn announced_mss_and_segments_fit_the_mtu() {
    let mut pair = Pair::with(Config::default(), 1280);
    pair.wire = Box::new(|packet| {
        let ip = Ipv4Packet::new_checked(&packet[..]).expect("a packet");
        assert!(packet.len() <= 1280, "{} bytes", packet.len());
        let segment = TcpPacket::new_checked(ip.payload()).expect("a segment");
        if segment.syn() {
            assert_eq!(segment.options()[..4], [2, 4, (1240u16 >> 8) as u8, 1240u16 as u8]);
        }
        assert!(segment.verify_checksum(&ip.src_addr().into(), &ip.dst_addr().into()));
        Some(packet)
    });

    let (near, far, listener) = pair.connected();
    near.try_send(&[7; 50_000]).expect("credit");
    pair.advance(Duration::from_secs(1));

    assert_eq!(read(&far, 100_000).map(|data| data.len()), Ok(50_000));
    near.close();
    far.close();
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

#[test]
fn second_connect_from_an_explicit_port_is_refused() {
    let mut pair = Pair::new();
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
    let connect = tcp::Command::Connect {
        remote: addr("10.0.0.2:80"),
        local: Some(addr("10.0.0.1:5000")),
        options: tcp::Options::default(),
    };

    let first = pair.call(Side::Near, None, connect.clone()).expect("free").0;
    let second = pair.call(Side::Near, None, connect);

    let Response::Tcp(tcp::Response::Connected { handle, local, .. }) = first else {
        panic!("{first:?}")
    };
    assert_eq!(local, addr("10.0.0.1:5000"));
    assert_eq!(second.err(), Some(Error::AddressInUse));
    pair.call(Side::Near, Some(handle), tcp::Command::Close).expect("a connection");
    pair.accept(Side::Far, listener).expect("a connection").close();
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

#[test]
fn simultaneous_open_connects() {
    let mut pair = Pair::new();
    let ends = [addr("10.0.0.1:5000"), addr("10.0.0.2:6000")];
    let mut connecting = [(Side::Near, ends[0], ends[1]), (Side::Far, ends[1], ends[0])].map(
        |(side, local, remote)| {
            let options = tcp::Options::default();
            let command = tcp::Command::Connect { remote, local: Some(local), options };
            let channel = pair.host(side).stack.command_channel();
            Box::pin(async move { channel.call(None, command).await })
        },
    );
    let mut context = Context::from_waker(Waker::noop());
    for connecting in &mut connecting {
        assert!(connecting.as_mut().poll(&mut context).is_pending());
    }

    pair.advance(Duration::from_millis(100));
    let streams =
        connecting.each_mut().map(|connecting| match connecting.as_mut().poll(&mut context) {
            Poll::Ready(Ok((_, Some(SocketQueue::Stream(stream))))) => stream,
            other => panic!("{other:?}"),
        });

    for (from, to) in [(0, 1), (1, 0)] {
        streams[from].try_send(b"hello").expect("room");
        pair.advance(Duration::from_millis(50));
        assert_eq!(read(&streams[to], 10), Ok(b"hello".to_vec()));
    }
    for stream in streams {
        stream.close();
    }
}

#[test]
fn repeated_syn_is_answered_at_once() {
    let mut pair = Pair::new();
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
    let mut peer = RawPeer::new(&mut pair, "10.0.0.1:1000", "10.0.0.2:80");
    peer.put_syn(&mut pair, None);
    pair.run();
    let first = peer.replies();

    // The answer was lost. One more comes twice a second at most.
    let again = [0, 100, 500].map(|ms| {
        pair.advance(Duration::from_millis(ms));
        peer.put_syn(&mut pair, None);
        pair.run();
        peer.replies()
    });

    assert_eq!(first.len(), 1);
    assert_eq!(again, [first.clone(), Vec::new(), first]);
    peer.put(&mut pair, &peer.segment(1, 0));
    let far = pair.accept(Side::Far, listener).expect("a connection");
    far.abort();
    pair.run();
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}
