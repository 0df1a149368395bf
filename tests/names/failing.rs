//! Lookups that fail.

use super::server::{Answer, Server, addresses, unknown};
use super::{NOBODY, SERVER, ask, pair, resolver, sockets_are};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::time::{Instant, timeout};

#[tokio::test(start_paused = true)]
async fn each_failure_has_its_kind_and_names_the_name() {
    let (near, far) = pair().await;
    let _server = Server::start(far.net(), SERVER, |asked| match asked.name.as_str() {
        "empty.test." => Answer::Records(Vec::new()),
        "broken.test." => Answer::Code(ResponseCode::ServFail),
        "refused.test." => Answer::Code(ResponseCode::Refused),
        "silent.test." => Answer::Silence,
        // An answer for one family is enough.
        "half.test." if asked.kind == RecordType::AAAA => Answer::Code(ResponseCode::ServFail),
        "half.test." => addresses(asked, &["10.1.0.1"]),
        _ => unknown(),
    })
    .await;
    let resolver = near.net().resolver();

    for (name, kind, text) in [
        ("none.test", ErrorKind::NotFound, "no such name"),
        ("empty.test", ErrorKind::NotFound, "no such record"),
        ("name.invalid", ErrorKind::NotFound, "no such name"),
        ("broken.test", ErrorKind::Other, "Server Failure"),
        ("refused.test", ErrorKind::Other, "Query Refused"),
        ("silent.test", ErrorKind::TimedOut, "in time"),
        ("a..b", ErrorKind::InvalidInput, ""),
        ("", ErrorKind::InvalidInput, ""),
    ] {
        let error = resolver.lookup_ip(name).await.expect_err(name);
        assert_eq!(error.kind(), kind, "{error}");
        let named = error.to_string();
        assert!(named.contains(name) && named.contains(text), "{named}");
    }
    assert_eq!(resolver.lookup_ip("half.test").await.expect("known").len(), 1);
    sockets_are(&near, 0).await;
}

#[tokio::test(start_paused = true)]
async fn silent_servers_fail_the_lookup_at_its_timeout() {
    let (near, far) = pair().await;
    let server = Server::start(far.net(), SERVER, |_| Answer::Silence).await;
    let resolver = resolver(&near, &[SERVER], |config| {
        (config.timeout, config.attempts) = (Duration::from_secs(1), 3);
    });

    let start = Instant::now();
    let error = resolver.lookup_ip("web.test").await.expect_err("silence");

    assert_eq!(error.kind(), ErrorKind::TimedOut);
    let took = start.elapsed();
    assert!(took > Duration::from_millis(2900) && took < Duration::from_millis(3100), "{took:?}");
    assert!(server.asked().len() >= 6);
    sockets_are(&near, 0).await;
}

#[tokio::test(start_paused = true)]
async fn lookup_without_a_name_server_fails_with_the_cause() {
    let (near, _far) = pair().await;
    ask(&near, &[], &[]).await;
    let error = near.net().resolver().lookup_ip("web.test").await.expect_err("no name server");
    assert_eq!(error.kind(), ErrorKind::NotConnected);
    assert_eq!(error.to_string(), "web.test: the stack has no name server");
}

#[tokio::test(start_paused = true)]
async fn of_two_servers_one_may_be_dead() {
    let (near, far) = pair().await;
    let _server = Server::start(far.net(), SERVER, |asked| addresses(asked, &["10.1.0.1"])).await;
    // The one is silent, and the other refuses.
    for dead in [format!("{NOBODY}:53"), "10.0.0.2:54".to_owned()] {
        let resolver = resolver(&near, &[&dead, SERVER], |_| {});
        for name in ["a.test", "b.test"] {
            let start = Instant::now();
            let found = resolver.lookup_ipv4(name).await.expect("known");
            assert_eq!(found, [Ipv4Addr::new(10, 1, 0, 1)]);
            assert!(start.elapsed() < Duration::from_secs(1));
        }
    }
    sockets_are(&near, 0).await;
}

#[tokio::test(start_paused = true)]
async fn silent_servers_are_queried_last_the_next_time() {
    let (near, far) = pair().await;
    let _server = Server::start(far.net(), SERVER, |asked| addresses(asked, &["10.1.0.1"])).await;
    let dead = [format!("{NOBODY}:53"), "10.0.0.98:53".to_owned()];
    let resolver = resolver(&near, &[&dead[0], &dead[1], SERVER], |config| config.attempts = 1);
    // It may take as long as two of them may be silent.
    let _ = resolver.lookup_ipv4("a.test").await;
    let start = Instant::now();
    resolver.lookup_ipv4("b.test").await.expect("known");
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn of_two_servers_one_may_know_nothing() {
    let (near, far) = pair().await;
    let other = "10.0.0.2:54";
    let _good = Server::start(far.net(), SERVER, |asked| addresses(asked, &["10.1.0.1"])).await;
    let bad = Server::start(far.net(), other, |asked| match asked.name.as_str() {
        "failing.test." => Answer::Code(ResponseCode::ServFail),
        "refused.test." => Answer::Code(ResponseCode::Refused),
        "strange.test." => Answer::Code(ResponseCode::Unknown(15)),
        _ => Answer::Garbage,
    })
    .await;
    for name in ["failing.test", "refused.test", "strange.test", "garbage.test"] {
        // With one attempt, the other server is queried in it; and whichever answers first.
        for servers in [[SERVER, other], [other, SERVER]] {
            let resolver = resolver(&near, &servers, |config| config.attempts = 1);
            let found = resolver.lookup_ipv4(name).await.expect(name);
            assert_eq!(found, [Ipv4Addr::new(10, 1, 0, 1)]);
        }
        assert!(bad.asked().last().is_some_and(|asked| asked.name == format!("{name}.")));
        // If it is the only server, its error is reported.
        let alone = resolver(&near, &[other], |_| {}).lookup_ipv4(name).await;
        let error = alone.expect_err("no server resolves it");
        assert!(error.to_string().starts_with(&format!("{name}: ")), "{error}");
        assert_ne!(error.kind(), ErrorKind::NotFound, "{error}");
    }
    sockets_are(&near, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_lookup_leaves_nothing() {
    let (near, far) = pair().await;
    let _server = Server::start(far.net(), SERVER, |asked| match asked.over_tcp {
        false if asked.name.starts_with("large") => Answer::Truncated,
        _ => Answer::Silence,
    })
    .await;
    let resolver = near.net().resolver();
    for name in ["silent.test", "large.test"] {
        let lookup = resolver.lookup_ip(name);
        timeout(Duration::from_millis(500), lookup).await.expect_err("silence");
        sockets_are(&near, 0).await;
    }
    // Another lookup of the same name keeps waiting.
    let first = timeout(Duration::from_millis(500), resolver.lookup_ip("silent.test"));
    let (first, second) = tokio::join!(first, resolver.lookup_ip("silent.test"));
    first.expect_err("dropped");
    assert_eq!(second.expect_err("silence").kind(), ErrorKind::TimedOut);
    sockets_are(&near, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_stopped_stack_ends_its_lookups() {
    let (near, far) = pair().await;
    let _server = Server::start(far.net(), SERVER, |_| Answer::Silence).await;
    let net = near.net().clone();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let asking = net.clone();
    let lookup = tokio::spawn(async move { asking.resolver().lookup_ip("silent.test").await });
    tokio::time::sleep(Duration::from_millis(100)).await;

    drop(near);

    let error = lookup.await.expect("no panic").expect_err("no stack");
    assert_eq!(error.kind(), ErrorKind::BrokenPipe, "{error}");
    let later = net.resolver().lookup_ip("silent.test").await.expect_err("no stack");
    assert_eq!(later.kind(), ErrorKind::BrokenPipe, "{later}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    // The stack itself is one less.
    assert!(tasks() < before, "{} of {before}", tasks());
}

#[tokio::test(start_paused = true)]
async fn forged_answers_are_ignored() {
    let (near, far) = pair().await;
    let socket = far.net().udp_bind(SERVER).await.expect("a free port");
    let stranger = far.net().udp_bind("10.0.0.2:0").await.expect("a free port");
    let server = tokio::spawn(async move {
        loop {
            let (question, from) = socket.recv_bytes_from().await.expect("running");
            let question = hickory_proto::op::Message::from_vec(&question).expect("a question");
            let answer = |host, change: fn(&mut hickory_proto::op::Message)| {
                let name = question.queries[0].name().clone();
                let data = hickory_proto::rr::RData::A(Ipv4Addr::new(10, 1, 0, host).into());
                let mut answer = question.clone().into_response();
                answer.add_answer(hickory_proto::rr::Record::from_rdata(name, 60, data));
                change(&mut answer);
                answer.to_vec().expect("small")
            };
            stranger.send_to(&answer(66, |_| {}), from).await.expect("running");
            let id = answer(67, |answer| answer.metadata.id ^= 1);
            let other = answer(68, |answer| {
                answer.queries[0].set_name(super::server::name("other.test."));
            });
            let honest = answer(1, |_| {});
            for packet in [&b""[..], b"x", &[0xff; 600], &id[..], &other[..], &honest[..]] {
                socket.send_to(packet, from).await.expect("running");
            }
        }
    });

    let found = near.net().resolver().lookup_ipv4("web.test").await.expect("known");

    assert_eq!(found, [Ipv4Addr::new(10, 1, 0, 1)]);
    server.abort();
}

#[test]
fn no_socket_of_the_kernel_is_used() {
    // Without an I/O driver, none of tokio's could be made.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime").block_on(async {
        let (near, far) = pair().await;
        let server = Server::start(far.net(), SERVER, |asked| match asked.over_tcp {
            false => Answer::Truncated,
            true => addresses(asked, &["10.1.0.1"]),
        })
        .await;
        let found = near.net().resolver().lookup_ipv4("web.test").await.expect("known");
        assert_eq!(found, [Ipv4Addr::new(10, 1, 0, 1)]);
        assert_eq!(server.asked().len(), 2);
    });
}
