//! Connections on which the program decides before their peers get an answer.

use super::{all_is_gone, pair};
use futures::FutureExt;
use netstack::netsocket::{ListenOptions, OnSyn, PendingListener, Refusal, Route};
use netstack::{Pair, Stack};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const DIALLED: &str = "192.0.2.7:443";

#[tokio::test(start_paused = true)]
async fn a_port_closed_upstream_is_closed_here() {
    let (near, far, listener) = intercepted().await;
    // The host behind the gateway, as far as the gateway knows.
    let upstream = |address: SocketAddr| match address.port() {
        443 => Ok(()),
        25 => Err(ErrorKind::ConnectionRefused),
        53 => Err(ErrorKind::TimedOut),
        _ => Err(ErrorKind::NetworkUnreachable),
    };
    let gateway = tokio::spawn(async move {
        while let Ok(pending) = listener.next().await {
            match upstream(pending.local_addr()) {
                Ok(()) => {
                    let mut stream = pending.accept().await.expect("the client waits");
                    let (mut reader, mut writer) = stream.split();
                    tokio::io::copy(&mut reader, &mut writer).await.expect("the client closes");
                }
                Err(kind) => pending.reject(Refusal::from(kind)).expect("the client waits"),
            }
        }
    });

    for (remote, expected) in [
        ("192.0.2.7:25", Err(ErrorKind::ConnectionRefused)),
        ("[2001:db8::7]:25", Err(ErrorKind::ConnectionRefused)),
        ("192.0.2.7:53", Err(ErrorKind::HostUnreachable)),
        ("[2001:db8::7]:80", Err(ErrorKind::NetworkUnreachable)),
        (DIALLED, Ok(())),
        ("[2001:db8::7]:443", Ok(())),
    ] {
        let connected = near.net().tcp_connect(remote).await.map_err(|error| error.kind());
        assert_eq!(connected.as_ref().map(|_| ()).map_err(|kind| *kind), expected, "{remote}");
        if let Ok(mut client) = connected {
            client.write_all(b"hello").await.expect("open");
            client.shutdown().await.expect("open");
            let mut echo = Vec::new();
            client.read_to_end(&mut echo).await.expect("open");
            assert_eq!(echo, b"hello");
        }
    }

    gateway.abort();
    let _ = gateway.await;
    all_is_gone([&near, &far]).await;
}

#[tokio::test(start_paused = true)]
async fn peer_gets_no_answer_before_the_program_decides() {
    let (near, far, listener) = intercepted().await;
    let mut dialling = Box::pin(near.net().tcp_connect(DIALLED));
    assert!((&mut dialling).now_or_never().is_none());
    let pending = listener.next().await.expect("it runs");
    let (peer, local) = (pending.peer_addr(), pending.local_addr());
    // The SYN is retransmitted meanwhile.
    let early = tokio::time::timeout(Duration::from_secs(10), &mut dialling).await;
    assert!(early.is_err(), "not answered yet");
    assert!(listener.next().now_or_never().is_none(), "it is the same attempt");

    let (dialled, accepted) = tokio::join!(dialling, pending.accept());

    let (dialled, accepted) = (dialled.expect("accepted"), accepted.expect("it waits"));
    assert_eq!(accepted.peer_addr().expect("open"), peer);
    assert_eq!(accepted.local_addr().expect("open"), local);
    assert_eq!((local.ip().to_canonical(), local.port()), ("192.0.2.7".parse().unwrap(), 443));
    assert_eq!(dialled.local_addr().expect("open").ip(), peer.ip().to_canonical());
    drop((dialled, accepted, listener));
    all_is_gone([&near, &far]).await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_attempt_is_refused() {
    let (near, far, listener) = intercepted().await;
    // Before it is taken, in the hands of the program, and while it is accepted.
    for step in ["taken", "held", "accepting"] {
        let dialling = near.net().tcp_connect(DIALLED);
        let dropping = async {
            match step {
                "taken" => {
                    let next = listener.next();
                    tokio::time::timeout(Duration::from_secs(1), next).await.map(drop)
                }
                "held" => {
                    let pending = listener.next().await.expect("it runs");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    drop(pending);
                    Ok(())
                }
                _ => {
                    let pending = listener.next().await.expect("it runs");
                    assert!(pending.accept().now_or_never().is_none());
                    Ok(())
                }
            }
        };
        let (dialled, dropped) = tokio::join!(dialling, dropping);
        let refused = dialled.map_err(|error| error.kind()).err();
        assert_eq!(refused, Some(ErrorKind::ConnectionRefused), "{step}");
        dropped.expect("an attempt came");
    }
    drop(listener);
    all_is_gone([&near, &far]).await;
}

#[tokio::test(start_paused = true)]
async fn an_ignored_attempt_comes_again() {
    let (near, far, listener) = intercepted().await;
    let dialling = near.net().tcp_connect(DIALLED);
    let deciding = async {
        listener.next().await.expect("it runs").ignore().expect("it waits");
        listener.next().await.expect("the SYN comes again").accept().await
    };

    let (dialled, accepted) = tokio::join!(dialling, deciding);

    drop((dialled.expect("accepted"), accepted.expect("it waits"), listener));
    all_is_gone([&near, &far]).await;
}

#[tokio::test(start_paused = true)]
async fn attempts_end_with_their_time_their_listener_and_their_stack() {
    let (near, far, listener) = intercepted().await;
    let dial = || {
        let net = near.net().clone();
        tokio::spawn(async move { net.tcp_connect(DIALLED).await.map(drop) })
    };
    let dialling = dial();
    let pending = listener.next().await.expect("it runs");
    let ended = tokio::time::timeout(Duration::from_secs(100), pending.ended()).await;
    assert_eq!(ended.expect("60 s").kind(), ErrorKind::TimedOut);
    assert_eq!(pending.refuse().map_err(|e| e.kind()), Err(ErrorKind::TimedOut));
    // The client still tries.
    let again = listener.next().await.expect("it runs");
    drop(listener);
    assert_eq!(again.ended().await.kind(), ErrorKind::ConnectionAborted);
    let accepted = again.accept().await.map_err(|error| error.kind()).err();
    assert_eq!(accepted, Some(ErrorKind::ConnectionAborted));
    let refused = dialling.await.expect("no panic").map_err(|error| error.kind());
    assert_eq!(refused, Err(ErrorKind::ConnectionRefused), "the listener is closed");

    let listener = far.net().tcp_intercept().await.expect("it is free again");
    let dialling = dial();
    let pending = listener.next().await.expect("it runs");
    drop(far);
    assert_eq!(pending.ended().await.kind(), ErrorKind::BrokenPipe);
    assert_eq!(pending.refuse().map_err(|e| e.kind()), Err(ErrorKind::BrokenPipe));
    assert_eq!(listener.next().await.map_err(|e| e.kind()).err(), Some(ErrorKind::BrokenPipe));
    dialling.abort();
}

#[tokio::test(start_paused = true)]
async fn any_listener_may_leave_the_decision_to_the_program() {
    let (near, far) = pair();
    let options = ListenOptions::default();
    let listener = far.net().tcp_listen_pending("10.0.0.2:80", options).await.expect("free");
    let holds = ListenOptions { on_syn: OnSyn::Hold, ..Default::default() };
    let wrong = far.net().tcp_listen_with("10.0.0.2:81", holds).await;
    assert_eq!(wrong.map_err(|error| error.kind()).err(), Some(ErrorKind::InvalidInput));

    let (dialled, accepted) = tokio::join!(near.net().tcp_connect("10.0.0.2:80"), async {
        listener.next().await.expect("it runs").accept().await
    });

    drop((dialled.expect("accepted"), accepted.expect("it waits"), listener));
    all_is_gone([&near, &far]).await;
}

#[tokio::test(start_paused = true)]
async fn sockets_for_every_port_are_shown_as_such() {
    let (near, far, listener) = intercepted().await;
    let udp = far.net().udp_intercept().await.expect("free");

    let text = far.net().snapshot().await.expect("it runs").to_string();

    let bound = |kind: &str| {
        let mut lines = text.lines().filter(|line| line.starts_with(kind));
        lines.next().and_then(|line| line.split_whitespace().nth(3)).map(str::to_owned)
    };
    assert_eq!((bound("tcp"), bound("udp")), (Some("*:*".into()), Some("*:*".into())), "{text}");
    drop((listener, udp));
    all_is_gone([&near, &far]).await;
}

#[test]
fn threads_decide_on_each_attempt() {
    let (near, far) = Pair::new().spawn_threads().expect("threads");
    let (near, far) = (near.net().blocking(), far.net().blocking());
    let route = Route::default_via("10.0.0.2".parse().expect("an address"));
    near.control().add_route(route).expect("a route");
    far.control().set_any_ip(true).expect("it runs");
    let listener = far.tcp_intercept().expect("free");
    listener.set_nonblocking(true).expect("it runs");
    assert_eq!(listener.next().map_err(|e| e.kind()).err(), Some(ErrorKind::WouldBlock));
    listener.set_nonblocking(false).expect("it runs");

    std::thread::scope(|scope| {
        let deciding = scope.spawn(|| {
            listener.next().expect("it runs").refuse().expect("it waits");
            listener.next().expect("it runs").reject(Refusal::HostUnreachable).expect("it waits");
            listener.next().expect("it runs").ignore().expect("it waits");
            listener.next().expect("the SYN comes again").accept().expect("it waits")
        });
        let dial = || near.tcp_connect(DIALLED).map_err(|error| error.kind());
        assert_eq!(dial().err(), Some(ErrorKind::ConnectionRefused));
        assert_eq!(dial().err(), Some(ErrorKind::HostUnreachable));
        let dialled = dial().expect("accepted");
        let accepted = deciding.join().expect("no panic");
        assert_eq!(
            accepted.peer_addr().expect("open").port(),
            dialled.local_addr().unwrap().port()
        );
    });
}

/// A stack whose default route leads to another, which intercepts everything.
async fn intercepted() -> (Stack, Stack, PendingListener) {
    let (near, far) = pair();
    for gateway in ["10.0.0.2", "fd00::2"] {
        let route = Route::default_via(gateway.parse().expect("an address"));
        near.net().control().add_route(route).await.expect("a route");
    }
    far.net().control().set_any_ip(true).await.expect("it runs");
    let listener = far.net().tcp_intercept().await.expect("the first");
    (near, far, listener)
}
