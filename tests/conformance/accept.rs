//! Listener and accept.

use crate::case::Backends::Both;
use crate::case::{ALL, ASYNC, BAD_NETWORK, Case, MINUTES, STOPS, TOKIO, case};
use crate::sockets::kind;
use crate::world::World;
use bytes::Bytes;
use futures::FutureExt;
use netstack::Direction;
use netstack::netsocket::ListenOptions;
use netstack::netsocket::netcore::device::smoltcp::phy::ChecksumCapabilities;
use netstack::netsocket::netcore::device::smoltcp::wire::{
    IpProtocol, IpRepr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};
use netstack::netsocket::netcore::{DropReason, TcpState};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep};

pub(crate) const CASES: &[Case] = &[
    case!(14, "64 connections wait to be accepted, oldest first", ALL, Both, oldest_first),
    case!(15, "a client that has closed is still accepted, and read", ALL, Both, closed_before),
    case!(15, "a client that has reset is still accepted, and read", ASYNC, Both, reset_before),
    case!(16, "with a full backlog a SYN is dropped until there is room", TOKIO, MINUTES, full),
    case!(17, "10,000 half-open connections do no harm", TOKIO, BAD_NETWORK, flood),
    case!(18, "dropping a listener leaves its streams alone", ALL, Both, dropped_listener),
    case!(18, "dropping a listener resets unaccepted connections", ALL, Both, resets_unaccepted),
    case!(19, "a dropped accept loses no connection", ASYNC, Both, dropped_accept),
    case!(19, "of many tasks that accept each gets one", ASYNC, Both, many_accept),
    case!(20, "stopping the stack ends a pending accept", ALL, STOPS, stopped),
];

async fn oldest_first(world: World) {
    let (listener, address) = world.listen().await;
    let mut clients = Vec::new();
    for _ in 0..64 {
        clients.push(world.near.connect(address).await.expect("room in the backlog"));
    }

    for client in clients {
        let (_server, peer) = listener.accept().await.expect("a client");
        assert_eq!(peer, client.local_addr().expect("connected"));
    }
}

async fn closed_before(world: World) {
    let (listener, address) = world.listen().await;
    let client = world.near.connect(address).await.expect("a listener");
    client.write_all(b"and goodbye").await.expect("open");
    drop(client);
    world.settle().await;

    let (server, _) = listener.accept().await.expect("a client");

    assert_eq!(server.read_to_end().await.expect("open"), b"and goodbye");
}

async fn reset_before(world: World) {
    let (listener, address) = world.listen().await;
    let client = world.near.connect(address).await.expect("a listener");
    client.set_zero_linger().expect("open");
    client.write_all(b"and goodbye").await.expect("open");
    // Until it is sent: unsent bytes are lost with the reset.
    tokio::task::yield_now().await;
    drop(client);
    world.settle().await;

    let (server, _) = listener.accept().await.expect("a client");

    assert_eq!(kind(server.read_to_end().await), Err(ErrorKind::ConnectionReset));
}

async fn full(world: World) {
    let options = ListenOptions { backlog_max: Some(2), ..Default::default() };
    let at = world.far.address(80);
    let listener = world.far.net().tcp_listen_with(at, options).await.expect("free");
    let first = world.near.connect(at).await.expect("room");
    let second = world.near.connect(at).await.expect("room");
    // Their handshakes are over on the other side too.
    world.settle().await;
    let mut third = world.near.connect(at).boxed();
    assert!(tokio::time::timeout(Duration::from_secs(2), &mut third).await.is_err());
    let counters = world.far.net().snapshot().await.expect("running").counters;
    assert!(counters.dropped(DropReason::BacklogFull) > 0);
    assert_eq!(counters.resets_sent, 0);

    let accepted = listener.accept().await.expect("a client");
    let third = third.await.expect("the SYN that was sent again found room");

    for _ in 0..2 {
        listener.accept().await.expect("a client");
    }
    drop((first, second, third, accepted));
}

async fn flood(world: World) {
    let (listener, address) = world.listen().await;
    let there = world.simulation();
    let answers = Arc::new(Mutex::new(std::collections::HashMap::<_, u32>::new()));
    let counted = answers.clone();
    // The answers to the sources, which do not exist.
    there.far.set_filter(move |direction, packet| {
        if direction == Direction::Outbound {
            let to = if packet[0] >> 4 == 4 { &packet[16..20] } else { &packet[24..40] };
            *counted.lock().expect("no panic").entry(to.to_vec()).or_default() += 1;
        }
        true
    });
    let own = world.near.address(0).ip();
    for number in 0..10_000u16 {
        let [high, low] = number.to_be_bytes();
        let source: IpAddr = match own {
            IpAddr::V4(_) => Ipv4Addr::new(10, 0, 0, 100 + low % 100).into(),
            IpAddr::V6(_) => Ipv6Addr::new(0xfd00, 0, 0, 0, 1, 0, high.into(), low.into()).into(),
        };
        // IPv4's network is small: there the ports differ.
        there.sim.inject(syn(SocketAddr::new(source, 1000 + number), address));
    }
    sleep(Duration::from_millis(10)).await;
    let flooded = world.far.net().snapshot().await.expect("running");
    assert!(flooded.sockets.len() <= 1 + 2048, "TcpConfig::half_open_per_listener_max");

    let start = Instant::now();
    let (client, accepted) = tokio::join!(world.near.connect(address), listener.accept());
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(
        accepted.expect("a client").1,
        client.expect("a listener").local_addr().expect("ok")
    );

    sleep(Duration::from_secs(75)).await;
    let after = world.far.net().snapshot().await.expect("running");
    let half_open =
        after.sockets.iter().filter(|socket| socket.state == Some(TcpState::SynReceived)).count();
    assert_eq!(half_open, 0, "half-open connections expire:\n{after}");
    let answers = answers.lock().expect("no panic");
    let per_source = if own.is_ipv4() { 100 } else { 1 };
    let most = answers.values().max().expect("some were answered");
    assert!(*most <= 7 * per_source, "{most} SYN|ACKs went to one source");
}

/// A SYN.
fn syn(from: SocketAddr, to: SocketAddr) -> Bytes {
    let segment = TcpRepr {
        src_port: from.port(),
        dst_port: to.port(),
        control: TcpControl::Syn,
        seq_number: TcpSeqNumber(1),
        ack_number: None,
        window_len: 1000,
        window_scale: None,
        max_seg_size: Some(1220),
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let (from, to) = (from.ip().into(), to.ip().into());
    let header = IpRepr::new(from, to, IpProtocol::Tcp, segment.buffer_len(), 64);
    let mut packet = vec![0; header.buffer_len()];
    let checksums = ChecksumCapabilities::default();
    header.emit(&mut packet[..], &checksums);
    let mut out = TcpPacket::new_unchecked(&mut packet[header.header_len()..]);
    segment.emit(&mut out, &from, &to, &checksums);
    packet.into()
}

async fn dropped_listener(world: World) {
    let (listener, address) = world.listen().await;
    let (client, accepted) = tokio::join!(world.near.connect(address), listener.accept());
    let (client, server) = (client.expect("a listener"), accepted.expect("a client").0);

    drop(listener);

    let again = world.near.connect(address).await.map(drop);
    assert_eq!(kind(again), Err(ErrorKind::ConnectionRefused));
    client.write_all(b"still here").await.expect("open");
    assert_eq!(server.read_up_to(10).await.expect("open"), b"still here");
}

async fn resets_unaccepted(world: World) {
    let (listener, address) = world.listen().await;
    let client = world.near.connect(address).await.expect("a listener");

    drop(listener);

    assert_eq!(kind(client.read(&mut [0]).await), Err(ErrorKind::ConnectionReset));
}

async fn dropped_accept(world: World) {
    let (listener, address) = world.listen().await;
    for _ in 0..20 {
        assert!(listener.accept().now_or_never().is_none());
        let mut accepting = listener.accept();
        assert!(futures::poll!(&mut accepting).is_pending());
        let client = world.near.connect(address).await.expect("a listener");
        drop(accepting);

        let (_server, peer) = listener.accept().await.expect("a client");

        assert_eq!(peer, client.local_addr().expect("connected"));
    }
}

async fn many_accept(world: World) {
    let (listener, address) = world.listen().await;
    let accepting = futures::future::join_all((0..8).map(|_| listener.accept()));
    let connecting = async {
        let mut clients = Vec::new();
        for _ in 0..8 {
            clients.push(world.near.connect(address).await.expect("a listener"));
        }
        clients
    };

    let (accepted, clients) = tokio::join!(accepting, connecting);

    let mut peers: Vec<_> = accepted.into_iter().map(|one| one.expect("a client").1).collect();
    let mut expected: Vec<_> =
        clients.iter().map(|client| client.local_addr().expect("connected")).collect();
    peers.sort();
    expected.sort();
    assert_eq!(peers, expected);
}

async fn stopped(world: World) {
    let (listener, _) = world.listen().await;
    let mut accepting = listener.accept();
    assert!(futures::poll!(&mut accepting).is_pending());

    world.far.stop();

    let accepted = accepting.await.map(drop);
    assert_eq!(kind(accepted), Err(ErrorKind::BrokenPipe));
    let later = listener.accept().await.map(drop);
    assert_eq!(kind(later), Err(ErrorKind::BrokenPipe));
}
