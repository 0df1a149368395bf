//! UDP sockets that share a port, by SO_REUSEADDR or SO_REUSEPORT.

use crate::case::Backends::Both;
use crate::case::{Case, SYNC_AND_TOKIO, case};
use crate::sockets::{Udp, kind};
use crate::world::{Host, Reuse, World};
use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::SocketAddr;

pub(crate) const CASES: &[Case] = &[
    case!(79, "sockets share a port if both say so alike", SYNC_AND_TOKIO, Both, both_say_so),
    case!(79, "a shared port is free with its last socket", SYNC_AND_TOKIO, Both, freed),
    case!(80, "a peer's datagrams are its socket's", SYNC_AND_TOKIO, Both, connected),
    case!(80, "one on the address is before a wildcard", SYNC_AND_TOKIO, Both, precise),
    case!(81, "the last of those that share the address receives", SYNC_AND_TOKIO, Both, last),
    case!(81, "those that share the port divide the senders", SYNC_AND_TOKIO, Both, divided),
];

const NONE: Reuse = Reuse { address: false, port: false };
const ADDRESS: Reuse = Reuse { address: true, port: false };
const PORT: Reuse = Reuse { address: false, port: true };
const EACH: Reuse = Reuse { address: true, port: true };

async fn both_say_so(world: World) {
    for first in [NONE, ADDRESS, PORT, EACH] {
        for second in [NONE, ADDRESS, PORT, EACH] {
            let one = bind(&world.far, world.far.wildcard(0), first).await;
            let port = one.local_addr().expect("bound").port();
            let expected = if (first.address && second.address) || (first.port && second.port) {
                Ok(())
            } else {
                Err(ErrorKind::AddrInUse)
            };
            for at in [world.far.wildcard(port), world.far.address(port)] {
                let other = world.far.bind_shared(at, second).await;
                assert_eq!(kind(other.map(drop)), expected, "{first:?}, {second:?} at {at}");
            }
        }
    }
}

async fn freed(world: World) {
    let (first, second, address) = two(&world.far, ADDRESS).await;
    drop(first);
    assert_eq!(kind(world.far.bind_udp(address).await.map(drop)), Err(ErrorKind::AddrInUse));
    drop(second);
    world.far.bind_udp(address).await.expect("free again");
}

async fn connected(world: World) {
    let (own, others, address) = two(&world.far, ADDRESS).await;
    let peer = bind(&world.near, world.near.address(0), NONE).await;
    let stranger = bind(&world.near, world.near.address(0), NONE).await;
    own.connect(peer.local_addr().expect("bound")).await.expect("a route");

    stranger.send_to(b"stranger", address).await.expect("room");
    peer.send_to(b"peer", address).await.expect("room");

    assert_eq!(received(&own).await, b"peer");
    assert_eq!(received(&others).await, b"stranger");
    own.send(b"answer").await.expect("room");
    assert_eq!(received(&peer).await, b"answer");

    drop(own);
    peer.send_to(b"nobody's", address).await.expect("room");
    assert_eq!(received(&others).await, b"nobody's");
}

async fn precise(world: World) {
    let one = bind(&world.far, world.far.address(0), ADDRESS).await;
    let address = one.local_addr().expect("bound");
    let _all = bind(&world.far, world.far.wildcard(address.port()), ADDRESS).await;
    let sender = bind(&world.near, world.near.address(0), NONE).await;

    sender.send_to(b"one", address).await.expect("room");

    assert_eq!(received(&one).await, b"one");
}

async fn last(world: World) {
    let (first, second, address) = two(&world.far, ADDRESS).await;
    let sender = bind(&world.near, world.near.address(0), NONE).await;

    sender.send_to(b"second", address).await.expect("room");
    assert_eq!(received(&second).await, b"second");

    drop(second);
    sender.send_to(b"first", address).await.expect("room");
    assert_eq!(received(&first).await, b"first");
}

async fn divided(world: World) {
    const SENDERS: usize = 40;
    let first = bind(&world.far, world.far.address(0), PORT).await;
    let address = first.local_addr().expect("bound");
    let mut group = vec![first];
    for _ in 1..4 {
        group.push(bind(&world.far, address, PORT).await);
    }
    for _ in 0..SENDERS {
        let sender = bind(&world.near, world.near.address(0), NONE).await;
        for _ in 0..3 {
            sender.send_to(b"x", address).await.expect("room");
        }
    }

    let mut counts: HashMap<(usize, SocketAddr), usize> = HashMap::new();
    let mut all = 0;
    while all < 3 * SENDERS {
        for (at, socket) in group.iter().enumerate() {
            match socket.try_recv_from(&mut [0]) {
                Ok((_, from)) => *counts.entry((at, from)).or_default() += 1,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        all = counts.values().sum();
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    // All three of a sender came to one socket.
    assert!(counts.values().all(|count| count % 3 == 0), "{counts:?}");
    let used = (0..4).filter(|at| counts.keys().any(|(owner, _)| owner == at)).count();
    assert!(used >= 2, "{counts:?}");
}

async fn bind(host: &Host, at: SocketAddr, reuse: Reuse) -> Udp {
    host.bind_shared(at, reuse).await.expect("a free port")
}

/// Two on one port.
async fn two(host: &Host, reuse: Reuse) -> (Udp, Udp, SocketAddr) {
    let first = bind(host, host.address(0), reuse).await;
    let address = first.local_addr().expect("bound");
    (first, bind(host, address, reuse).await, address)
}

async fn received(socket: &Udp) -> Vec<u8> {
    let mut buf = [0; 100];
    let (n, _) = socket.recv_from(&mut buf).await.expect("a datagram");
    buf[..n].to_vec()
}
