//! What to do about each limit.

use crate::client::units::{bytes, rate, time};
use netstack::netsocket::netcore::TcpState;
use netstack::netsocket::{Limit, TcpInfo};
use std::time::Duration;

/// Why the limit holds, and what to change.
pub(super) fn advice(limit: Limit, info: &TcpInfo) -> String {
    match limit {
        Limit::Handshake => {
            "There is no answer to its SYN or SYN|ACK yet: the peer is not there, a \
             filter drops the packets, or its backlog is full."
                .into()
        }
        Limit::PeerWindow => peer_window(info),
        Limit::CongestionWindow => congestion_window(info),
        Limit::Pacing => {
            let to = info.pacing_rate.map_or_else(String::new, |it| format!(" to {}", rate(it)));
            format!(
                "{} spreads its segments{to}, as the path has carried: that is as it should be, \
                 unless the path is known to carry more; cubic and reno do not pace, bbr does.",
                info.congestion_control
            )
        }
        Limit::SendBuffer => format!(
            "The send buffer of {} is full with what is in flight: it is smaller than rate times \
             round trip. Set a larger send_buffer_bytes, or none, so that it grows.",
            bytes(info.snd_buf)
        ),
        Limit::Application => "All that this program has written is in flight, or less than a \
             segment waits for an acknowledgement (Nagle). Write more and larger pieces without \
             waiting for answers, and call set_nodelay for small ones."
            .into(),
        Limit::ReceiveBuffer => format!(
            "{} wait to be read, of at most {}: this program does not read. This program has to \
             read faster, or in a task of its own.",
            bytes(info.unread_bytes),
            bytes(info.rcv_buf)
        ),
        Limit::Device => "The link takes no more at present, or other connections have their turn \
             first: netstack links shows whether it is up, netstack counters what is dropped."
            .into(),
        Limit::Neighbour => "The hardware address of the next hop is not known, or there is no \
             route: netstack neighbours and netstack routes show what is missing."
            .into(),
        Limit::RetransmissionTimer => retransmission(info),
        _ => idle(info),
    }
}

/// What a half-closed connection waits for.
pub(super) fn closing(state: TcpState) -> Option<String> {
    let text = match state {
        TcpState::CloseWait => {
            "The peer has closed its half, and this program has not: it has to close or shut down \
             the connection when it has read its end."
        }
        TcpState::FinWait2 => {
            "This program has closed its half, and the peer has not: the connection lasts until it \
             does, or a while if the handle is dropped."
        }
        TcpState::FinWait1 | TcpState::Closing | TcpState::LastAck => {
            "This program has closed its half, and the peer has not acknowledged that."
        }
        _ => return None,
    };
    Some(text.into())
}

fn peer_window(info: &TcpInfo) -> String {
    let mss = u64::from(info.snd_mss.max(1));
    let waiting = bytes(info.notsent_bytes);
    // Less than a segment is not sent into (RFC 9293 section 3.8.6.2.1).
    if info.snd_wnd < mss.max(info.in_flight) || info.probes > 0 {
        return format!(
            "{waiting} wait to be sent, and the peer's window is full: its application does not \
             read, or reads slower than this end sends. Look at the program at the other end."
        );
    }
    let most = match info.rtt.filter(|rtt| !rtt.is_zero()) {
        Some(rtt) => {
            let most = info.snd_wnd as f64 / rtt.as_secs_f64();
            format!(", which is {} at most with a round trip of {}", rate(most as u64), time(rtt))
        }
        None => String::new(),
    };
    let scale = match info.snd_wscale {
        Some(_) => "",
        None => " It has not agreed on window scaling, so that it cannot offer more than 64 KiB.",
    };
    format!(
        "{waiting} wait to be sent, and the peer offers a window of {}{most}: its receive buffer is \
         small, or its application does not read as fast. Give the other end a larger receive \
         buffer.{scale}",
        bytes(info.snd_wnd)
    )
}

fn congestion_window(info: &TcpInfo) -> String {
    let window = format!("{} lets {} be in flight", info.congestion_control, bytes(info.snd_cwnd));
    if info.bytes_lost == 0 {
        return format!(
            "{window}, and has seen no loss: it is still finding out what the path carries, or the \
             path is full. If that lasts, another congestion control (set_congestion_control) is \
             worth a try."
        );
    }
    let lost = 100.0 * info.bytes_lost as f64 / info.bytes_sent.max(1) as f64;
    format!(
        "{window}: the path has lost {} ({lost:.1} % of what was sent), which is taken for \
         congestion. Look for the loss on the path; if it is no congestion, another congestion \
         control (set_congestion_control, bbr) goes through it.",
        bytes(info.bytes_lost)
    )
}

fn retransmission(info: &TcpInfo) -> String {
    if info.retransmits == 0 && info.limit != Limit::RetransmissionTimer {
        return format!(
            "Timers have repaired losses {} times, since no later segment showed them: {} were lost. \
             Look for the loss on the path.",
            info.total_rto,
            bytes(info.bytes_lost)
        );
    }
    let heard = info.last_ack_recv.map_or_else(
        || "Nothing was ever heard from the peer".into(),
        |ago| format!("The peer was last heard {} ago", time(ago)),
    );
    let next = match info.timers.retransmission.or(info.timers.tail_loss_probe) {
        Some(left) => format!("; the next attempt is in {}", time(left)),
        None => String::new(),
    };
    let end = match info.timers.give_up {
        Some(left) => format!(", the connection fails in {}", time(left)),
        None => String::new(),
    };
    format!(
        "{heard}, {} are not acknowledged, and {} attempts have followed{next}{end}. The path is \
         interrupted, or the peer is gone: look whether it answers a ping; netstack kill ends the \
         connection now.",
        bytes(info.unacked),
        info.retransmits
    )
}

fn idle(info: &TcpInfo) -> String {
    const A_WHILE: Duration = Duration::from_secs(1);
    let text = "All that was written is acknowledged, and all that has come is read";
    match info.last_data_recv {
        Some(ago) if ago >= A_WHILE => {
            format!(
                "{text}: it waits for the peer, whose last data came {} ago, or for this program.",
                time(ago)
            )
        }
        Some(_) => format!("{text}: it goes as fast as the peer sends."),
        None => format!(
            "{text}: it waits for the peer, which has sent nothing yet, or for this program."
        ),
    }
}
