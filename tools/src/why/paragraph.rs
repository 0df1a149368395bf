//! The paragraph on a connection.

use super::advice::{advice, closing};
use crate::client::units::{bytes, rate, time};
use netstack::netsocket::netcore::{SocketInfo, TcpState};
use netstack::netsocket::{Limit, TcpInfo};
use std::cmp::Reverse;
use std::time::Duration;

/// The width of the lines.
const WIDTH: usize = 100;

/// What limits it now and has over its life, and what to change.
pub(super) fn text(socket: &SocketInfo) -> String {
    let Some(info) = socket.tcp.as_deref() else {
        return format!("{} is no connection: nothing limits it.\n", socket.id);
    };
    let mut sentences = vec![beginning(socket, info), now(info)];
    sentences.extend(closing(info.state));
    sentences.push(advice(info.limit, info));
    if let Some((cause, time)) = main_cause(info) {
        sentences.extend(life(info, cause, time));
        if cause != info.limit {
            sentences.push(advice(cause, info));
        }
    }
    sentences.push(numbers(info));
    wrap(&sentences.join(" "))
}

fn beginning(socket: &SocketInfo, info: &TcpInfo) -> String {
    let peer = socket.peer.map_or_else(String::new, |peer| format!(" to {peer}"));
    let state = info.state.name().to_ascii_lowercase();
    let state = if info.state == TcpState::Established { "established".into() } else { state };
    let made = socket.owner.as_ref().map_or_else(String::new, |owner| format!(" Made by {owner}."));
    format!("{} from {}{peer} is {} old, {state}.{made}", socket.id, socket.local, time(info.age))
}

fn now(info: &TcpInfo) -> String {
    match info.limit {
        Limit::Idle => "At present nothing limits it: it is idle.".into(),
        limit => format!("At present it is limited by {}.", noun(limit)),
    }
}

/// The limit that it has had for longest, other than idling.
fn main_cause(info: &TcpInfo) -> Option<(Limit, Duration)> {
    let busy = info.limited.iter().filter(|(limit, _)| *limit != Limit::Idle);
    busy.filter(|(_, time)| !time.is_zero()).max_by_key(|(_, time)| *time)
}

fn life(info: &TcpInfo, cause: Limit, longest: Duration) -> Option<String> {
    let mut others: Vec<_> = info
        .limited
        .iter()
        // A hundredth is worth no words.
        .filter(|(limit, time)| *limit != cause && *time >= info.age / 100)
        .map(|(limit, time)| (Reverse(time), limit))
        .collect();
    others.sort_by_key(|(time, _)| *time);
    let percent = |part: Duration| {
        let percent = 100.0 * part.as_secs_f64() / info.age.as_secs_f64().max(1e-9);
        format!("{percent:.0} %")
    };
    let others: Vec<_> = others
        .into_iter()
        .take(3)
        .map(|(Reverse(part), limit)| format!("{} {}", noun(limit), percent(part)))
        .collect();
    let rest = match others.is_empty() {
        true => String::new(),
        false => format!(", {}", others.join(", ")),
    };
    (!info.age.is_zero()).then(|| {
        let (part, noun) = (percent(longest), noun(cause));
        format!("Over its life {noun} has limited it for {} ({part}){rest}.", time(longest))
    })
}

fn numbers(info: &TcpInfo) -> String {
    let rtt = match (info.rtt, info.min_rtt) {
        (Some(rtt), Some(min)) => {
            format!("The round trip is {}, at least {}", time(rtt), time(min))
        }
        _ => "No round trip is known yet".into(),
    };
    let repeated = match info.total_retrans {
        0 => "no segment was sent again".into(),
        1 => "one segment was sent again".into(),
        n => format!("{n} segments were sent again"),
    };
    let delivered = match info.delivery_rate {
        Some(delivered) => format!(", at {} last", rate(delivered)),
        None => String::new(),
    };
    let (sent, received) = (bytes(info.bytes_sent), bytes(info.bytes_received));
    format!("{rtt}; {sent} sent{delivered}, {received} received; {repeated}.")
}

/// A limit in a sentence.
fn noun(limit: Limit) -> &'static str {
    match limit {
        Limit::Handshake => "the handshake",
        Limit::PeerWindow => "the peer's window",
        Limit::CongestionWindow => "the congestion window",
        Limit::Pacing => "pacing",
        Limit::SendBuffer => "the send buffer",
        Limit::Application => "the application, which writes too little",
        Limit::ReceiveBuffer => "the receive buffer, which the application does not read",
        Limit::Device => "the device",
        Limit::Neighbour => "the next hop",
        Limit::RetransmissionTimer => "a retransmission timer",
        _ => "idling",
    }
}

/// In lines.
fn wrap(text: &str) -> String {
    let (mut lines, mut line) = (String::new(), String::new());
    for word in text.split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines += &format!("{line}\n");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    lines + &line + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_limit_has_a_paragraph_with_its_cure() {
        for (limit, expected) in [
            ("handshake", "no answer to its SYN"),
            ("peer-window", "its application does not read"),
            ("congestion-window", "another congestion control"),
            ("pacing", "bbr"),
            ("send-buffer", "send_buffer_bytes"),
            ("application", "set_nodelay"),
            ("receive-buffer", "This program has to read"),
            ("device", "The link takes no more"),
            ("neighbour", "netstack neighbours"),
            ("retransmission-timer", "The path is interrupted"),
            ("idle", "All that was written"),
        ] {
            let text = text(&socket(limit, "established"));
            assert!(text.replace('\n', " ").contains(expected), "{limit}: {text}");
            assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        }
    }

    #[test]
    fn the_cause_of_its_life_is_named_beside_that_of_the_moment() {
        let mut socket = socket("idle", "close-wait");
        let info = socket.tcp.as_mut().expect("a connection");
        info.limited = serde_json::from_value(json!({"peer-window": 9_000_000, "idle": 1_000_000}))
            .expect("times");

        let text = text(&socket).replace('\n', " ");

        assert!(
            text.starts_with("17v3 from 10.9.0.2:80 to 10.9.0.1:5000 is 10.0 s old, close-wait.")
        );
        assert!(text.contains("At present nothing limits it: it is idle."), "{text}");
        assert!(text.contains("The peer has closed its half"), "{text}");
        let life = "Over its life the peer's window has limited it for 9.00 s (90 %), idling 10 %.";
        assert!(text.contains(life), "{text}");
        assert!(text.contains("its application does not read"), "{text}");
    }

    fn socket(limit: &str, state: &str) -> SocketInfo {
        serde_json::from_value(json!({
            "id": "17v3", "kind": "tcp", "local": "10.9.0.2:80", "any_port": false,
            "peer": "10.9.0.1:5000", "state": state, "receive_queue": 0, "send_queue": 0,
            "waiting": "data", "timer": null,
            "tcp": {
                "state": state, "age": 10_000_000, "limit": limit,
                "limited": { limit: 10_000_000 }, "rtt": 200, "min_rtt": 150, "snd_mss": 1460,
                "pacing_rate": 1_000_000,
            },
        }))
        .expect("a socket")
    }
}
