//! What is published, as JSON.

mod harness;

use harness::Pair;
use netcore::tcp::{Limit, TcpInfo};
use netcore::{Counters, DropReason, Overview};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;
use std::time::Duration;

#[test]
fn what_is_published_survives_json() {
    let mut pair = Pair::ethernet(netcore::Config::default());
    let (near, far, listener) = pair.connected();
    near.try_send(&[7; 100_000]).expect("credit");
    pair.advance(Duration::from_secs(3));

    let snapshot = pair.near.stack.snapshot();
    assert!(!snapshot.sockets.is_empty() && !snapshot.neighbours.is_empty());
    for socket in &snapshot.sockets {
        there_and_back(socket);
    }
    for socket in &pair.far.stack.snapshot().sockets {
        there_and_back(socket);
    }
    for neighbour in &snapshot.neighbours {
        there_and_back(neighbour);
    }
    there_and_back(&snapshot.counters);
    there_and_back(&*pair.near.stack.network());

    near.close();
    far.close();
    pair.call(harness::Side::Far, Some(listener), netcore::tcp::Command::Close).expect("it is");
}

#[test]
fn times_are_microseconds_and_names_are_words() {
    let mut pair = Pair::new();
    let (near, far, listener) = pair.connected();
    pair.advance(Duration::from_secs(2));

    let sockets = pair.near.stack.snapshot().sockets;
    let socket = serde_json::to_value(&sockets[0]).expect("JSON");

    assert_eq!(socket["kind"], json!("tcp"));
    assert_eq!(socket["state"], json!("established"));
    assert!(socket["id"].as_str().is_some_and(|id| id.contains('v')), "{socket}");
    assert_eq!(socket["tcp"]["age"], json!(2_000_000));
    assert_eq!(socket["tcp"]["limit"], json!("idle"));
    assert_eq!(socket["tcp"]["limited"]["idle"], json!(2_000_000));
    assert_eq!(socket["tcp"]["snd_ssthresh"], Value::Null);

    near.close();
    far.close();
    pair.call(harness::Side::Far, Some(listener), netcore::tcp::Command::Close).expect("it is");
}

#[test]
fn unknown_names_of_later_versions_are_skipped() {
    let info: TcpInfo = serde_json::from_value(json!({
        "rtt": 1500,
        "a_field_of_tomorrow": [1, 2],
        "limited": {"idle": 7, "a limit of tomorrow": 8},
    }))
    .expect("a TcpInfo");
    let counters: Counters = serde_json::from_value(json!({
        "frames_sent": 3,
        "drops": {"checksum": 4, "a reason of tomorrow": 5},
    }))
    .expect("counters");

    assert_eq!((info.rtt, info.segs_in), (Some(Duration::from_micros(1500)), 0));
    assert_eq!(info.limited[Limit::Idle], Duration::from_micros(7));
    assert_eq!((counters.frames_sent, counters.dropped(DropReason::Checksum)), (3, 4));
    assert_eq!(serde_json::from_value::<Overview>(json!({})).ok(), Some(Overview::default()));
}

#[test]
fn a_configuration_survives_json() {
    let mut config = netcore::Config::default();
    there_and_back(&config);

    config.tcp.congestion_control = netcore::tcp::congestion::CongestionControl::Bbr;
    config.tcp.connect_timeout = Duration::from_millis(1_500);
    config.tcp.mss_max = Some(1_220);
    config.ethernet.hardware_address = Some("02:00:00:00:00:07".parse().expect("an address"));
    config.entropy = netcore::Entropy::Seed(7);
    there_and_back(&config);
}

#[test]
fn a_configuration_has_defaults_and_refuses_misspellings() {
    let read = |value| serde_json::from_value::<netcore::Config>(value);

    let config = read(json!({
        "sockets_max": 10,
        "tcp": {"congestion_control": "reno", "connect_timeout": 2_000_000},
    }))
    .expect("a configuration");

    let mut expected = netcore::Config { sockets_max: 10, ..netcore::Config::default() };
    expected.tcp.congestion_control = netcore::tcp::congestion::CongestionControl::Reno;
    expected.tcp.connect_timeout = Duration::from_secs(2);
    assert_eq!(config, expected);
    for (wrong, names) in [
        (json!({"socket_max": 10}), "socket_max"),
        (json!({"tcp": {"congestion_control": "vegas"}}), "vegas"),
    ] {
        let error = read(wrong).expect_err(names);
        assert!(error.to_string().contains(names), "{error}");
    }
}

fn there_and_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let text = serde_json::to_string(value).expect("JSON");
    assert_eq!(&serde_json::from_str::<T>(&text).expect(&text), value);
}
