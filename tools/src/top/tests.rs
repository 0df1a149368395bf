//! The screen, as a terminal shows it.

use super::draw;
use super::keys::{Action, action};
use super::model::{Model, Sample};
use crate::client::reading::{Order, Reading};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use serde_json::json;
use std::time::{Duration, Instant};

#[test]
fn rates_and_limits_are_listed_the_fastest_first() {
    let mut model = two_readings();

    let screen = screen(&mut model, 120, 10);

    assert!(
        screen[0].starts_with("httpd (pid 7), 10.0 s old: 3 connections, 4 sockets"),
        "{screen:#?}"
    );
    assert!(screen[1].starts_with("out 8.80 Mbit/s (100 frames/s), in 880 kbit/s"), "{screen:#?}");
    assert!(screen[1].contains("the stack works 25.0 %, the process 50.0 %"), "{screen:#?}");
    assert_eq!(screen[2], "drops: bad checksum 4.0/s");
    let words = |line: usize| screen[line].split_whitespace().collect::<Vec<_>>();
    assert_eq!(words(3), ["Id", "Peer", "State", "Out↓", "In", "RTT", "Again/s", "Limit", "Age"]);
    assert_eq!(words(4)[..6], ["2v1", "10.9.0.1:5002", "ESTAB", "8.00", "Mbit/s", "800"]);
    assert_eq!(words(5)[..5], ["1v1", "10.9.0.1:5001", "ESTAB", "800", "kbit/s"]);
    assert!(screen[5].contains("5.0") && screen[5].contains("congestion-window"), "{screen:#?}");
    assert!(screen[6].contains("3v1") && screen[6].contains("idle"), "{screen:#?}");
    assert!(screen[9].contains("q end"), "{screen:#?}");
}

#[test]
fn keys_sort_reverse_select_and_open() {
    let mut model = two_readings();
    let first = |model: &mut Model| {
        let line = screen(model, 120, 10).swap_remove(4);
        line.split_whitespace().next().map(str::to_owned).unwrap_or_default()
    };

    assert_eq!(first(&mut model), "2v1");
    press(&mut model, KeyCode::Char('a'));
    assert_eq!((first(&mut model), model.order().0), ("1v1".into(), Order::Again));
    press(&mut model, KeyCode::Char('R'));
    assert_eq!(first(&mut model), "3v1");
    press(&mut model, KeyCode::End);
    assert_eq!(model.selected(), 2);
    press(&mut model, KeyCode::Enter);
    let opened = screen(&mut model, 120, 24).join("\n");
    assert!(opened.contains("round trip") && opened.contains("congestion window"), "{opened}");
    press(&mut model, KeyCode::Esc);
    assert_eq!(model.opened(), None);
    let end = Event::Key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
    assert_eq!(action(&end), Some(Action::End));
}

#[test]
fn an_opened_connection_has_charts_and_its_reason() {
    let mut model = two_readings();
    press(&mut model, KeyCode::Enter);
    let mut next = sample(2.0, 3_000_000);
    next.opened = Some(Box::new(socket()));
    model.update(next);

    let shown = screen(&mut model, 100, 30).join(" ");

    assert!(shown.contains("2v1 from 10.9.0.2:80 to 10.9.0.1:5002"), "{shown}");
    assert!(shown.contains("limited by the peer's window"), "{shown}");
    assert!(shown.contains("16.0 Mbit/s, at most 16.0 Mbit/s") && shown.contains('█'), "{shown}");

    let mut last = sample(3.0, 0);
    last.reading.flows.clear();
    last.reading.skipped = 7;
    model.update(last);
    assert!(screen(&mut model, 100, 30).join("\n").contains("2v1 has ended."));
    press(&mut model, KeyCode::Esc);
    let drops = screen(&mut model, 120, 10).swap_remove(2);
    assert!(drops.ends_with("later version: 7 parts of its answers were skipped"), "{drops}");
}

#[test]
fn a_thousand_connections_and_a_small_screen_fit() {
    let mut all = sample(0.0, 0);
    let flow = all.reading.flows[0].clone();
    all.reading.flows = (1..=1000)
        .map(|n| {
            let mut flow = flow.clone();
            flow.id = format!("{n}v1").parse().expect("an id");
            flow
        })
        .collect();
    let mut model = Model::new(all);

    press(&mut model, KeyCode::End);
    let bottom = screen(&mut model, 60, 8);
    assert!(bottom[6].starts_with("1000v1"), "{bottom:#?}");
    press(&mut model, KeyCode::Home);
    assert!(screen(&mut model, 60, 8)[4].starts_with("1v1"));
    for (width, height) in [(1, 1), (10, 3), (3, 40)] {
        screen(&mut model, width, height);
    }
}

fn press(model: &mut Model, code: KeyCode) {
    let event = Event::Key(KeyEvent::new(code, KeyModifiers::NONE));
    model.act(action(&event).expect("a key with a meaning"));
}

/// The lines of the screen, without spaces at their ends.
fn screen(model: &mut Model, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("no device");
    terminal.draw(|frame| draw(frame, model)).expect("no device");
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| line(y).trim_end().to_owned()).collect()
}

fn two_readings() -> Model {
    let mut model = Model::new(sample(0.0, 0));
    model.update(sample(1.0, 1_000_000));
    model
}

/// A reading so many seconds after the first, when a connection has sent so many bytes.
fn sample(seconds: f64, sent: u64) -> Sample {
    let flow = |id: &str, port: u16, limit: &str, sent: u64, again: u64| {
        json!({
            "id": id, "local": "10.9.0.2:80", "peer": format!("10.9.0.1:{port}"),
            "state": "established", "limit": limit, "age": 10_000_000, "rtt": 2_000,
            "bytes_sent": sent, "bytes_received": sent / 10, "total_retrans": again,
        })
    };
    let part = (seconds * 1e6) as u64;
    let value = |value| serde_json::from_value(value);
    // From a time of its own, so that the readings are so far apart.
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    let reading = Reading {
        at: *START + Duration::from_secs_f64(seconds),
        stack: value(json!({
            "process": "httpd", "pid": 7, "age": 10_000_000, "busy": part / 4,
            "process_time": part / 2,
        }))
        .expect("a process"),
        overview: serde_json::from_value(json!({
            "sockets": 4, "buffer_bytes": 2048,
            "counters": {
                "frames_sent": part / 10_000, "frames_received": part / 20_000,
                "drops": {"checksum": part / 250_000},
            },
        }))
        .expect("an overview"),
        flows: [
            flow("1v1", 5001, "congestion-window", sent / 10, part / 200_000),
            flow("2v1", 5002, "peer-window", sent, 0),
            flow("3v1", 5003, "idle", 0, 0),
        ]
        .map(|flow| serde_json::from_value(flow).expect("a flow"))
        .into(),
        skipped: 0,
    };
    Sample { reading, opened: None }
}

fn socket() -> netstack::netsocket::netcore::SocketInfo {
    serde_json::from_value(json!({
        "id": "2v1", "kind": "tcp", "local": "10.9.0.2:80", "any_port": false,
        "peer": "10.9.0.1:5002", "state": "established", "receive_queue": 0, "send_queue": 0,
        "waiting": "window", "timer": null,
        "tcp": {"state": "established", "age": 10_000_000, "limit": "peer-window",
                "limited": {"peer-window": 10_000_000}, "snd_cwnd": 14_600},
    }))
    .expect("a socket")
}
