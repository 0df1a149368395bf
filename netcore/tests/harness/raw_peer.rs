//! A scripted peer that converses: any segment, options and bytes, and far's answers.

use super::segment::{Segment, addresses, transport_of};
use super::{Pair, Side, addr};
use bytes::Bytes;
use netcore::device::smoltcp::phy::ChecksumCapabilities;
use netcore::device::smoltcp::wire::{
    IpProtocol, IpRepr, TcpControl, TcpOption, TcpPacket, TcpRepr, TcpSeqNumber,
};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// A peer of far, instead of near's stack. Its sequence numbers begin at 0.
pub struct RawPeer {
    received: Rc<RefCell<Vec<Bytes>>>,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// The next sequence number that far has yet to send.
    pub expected: u32,
    /// What far has acknowledged last.
    pub acknowledged: u32,
    /// The window that far has announced last, in bytes.
    window: u32,
    shift: u8,
    /// The window that this end announces, in units of 128 bytes.
    pub offered: u16,
}

impl RawPeer {
    /// A peer at `local` of far's `remote`. From now on everything that far sends goes to it.
    pub fn new(pair: &mut Pair, local: &str, remote: &str) -> Self {
        let received = Rc::new(RefCell::new(Vec::new()));
        let sink = received.clone();
        let (local, remote) = (addr(local), addr(remote));
        pair.wire = Box::new(move |packet| {
            if addresses(&packet).0 == remote.ip() {
                sink.borrow_mut().push(packet);
                return None;
            }
            Some(packet)
        });
        Self {
            received,
            local,
            remote,
            expected: 0,
            acknowledged: 0,
            window: 0,
            shift: 0,
            offered: 1000,
        }
    }

    /// A peer with a connection to far's port 80.
    pub fn connect(pair: &mut Pair) -> Self {
        let mut peer = Self::new(pair, "10.0.0.1:1000", "10.0.0.2:80");
        peer.shake_hands(pair);
        peer
    }

    /// Performs the handshake of a client.
    pub fn shake_hands(&mut self, pair: &mut Pair) {
        self.put_syn(pair, None);
        pair.run();
        self.collect();
        self.put(pair, &self.segment(1, 0));
        pair.run();
    }

    /// Sends a SYN, or a SYN|ACK if there is an acknowledgement.
    pub fn put_syn(&self, pair: &mut Pair, acknowledgement: Option<u32>) {
        let syn = TcpRepr {
            control: TcpControl::Syn,
            ack_number: acknowledgement.map(|number| TcpSeqNumber(number as i32)),
            window_scale: Some(7),
            max_seg_size: Some(1460),
            ..self.segment(0, 0)
        };
        self.put(pair, &syn);
    }

    /// The right edge of the window that far announced last.
    pub fn edge(&self) -> u32 {
        self.acknowledged.wrapping_add(self.window)
    }

    pub fn send(&mut self, pair: &mut Pair, sequence: u32, len: usize) {
        self.put(pair, &self.segment(sequence, len));
        // More than an acknowledgement may be delayed.
        pair.advance(Duration::from_millis(50));
        self.collect();
    }

    pub fn segment(&self, sequence: u32, len: usize) -> TcpRepr<'static> {
        TcpRepr {
            src_port: self.local.port(),
            dst_port: self.remote.port(),
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

    /// Puts a segment on the wire to far.
    pub fn put(&self, pair: &mut Pair, segment: &TcpRepr<'_>) {
        self.put_altered(pair, segment, |_| {});
    }

    /// Puts a segment on the wire to far that no [`TcpRepr`] can describe.
    pub fn put_altered(
        &self,
        pair: &mut Pair,
        segment: &TcpRepr<'_>,
        alter: impl FnOnce(&mut TcpPacket<&mut [u8]>),
    ) {
        self.put_bytes(pair, segment, |bytes| {
            alter(&mut TcpPacket::new_unchecked(&mut bytes[..]));
        });
    }

    /// Puts a segment on the wire to far with these bytes as its options, filled up with zeros.
    pub fn put_options(&self, pair: &mut Pair, segment: &TcpRepr<'_>, options: &[u8]) {
        let plain = TcpRepr { window_scale: None, max_seg_size: None, ..*segment };
        let mut options = options.to_vec();
        options.resize(options.len().next_multiple_of(4), 0);
        self.put_bytes(pair, &plain, |bytes| {
            bytes.splice(20..20, options.iter().copied());
            TcpPacket::new_unchecked(&mut bytes[..]).set_header_len(20 + options.len() as u8);
        });
    }

    /// Puts a segment on the wire to far after `alter` has changed its bytes.
    pub fn put_bytes(
        &self,
        pair: &mut Pair,
        segment: &TcpRepr<'_>,
        alter: impl FnOnce(&mut Vec<u8>),
    ) {
        let ends = (self.local.ip().into(), self.remote.ip().into());
        let mut bytes = vec![0; segment.buffer_len()];
        let mut transport = TcpPacket::new_unchecked(&mut bytes[..]);
        segment.emit(&mut transport, &ends.0, &ends.1, &ChecksumCapabilities::ignored());
        alter(&mut bytes);
        TcpPacket::new_unchecked(&mut bytes[..]).fill_checksum(&ends.0, &ends.1);
        let ip = IpRepr::new(ends.0, ends.1, IpProtocol::Tcp, bytes.len(), 64);
        let mut packet = vec![0; ip.header_len()];
        ip.emit(&mut packet[..], &ChecksumCapabilities::default());
        packet.extend(bytes);
        pair.inject(Side::Far, packet);
    }

    /// Processes the segments that far has sent.
    pub fn collect(&mut self) {
        for segment in self.replies() {
            assert!(!segment.rst);
        }
    }

    /// Processes and returns the segments that far has sent.
    pub fn replies(&mut self) -> Vec<Segment> {
        let packets = self.received.take();
        packets.iter().map(|packet| self.note(packet)).collect()
    }

    fn note(&mut self, packet: &[u8]) -> Segment {
        let segment = Segment::parse(packet);
        if segment.rst {
            return segment;
        }
        self.expected = segment.end();
        self.acknowledged = segment.acknowledgement.unwrap_or_default();
        let header = TcpPacket::new_unchecked(transport_of(packet));
        self.window = u32::from(header.window_len());
        if segment.syn {
            // Its window is not scaled.
            self.shift = window_shift(header.options());
        } else {
            self.window <<= self.shift;
        }
        segment
    }
}

fn window_shift(mut options: &[u8]) -> u8 {
    while let Ok((rest, option)) = TcpOption::parse(options) {
        if let TcpOption::WindowScale(shift) = option {
            return shift;
        }
        options = rest;
    }
    0
}
