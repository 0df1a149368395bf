//! The line of `-i`, in the words of ss(8), and what has limited the connection.

use super::table::share;
use netstack::netsocket::{CaState, TcpInfo};
use std::fmt::Write;
use std::time::Duration;

/// All that is known of a connection, in a line.
pub(super) fn text(info: &TcpInfo) -> String {
    let mut text = Words::default();
    text.properties(info);
    text.times(info);
    text.path(info);
    text.totals(info);
    text.rates(info);
    text.queues(info);
    text.limits(info);
    text.0
}

/// In milliseconds, without more digits than there are.
pub(super) fn millis(time: Duration) -> String {
    let text = format!("{:.3}", time.as_secs_f64() * 1e3);
    text.trim_end_matches('0').trim_end_matches('.').to_owned() + "ms"
}

#[derive(Default)]
struct Words(String);

impl Words {
    fn word(&mut self, word: impl std::fmt::Display) {
        let separator = if self.0.is_empty() { "" } else { " " };
        let _ = write!(self.0, "{separator}{word}");
    }

    /// A word that is left out for zero.
    fn count(&mut self, name: &str, count: u64) {
        if count > 0 {
            self.word(format_args!("{name}:{count}"));
        }
    }

    fn properties(&mut self, info: &TcpInfo) {
        for (is_on, name) in [(info.timestamps, "ts"), (info.sack, "sack"), (info.ecn, "ecn")] {
            if is_on {
                self.word(name);
            }
        }
        self.word(&info.congestion_control);
        if !info.congestion_state.is_empty() {
            self.word(format_args!("{}:{}", info.congestion_control, info.congestion_state));
        }
        if let (Some(snd), Some(rcv)) = (info.snd_wscale, info.rcv_wscale) {
            self.word(format_args!("wscale:{snd},{rcv}"));
        }
        match info.ca_state {
            CaState::Open => {}
            CaState::Disorder => self.word("disorder"),
            CaState::Recovery => self.word("recovery"),
            _ => self.word("loss"),
        }
    }

    fn times(&mut self, info: &TcpInfo) {
        let number = |time: Duration| millis(time).trim_end_matches("ms").to_owned();
        self.word(format_args!("rto:{}", number(info.rto)));
        if let (Some(rtt), Some(variance)) = (info.rtt, info.rttvar) {
            self.word(format_args!("rtt:{}/{}", number(rtt), number(variance)));
        }
        if let Some(rtt) = info.min_rtt {
            self.word(format_args!("minrtt:{}", number(rtt)));
        }
        for (name, time) in [
            ("lastsnd", info.last_data_sent),
            ("lastrcv", info.last_data_recv),
            ("lastack", info.last_ack_recv),
        ] {
            if let Some(time) = time {
                self.word(format_args!("{name}:{}", time.as_millis()));
            }
        }
    }

    fn path(&mut self, info: &TcpInfo) {
        let mss = u64::from(info.snd_mss.max(1));
        self.word(format_args!("mss:{} pmtu:{}", info.snd_mss, info.pmtu));
        self.count("rcvmss", info.rcv_mss.into());
        self.word(format_args!("advmss:{} cwnd:{}", info.advmss, info.snd_cwnd.div_ceil(mss)));
        if let Some(threshold) = info.snd_ssthresh {
            self.word(format_args!("ssthresh:{}", threshold.div_ceil(mss)));
        }
    }

    fn totals(&mut self, info: &TcpInfo) {
        for (name, count) in [
            ("bytes_sent", info.bytes_sent),
            ("bytes_retrans", info.bytes_retrans),
            ("bytes_acked", info.bytes_acked),
            ("bytes_received", info.bytes_received),
            ("segs_out", info.segs_out),
            ("segs_in", info.segs_in),
            ("data_segs_out", info.data_segs_out),
            ("data_segs_in", info.data_segs_in),
        ] {
            self.count(name, count);
        }
        if info.total_retrans > 0 {
            let mss = u64::from(info.snd_mss.max(1));
            let now = info.retrans.div_ceil(mss);
            self.word(format_args!("retrans:{now}/{}", info.total_retrans));
        }
        for (name, count) in [
            ("spurious", info.spurious_retrans),
            ("dsack_dups", info.dsack_dups),
            ("reord_seen", info.reord_seen),
            ("rcv_ooopack", info.rcv_ooopack),
            ("rto_total", info.total_rto),
            ("backoff", info.retransmits.into()),
            ("probes", info.probes.into()),
        ] {
            self.count(name, count);
        }
    }

    fn rates(&mut self, info: &TcpInfo) {
        if let Some(rtt) = info.rtt.filter(|rtt| !rtt.is_zero()) {
            let rate = info.snd_cwnd as f64 / rtt.as_secs_f64();
            self.word(format_args!("send {}", bits(rate as u64)));
        }
        if let Some(rate) = info.pacing_rate {
            self.word(format_args!("pacing_rate {}", bits(rate)));
        }
        if let Some(rate) = info.delivery_rate {
            self.word(format_args!("delivery_rate {}", bits(rate)));
            if info.delivery_rate_app_limited {
                self.word("app_limited");
            }
        }
    }

    fn queues(&mut self, info: &TcpInfo) {
        for (name, count) in [
            ("in_flight", info.in_flight),
            ("unacked", info.unacked),
            ("sacked", info.sacked),
            ("lost", info.lost),
            ("notsent", info.notsent_bytes),
            ("unread", info.unread_bytes),
            ("behind_gap", info.out_of_order_bytes),
        ] {
            self.count(name, count);
        }
        self.word(format_args!("snd_wnd:{} rcv_wnd:{}", info.snd_wnd, info.rcv_wnd));
        self.word(format_args!("snd_buf:{} rcv_buf:{}", info.snd_buf, info.rcv_buf));
    }

    /// What limits it now, and every limit with its time and its part of the connection's life.
    fn limits(&mut self, info: &TcpInfo) {
        self.word(format_args!("age:{} limit:{}", info.age.as_millis(), info.limit.name()));
        let mut times: Vec<_> = info.limited.iter().filter(|(_, time)| !time.is_zero()).collect();
        times.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
        for (limit, time) in times {
            let (time, share) = (time.as_millis(), share(time, info.age));
            self.word(format_args!("{}_limited:{time}ms({share})", limit.name()));
        }
    }
}

/// Bits a second, of bytes a second.
fn bits(bytes: u64) -> String {
    let bits = bytes.saturating_mul(8) as f64;
    match bits {
        ..1e3 => format!("{bits:.0}bps"),
        ..1e6 => format!("{:.1}Kbps", bits / 1e3),
        ..1e9 => format!("{:.1}Mbps", bits / 1e6),
        _ => format!("{:.2}Gbps", bits / 1e9),
    }
}
