//! Connections whose segments get lost, and what they may not depend on.

mod harness;

use bytes::Bytes;
use harness::{Pair, Side, read};
use netcore::smoltcp::phy::ChecksumCapabilities;
use netcore::smoltcp::time::Duration;
use netcore::smoltcp::wire::{
    IpProtocol, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};
use netcore::{Config, tcp};
use std::cell::{Cell, RefCell};
use std::net::Ipv4Addr;
use std::rc::Rc;

const NEAR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// The source port, sequence number and payload length of a TCP packet.
fn segment(packet: &[u8]) -> (u16, u32, u32) {
    let packet = Ipv4Packet::new_checked(packet).expect("an IPv4 packet");
    let segment = TcpPacket::new_checked(packet.payload()).expect("a segment");
    (segment.src_port(), segment.seq_number().0 as u32, segment.payload().len() as u32)
}

#[test]
fn acknowledgements_that_are_lost_both_ways_are_made_up_for() {
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
fn whatever_window_was_announced_is_taken() {
    // Nobody reads, and lengths are no multiple of the window's unit: its end moves back a little
    // with every segment (RFC 7323 section 2.4), but a peer may fill what it was told first.
    let config =
        Config { recv_buffer_bytes: 640 * 1024, stream_queue_bytes: 4096, ..Config::default() };
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
fn a_window_opens_for_the_last_bytes_of_a_connection_that_both_ends_have_closed() {
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
    for _ in 0..3 {
        peer.send(&mut pair, 2, 0);
    }

    assert_eq!(peer.expected, before + 3000 + 1, "all bytes and the FIN");
    peer.send(&mut pair, 2, 0);
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

/// A peer of far that does as it likes. Its sequence numbers begin at 0.
struct RawPeer {
    received: Rc<RefCell<Vec<Bytes>>>,
    /// The next sequence number that far has yet to send.
    expected: u32,
    /// What far has acknowledged last.
    acknowledged: u32,
    window: u32,
    shift: u8,
    /// The window that this end announces, in units of 128 bytes.
    offered: u16,
}

impl RawPeer {
    fn connect(pair: &mut Pair) -> Self {
        let received = Rc::new(RefCell::new(Vec::new()));
        let sink = received.clone();
        pair.wire = Box::new(move |packet| {
            if Ipv4Packet::new_unchecked(&packet[..]).src_addr() == FAR {
                sink.borrow_mut().push(packet);
                return None;
            }
            Some(packet)
        });
        let mut peer =
            Self { received, expected: 0, acknowledged: 0, window: 0, shift: 0, offered: 1000 };
        let mut syn = peer.segment(0, 0);
        syn.control = TcpControl::Syn;
        syn.ack_number = None;
        syn.window_scale = Some(7);
        peer.put(pair, &syn);
        pair.run();
        peer.collect();
        peer.put(pair, &peer.segment(1, 0));
        pair.run();
        peer
    }

    /// The end of the window that was announced last.
    fn edge(&self) -> u32 {
        self.acknowledged + (self.window << self.shift)
    }

    fn send(&mut self, pair: &mut Pair, sequence: u32, len: usize) {
        self.put(pair, &self.segment(sequence, len));
        pair.advance(Duration::from_millis(20));
        self.collect();
    }

    fn segment(&self, sequence: u32, len: usize) -> TcpRepr<'static> {
        TcpRepr {
            src_port: 1000,
            dst_port: 80,
            control: TcpControl::None,
            seq_number: TcpSeqNumber(sequence as i32),
            ack_number: Some(TcpSeqNumber(self.expected as i32)),
            window_len: self.offered,
            window_scale: None,
            max_seg_size: None,
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload: &[7; 1460][..len],
        }
    }

    fn put(&self, pair: &mut Pair, segment: &TcpRepr<'_>) {
        let ip = Ipv4Repr {
            src_addr: NEAR,
            dst_addr: FAR,
            next_header: IpProtocol::Tcp,
            payload_len: segment.buffer_len(),
            hop_limit: 64,
        };
        let mut packet = vec![0; ip.buffer_len() + segment.buffer_len()];
        let checksums = ChecksumCapabilities::default();
        ip.emit(&mut Ipv4Packet::new_unchecked(&mut packet), &checksums);
        let mut transport = TcpPacket::new_unchecked(&mut packet[ip.buffer_len()..]);
        segment.emit(&mut transport, &NEAR.into(), &FAR.into(), &checksums);
        pair.inject(Side::Far, packet);
    }

    fn collect(&mut self) {
        for packet in self.received.take() {
            let ip = Ipv4Packet::new_checked(&packet[..]).expect("an IPv4 packet");
            let segment = TcpPacket::new_checked(ip.payload()).expect("a segment");
            assert!(!segment.rst());
            self.expected = (segment.seq_number() + segment.segment_len()).0 as u32;
            self.acknowledged = segment.ack_number().0 as u32;
            self.window = u32::from(segment.window_len());
            if segment.syn() {
                let segment =
                    TcpRepr::parse(&segment, &FAR.into(), &NEAR.into(), &Default::default());
                self.shift = segment.expect("valid").window_scale.expect("announced");
            }
        }
    }
}
