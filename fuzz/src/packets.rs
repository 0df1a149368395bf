//! A random walk of segments through live connections, and every byte of it accounted for.

use crate::host::{Host, OWN, PEER};
use crate::lies::{Lies, mixed};
use arbitrary::Unstructured;
use netcore::device::smoltcp::phy::ChecksumCapabilities;
use netcore::device::smoltcp::wire::{
    IpProtocol, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};
use netcore::queue::{SocketQueue, StreamQueue};
use netcore::{Config, Entropy, Error, FrameChecksum, SocketId, TcpConfig, tcp};
use std::sync::Arc;
use std::time::Duration;

/// Plays the story in `data` and returns how many segments were sent to the stack.
///
/// The program reads the bytes that the peer sent at these sequence numbers, in order and complete;
/// the peer receives the bytes that the program wrote; and nothing is left at the end.
///
/// # Panics
///
/// If one of these invariants does not hold.
pub fn packets(data: &[u8]) -> u64 {
    let mut story = Unstructured::new(data);
    let mut walk = Walk::new();
    // An error is the end of the data.
    while !story.is_empty() && walk.step(&mut story).is_ok() {}
    walk.end()
}

struct Walk {
    host: Host,
    listener: SocketId,
    connections: [Connection; 2],
    next_port: u16,
    segments: u64,
}

/// A connection as the model outside of the stack knows it.
#[derive(Default)]
struct Connection {
    port: u16,
    /// Both initial sequence numbers; the stack's once its SYN was received.
    peer_isn: u32,
    own_isn: Option<u32>,
    /// The next sequence number of an honest peer.
    next: u32,
    /// What the stack has acknowledged, and the end of its window.
    acknowledged: u32,
    edge: u32,
    /// One past the highest sequence number received from the stack.
    received_end: u32,
    /// Which bytes of the peer's stream were ever sent; all before `sent_prefix` were.
    sent: Vec<bool>,
    sent_prefix: usize,
    /// The bytes that the program read and wrote.
    read: usize,
    written: usize,
    stream: Option<Arc<StreamQueue>>,
    is_accepted: bool,
    is_shut_down: bool,
}

impl Walk {
    fn new() -> Self {
        let config = Config {
            entropy: Entropy::Seed(1),
            tcp: TcpConfig {
                // So large that the window has to be scaled.
                recv_buffer_bytes: 128 * 1024,
                recv_buffer_bytes_max: 128 * 1024,
                send_buffer_bytes: 16 * 1024,
                send_buffer_bytes_max: 16 * 1024,
                stream_queue_bytes: 8 * 1024,
                ..TcpConfig::default()
            },
            ..Config::default()
        };
        let mut host = Host::new(config, FrameChecksum::Unknown);
        let local = (OWN, 80).into();
        let options = tcp::ListenOptions::default();
        let listening = host.call(None, tcp::Command::Listen { local, options });
        let Some(Ok((_, Some(SocketQueue::Accept(queue))))) = listening else {
            panic!("the port is free: {listening:?}")
        };
        let mut walk = Self {
            host,
            listener: queue.id(),
            connections: Default::default(),
            next_port: 1000,
            segments: 0,
        };
        for index in 0..walk.connections.len() {
            walk.begin_connection(index);
        }
        walk
    }

    /// Begins a new connection with a SYN and drops the old one.
    fn begin_connection(&mut self, index: usize) {
        let next = |port: u16| 1000 + (port - 1000 + 1) % PORTS;
        // Two of the walk's peers on one port would be one to the stack.
        while self.connections.iter().any(|connection| connection.port == self.next_port) {
            self.next_port = next(self.next_port);
        }
        let port = self.next_port;
        self.next_port = next(port);
        let peer_isn = u32::from(port).wrapping_mul(0x9e37_79b1);
        let peer_isn = peer_isn.wrapping_add((self.segments as u32).wrapping_mul(1 << 12));
        let old = std::mem::take(&mut self.connections[index]);
        if let Some(stream) = old.stream {
            stream.close();
        }
        self.connections[index] =
            Connection { port, peer_isn, next: peer_isn.wrapping_add(1), ..Default::default() };
        self.send(index, TcpControl::Syn, peer_isn, None, 0xffff, 0);
    }

    fn step(&mut self, story: &mut Unstructured<'_>) -> arbitrary::Result<()> {
        let index = story.int_in_range(0..=self.connections.len() - 1)?;
        match story.arbitrary::<u8>()? {
            // The next segment of an honest peer, so that the walk gets far.
            0..80 => {
                let len = usize::from(story.arbitrary::<u16>()? % 1461);
                let connection = &self.connections[index];
                let room = connection.edge.wrapping_sub(connection.next) as i32;
                let len = len.min(usize::try_from(room).unwrap_or(0));
                let (next, acknowledgement) = (connection.next, self.next_ack(index));
                self.send(index, TcpControl::Psh, next, acknowledgement, 0xffff, len);
                self.connections[index].next = next.wrapping_add(len as u32);
            }
            80..90 => {
                let (next, acknowledgement) = (self.connections[index].next, self.next_ack(index));
                self.send(index, TcpControl::Fin, next, acknowledgement, 0xffff, 0);
            }
            90..190 => self.send_any(index, story)?,
            190..205 => {
                let millis = story.arbitrary::<u16>()?;
                self.host.advance(Duration::from_millis(u64::from(millis) / 8));
                self.receive();
            }
            205..220 => {
                let max = usize::from(story.arbitrary::<u16>()?);
                self.read(index, max);
            }
            220..240 => {
                let len = usize::from(story.arbitrary::<u16>()?) % 20_000;
                self.write(index, len);
            }
            240..244 => {
                if let Some(stream) = &self.connections[index].stream {
                    // Fails if the connection has ended.
                    let _ = stream.shutdown_send();
                    self.connections[index].is_shut_down = true;
                }
            }
            244..248 => {
                if let Some(stream) = self.connections[index].stream.take() {
                    stream.close();
                    self.connections[index].is_shut_down = true;
                }
            }
            248..250 => {
                if let Some(stream) = self.connections[index].stream.take() {
                    stream.abort();
                    stream.close();
                }
            }
            250.. => self.begin_connection(index),
        }
        self.settle();
        Ok(())
    }

    /// Sends any segment at any sequence number.
    fn send_any(&mut self, index: usize, story: &mut Unstructured<'_>) -> arbitrary::Result<()> {
        const CONTROLS: [TcpControl; 6] = [
            TcpControl::None,
            TcpControl::None,
            TcpControl::Psh,
            TcpControl::Fin,
            TcpControl::Syn,
            TcpControl::Rst,
        ];
        let control = *story.choose(&CONTROLS)?;
        let connection = &self.connections[index];
        let offset = u32::from(story.arbitrary::<u16>()?);
        let sequence = match story.int_in_range(0..=9)? {
            0..=2 => connection.acknowledged.wrapping_add(offset % 3000),
            3 => connection.acknowledged.wrapping_sub(offset % 3000),
            4 => connection.edge.wrapping_sub(offset % 3000),
            5 => connection.edge.wrapping_add(offset % 3),
            6 => connection.edge.wrapping_add(offset),
            7 => connection.acknowledged,
            8 => connection.peer_isn,
            _ => connection.acknowledged.wrapping_add(0x8000_0000 - 2 + offset % 5),
        };
        let expected = connection.received_end;
        let acknowledgement = match story.int_in_range(0..=7)? {
            0 => None,
            1 => Some(expected.wrapping_sub(offset)),
            2 => Some(expected.wrapping_sub(offset % 3)),
            3 => Some(expected.wrapping_add(offset)),
            4 => Some(expected.wrapping_add(0x8000_0000 - 2 + offset % 5)),
            _ => Some(expected),
        };
        let window: u16 = match story.int_in_range(0..=3)? {
            0 => 0,
            1 => story.arbitrary::<u16>()? % 2000,
            _ => 0xffff,
        };
        let len = match control {
            TcpControl::Syn | TcpControl::Rst => 0,
            _ => usize::from(story.arbitrary::<u16>()? % 1461),
        };
        let acknowledgement = acknowledgement.filter(|_| connection.own_isn.is_some());
        // Derived, so that the rest of a story keeps its meaning.
        let luck = mixed(sequence ^ offset.rotate_left(16) ^ self.segments as u32);
        let lies = if luck.is_multiple_of(2) { Lies::none() } else { Lies::told(luck, expected) };
        self.send_with(index, control, sequence, acknowledgement, (window, lies), len);
        Ok(())
    }

    /// The acknowledgement number of an honest peer.
    fn next_ack(&self, index: usize) -> Option<u32> {
        let connection = &self.connections[index];
        connection.own_isn.map(|_| connection.received_end)
    }

    /// Puts a segment on the wire and records its bytes.
    fn send(
        &mut self,
        index: usize,
        control: TcpControl,
        sequence: u32,
        acknowledgement: Option<u32>,
        window: u16,
        len: usize,
    ) {
        let window = (window, Lies::none());
        self.send_with(index, control, sequence, acknowledgement, window, len);
    }

    fn send_with(
        &mut self,
        index: usize,
        control: TcpControl,
        sequence: u32,
        acknowledgement: Option<u32>,
        (window, lies): (u16, Lies),
        len: usize,
    ) {
        let connection = &mut self.connections[index];
        let payload: Vec<u8> =
            (0..len).map(|at| peers_byte(sequence.wrapping_add(at as u32))).collect();
        connection.note_sent(sequence, len);
        let is_syn = control == TcpControl::Syn;
        let segment = TcpRepr {
            src_port: connection.port,
            dst_port: 80,
            control,
            seq_number: TcpSeqNumber(sequence as i32),
            ack_number: acknowledgement.map(|number| TcpSeqNumber(number as i32)),
            window_len: window,
            window_scale: is_syn.then_some(0),
            max_seg_size: is_syn.then_some(1460),
            sack_permitted: is_syn,
            // No room for them beside the options of a SYN.
            sack_ranges: if is_syn { [None; 3] } else { lies.blocks },
            timestamp: lies.timestamp,
            payload: &payload,
        };
        let ip = Ipv4Repr {
            src_addr: PEER,
            dst_addr: OWN,
            next_header: IpProtocol::Tcp,
            payload_len: segment.buffer_len(),
            hop_limit: 64,
        };
        let mut packet = vec![0; ip.buffer_len() + segment.buffer_len()];
        let checksums = ChecksumCapabilities::default();
        ip.emit(&mut Ipv4Packet::new_unchecked(&mut packet), &checksums);
        let mut transport = TcpPacket::new_unchecked(&mut packet[ip.buffer_len()..]);
        segment.emit(&mut transport, &PEER.into(), &OWN.into(), &checksums);
        self.host.wire.incoming.push_back(packet.into());
        self.segments += 1;
        self.settle();
    }

    /// Runs the stack at the current time, and processes its segments and accepted connections.
    fn settle(&mut self) {
        self.host.run();
        self.receive();
        while let Some(Ok((_, Some(SocketQueue::Stream(stream))))) =
            self.host.call(Some(self.listener), tcp::Command::Accept)
        {
            let port = stream.peer_address().port();
            match self.connections.iter_mut().find(|connection| connection.port == port) {
                Some(connection) => {
                    assert!(!connection.is_accepted, "a connection is accepted once");
                    connection.is_accepted = true;
                    connection.stream = Some(stream);
                }
                None => stream.abort(),
            }
        }
    }

    /// Processes the segments that the stack has sent.
    fn receive(&mut self) {
        for packet in std::mem::take(&mut self.host.wire.outgoing) {
            let ip = Ipv4Packet::new_checked(&packet[..]).expect("an IPv4 packet");
            assert!(ip.verify_checksum());
            let segment = TcpPacket::new_checked(ip.payload()).expect("a segment");
            assert!(segment.verify_checksum(&OWN.into(), &PEER.into()));
            let port = segment.dst_port();
            if let Some(connection) = self.connections.iter_mut().find(|one| one.port == port) {
                connection.note_received(&segment);
            }
        }
    }

    fn read(&mut self, index: usize, max: usize) {
        let connection = &mut self.connections[index];
        let Some(stream) = &connection.stream else { return };
        let mut buffer = vec![0; max];
        if let Ok(len) = stream.try_recv(&mut buffer) {
            for byte in &buffer[..len] {
                let place = connection.peer_isn.wrapping_add(1 + connection.read as u32);
                assert_eq!(*byte, peers_byte(place), "byte {}", connection.read);
                connection.read += 1;
            }
            assert!(
                connection.read <= connection.sent_prefix,
                "bytes that were never sent are read"
            );
        }
    }

    fn write(&mut self, index: usize, len: usize) {
        let connection = &mut self.connections[index];
        let Some(stream) = &connection.stream else { return };
        let bytes: Vec<u8> =
            (0..len).map(|at| own_byte((connection.written + at) as u32)).collect();
        match stream.try_send(&bytes) {
            Ok(sent) => connection.written += sent,
            Err(error) => assert_ne!(error, Error::Closed, "the handle is there"),
        }
    }

    fn end(mut self) -> u64 {
        for index in 0..self.connections.len() {
            self.read(index, usize::from(u16::MAX));
            if let Some(stream) = self.connections[index].stream.take() {
                stream.close();
            }
        }
        self.host.call(Some(self.listener), tcp::Command::Close);
        self.host.drain();
        self.receive();
        self.segments
    }
}

impl Connection {
    /// Records sent bytes of the peer's stream. Bytes far outside of any window are never accepted.
    fn note_sent(&mut self, sequence: u32, len: usize) {
        const FAR: usize = 1 << 24;
        let first = sequence.wrapping_sub(self.peer_isn).wrapping_sub(1) as i32;
        // Part of it may lie before the first byte.
        let end = usize::try_from(i64::from(first) + len as i64).unwrap_or(0);
        let range = usize::try_from(first).unwrap_or(0)..end;
        if range.is_empty() || end > FAR {
            return;
        }
        if self.sent.len() < range.end {
            self.sent.resize(range.end, false);
        }
        self.sent[range].fill(true);
        while self.sent.get(self.sent_prefix) == Some(&true) {
            self.sent_prefix += 1;
        }
    }

    /// Processes a SYN|ACK of the stack. Unless it is a retransmission, it belongs to a new
    /// connection, which one of the walk's SYNs has begun after the end of the old one.
    fn begin(&mut self, next: u32, own_isn: u32) {
        let peer_isn = next.wrapping_sub(1);
        if self.own_isn == Some(own_isn) && self.peer_isn == peer_isn && !self.is_accepted {
            return;
        }
        if let Some(stream) = &self.stream {
            assert!(stream.recv_state().is_closed, "a SYN has ended a living connection");
            stream.close();
        }
        *self = Self {
            port: self.port,
            peer_isn,
            own_isn: Some(own_isn),
            next,
            acknowledged: next,
            received_end: own_isn.wrapping_add(1),
            ..Self::default()
        };
    }

    /// Checks a segment of the stack, and records its numbers.
    fn note_received(&mut self, segment: &TcpPacket<&[u8]>) {
        if segment.rst() {
            return;
        }
        let sequence = segment.seq_number().0 as u32;
        if segment.syn() {
            self.begin(segment.ack_number().0 as u32, sequence);
        }
        let Some(isn) = self.own_isn else {
            // A late segment of the previous connection on this port.
            return;
        };
        let acknowledgement = segment.ack_number().0 as u32;
        let acknowledged = acknowledgement.wrapping_sub(self.peer_isn).wrapping_sub(1);
        assert!(
            acknowledged as usize <= self.sent_prefix + 1,
            "{acknowledged} bytes are acknowledged, {} were sent",
            self.sent_prefix,
        );
        for (at, byte) in segment.payload().iter().enumerate() {
            let place = sequence.wrapping_sub(isn).wrapping_sub(1).wrapping_add(at as u32);
            // smoltcp probes with a byte of its own choice only if there is none to send.
            assert!((place as usize) < self.written, "byte {place} was never written");
            assert_eq!(*byte, own_byte(place), "byte {place}");
        }
        let end = (segment.seq_number() + segment.segment_len()).0 as u32;
        if (end.wrapping_sub(self.received_end) as i32) > 0 {
            self.received_end = end;
        }
        self.acknowledged = acknowledgement;
        let shift = if segment.syn() { 0 } else { WINDOW_SHIFT };
        self.edge = acknowledgement.wrapping_add(u32::from(segment.window_len()) << shift);
    }
}

/// Number of the peer's ports. With few of them, the last connection on a port is often still in
/// TIME-WAIT when the next one begins.
const PORTS: u16 = 8;

/// How the stack scales its window, which follows from the size of its receive buffer.
const WINDOW_SHIFT: u32 = 2;

/// The peer's byte at this sequence number.
fn peers_byte(sequence: u32) -> u8 {
    (sequence.wrapping_mul(0x9e37_79b1) >> 21) as u8
}

/// The program's byte at this offset of its stream.
fn own_byte(place: u32) -> u8 {
    (place.wrapping_mul(0x85eb_ca77) >> 19) as u8
}
