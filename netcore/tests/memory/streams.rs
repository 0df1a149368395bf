//! Unread connections.

use crate::Case;
use crate::wire::{Host, OWN, PEER, packet};
use netcore::Medium;
use netcore::device::smoltcp::phy::ChecksumCapabilities;
use netcore::device::smoltcp::wire::{
    IpProtocol, Ipv4Packet, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};
use netcore::queue::SocketQueue;
use netcore::{Config, TcpConfig, tcp};
use std::time::Duration;

/// Downloads at once, and the bound on all of them together.
const DOWNLOADS: usize = 5_000;
const MEMORY_BYTES_MAX: usize = 64 << 20;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = each_full();
    cases.push(Case {
        bound: "memory_bytes_max",
        bytes: MEMORY_BYTES_MAX,
        input: format!("{DOWNLOADS} downloads that nobody reads"),
        flood: Box::new(|| Box::new(downloads())),
    });
    cases
}

/// Few connections, each with all that it may hold.
fn each_full() -> Vec<Case> {
    [(1, 4, 16), (1_000, 50, 256), (9_000, 50, 256), (35_000, 50, 256), (65_000, 50, 256)]
        .map(|(piece, connections, queue)| {
            let config = Config {
                tcp: TcpConfig {
                    recv_buffer_bytes: 64 * 1024,
                    recv_buffer_bytes_max: 64 * 1024,
                    send_buffer_bytes: 64 * 1024,
                    send_buffer_bytes_max: 64 * 1024,
                    stream_queue_bytes: queue * 1024,
                    ..TcpConfig::default()
                },
                ..Config::default()
            };
            // The peers write and the stack has nothing to send.
            let each = config.tcp.recv_buffer_bytes + config.tcp.stream_queue_bytes;
            Case {
                bound: "recv_buffer_bytes + stream_queue_bytes",
                bytes: connections * each,
                input: format!("{connections} streams, pieces of {piece}"),
                flood: Box::new(move || Box::new(flood(config, connections, piece))),
            }
        })
        .into()
}

fn flood(config: Config, connections: usize, piece: usize) -> Host {
    let mut host = Host::new(config, Medium::Ip);
    let local = (OWN, 80).into();
    host.call(tcp::Command::Listen { local, options: Default::default() });
    for number in 0..connections {
        let mut peer = Peer::connect(&mut host, 1000 + number as u16);
        peer.fill(&mut host, piece, usize::MAX);
    }
    host.link.sent = Vec::new();
    host
}

/// The stack and the handles of its connections, whose windows are far larger than the bound.
fn downloads() -> impl Sized {
    let tcp = TcpConfig { memory_bytes_max: Some(MEMORY_BYTES_MAX), ..TcpConfig::default() };
    let mut host = Host::new(Config { tcp, ..Config::default() }, Medium::Ip);
    let local = (OWN, 80).into();
    let options = tcp::ListenOptions::default();
    let (_, listener) = host.call(tcp::Command::Listen { local, options });
    let Some(SocketQueue::Accept(accept)) = &listener else { panic!("no listener") };
    let id = Some(accept.id());
    let mut handles = vec![listener];
    for number in 0..DOWNLOADS {
        let mut peer = Peer::connect(&mut host, 1000 + number as u16);
        handles.push(host.call_on(id, tcp::Command::Accept).1);
        // What is not taken is sent again for ever: a few times are enough here.
        peer.fill(&mut host, 1460, 100);
    }
    host.link.sent = Vec::new();
    (host, handles)
}

pub(crate) struct Peer {
    port: u16,
    sequence: u32,
    expected: Option<u32>,
    /// What the stack expects next, and its window from there.
    acknowledged: u32,
    window: u32,
}

impl Peer {
    pub(crate) fn connect(host: &mut Host, port: u16) -> Self {
        let mut peer = Self { port, sequence: 1000, expected: None, acknowledged: 0, window: 0 };
        peer.send(host, TcpControl::Syn, &[]);
        peer.hear(host);
        peer.send(host, TcpControl::None, &[]);
        peer
    }

    /// Fills the window of a stack that does not read with pieces, at most so many.
    fn fill(&mut self, host: &mut Host, piece: usize, pieces_max: usize) {
        let data = vec![7; piece];
        // A window that opens once more when an acknowledgement is due is filled, too.
        let (mut patience, mut sent) = (3, 0);
        while patience > 0 && sent < pieces_max {
            self.hear(host);
            let room = self.room().min(piece);
            if room < piece.min(1000) {
                patience -= 1;
                host.advance(Duration::from_millis(50));
            } else {
                patience = 3;
                sent += 1;
                self.send(host, TcpControl::None, &data[..room]);
            }
        }
    }

    fn room(&self) -> usize {
        (self.acknowledged + self.window).wrapping_sub(self.sequence) as usize
    }

    pub(crate) fn send(&mut self, host: &mut Host, control: TcpControl, payload: &[u8]) {
        let segment = TcpRepr {
            src_port: self.port,
            dst_port: 80,
            control,
            seq_number: TcpSeqNumber(self.sequence as i32),
            ack_number: self.expected.map(|expected| TcpSeqNumber(expected as i32)),
            window_len: 60_000,
            window_scale: None,
            max_seg_size: (control == TcpControl::Syn).then_some(1460),
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload,
        };
        let mut bytes = vec![0; segment.buffer_len()];
        let mut out = TcpPacket::new_unchecked(&mut bytes[..]);
        // The link vouches for the checksum.
        segment.emit(&mut out, &PEER.into(), &OWN.into(), &ChecksumCapabilities::ignored());
        self.sequence += payload.len() as u32 + u32::from(control == TcpControl::Syn);
        host.take(&packet(PEER, IpProtocol::Tcp, &bytes));
    }

    /// Processes the segments that the stack has sent.
    pub(crate) fn hear(&mut self, host: &mut Host) {
        for packet in host.link.sent.drain(..) {
            let ip = Ipv4Packet::new_checked(&packet[..]).expect("an IPv4 packet");
            let segment = TcpPacket::new_checked(ip.payload()).expect("a segment");
            if segment.dst_port() != self.port {
                continue;
            }
            self.acknowledged = segment.ack_number().0 as u32;
            self.window = u32::from(segment.window_len());
            if segment.syn() {
                self.expected = Some(segment.seq_number().0 as u32 + 1);
            }
            if segment.fin() {
                let end = segment.seq_number().0 as u32 + segment.payload().len() as u32;
                self.expected = Some(end + 1);
            }
        }
    }
}
