//! `TCP_INFO`: the kernel's `struct tcp_info` (linux/tcp.h), filled with what the stack knows.

use crate::posix::{Phase, StreamSocket};
use netsocket::netcore::TcpState;
use netsocket::{CaState, TcpInfo};
use std::time::Duration;

/// The length of the structure up to `tcpi_snd_wnd`, in bytes.
const LEN: usize = 232;
/// What Linux says in place of "none" (`TCP_INFINITE_SSTHRESH`), and of an unknown round trip.
const NONE: u32 = 0x7fff_ffff;
/// The bits of `tcpi_options`.
const TIMESTAMPS: u8 = 1;
const SACK: u8 = 2;
const WINDOW_SCALE: u8 = 4;

/// The value of `TCP_INFO`, up to `tcpi_snd_wnd`: programs take as much of it as they know.
pub async fn tcp_info(socket: &StreamSocket) -> Vec<u8> {
    if let Some(stream) = socket.stream()
        && let Ok(info) = stream.info().await
    {
        return encode(&info);
    }
    of_state(match socket.phase() {
        Phase::Connecting => TcpState::SynSent,
        Phase::Listening => TcpState::Listen,
        _ => TcpState::Closed,
    })
}

/// That of a connection.
pub(crate) fn encode(info: &TcpInfo) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(LEN);
    let scale = info.snd_wscale.unwrap_or(0) & 0xf | info.rcv_wscale.unwrap_or(0) << 4;
    let options = [
        (info.timestamps, TIMESTAMPS),
        (info.sack, SACK),
        (info.snd_wscale.is_some(), WINDOW_SCALE),
    ];
    let options = options.iter().filter(|(is_agreed, _)| *is_agreed).map(|(_, bit)| bit).sum();
    bytes.extend([
        state(info.state),
        repair(info.ca_state),
        small(info.retransmits),
        small(info.probes),
        // tcpi_backoff
        small(info.retransmits),
        options,
        scale,
        u8::from(info.delivery_rate_app_limited),
    ]);
    // The counts are in segments there.
    let segments = |count: u64| count.div_ceil(u64::from(info.snd_mss.max(1)));
    words(&mut bytes, [micros(info.rto), 0, info.snd_mss, info.rcv_mss]);
    for count in [info.unacked, info.sacked, info.lost, info.retrans] {
        words(&mut bytes, [cut(segments(count))]);
    }
    let since = |time: Option<Duration>| time.map_or(0, |time| cut(time.as_millis() as u64));
    words(&mut bytes, [0, since(info.last_data_sent), 0, since(info.last_data_recv)]);
    words(&mut bytes, [since(info.last_ack_recv), info.pmtu, cut(info.rcv_wnd)]);
    let threshold = info.snd_ssthresh.map_or(NONE, |bytes| cut(segments(bytes)));
    let (rtt, rttvar) = (info.rtt.map_or(0, micros), info.rttvar.map_or(0, micros));
    words(&mut bytes, [rtt, rttvar, threshold, cut(segments(info.snd_cwnd)).max(1)]);
    // tcpi_reordering, as Linux begins; tcpi_rcv_rtt, which is not measured
    words(&mut bytes, [info.advmss, 3, 0, cut(info.rcv_buf), cut(info.total_retrans)]);
    // tcpi_max_pacing_rate: no limit
    longs(&mut bytes, [info.pacing_rate.unwrap_or(u64::MAX), u64::MAX]);
    longs(&mut bytes, [info.bytes_acked, info.bytes_received]);
    words(&mut bytes, [cut(info.segs_out), cut(info.segs_in), cut(info.notsent_bytes)]);
    words(&mut bytes, [info.min_rtt.map_or(NONE, micros)]);
    words(&mut bytes, [cut(info.data_segs_in), cut(info.data_segs_out)]);
    // tcpi_busy_time and what it was limited by are not measured.
    longs(&mut bytes, [info.delivery_rate.unwrap_or(0), 0, 0, 0]);
    let delivered = info.data_segs_out.saturating_sub(segments(info.unacked));
    words(&mut bytes, [cut(delivered), 0]);
    longs(&mut bytes, [info.bytes_sent, info.bytes_retrans]);
    words(&mut bytes, [cut(info.dsack_dups), cut(info.reord_seen), cut(info.rcv_ooopack)]);
    words(&mut bytes, [cut(info.snd_wnd)]);
    bytes
}

/// That of a socket without a connection, of which only the state is known.
pub(crate) fn of_state(tcp: TcpState) -> Vec<u8> {
    let mut bytes = vec![0; LEN];
    bytes[0] = state(tcp);
    bytes
}

/// The states of include/net/tcp_states.h.
pub(crate) fn state(state: TcpState) -> u8 {
    match state {
        TcpState::Established => 1,
        TcpState::SynSent => 2,
        TcpState::SynReceived => 3,
        TcpState::FinWait1 => 4,
        TcpState::FinWait2 => 5,
        TcpState::TimeWait => 6,
        TcpState::Closed => 7,
        TcpState::CloseWait => 8,
        TcpState::LastAck => 9,
        TcpState::Listen => 10,
        TcpState::Closing => 11,
    }
}

/// The states of a sender in linux/tcp.h.
fn repair(state: CaState) -> u8 {
    match state {
        CaState::Disorder => 1,
        CaState::Recovery => 3,
        CaState::Loss => 4,
        // Open
        _ => 0,
    }
}

fn words<const N: usize>(bytes: &mut Vec<u8>, words: [u32; N]) {
    bytes.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
}

fn longs<const N: usize>(bytes: &mut Vec<u8>, longs: [u64; N]) {
    bytes.extend(longs.iter().flat_map(|long| long.to_ne_bytes()));
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

fn cut(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn small(count: u32) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn info_of_a_connection() -> TcpInfo {
        let (near, far) = netstack::pair().expect("a runtime");
        let listener = far.net().tcp_listen("[::]:80").await.expect("a free port");
        let stream = near.net().tcp_connect("10.0.0.2:80").await.expect("a listener");
        listener.accept().await.expect("a client");
        stream.info().await.expect("a stack")
    }

    #[tokio::test]
    async fn fields_are_where_linux_has_them() {
        let mut info = info_of_a_connection().await;
        (info.state, info.rtt) = (TcpState::Established, Some(Duration::from_millis(2)));
        (info.snd_mss, info.snd_cwnd, info.total_retrans) = (1000, 9001, 7);
        (info.bytes_acked, info.bytes_retrans, info.snd_wnd) = (5, 6, 8);

        let bytes = encode(&info);

        let word = |at: usize| u32::from_ne_bytes(*bytes[at..].first_chunk().expect("a word"));
        assert_eq!(bytes.len(), LEN);
        assert_eq!(bytes[0], 1, "established");
        // tcpi_snd_mss, tcpi_rtt, tcpi_snd_cwnd, tcpi_total_retrans, tcpi_snd_wnd
        assert_eq!([16, 68, 80, 100, 228].map(word), [1000, 2000, 10, 7, 8]);
        // tcpi_bytes_acked, tcpi_bytes_retrans
        assert_eq!([120, 208].map(word), [5, 6]);
        assert_eq!(of_state(TcpState::Listen).len(), LEN);
    }
}
