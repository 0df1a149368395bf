//! Names where an address is wanted.

use super::server::{Answer, Server, addresses, unknown};
use super::{NOBODY, SERVER, pair, sockets_are};
use futures::poll;
use hickory_proto::rr::RecordType;
use netstack::{Pair, Stack};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

async fn server(far: &Stack) -> Server {
    Server::start(far.net(), SERVER, |asked| match asked.name.as_str() {
        "web.test." => addresses(asked, &["10.0.0.2", "fd00::2"]),
        "four.test." => addresses(asked, &["10.0.0.2"]),
        "hole.test." => addresses(asked, &["fd00::99", "10.0.0.2"]),
        "holes.test." => addresses(asked, &["fd00::98", "fd00::99", NOBODY]),
        "slow.test." if asked.kind == RecordType::AAAA => Answer::Silence,
        "slow.test." => addresses(asked, &["10.0.0.2"]),
        "far.test." => addresses(asked, &["192.0.2.1", "2001:db8::1"]),
        _ => unknown(),
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn connections_are_made_by_name() {
    let (near, far) = pair().await;
    let _server = server(&far).await;
    let listener = far.net().tcp_listen("[::]:80").await.expect("a free port");
    let net = near.net();
    let v6: SocketAddr = "[fd00::2]:80".parse().expect("an address");
    let v4: SocketAddr = "10.0.0.2:80".parse().expect("an address");

    let host = String::from("web.test");
    for stream in [
        net.tcp_connect("web.test:80").await,
        net.tcp_connect(("web.test", 80)).await,
        net.tcp_connect((host.clone(), 80)).await,
        net.tcp_connect(format!("{host}:80")).await,
    ] {
        assert_eq!(stream.expect("a listener").peer_addr().expect("open"), v6);
    }
    let stream = net.tcp_connect("four.test:80").await.expect("a listener");
    assert_eq!(stream.peer_addr().expect("open"), v4);
    let refused = net.tcp_connect("four.test:81").await.expect_err("unused");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let refused = net.tcp_connect("web.test:81").await.expect_err("unused");
    assert_eq!(refused.to_string(), "10.0.0.2:81: connection refused by the peer");
    let unknown = net.tcp_connect("none.test:80").await.expect_err("no name");
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
    let away = net.tcp_connect("far.test:80").await.expect_err("no route");
    assert_eq!(away.kind(), ErrorKind::NetworkUnreachable);
    drop((stream, listener));
}

#[tokio::test(start_paused = true)]
async fn dead_address_costs_250_ms_and_leaves_no_socket() {
    let (near, far) = pair().await;
    let _server = server(&far).await;
    let listener = far.net().tcp_listen("[::]:80").await.expect("a free port");

    let net = near.net().clone();
    let patient = net.clone().with_attempt_delay(Duration::from_secs(2));
    let hole: SocketAddr = format!("{NOBODY}:80").parse().expect("an address");
    let open: SocketAddr = "10.0.0.2:80".parse().expect("an address");
    for (net, least) in [(&net, 250), (&patient, 2000)] {
        let start = Instant::now();
        let stream = net.tcp_connect("hole.test:80").await.expect("the other address");
        let took = start.elapsed().as_millis();
        assert!((least..least + 50).contains(&took), "{took} ms");
        assert_eq!(stream.peer_addr().expect("open"), open);

        let start = Instant::now();
        let given = net.tcp_connect(&[hole, open][..]).await.expect("the other address");
        let took = start.elapsed().as_millis();
        assert!((least..least + 50).contains(&took), "{took} ms");
        assert_eq!(given.peer_addr().expect("open"), open);
        sockets_are(&near, 2).await;
        stream.set_linger(Some(Duration::ZERO)).expect("open");
        given.set_linger(Some(Duration::ZERO)).expect("open");
        drop((stream, given));
        sockets_are(&near, 0).await;
    }
    // The answer for one family never arrives.
    let start = Instant::now();
    net.tcp_connect("slow.test:80").await.expect("a listener");
    let took = start.elapsed().as_millis();
    assert!((50..100).contains(&took), "{took} ms");
    // All of them are given up together.
    let holes = timeout(Duration::from_secs(1), net.tcp_connect("holes.test:80")).await;
    holes.expect_err("no host answers");
    tokio::time::sleep(Duration::from_secs(120)).await;
    sockets_are(&near, 0).await;
    drop(listener);
}

#[tokio::test(start_paused = true)]
async fn datagrams_go_to_names() {
    let (near, far) = pair().await;
    let _server = server(&far).await;
    let echo = far.net().udp_bind("[::]:7").await.expect("a free port");
    tokio::spawn(async move {
        while let Ok((datagram, from)) = echo.recv_bytes_from().await {
            let _ = echo.send_to(&datagram, from).await;
        }
    });
    for (local, peer) in [("0.0.0.0:0", "10.0.0.2:7"), ("[::]:0", "[fd00::2]:7")] {
        let peer: SocketAddr = peer.parse().expect("an address");
        let socket = near.net().udp_bind(local).await.expect("a free port");
        let mut buf = [0; 10];
        socket.send_to(b"one", "web.test:7").await.expect("sent");
        assert_eq!(socket.recv_from(&mut buf).await.expect("an echo"), (3, peer));
        socket.connect(("web.test", 7)).await.expect("known");
        assert_eq!(socket.peer_addr().expect("connected"), peer);
        socket.send(b"two").await.expect("sent");
        assert_eq!(socket.recv(&mut buf).await.expect("an echo"), 3);
    }
    let socket = near.net().udp_bind("localhost:0").await.expect("loopback");
    assert!(socket.local_addr().expect("bound").ip().is_loopback());
}

#[test]
fn threads_without_a_runtime_have_names_too() {
    let (near, far) = Pair::new().spawn_threads().expect("threads");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime");
    let _server = runtime.block_on(async {
        super::ask(&near, &["10.0.0.2"], &[]).await;
        server(&far).await
    });
    // The name server is a task.
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = std::thread::spawn(move || runtime.block_on(stopped));
    let listener = far.net().blocking().tcp_listen("[::]:80").expect("a free port");
    let echo = far.net().blocking().udp_bind("[::]:7").expect("a free port");
    let far_side = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().expect("a client");
            stream.write_all(b"hello").expect("a client");
        }
        let (n, from) = echo.recv_from(&mut [0; 10]).expect("a datagram");
        echo.send_to(&[b'x'; 10][..n], from).expect("sent");
    });
    let net = near.net().blocking();

    let given: [SocketAddr; 2] =
        [format!("{NOBODY}:80"), "10.0.0.2:80".into()].map(|at| at.parse().expect("an address"));
    for connected in [net.tcp_connect("hole.test:80"), net.tcp_connect(&given[..])] {
        let mut text = String::new();
        connected.expect("a listener").read_to_string(&mut text).expect("text");
        assert_eq!(text, "hello");
    }
    let socket = net.udp_bind("0.0.0.0:0").expect("a free port");
    socket.send_to(b"four", "web.test:7").expect("sent");
    assert_eq!(socket.recv(&mut [0; 10]).expect("an echo"), 4);
    let unknown = net.tcp_connect("none.test:80").expect_err("no name");
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
    let resolver = net.resolver();
    let both: [IpAddr; 2] = ["fd00::2", "10.0.0.2"].map(|ip| ip.parse().expect("an address"));
    assert_eq!(resolver.lookup_ip("web.test").expect("known"), both);
    assert_eq!(resolver.lookup_ipv4("web.test").expect("known"), both[1..]);
    assert_eq!(resolver.lookup_ipv6("web.test").expect("known"), both[..1]);
    for error in [
        resolver.lookup_ip("none.test").expect_err("no name"),
        resolver.reverse(both[0]).map(drop).expect_err("no name"),
        resolver.service("_chat._tcp.test").map(drop).expect_err("no service"),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
    assert_eq!(resolver.config().servers, [SERVER.parse().expect("an address")]);

    far_side.join().expect("no panic");
    drop(stop);
    let _ = serving.join().expect("no panic");
}

#[test]
fn request_to_an_ended_runtime_fails_without_panic() {
    let (near, far) = Pair::new().spawn_threads().expect("threads");
    let build =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build();
    let (lasting, ending) = (build().expect("a runtime"), build().expect("a runtime"));
    let asked = Arc::new(Notify::new());
    let heard = asked.clone();
    let _server = lasting.block_on(async {
        super::ask(&near, &["10.0.0.2"], &[]).await;
        let silent = move |_: &_| {
            heard.notify_one();
            Answer::Silence
        };
        Server::start(far.net(), SERVER, silent).await
    });
    let resolver = super::resolver(&near, &[SERVER], |config| {
        (config.timeout, config.attempts) = (Duration::from_millis(500), 1);
    });
    let first = resolver.clone();
    ending.spawn(async move { first.lookup_ipv4("web.test").await });
    let waited = lasting.block_on(async {
        asked.notified().await;
        let mut second = pin!(resolver.lookup_ipv4("web.test"));
        // From now on it waits for the answer to the first.
        assert!(poll!(&mut second).is_pending());
        ending.shutdown_background();
        second.await
    });

    let waited = waited.expect_err("silence");
    assert_eq!(waited.kind(), ErrorKind::TimedOut);
}
