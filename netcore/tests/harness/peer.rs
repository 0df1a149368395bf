//! A scripted peer that records: it sends the test's segments, and nothing by itself.

use super::segment::Segment;
use super::{Pair, Side};
use bytes::Bytes;
use netcore::device::smoltcp::phy::ChecksumCapabilities;
use netcore::device::smoltcp::wire::{
    IpProtocol, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};
use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

pub const NEAR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub const FAR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// The port of far that peers talk to.
pub const PORT: u16 = 80;

/// A recording of far's packets to addresses other than near's; they are not delivered.
#[derive(Clone, Default)]
pub struct Tap(Rc<RefCell<Vec<Bytes>>>);

impl Tap {
    /// Taps the wire of a pair from here on.
    pub fn new(pair: &mut Pair) -> Self {
        let tap = Self::default();
        let sink = tap.clone();
        pair.wire = Box::new(move |packet| {
            let ip = Ipv4Packet::new_unchecked(&packet[..]);
            if ip.src_addr() == FAR && ip.dst_addr() != NEAR {
                sink.0.borrow_mut().push(packet);
                return None;
            }
            Some(packet)
        });
        tap
    }

    /// The segments since the last call.
    pub fn take(&self) -> Vec<Segment> {
        self.0.take().iter().map(|packet| Segment::parse(packet)).collect()
    }
}

/// A peer of a connection to far.
#[derive(Debug, Clone)]
pub struct Peer {
    pub address: Ipv4Addr,
    pub port: u16,
    /// Far's port.
    pub to: u16,
    /// The next sequence number of this end.
    pub sequence: u32,
    /// The next sequence number expected of far, once a segment was received.
    pub expected: Option<u32>,
    pub window: u16,
}

impl Peer {
    pub fn new(address: Ipv4Addr, port: u16) -> Self {
        Self { address, port, to: PORT, sequence: 1000, expected: None, window: 60_000 }
    }

    /// Completes a handshake with far's listener.
    pub fn connect(&mut self, pair: &mut Pair, tap: &Tap) {
        self.send(pair, TcpControl::Syn, &[]);
        pair.run();
        self.receive(tap);
        self.send(pair, TcpControl::None, &[]);
        pair.run();
    }

    /// Processes and returns the segments that far has sent.
    pub fn receive(&mut self, tap: &Tap) -> Vec<Segment> {
        let all = tap.take();
        let own = SocketAddr::from((self.address, self.port));
        for segment in all.iter().filter(|segment| segment.to == own && !segment.rst) {
            let end = segment.end();
            if self.expected.is_none_or(|before| (end.wrapping_sub(before) as i32) > 0) {
                self.expected = Some(end);
            }
        }
        all
    }

    /// Puts the next segment on the wire.
    pub fn send(&mut self, pair: &mut Pair, control: TcpControl, payload: &[u8]) {
        pair.inject(Side::Far, self.segment(control, payload));
        let flag = matches!(control, TcpControl::Syn | TcpControl::Fin);
        self.sequence = self.sequence.wrapping_add((payload.len() + usize::from(flag)) as u32);
    }

    /// The next segment.
    pub fn segment(&self, control: TcpControl, payload: &[u8]) -> Vec<u8> {
        let segment = TcpRepr {
            src_port: self.port,
            dst_port: self.to,
            control,
            seq_number: TcpSeqNumber(self.sequence as i32),
            ack_number: self.expected.map(|expected| TcpSeqNumber(expected as i32)),
            window_len: self.window,
            window_scale: None,
            max_seg_size: (control == TcpControl::Syn).then_some(1460),
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload,
        };
        let ip = Ipv4Repr {
            src_addr: self.address,
            dst_addr: FAR,
            next_header: IpProtocol::Tcp,
            payload_len: segment.buffer_len(),
            hop_limit: 64,
        };
        let mut packet = vec![0; ip.buffer_len() + segment.buffer_len()];
        let checksums = ChecksumCapabilities::default();
        ip.emit(&mut Ipv4Packet::new_unchecked(&mut packet), &checksums);
        let mut transport = TcpPacket::new_unchecked(&mut packet[ip.buffer_len()..]);
        segment.emit(&mut transport, &self.address.into(), &FAR.into(), &checksums);
        packet
    }
}
