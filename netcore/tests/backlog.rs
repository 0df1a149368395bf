//! Connections that are not accepted yet.

mod harness;

use harness::{Pair, Side, read};
use netcore::device::smoltcp::phy::ChecksumCapabilities;
use netcore::device::smoltcp::wire::{
    IpProtocol, Ipv4Address, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};
use netcore::{Config, DropReason, Error, HasChannel, TcpConfig, tcp};
use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

#[test]
fn all_connections_of_a_burst_are_accepted_oldest_first() {
    let mut pair = Pair::new();
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
    let clients: Vec<_> = (0..64)
        .map(|_| pair.connect(Side::Near, "10.0.0.2:80").expect("room in the backlog"))
        .collect();

    for client in &clients {
        let server = pair.accept(Side::Far, listener).expect("a connection");
        assert_eq!(server.peer_address(), client.local_address());
        server.close();
        client.close();
    }

    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

#[test]
fn bytes_survive_a_close_before_accept() {
    let mut pair = Pair::new();
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
    let client = pair.connect(Side::Near, "10.0.0.2:80").expect("a listener");
    client.try_send(b"hello").expect("credit");
    client.close();
    pair.run();

    let server = pair.accept(Side::Far, listener).expect("a connection");

    assert_eq!(read(&server, 10), Ok(b"hello".to_vec()));
    assert_eq!(read(&server, 10), Ok(Vec::new()));
    assert_eq!(read(&server, 10), Ok(Vec::new()), "the end of a stream stays");
    server.close();
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

#[test]
fn reset_right_after_the_handshake_is_still_accepted() {
    let mut pair = Pair::new();
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
    // Holds back what follows the SYN, so that it arrives at once.
    let held = Rc::new(RefCell::new(Vec::new()));
    let hold = held.clone();
    pair.wire = Box::new(move |packet| {
        let is_syn = packet[20 + 13] & 0x02 != 0;
        match is_syn {
            true => Some(packet),
            false => {
                hold.borrow_mut().push(packet);
                None
            }
        }
    });
    let client = pair.connect(Side::Near, "10.0.0.2:80").expect("a listener");
    client.set_options(|options| options.linger = Some(Duration::ZERO));
    pair.run();
    client.close();
    pair.run();
    assert_eq!(held.borrow().len(), 2, "the last step of the handshake, and a reset");

    pair.wire = Box::new(Some);
    for packet in held.take() {
        pair.inject(Side::Far, packet.to_vec());
    }
    pair.run();

    let server = pair.accept(Side::Far, listener).expect("a connection");
    assert_eq!(read(&server, 10), Err(Error::Reset));
    server.close();
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

#[test]
fn full_backlog_drops_syns_until_a_connection_is_accepted() {
    let mut pair = Pair::new();
    let options = tcp::ListenOptions { backlog_max: Some(2), ..Default::default() };
    let listener = pair.listen_with(Side::Far, "10.0.0.2:80", options).expect("a free port");
    let first = pair.connect(Side::Near, "10.0.0.2:80").expect("room");
    let second = pair.connect(Side::Near, "10.0.0.2:80").expect("room");
    let channel = pair.near.stack.command_channel();
    let connect = tcp::Command::Connect {
        remote: harness::addr("10.0.0.2:80"),
        local: None,
        options: tcp::Options::default(),
    };
    let mut third = pin!(channel.call(None, connect));
    let mut context = Context::from_waker(Waker::noop());
    assert!(third.as_mut().poll(&mut context).is_pending());
    pair.advance(Duration::from_secs(2));
    assert!(third.as_mut().poll(&mut context).is_pending());
    assert!(pair.far.stack.counters().dropped(DropReason::BacklogFull) > 0);
    assert_eq!(pair.far.stack.counters().resets_sent, 0);

    let accepted = pair.accept(Side::Far, listener).expect("a connection");
    pair.advance(Duration::from_secs(10));

    let Poll::Ready(Ok((_, Some(netcore::queue::SocketQueue::Stream(third))))) =
        third.as_mut().poll(&mut context)
    else {
        panic!("the SYN that was sent again found room")
    };
    for stream in [first, second, third, accepted] {
        stream.close();
    }
    for _ in 0..2 {
        pair.accept(Side::Far, listener).expect("a connection").close();
    }
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

#[test]
fn syn_flood_is_bounded_and_other_peers_still_connect() {
    let config = Config {
        tcp: TcpConfig { half_open_per_listener_max: 64, ..TcpConfig::default() },
        ..Config::default()
    };
    let mut pair = Pair::with(config, 1500);
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
    pair.far.stack.add_gateway("10.0.0.1".parse().expect("an address")).expect("a host's");
    for source in 0..10_000u32 {
        let [_, _, c, d] = source.to_be_bytes();
        pair.inject(Side::Far, syn(Ipv4Address::new(10, 0, 1 + c, d), 1000));
    }
    pair.run();
    assert_eq!(pair.states(Side::Far).0.len(), 64);

    let before = pair.now;
    let client = pair.connect(Side::Near, "10.0.0.2:80").expect("somebody who answers gets in");

    assert!(pair.now - before < Duration::from_secs(1));
    pair.accept(Side::Far, listener).expect("a connection").close();
    client.close();
    pair.advance(Duration::from_secs(75));
    assert!(pair.states(Side::Far).0.is_empty(), "half-open connections expire");
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

#[test]
fn dropped_listener_resets_only_unaccepted_connections() {
    let mut pair = Pair::new();
    let (accepted, server, listener) = pair.connected();
    let unaccepted = pair.connect(Side::Near, "10.0.0.2:80").expect("a listener");

    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
    pair.run();

    assert_eq!(read(&unaccepted, 10), Err(Error::Reset));
    assert_eq!(pair.connect(Side::Near, "10.0.0.2:80").err(), Some(Error::Refused));
    accepted.try_send(b"still here").expect("credit");
    pair.run();
    assert_eq!(read(&server, 20), Ok(b"still here".to_vec()));
    for stream in [accepted, server, unaccepted] {
        stream.close();
    }
}

#[test]
fn closed_listener_frees_its_port_at_once() {
    let mut pair = Pair::new();
    let listen = tcp::Command::Listen {
        local: harness::addr("10.0.0.2:80"),
        options: tcp::ListenOptions::default(),
    };
    let first = pair.call(Side::Far, None, listen.clone()).expect("a free port").1;
    let Some(netcore::queue::SocketQueue::Accept(first)) = first else {
        panic!("listening gives a queue")
    };

    // The stack has not run since, and carries out the command first.
    first.close();
    let second = pair.listen(Side::Far, "10.0.0.2:80").expect("the same port");

    pair.call(Side::Far, Some(second), tcp::Command::Close).expect("a listener");
}

#[test]
fn a_cancelled_accept_loses_no_connection() {
    let mut pair = Pair::new();
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
    let channel = pair.far.stack.command_channel();
    let client;
    {
        let mut accepting = pin!(channel.request(Some(listener), tcp::Command::Accept));
        let mut context = Context::from_waker(Waker::noop());
        assert!(accepting.as_mut().poll(&mut context).is_pending());
        pair.run();
        // The reply is ready, and its receiver is dropped.
        client = pair.connect(Side::Near, "10.0.0.2:80").expect("a listener");
    }

    let server = pair.accept(Side::Far, listener).expect("the same connection");

    assert_eq!(server.peer_address(), client.local_address());
    client.close();
    server.close();
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

fn syn(source: Ipv4Address, port: u16) -> Vec<u8> {
    let destination = Ipv4Address::new(10, 0, 0, 2);
    let segment = TcpRepr {
        src_port: port,
        dst_port: 80,
        control: TcpControl::Syn,
        seq_number: TcpSeqNumber(1),
        ack_number: None,
        window_len: 1000,
        window_scale: None,
        max_seg_size: Some(1460),
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let header = Ipv4Repr {
        src_addr: source,
        dst_addr: destination,
        next_header: IpProtocol::Tcp,
        payload_len: segment.buffer_len(),
        hop_limit: 64,
    };
    let mut packet = vec![0; header.buffer_len() + segment.buffer_len()];
    let checksums = ChecksumCapabilities::default();
    header.emit(&mut Ipv4Packet::new_unchecked(&mut packet[..]), &checksums);
    let mut out = TcpPacket::new_unchecked(&mut packet[20..]);
    segment.emit(&mut out, &source.into(), &destination.into(), &checksums);
    packet
}
