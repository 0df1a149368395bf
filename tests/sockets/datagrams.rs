//! UDP, ping and raw sockets on running stacks.

use super::{all_is_gone, pair};
use netstack::netsocket::{Route, Version};
use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn short_buffers_cut_a_datagram_and_not_the_next() {
    let (near, far) = pair();
    let sender = near.net().udp_bind("[::]:0").await.expect("free");
    let receiver = far.net().udp_bind("0.0.0.0:9").await.expect("free");
    for datagram in [&b"a long one"[..], b"", b"short"] {
        sender.send_to(datagram, "10.0.0.2:9").await.expect("room");
    }

    let mut buffer = [0; 6];
    assert_eq!(receiver.recv_from(&mut buffer).await.expect("a datagram").0, 6);
    assert_eq!(&buffer, b"a long");
    assert_eq!(receiver.recv_from(&mut buffer).await.expect("an empty one").0, 0);
    assert_eq!(receiver.recv_from(&mut buffer).await.expect("a datagram").0, 5);
    assert_eq!(&buffer[..5], b"short");

    drop((sender, receiver));
    all_is_gone([&near, &far]).await;
}

#[tokio::test(start_paused = true)]
async fn sending_without_a_peer_fails() {
    let (near, _far) = pair();
    let socket = near.net().udp_bind("10.0.0.1:0").await.expect("free");

    assert_eq!(socket.send(b"x").await.map_err(|e| e.kind()).err(), Some(ErrorKind::NotConnected));
    assert_eq!(socket.peer_addr().map_err(|e| e.kind()).err(), Some(ErrorKind::NotConnected));
    let too_large = socket.send_to(&[0; 65_508], "10.0.0.2:9").await;
    assert_eq!(too_large.map_err(|e| e.kind()).err(), Some(ErrorKind::InvalidInput));
}

#[tokio::test(start_paused = true)]
async fn a_disconnected_socket_hears_all_peers_again() {
    let (near, far) = pair();
    let socket = near.net().udp_bind("10.0.0.1:9").await.expect("free");
    let other = far.net().udp_bind("10.0.0.2:0").await.expect("free");
    socket.connect("10.0.0.2:1").await.expect("a route");

    socket.disconnect().await.expect("running");

    assert_eq!(socket.peer_addr().map_err(|e| e.kind()).err(), Some(ErrorKind::NotConnected));
    other.send_to(b"x", "10.0.0.1:9").await.expect("room");
    let mut buffer = [0; 6];
    assert_eq!(socket.recv(&mut buffer).await.expect("a datagram"), 1);
    socket.disconnect().await.expect("as before");
}

#[tokio::test(start_paused = true)]
async fn a_fast_sender_waits_for_room() {
    let (near, far) = pair();
    let sender = near.net().udp_bind("10.0.0.1:0").await.expect("free");
    for _ in 0..5000 {
        sender.send_to(&[7; 1000], "10.0.0.2:9").await.or_else(refused).expect("room comes");
    }
    drop(sender);
    all_is_gone([&near, &far]).await;
    let sent = near.net().snapshot().await.expect("running").counters.frames_sent;
    assert_eq!(sent, 5000);
}

/// An unconnected socket reports no closed port, but to be sure.
fn refused(error: std::io::Error) -> std::io::Result<usize> {
    Err(error)
}

#[tokio::test(start_paused = true)]
async fn pings_to_an_unused_address_are_not_answered() {
    let (near, far) = pair();
    for target in ["10.0.0.2", "fd00::2"] {
        let socket = near.net().ping(target.parse().expect("an address")).await.expect("free");
        let (reply, _) = socket.ping(1, b"payload").await.expect("an answer");
        assert_eq!((reply.sequence, &reply.payload[..], reply.hop_limit), (1, &b"payload"[..], 64));
        assert_eq!(reply.from.to_string(), target);
    }
    let socket = near.net().ping("10.0.0.99".parse().expect("an address")).await.expect("free");
    let nothing = tokio::time::timeout(Duration::from_secs(60), socket.ping(1, b"")).await;
    assert!(nothing.is_err());
    drop(socket);
    all_is_gone([&near, &far]).await;
}

#[tokio::test(start_paused = true)]
async fn a_ping_comes_from_the_address_that_it_is_given() {
    let (near, far) = pair();
    let [own, others, target] = ["10.0.0.7", "10.0.0.8", "10.0.0.2"]
        .map(|text| text.parse::<IpAddr>().expect("an address"));
    let network = "10.0.0.7/24".parse().expect("a network");
    near.net().control().add_address(network).await.expect("free");
    let heard = far.net().raw(Version::V4, 1).await.expect("room");
    let socket = near.net().ping_from(own, target).await.expect("its own");

    let (reply, _) = socket.ping(1, b"payload").await.expect("an answer");

    assert_eq!((reply.from, &reply.payload[..]), (target, &b"payload"[..]));
    // The source in the header of the request (RFC 791 section 3.1).
    assert_eq!(heard.recv().await.expect("the request")[12..16], [10, 0, 0, 7]);
    let kind = |error: std::io::Error| error.kind();
    let foreign = near.net().ping_from(others, target).await;
    assert_eq!(foreign.map_err(kind).err(), Some(ErrorKind::AddrNotAvailable));
    let mixed = near.net().ping_from(own, "fd00::2".parse().expect("an address")).await;
    assert_eq!(mixed.map_err(kind).err(), Some(ErrorKind::InvalidInput));
    drop((socket, heard));
    all_is_gone([&near, &far]).await;
}

#[tokio::test(start_paused = true)]
async fn traffic_to_any_address_is_intercepted_and_answered() {
    let (near, far) = pair();
    for gateway in ["10.0.0.2", "fd00::2"] {
        let route = Route::default_via(gateway.parse().expect("an address"));
        near.net().control().add_route(route).await.expect("a route");
    }
    far.net().control().set_any_ip(true).await.expect("it runs");
    let udp = far.net().udp_intercept().await.expect("the first");
    let tcp = far.net().tcp_intercept_accept().await.expect("the first");
    let again = far.net().udp_intercept().await;
    assert_eq!(again.map_err(|e| e.kind()).err(), Some(ErrorKind::AddrInUse));

    for (any, dialled) in [("0.0.0.0:0", "192.0.2.7:443"), ("[::]:0", "[2001:db8::7]:53")] {
        let sender = near.net().udp_bind(any).await.expect("free");
        sender.connect(dialled).await.expect("somebody's");
        sender.send(b"hello").await.expect("room");
        let mut buffer = [0; 16];
        let (n, peer, local) = udp.recv_from_to(&mut buffer).await.expect("a datagram");
        assert_eq!(&buffer[..n], b"hello");
        let dialled: std::net::SocketAddr = dialled.parse().expect("an address");
        assert_eq!((local.ip().to_canonical(), local.port()), (dialled.ip(), dialled.port()));
        udp.send_from_to(b"there", local, peer).await.expect("room");
        assert_eq!(sender.recv(&mut buffer).await.expect("from the address it sent to"), 5);
        let nowhere = udp.send_to(b"x", peer).await;
        assert_eq!(nowhere.map_err(|e| e.kind()).err(), Some(ErrorKind::AddrNotAvailable));

        let (client, taken) = tokio::join!(near.net().tcp_connect(dialled), tcp.accept());
        let taken = taken.expect("a client").0.local_addr().expect("connected");
        assert_eq!((taken.ip().to_canonical(), taken.port()), (dialled.ip(), dialled.port()));
        client.expect("intercepted");
    }

    drop((udp, tcp));
    far.net().udp_intercept().await.expect("the ports are free again");
    all_is_gone([&near, &far]).await;
}
