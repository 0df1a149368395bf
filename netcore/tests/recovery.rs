//! Loss recovery.

mod harness;

use harness::raw_peer::RawPeer;
use harness::segment::Segment;
use harness::{Pair, Side, read};
use netcore::device::smoltcp::wire::{Ipv4Packet, TcpControl, TcpPacket, TcpRepr};
use netcore::tcp::congestion::{Acked, Algorithm, CongestionControl, CongestionController, Lost};
use netcore::{Config, TcpConfig, tcp};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// The source port, sequence number and payload length of a TCP packet.
fn segment(packet: &[u8]) -> (u16, u32, u32) {
    let packet = Ipv4Packet::new_checked(packet).expect("an IPv4 packet");
    let segment = TcpPacket::new_checked(packet.payload()).expect("a segment");
    (segment.src_port(), segment.seq_number().0 as u32, segment.payload().len() as u32)
}

#[test]
fn acknowledgements_lost_in_both_directions_are_recovered() {
    let mut pair = Pair::new();
    let (near, far, listener) = pair.connected();

    // Some data first, so that the congestion windows are open.
    let exchange = |pair: &mut Pair, bytes| {
        near.try_send(&vec![1; bytes]).expect("room");
        far.try_send(&vec![2; bytes]).expect("room");
        pair.advance(Duration::from_millis(900));
        assert_eq!(read(&near, 100_000), Ok(vec![2; bytes]));
        assert_eq!(read(&far, 100_000), Ok(vec![1; bytes]));
    };
    exchange(&mut pair, 50_000);

    // Both send at once, and the retransmission timers of both fire before either learns that
    // everything had arrived.
    let is_broken = Rc::new(Cell::new(true));
    let broken = is_broken.clone();
    pair.wire = Box::new(move |packet| (!broken.get() || segment(&packet).2 > 0).then_some(packet));
    exchange(&mut pair, 14_600);
    pair.wire = Box::new(|_| None);
    pair.advance(Duration::from_millis(600));
    pair.wire = Box::new(Some);

    near.close();
    far.close();
    pair.advance(Duration::from_secs(30));
    assert_eq!(pair.states(Side::Near).0, Vec::<&str>::new());
    assert_eq!(pair.states(Side::Far).0, Vec::<&str>::new());
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

#[test]
fn data_within_any_announced_window_is_accepted() {
    // Nobody reads, and lengths are no multiple of the window's unit: its end moves back a little
    // with every segment (RFC 7323 section 2.4), but a peer may fill what it was told first.
    let config = Config {
        tcp: TcpConfig {
            recv_buffer_bytes: 640 * 1024,
            recv_buffer_bytes_max: 640 * 1024,
            stream_queue_bytes: 4096,
            ..TcpConfig::default()
        },
        ..Config::default()
    };
    let mut pair = Pair::with(config, 1500);
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
    let mut peer = RawPeer::connect(&mut pair);
    let far = pair.accept(Side::Far, listener).expect("a connection");

    // The window of a SYN is not scaled.
    peer.send(&mut pair, 1, 1001);
    let mut edge = peer.edge();
    while edge - peer.acknowledged > 1460 {
        let before = peer.acknowledged;
        peer.send(&mut pair, before, 1001);
        assert_eq!(peer.acknowledged, before + 1001, "{edge}");
        edge = edge.max(peer.edge());
    }
    peer.send(&mut pair, peer.acknowledged, (edge - peer.acknowledged) as usize);
    pair.advance(Duration::from_millis(100));
    peer.collect();

    assert_eq!(peer.acknowledged, edge);
    far.abort();
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

#[test]
fn lost_fin_is_retransmitted_despite_duplicate_acks() {
    let mut pair = Pair::new();
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
    let mut peer = RawPeer::connect(&mut pair);
    let far = pair.accept(Side::Far, listener).expect("a connection");
    far.try_send(&[7; 100]).expect("room");
    far.close();
    pair.run();
    peer.collect();

    // The peer has the data and not the FIN, and sends more than three duplicate ACKs.
    let after_fin = peer.expected;
    peer.expected = after_fin.wrapping_sub(1);
    for _ in 0..5 {
        peer.put(&mut pair, &peer.segment(1, 0));
        pair.run();
    }
    peer.replies();
    pair.advance(Duration::from_secs(5));

    assert!(peer.replies().iter().any(|reply| reply.fin), "the FIN never comes again");
    peer.expected = after_fin;
    let fin = TcpRepr { control: TcpControl::Fin, ..peer.segment(1, 0) };
    peer.put(&mut pair, &fin);
    pair.run();
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

#[test]
fn window_opens_for_last_bytes_after_both_ends_closed() {
    let mut pair = Pair::new();
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
    let mut peer = RawPeer::connect(&mut pair);
    let far = pair.accept(Side::Far, listener).expect("a connection");
    peer.offered = 0;
    let fin = TcpRepr { control: TcpControl::Fin, ..peer.segment(1, 0) };
    peer.put(&mut pair, &fin);
    pair.run();
    far.try_send(&[7; 3000]).expect("room");
    far.close();
    pair.advance(Duration::from_millis(50));
    peer.collect();
    let before = peer.expected;

    peer.offered = 1000;
    peer.send(&mut pair, 2, 0);

    assert_eq!(peer.expected, before + 3000 + 1, "all bytes and the FIN");
    peer.send(&mut pair, 2, 0);
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

#[test]
fn zero_window_is_probed_instead_of_retransmitting() {
    let mut pair = Pair::new();
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
    let mut peer = RawPeer::connect(&mut pair);
    let far = pair.accept(Side::Far, listener).expect("a connection");
    let first = peer.expected;
    far.try_send(&[7; 2920]).expect("room");
    pair.run();

    // The data is lost, and an acknowledgement from before the window opened comes after it.
    peer.offered = 0;
    peer.put(&mut pair, &peer.segment(1, 0));
    pair.advance(Duration::from_secs(5));
    peer.collect();
    peer.expected = first;
    pair.advance(Duration::from_secs(60));
    let probe = peer.replies().into_iter().next_back().expect("a probe");

    // As on Linux the first segment is the probe: it was sent when the window had room for it.
    assert_eq!((probe.sequence, probe.payload.len()), (first, 1460));
    peer.offered = 1000;
    peer.expected = first;
    for _ in 0..4 {
        peer.send(&mut pair, 1, 0);
    }
    assert_eq!(peer.expected, first + 2920);
    far.abort();
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

#[test]
fn a_loss_reduces_the_window_as_the_congestion_control_says() {
    for (control, segments) in
        [(None, 7), (Some(CongestionControl::Cubic), 7), (Some(CongestionControl::Reno), 5)]
    {
        let mut pair = Pair::new();
        let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
        let mut peer = RawPeer::connect(&mut pair);
        let far = pair.accept(Side::Far, listener).expect("a connection");
        far.set_options(|options| options.congestion_control = control);
        let first = peer.expected;
        far.try_send(&[7; 100_000]).expect("room");
        pair.run();
        let end = |sent: &[Segment]| {
            let ends = sent.iter().map(|segment| {
                segment.sequence.wrapping_sub(first) as usize + segment.payload.len()
            });
            ends.max().expect("something was sent")
        };

        // The first of ten segments is lost, and its repetition arrives.
        let mut sent = peer.replies();
        assert_eq!(end(&sent), 10 * 1460, "the initial window");
        peer.expected = first;
        for _ in 0..3 {
            peer.put(&mut pair, &peer.segment(1, 0));
            pair.run();
        }
        sent.extend(peer.replies());
        assert!(sent[10..].iter().any(|segment| segment.sequence == first), "sent again");
        peer.expected = first.wrapping_add(end(&sent) as u32);
        peer.put(&mut pair, &peer.segment(1, 0));
        pair.run();

        assert_eq!(peer.replies().len(), segments, "{control:?}");
        far.abort();
        pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
    }
}

/// A window that is always the same.
#[derive(Debug)]
struct Fixed(u64);

impl CongestionController for Fixed {
    fn window(&self) -> u64 {
        self.0
    }

    fn on_acked(&mut self, _acked: &Acked) {}

    fn on_lost(&mut self, _lost: &Lost) {}

    fn on_timeout(&mut self, _lost: &Lost) {}

    fn set_mss(&mut self, _mss: u32) {}
}

static FIXED: Algorithm = Algorithm::new("fixed", |mss| Box::new(Fixed(u64::from(mss) * 3)));

#[test]
fn an_application_brings_its_own_congestion_controller() {
    let mut pair = Pair::new();
    let listener = pair.listen(Side::Far, "10.0.0.2:80").expect("a free port");
    let mut peer = RawPeer::connect(&mut pair);
    let far = pair.accept(Side::Far, listener).expect("a connection");
    let control = CongestionControl::Custom(&FIXED);
    far.set_options(|options| options.congestion_control = Some(control));
    far.try_send(&[7; 100_000]).expect("room");
    pair.run();
    assert_eq!(peer.replies().len(), 3);

    // Two of them are acknowledged.
    peer.expected = peer.expected.wrapping_sub(1460);
    peer.put(&mut pair, &peer.segment(1, 0));
    pair.run();

    assert_eq!(peer.replies().len(), 2);
    far.abort();
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}
