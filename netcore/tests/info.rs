//! The numbers of a connection: `TcpInfo`.

mod harness;

use harness::segment::Segment;
use harness::{Pair, Side, addr, read};
use netcore::queue::StreamQueue;
use netcore::tcp::congestion::CongestionControl;
use netcore::tcp::{self, CaState, TcpInfo};
use netcore::{Config, Error, HasChannel, Response, SocketId, TcpState};
use std::sync::Arc;
use std::time::Duration;

/// Payload of a full segment, with its timestamps.
const MSS: usize = 1448;
/// Longer than an idle connection keeps its sender.
const LONG: Duration = Duration::from_secs(40);

fn info(pair: &mut Pair, side: Side, stream: &StreamQueue) -> TcpInfo {
    match pair.call(side, Some(stream.id()), tcp::Command::Info).expect("a connection").0 {
        Response::Tcp(tcp::Response::Info(info)) => *info,
        other => panic!("the command answered {other:?}"),
    }
}

/// Has near send so much, and far read it.
fn transfer(pair: &mut Pair, (near, far): (&StreamQueue, &StreamQueue), len: usize) {
    let (mut sent, mut received) = (0, 0);
    pair.advance_until(|_| {
        sent += near.try_send(&vec![7; len - sent]).unwrap_or(0);
        while let Ok(bytes) = read(far, 1 << 20) {
            received += bytes.len();
        }
        received == len
    });
    pair.advance(Duration::from_millis(100));
}

/// Loses the n-th segment with data, counted from 1.
fn lose(pair: &mut Pair, lost: usize) {
    let mut seen = 0;
    pair.wire = Box::new(move |packet| {
        seen += usize::from(!Segment::parse(&packet).payload.is_empty());
        let is_lost = seen == lost;
        seen += usize::from(is_lost);
        (!is_lost).then_some(packet)
    });
}

fn finish(pair: &mut Pair, (near, far, listener): (Arc<StreamQueue>, Arc<StreamQueue>, SocketId)) {
    pair.wire = Box::new(Some);
    near.abort();
    far.abort();
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

#[test]
fn both_ends_count_the_same_bytes_and_segments() {
    let mut pair = Pair::new();
    let ends = pair.connected();
    transfer(&mut pair, (&ends.0, &ends.1), 100 * MSS);

    let near = info(&mut pair, Side::Near, &ends.0);
    let far = info(&mut pair, Side::Far, &ends.1);

    let bytes = 100 * MSS as u64;
    assert_eq!((near.bytes_sent, near.bytes_acked, far.bytes_received), (bytes, bytes, bytes));
    assert_eq!((far.bytes_sent, far.bytes_acked, near.bytes_received), (0, 0, 0));
    assert_eq!((near.data_segs_out, far.data_segs_in), (100, 100));
    assert_eq!((near.segs_out, far.segs_out), (far.segs_in, near.segs_in));
    // SYN, the acknowledgement of its answer, and the data.
    assert_eq!((near.segs_out, near.data_segs_in), (102, 0));
    assert_eq!((near.total_retrans, near.bytes_retrans, near.bytes_lost), (0, 0, 0));
    assert_eq!((near.in_flight, near.unacked, near.notsent_bytes, far.unread_bytes), (0, 0, 0, 0));
    finish(&mut pair, ends);
}

#[test]
fn agreed_options_sizes_and_windows_are_told() {
    let mut pair = Pair::new();
    let ends = pair.connected();
    transfer(&mut pair, (&ends.0, &ends.1), MSS);

    let near = info(&mut pair, Side::Near, &ends.0);
    let far = info(&mut pair, Side::Far, &ends.1);

    assert_eq!(near.state, TcpState::Established);
    assert!(near.sack && near.timestamps && !near.ecn);
    assert_eq!((near.snd_wscale, near.rcv_wscale), (far.rcv_wscale, far.snd_wscale));
    assert!(near.snd_wscale.is_some_and(|shift| shift > 0));
    assert_eq!((near.snd_mss, near.advmss, near.pmtu, far.rcv_mss), (1448, 1460, 1500, 1448));
    let unit = 1 << near.snd_wscale.unwrap_or(0);
    assert!(near.snd_wnd.abs_diff(far.rcv_wnd) < unit);
    assert!(near.snd_wnd.abs_diff(far.rcv_buf - 1448) < unit);
    assert_eq!(near.congestion_control, "cubic");
    assert_eq!((&*near.congestion_state, near.snd_ssthresh), ("slow_start", None));
    assert_eq!((near.snd_cwnd, near.pacing_rate), (10 * 1448, None));
    assert!(near.rtt.is_some() && near.rttvar.is_some() && near.min_rtt.is_some());
    assert!(near.rto >= Duration::from_millis(200));
    finish(&mut pair, ends);
}

#[test]
fn lost_segment_counts_as_lost_and_sent_again() {
    let mut pair = Pair::new();
    let ends = pair.connected();
    lose(&mut pair, 3);
    transfer(&mut pair, (&ends.0, &ends.1), 10 * MSS);

    let near = info(&mut pair, Side::Near, &ends.0);
    let far = info(&mut pair, Side::Far, &ends.1);

    assert_eq!((near.total_retrans, near.bytes_retrans, near.bytes_lost), (1, 1448, 1448));
    assert_eq!((near.bytes_sent, near.data_segs_out), (11 * 1448, 11));
    assert_eq!((near.spurious_retrans, near.total_rto), (0, 0));
    assert!(near.snd_ssthresh.is_some());
    assert_eq!((far.rcv_ooopack, far.data_segs_in), (7, 10));
    finish(&mut pair, ends);
}

#[test]
fn gap_shows_at_both_ends_until_it_is_filled() {
    let mut pair = Pair::new();
    let ends = pair.connected();
    let mut seen = 0;
    // The third segment of six, and whatever comes later.
    pair.wire = Box::new(move |packet| {
        let has_data = !Segment::parse(&packet).payload.is_empty();
        seen += usize::from(has_data);
        (!has_data || seen != 3 && seen <= 6).then_some(packet)
    });
    assert_eq!(ends.0.try_send(&[7; 6 * MSS]), Ok(6 * MSS));
    pair.run();

    let near = info(&mut pair, Side::Near, &ends.0);
    let far = info(&mut pair, Side::Far, &ends.1);

    assert_eq!((far.bytes_received, far.out_of_order_bytes), (2 * 1448, 3 * 1448));
    assert_eq!((near.unacked, near.sacked, near.bytes_acked), (4 * 1448, 3 * 1448, 2 * 1448));
    assert_eq!((near.ca_state, near.retrans), (CaState::Recovery, 1448));
    assert_eq!((near.in_flight, near.lost), (1448, 0));
    assert!(near.timers.retransmission.is_some());
    finish(&mut pair, ends);
}

#[test]
fn timeout_is_counted_and_backs_off() {
    let mut pair = Pair::new();
    let ends = pair.connected();
    pair.wire = Box::new(|_| None);
    assert_eq!(ends.0.try_send(&[7; 100]), Ok(100));
    pair.advance(Duration::from_millis(1500));

    let near = info(&mut pair, Side::Near, &ends.0);

    assert_eq!((near.total_rto, near.retransmits, near.ca_state), (1, 1, CaState::Loss));
    assert_eq!((near.rto, near.total_retrans), (Duration::from_secs(2), 1));
    assert_eq!(near.last_data_sent, Some(Duration::from_millis(500)));
    assert_eq!(near.last_ack_recv, Some(Duration::from_millis(1500)));
    assert_eq!(near.timers.retransmission, Some(Duration::from_millis(1500)));
    assert!(near.timers.give_up.is_some());
    finish(&mut pair, ends);
}

#[test]
fn closed_window_shows_in_queues_and_timers() {
    let mut pair = Pair::new();
    let ends = pair.connected();
    while ends.0.try_send(&[7; 64 * 1024]).is_ok() {
        pair.run();
    }
    pair.advance(Duration::from_secs(5));

    let near = info(&mut pair, Side::Near, &ends.0);
    let far = info(&mut pair, Side::Far, &ends.1);

    assert!(near.snd_wnd < u64::from(near.snd_mss) && far.rcv_wnd < u64::from(near.snd_mss));
    assert!(near.notsent_bytes > 64 * 1024 && near.probes > 0);
    assert!(near.timers.window_probe.is_some());
    assert_eq!(far.unread_bytes, far.bytes_received);
    assert_eq!(near.bytes_acked, far.bytes_received);
    finish(&mut pair, ends);
}

#[test]
fn totals_survive_idle_time_and_the_end() {
    let mut pair = Pair::new();
    let ends = pair.connected();
    lose(&mut pair, 3);
    transfer(&mut pair, (&ends.0, &ends.1), 10 * MSS);
    pair.advance(LONG);
    transfer(&mut pair, (&ends.0, &ends.1), MSS);

    let near = info(&mut pair, Side::Near, &ends.0);
    assert_eq!((near.bytes_sent, near.bytes_acked), (12 * 1448, 11 * 1448));
    assert_eq!((near.total_retrans, near.data_segs_out), (1, 12));
    assert_eq!(near.age, pair.now - netcore::Instant::ZERO);

    ends.1.shutdown_send().expect("open");
    ends.0.shutdown_send().expect("open");
    pair.run();
    let last = pollster::block_on(ends.0.info()).expect("it has ended in order");
    assert_eq!((last.state, last.bytes_acked), (TcpState::Closed, 11 * 1448));
    assert_eq!(last.segs_out, near.segs_out + 2, "an acknowledgement and a FIN");
    let again = pair.call(Side::Near, Some(ends.0.id()), tcp::Command::Info);
    assert_eq!(again.err(), Some(Error::Closed), "by the id of a socket that is gone");
    finish(&mut pair, ends);
}

#[test]
fn bbr_tells_its_phase_and_its_rates() {
    let mut config = Config::default();
    config.tcp.congestion_control = CongestionControl::Bbr;
    let mut pair = Pair::with(config, 1500);
    let ends = pair.connected();
    assert_eq!(ends.0.try_send(&[7; 20 * MSS]), Ok(20 * MSS));
    pair.wire = Box::new(|_| None);
    pair.run();

    let near = info(&mut pair, Side::Near, &ends.0);

    assert_eq!((&*near.congestion_control, &*near.congestion_state), ("bbr", "startup"));
    assert!(near.pacing_rate.is_some());
    finish(&mut pair, ends);
}

#[test]
fn handshake_is_shown_in_the_snapshot() {
    let mut pair = Pair::new();
    pair.wire = Box::new(|_| None);
    let options = tcp::Options::default();
    let command = tcp::Command::Connect { remote: addr("10.0.0.2:80"), local: None, options };
    pair.near.stack.command_channel().request_nonblocking(None, command).expect("a stack");
    pair.advance(Duration::from_millis(500));

    let sockets = pair.near.stack.snapshot().sockets;
    let info = sockets[0].tcp.as_ref().expect("a connection");
    assert_eq!((info.state, info.age), (TcpState::SynSent, Duration::from_millis(500)));
    assert_eq!((info.segs_out, info.segs_in, info.rtt), (1, 0, None));
    assert!(info.timers.handshake.is_some() && info.timers.give_up.is_some());
    pair.advance(Config::default().tcp.connect_timeout);
}

#[test]
fn listener_and_absent_socket_have_no_info() {
    let mut pair = Pair::new();
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");

    let of_listener = pair.call(Side::Far, Some(listener), tcp::Command::Info);
    let of_none = pair.call(Side::Far, None, tcp::Command::Info);

    assert_eq!(of_listener.err(), Some(Error::WrongSocket));
    assert_eq!(of_none.err(), Some(Error::Closed));
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

#[test]
fn cut_packets_count_as_their_segments() {
    let mut pair = Pair::new();
    pair.is_jumbo = true;
    let ends = pair.connected();
    transfer(&mut pair, (&ends.0, &ends.1), 100 * MSS + 1);

    let near = info(&mut pair, Side::Near, &ends.0);
    let far = info(&mut pair, Side::Far, &ends.1);

    assert_eq!((near.data_segs_out, far.data_segs_in), (101, 101));
    assert_eq!(near.segs_out, far.segs_in);
    finish(&mut pair, ends);
}

#[test]
fn late_and_repeated_segments_are_counted() {
    let mut pair = Pair::new();
    let ends = pair.connected();
    transfer(&mut pair, (&ends.0, &ends.1), MSS);
    let [_, to_far] = pair.inlets();
    let (mut seen, mut late) = (0, None);
    // The second of four comes behind the third, and the last comes twice.
    pair.wire = Box::new(move |packet| {
        let has_data = !Segment::parse(&packet).payload.is_empty();
        seen += usize::from(has_data);
        if !has_data || seen == 1 || seen > 4 {
            return Some(packet);
        }
        if seen == 2 {
            late = Some(packet);
            return None;
        }
        to_far.send(packet.clone()).expect("the device is there");
        late.take().or(Some(packet))
    });
    transfer(&mut pair, (&ends.0, &ends.1), 4 * MSS);

    let near = info(&mut pair, Side::Near, &ends.0);
    let far = info(&mut pair, Side::Far, &ends.1);

    assert_eq!((near.reord_seen, near.dsack_dups, near.total_retrans), (1, 1, 0));
    assert_eq!((far.rcv_ooopack, far.bytes_received), (1, 5 * 1448));
    finish(&mut pair, ends);
}
