//! A TCP segment that a scripted peer received.

use netcore::device::smoltcp::wire::{Ipv4Packet, Ipv6Packet, TcpControl, TcpOption, TcpPacket};
use std::net::{IpAddr, SocketAddr};

/// A segment from far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub syn: bool,
    pub fin: bool,
    pub rst: bool,
    pub sequence: u32,
    pub acknowledgement: Option<u32>,
    /// As the field has it, not scaled.
    pub window: u16,
    /// The blocks of its SACK option (RFC 2018).
    pub sack: Vec<(u32, u32)>,
    /// TSval and TSecr (RFC 7323).
    pub stamp: Option<(u32, u32)>,
    pub payload: Vec<u8>,
}

impl Segment {
    /// Parses an IP packet.
    ///
    /// # Panics
    ///
    /// If it is no TCP segment with a valid checksum.
    pub fn parse(packet: &[u8]) -> Self {
        let (from, to) = addresses(packet);
        let tcp = TcpPacket::new_checked(transport_of(packet)).expect("a segment");
        assert!(tcp.verify_checksum(&from.into(), &to.into()));
        Self {
            from: (from, tcp.src_port()).into(),
            to: (to, tcp.dst_port()).into(),
            syn: tcp.syn(),
            fin: tcp.fin(),
            rst: tcp.rst(),
            sequence: tcp.seq_number().0 as u32,
            acknowledgement: tcp.ack().then(|| tcp.ack_number().0 as u32),
            window: tcp.window_len(),
            sack: tcp
                .selective_ack_ranges()
                .expect("options that can be read")
                .into_iter()
                .flatten()
                .collect(),
            stamp: stamp(tcp.options()),
            payload: tcp.payload().to_vec(),
        }
    }

    /// The control flag; PSH is not distinguished from none.
    pub fn control(&self) -> TcpControl {
        match (self.syn, self.fin, self.rst) {
            (true, ..) => TcpControl::Syn,
            (_, true, _) => TcpControl::Fin,
            (_, _, true) => TcpControl::Rst,
            _ => TcpControl::None,
        }
    }

    /// The sequence number behind the segment (SEG.SEQ + SEG.LEN, RFC 9293 section 3.3.1).
    pub fn end(&self) -> u32 {
        let flags = u32::from(self.syn) + u32::from(self.fin);
        self.sequence.wrapping_add(self.payload.len() as u32 + flags)
    }
}

fn stamp(mut options: &[u8]) -> Option<(u32, u32)> {
    while let Ok((rest, option)) = TcpOption::parse(options) {
        if let TcpOption::TimeStamp { tsval, tsecr } = option {
            return Some((tsval, tsecr));
        }
        options = rest;
    }
    None
}

/// The source and the destination of an IP packet.
pub fn addresses(packet: &[u8]) -> (IpAddr, IpAddr) {
    match packet[0] >> 4 {
        4 => {
            let ip = Ipv4Packet::new_unchecked(packet);
            (ip.src_addr().into(), ip.dst_addr().into())
        }
        _ => {
            let ip = Ipv6Packet::new_unchecked(packet);
            (ip.src_addr().into(), ip.dst_addr().into())
        }
    }
}

/// The transport header and payload of an IP packet.
pub fn transport_of(packet: &[u8]) -> &[u8] {
    match packet[0] >> 4 {
        4 => Ipv4Packet::new_checked(packet).expect("an IPv4 packet").payload(),
        _ => Ipv6Packet::new_checked(packet).expect("an IPv6 packet").payload(),
    }
}
