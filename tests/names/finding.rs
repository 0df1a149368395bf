//! Lookups that succeed.

use super::server::{Answer, Asked, Server, addresses, alias, pointer, service, unknown};
use super::{SERVER, ask, pair, resolver, sockets_are};
use hickory_proto::rr::RecordType;
use netstack::netsocket::dns::Service;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().expect("an address")).collect()
}

fn zone(asked: &Asked) -> Answer {
    match (asked.name.as_str(), asked.kind) {
        ("web.test.", _) => addresses(asked, &["10.1.0.1", "10.1.0.2", "fd00:1::1"]),
        ("four.test.", _) => addresses(asked, &["10.1.0.4"]),
        ("alias.test.", _) => {
            let Answer::Records(mut found) = addresses(asked, &["10.1.0.4"]) else {
                unreachable!()
            };
            found.insert(0, alias("four.test."));
            Answer::Records(found)
        }
        ("lone.test.", _) => Answer::Records(vec![alias("four.test.")]),
        ("large.test.", RecordType::A) if !asked.over_tcp => Answer::Truncated,
        ("large.test.", RecordType::A) => {
            let many: Vec<String> = (0..200).map(|host| format!("10.2.0.{host}")).collect();
            addresses(asked, &many.iter().map(String::as_str).collect::<Vec<_>>())
        }
        ("1.0.1.10.in-addr.arpa.", RecordType::PTR) => Answer::Records(vec![pointer("web.test.")]),
        ("_chat._tcp.test.", RecordType::SRV) => Answer::Records(vec![
            service(20, 0, 7003, "last.test."),
            service(10, 1, 7002, "second.test."),
            service(10, 5, 7001, "first.test."),
        ]),
        _ => unknown(),
    }
}

#[tokio::test(start_paused = true)]
async fn records_of_each_kind() {
    let (near, far) = pair().await;
    let _server = Server::start(far.net(), SERVER, zone).await;
    let resolver = near.net().resolver();

    let web = resolver.lookup_ip("web.test").await.expect("known");
    assert_eq!(web, ips(&["fd00:1::1", "10.1.0.1", "10.1.0.2"]));
    let v4 = resolver.lookup_ipv4("WEB.test.").await.expect("known");
    assert_eq!(v4, [Ipv4Addr::new(10, 1, 0, 1), Ipv4Addr::new(10, 1, 0, 2)]);
    let v6 = resolver.lookup_ipv6("web.test").await.expect("known");
    assert_eq!(v6, [Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 1)]);
    for alias in ["alias.test", "lone.test"] {
        let found = resolver.lookup_ip(alias).await.expect("known");
        assert_eq!(found, ips(&["10.1.0.4"]), "{alias}");
    }
    let names = resolver.reverse(ips(&["10.1.0.1"])[0]).await.expect("known");
    assert_eq!(names, ["web.test"]);
    let services = resolver.service("_chat._tcp.test").await.expect("known");
    let service = |target: &str, port, priority, weight| Service {
        target: target.into(),
        port,
        priority,
        weight,
    };
    assert_eq!(
        services,
        [
            service("first.test", 7001, 10, 5),
            service("second.test", 7002, 10, 1),
            service("last.test", 7003, 20, 0)
        ]
    );
    sockets_are(&near, 0).await;
}

#[tokio::test(start_paused = true)]
async fn truncated_answer_is_queried_again_over_tcp() {
    let (near, far) = pair().await;
    let server = Server::start(far.net(), SERVER, zone).await;

    let many = near.net().resolver().lookup_ipv4("large.test").await.expect("known");

    assert_eq!(many.len(), 200);
    let over: Vec<bool> = server.asked().iter().map(|asked| asked.over_tcp).collect();
    assert_eq!(over, [false, true]);
    sockets_are(&near, 0).await;
}

#[tokio::test(start_paused = true)]
async fn answers_are_kept_and_addresses_and_localhost_need_none() {
    let (near, far) = pair().await;
    let server = Server::start(far.net(), SERVER, zone).await;
    let resolver = near.net().resolver();

    for _ in 0..3 {
        resolver.lookup_ip("web.test").await.expect("known");
        near.net().clone().resolver().lookup_ip("web.test").await.expect("known");
    }
    assert_eq!(server.asked().len(), 2, "one question for each family");

    for text in ["10.1.2.3", "fd00:1::2"] {
        assert_eq!(resolver.lookup_ip(text).await.expect("an address"), ips(&[text]));
    }
    ask(&near, &[], &[]).await;
    for name in ["localhost", "LocalHost.", "www.localhost"] {
        let found = resolver.lookup_ip(name).await.expect("the stack itself");
        assert_eq!(found, ips(&["::1", "127.0.0.1"]), "{name}");
    }
    assert_eq!(resolver.lookup_ipv4("localhost").await.expect("itself"), [Ipv4Addr::LOCALHOST]);
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn short_names_are_completed_and_families_are_of_one_host() {
    let (near, far) = pair().await;
    let server = Server::start(far.net(), SERVER, |asked| match asked.name.as_str() {
        "www.a.test." => addresses(asked, &["10.1.0.1"]),
        "www.b.test." => addresses(asked, &["fd00:1::1", "10.1.0.2"]),
        "db.b.test." => addresses(asked, &["10.1.0.3"]),
        "x.y." => addresses(asked, &["10.1.0.4"]),
        _ => unknown(),
    })
    .await;
    ask(&near, &["10.0.0.2"], &["a.test", "b.test"]).await;
    let net = near.net();

    for (name, expected) in [("www", "10.1.0.1"), ("db", "10.1.0.3"), ("x.y", "10.1.0.4")] {
        assert_eq!(
            net.resolver().lookup_ip(name).await.expect("known"),
            ips(&[expected]),
            "{name}"
        );
    }
    // With a dot, it is tried unchanged first.
    assert!(!server.questions().iter().any(|(name, _)| name == "x.y.a.test."));
    net.resolver().lookup_ip("www.").await.expect_err("a name that is complete");
    let two_dots = resolver(&near, &[SERVER], |config| {
        (config.ndots, config.search_domains) = (2, vec!["a.test".into()]);
    });
    two_dots.lookup_ip("x.y").await.expect("known");
    assert!(server.questions().iter().any(|(name, _)| name == "x.y.a.test."));
}

#[tokio::test(start_paused = true)]
async fn other_servers_are_asked_once_the_stack_has_others() {
    let (near, far) = pair().await;
    let _old = Server::start(far.net(), SERVER, |asked| addresses(asked, &["10.1.0.1"])).await;
    let _new =
        Server::start(far.net(), "[fd00::2]:53", |asked| addresses(asked, &["10.1.0.2"])).await;
    let resolver = near.net().resolver().clone();

    assert_eq!(resolver.lookup_ip("web.test").await.expect("known"), ips(&["10.1.0.1"]));
    ask(&near, &["fd00::2"], &[]).await;
    assert_eq!(resolver.lookup_ip("web.test").await.expect("known"), ips(&["10.1.0.2"]));
    assert_eq!(resolver.config().servers, ["[fd00::2]:53".parse().expect("an address")]);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_lookups_leave_nothing_and_cannot_be_predicted() {
    let (near, far) = pair().await;
    let server = Server::start(far.net(), SERVER, |asked| addresses(asked, &["10.1.0.1"])).await;
    let net = near.net();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();

    for round in 0..20 {
        let lookups = (0..50).map(|index| async move {
            net.resolver().lookup_ipv4(&format!("host{index}.round{round}.test")).await
        });
        for found in futures::future::join_all(lookups).await {
            assert_eq!(found.expect("known"), [Ipv4Addr::new(10, 1, 0, 1)]);
        }
    }

    sockets_are(&near, 0).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(tasks(), before);
    let asked = server.asked();
    let ids: HashSet<u16> = asked.iter().map(|asked| asked.id).collect();
    let ports: HashSet<u16> = asked.iter().map(|asked| asked.from.port()).collect();
    // Of 1,000 draws from 65,536 some are the same; of the ephemeral ports a few more.
    assert!(ids.len() > 950 && ports.len() > 900, "{} {}", ids.len(), ports.len());
    let steps = asked.windows(2).filter(|two| {
        two[0].from.port().abs_diff(two[1].from.port()) < 16 || two[0].id.abs_diff(two[1].id) < 16
    });
    assert!(steps.count() < 50, "neighbours are rare");
}

#[tokio::test(start_paused = true)]
async fn the_cache_keeps_no_more_than_its_maximum() {
    let (near, far) = pair().await;
    let server = Server::start(far.net(), SERVER, |asked| addresses(asked, &["10.1.0.1"])).await;
    let names: Vec<String> = (0..1000).map(|index| format!("host{index}.test")).collect();
    let asked_twice = async |kept: u64| {
        let resolver = resolver(&near, &[SERVER], |config| config.cache_entries_max = kept);
        let before = server.asked().len();
        for name in names.iter().chain(&names) {
            resolver.lookup_ipv4(name).await.expect("known");
        }
        server.asked().len() - before - names.len()
    };

    assert_eq!(asked_twice(0).await, 1000);
    assert_eq!(asked_twice(2000).await, 0);
    // New entries may briefly be kept in addition, until the cache is trimmed.
    let few = asked_twice(10).await;
    assert!((500..=1000).contains(&few), "{few} of 1000 were asked for again");
}
