//! Servers that do not follow the standards.

use super::server::{Answer, Asked, Server, addresses, alias, unknown};
use super::{NOBODY, SERVER, ask, pair, resolver, sockets_are};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, RecordType};
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The address of each existing name.
const FOUND: [Ipv4Addr; 1] = [Ipv4Addr::new(10, 1, 0, 1)];

fn found(asked: &Asked) -> Answer {
    addresses(asked, &["10.1.0.1"])
}

fn records(asked: &Asked, ips: &[&str]) -> Vec<RData> {
    let Answer::Records(records) = addresses(asked, ips) else { unreachable!() };
    records
}

#[tokio::test(start_paused = true)]
async fn server_that_refuses_edns_is_queried_without() {
    let refusals: [fn() -> Answer; 10] = [
        || Answer::Code(ResponseCode::FormErr),
        || Answer::Code(ResponseCode::NotImp),
        || Answer::OldCode(ResponseCode::FormErr),
        || Answer::OldCode(ResponseCode::NotImp),
        || Answer::OldCode(ResponseCode::ServFail),
        || Answer::OldCode(ResponseCode::Refused),
        || Answer::Bare(ResponseCode::FormErr),
        || Answer::Bare(ResponseCode::NotImp),
        || Answer::Lame,
        || Answer::Garbage,
    ];
    for (index, refusal) in refusals.into_iter().enumerate() {
        let (near, far) = pair().await;
        let server = Server::start(far.net(), SERVER, move |asked| match asked.edns {
            true => refusal(),
            false => found(asked),
        })
        .await;
        // The lame server answers neither query.
        let is_lame = matches!(refusal(), Answer::Lame);
        let resolver = resolver(&near, &[SERVER], |config| config.attempts = 1);

        let start = Instant::now();
        let first = resolver.lookup_ipv4("a.test").await;
        assert!(start.elapsed() < Duration::from_millis(100), "{index}");
        if is_lame {
            let error = first.expect_err("it has no answer");
            assert!(error.to_string().contains("does not recurse"), "{error}");
            continue;
        }
        assert_eq!(first.expect("known"), FOUND, "{index}");
        assert_eq!(resolver.lookup_ipv4("b.test").await.expect("known"), FOUND);

        let edns: Vec<bool> = server.asked().iter().map(|asked| asked.edns).collect();
        assert_eq!(edns, [true, false, false], "it is remembered of {index}");
        sleep(Duration::from_secs(601)).await;
        resolver.lookup_ipv4("c.test").await.expect("known");
        assert_eq!(server.asked().len(), 5, "it is tried again");
        sockets_are(&near, 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn server_silent_to_edns_is_queried_without() {
    let (near, far) = pair().await;
    let server = Server::start(far.net(), SERVER, |asked| match asked.edns {
        true => Answer::Silence,
        false => found(asked),
    })
    .await;
    let resolver = near.net().resolver();

    let start = Instant::now();
    assert_eq!(resolver.lookup_ipv4("a.test").await.expect("known"), FOUND);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    let before = server.asked().len();
    let start = Instant::now();
    assert_eq!(resolver.lookup_ipv4("b.test").await.expect("known"), FOUND);

    assert!(start.elapsed() < Duration::from_millis(100), "{:?}", start.elapsed());
    assert_eq!(server.asked().len(), before + 1);
    sockets_are(&near, 0).await;
}

#[tokio::test(start_paused = true)]
async fn server_that_answers_edns_is_not_queried_without() {
    let (near, far) = pair().await;
    let server = Server::start(far.net(), SERVER, |asked| match asked.name.as_str() {
        "a.test." => found(asked),
        _ => unknown(),
    })
    .await;

    near.net().resolver().lookup_ipv4("a.test").await.expect("known");
    near.net().resolver().lookup_ipv4("b.test").await.expect_err("unknown");

    assert!(server.asked().iter().all(|asked| asked.edns));
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_error_with_and_without_edns_is_reported() {
    let (near, far) = pair().await;
    let server = Server::start(far.net(), SERVER, |_| Answer::Code(ResponseCode::FormErr)).await;
    let resolver = resolver(&near, &[SERVER], |config| config.attempts = 1);

    let error = resolver.lookup_ipv4("a.test").await.expect_err("it answers nothing");

    assert!(error.to_string().contains("Form"), "{error}");
    let edns: Vec<bool> = server.asked().iter().map(|asked| asked.edns).collect();
    assert_eq!(edns, [true, false]);
}

#[tokio::test(start_paused = true)]
async fn truncated_answer_is_used_if_tcp_fails() {
    for is_refused in [true, false] {
        let (near, far) = pair().await;
        let zone = |asked: &Asked| match (asked.name.as_str(), asked.over_tcp) {
            ("part.test.", false) => Answer::Part(records(asked, &["10.1.0.1"])),
            (_, true) => Answer::Silence,
            ("torn.test.", _) => Answer::Torn(records(asked, &["10.1.0.1"])),
            _ => Answer::Truncated,
        };
        let server = match is_refused {
            true => Server::start_without_tcp(far.net(), SERVER, zone).await,
            false => Server::start(far.net(), SERVER, zone).await,
        };
        let resolver = near.net().resolver();

        let start = Instant::now();
        assert_eq!(resolver.lookup_ipv4("part.test").await.expect("a part"), FOUND);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        // It is not kept, and there may be more the next time.
        let before = server.asked().len();
        assert_eq!(resolver.lookup_ipv4("part.test").await.expect("a part"), FOUND);
        assert!(server.asked().len() > before);
        let kind = match is_refused {
            true => ErrorKind::ConnectionRefused,
            false => ErrorKind::TimedOut,
        };
        for name in ["empty.test", "torn.test"] {
            let error = resolver.lookup_ipv4(name).await.expect_err("nothing that could be used");
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains("truncated, and over TCP"), "{error}");
        }
        sockets_are(&near, 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn truncated_answer_is_queried_at_the_next_server() {
    let (near, far) = pair().await;
    let other = "10.0.0.2:54";
    let _cut = Server::start_without_tcp(far.net(), SERVER, |asked| {
        Answer::Part(records(asked, &["10.1.0.9"]))
    })
    .await;
    let _whole = Server::start(far.net(), other, |asked| match asked.over_tcp {
        true => found(asked),
        false => Answer::Truncated,
    })
    .await;

    for servers in [[SERVER, other], [other, SERVER]] {
        let resolver = resolver(&near, &servers, |config| config.attempts = 1);
        assert_eq!(resolver.lookup_ipv4("a.test").await.expect("known"), FOUND);
    }
    sockets_are(&near, 0).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_over_tcp_has_to_be_to_the_question() {
    let (near, far) = pair().await;
    let _server = Server::start(far.net(), SERVER, |asked| match asked.over_tcp {
        true => Answer::Other,
        false => Answer::Truncated,
    })
    .await;

    let error = near.net().resolver().lookup_ipv4("a.test").await.expect_err("forged");

    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
}

#[tokio::test(start_paused = true)]
async fn one_of_two_questions_may_go_unanswered() {
    let (near, far) = pair().await;
    // A server that gets two queries at a time answers one.
    let last = Mutex::new(None::<Instant>);
    let _server = Server::start(far.net(), SERVER, move |asked| {
        let mut last = last.lock().expect("whole");
        let is_at_once = last.is_some_and(|last| last.elapsed() < Duration::from_millis(50));
        *last = Some(Instant::now());
        match is_at_once {
            true => Answer::Silence,
            false => addresses(asked, &["fd00:1::1", "10.1.0.1"]),
        }
    })
    .await;

    let start = Instant::now();
    let both = near.net().resolver().lookup_ip("web.test").await.expect("known");

    assert_eq!(both.len(), 2);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn one_family_waits_for_the_other_only_so_long() {
    let (near, far) = pair().await;
    let _server = Server::start(far.net(), SERVER, |asked| match asked.kind {
        RecordType::AAAA => Answer::Silence,
        _ => found(asked),
    })
    .await;
    let resolver = resolver(&near, &[SERVER], |config| {
        (config.timeout, config.attempts) = (Duration::from_secs(2), 3);
    });

    let start = Instant::now();
    let known = resolver.lookup_ip("web.test").await.expect("one family");

    assert_eq!(known, FOUND);
    assert!(start.elapsed() <= Duration::from_millis(2100), "{:?}", start.elapsed());
    // Without any partial answer, all attempts are made.
    let start = Instant::now();
    let error = resolver.lookup_ipv6("web.test").await.expect_err("silence");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(start.elapsed() > Duration::from_millis(5900), "{:?}", start.elapsed());
    sockets_are(&near, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_lame_server_leaves_the_question_to_the_next() {
    let (near, far) = pair().await;
    let other = "10.0.0.2:54";
    let lame = Server::start(far.net(), SERVER, |_| Answer::Lame).await;
    let _good = Server::start(far.net(), other, found).await;

    for servers in [[SERVER, other], [other, SERVER]] {
        let resolver = resolver(&near, &servers, |config| config.attempts = 1);
        assert_eq!(resolver.lookup_ipv4("a.test").await.expect("known"), FOUND);
    }

    assert!(!lame.asked().is_empty());
    sockets_are(&near, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_search_goes_on_after_a_failure_but_not_after_silence() {
    let (near, far) = pair().await;
    let server = Server::start(far.net(), SERVER, |asked| match asked.name.as_str() {
        "www.failing.test." => Answer::Code(ResponseCode::ServFail),
        "db.failing.test." => Answer::Code(ResponseCode::ServFail),
        "mail.failing.test." => Answer::Silence,
        "www.good.test." => found(asked),
        _ => unknown(),
    })
    .await;
    ask(&near, &["10.0.0.2"], &["empty.test", "failing.test", "good.test"]).await;
    let resolver = near.net().resolver();

    assert_eq!(resolver.lookup_ip("www").await.expect("known"), FOUND);
    assert_eq!(resolver.lookup_ipv4("www").await.expect("known"), FOUND);
    // A server failure outranks a negative answer.
    let error = resolver.lookup_ip("db").await.expect_err("unknown");
    assert!(error.to_string().contains("Server Failure"), "{error}");
    let error = resolver.lookup_ip("mail").await.expect_err("silence");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    let names = server.questions().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert!(names.contains(&"db.good.test.".into()) && names.contains(&"db.".into()));
    assert!(!names.contains(&"mail.good.test.".into()));
    sockets_are(&near, 0).await;
}

#[tokio::test(start_paused = true)]
async fn aliases_lead_so_far_and_no_farther() {
    let (near, far) = pair().await;
    let server = Server::start(far.net(), SERVER, |asked| {
        let next = |name: &str| Answer::Records(vec![alias(name)]);
        match asked.name.as_str() {
            "loop.test." => next("pool.test."),
            "pool.test." => next("loop.test."),
            "self.test." => next("self.test."),
            "both.test." => Answer::Records(vec![alias("there.test."), alias("both.test.")]),
            name => match name.strip_suffix(".chain.test.").and_then(|n| n.parse::<u32>().ok()) {
                Some(0) => found(asked),
                Some(n) => next(&format!("{}.chain.test.", n - 1)),
                None => unknown(),
            },
        }
    })
    .await;
    let resolver = near.net().resolver();

    assert_eq!(resolver.lookup_ipv4("5.chain.test").await.expect("known"), FOUND);
    for name in ["loop.test", "self.test", "both.test", "100.chain.test"] {
        let before = server.asked().len();
        let start = Instant::now();
        let error = resolver.lookup_ipv4(name).await.expect_err(name);
        assert!(error.to_string().starts_with(&format!("{name}: ")), "{error}");
        assert!(server.asked().len() - before <= 40, "{name}: {}", server.asked().len() - before);
        assert!(start.elapsed() < Duration::from_secs(1), "{name}");
    }
    sockets_are(&near, 0).await;
}

#[tokio::test(start_paused = true)]
async fn silent_server_is_queried_both_ways_then_the_next() {
    let (near, far) = pair().await;
    let dead = format!("{NOBODY}:53");
    let resolver = resolver(&near, &[&dead, SERVER], |config| config.attempts = 1);
    let server = Server::start(far.net(), SERVER, |asked| match asked.edns {
        true => Answer::Silence,
        false => found(asked),
    })
    .await;

    assert_eq!(resolver.lookup_ipv4("a.test").await.expect("known"), FOUND);

    assert!(server.asked().iter().any(|asked| !asked.edns));
    sockets_are(&near, 0).await;
}
