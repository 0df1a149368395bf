//! Any bytes as frames: through the IP parser and the reassembly, to whatever sockets there are.

use crate::host::{Host, OWN, PEER};
use arbitrary::Unstructured;
use bytes::Bytes;
use netcore::device::smoltcp::wire::{IpProtocol, Ipv4Packet, Ipv6Packet, UdpPacket};
use netcore::queue::{DatagramQueue, SocketQueue};
use netcore::{Command, Config, Entropy, FrameChecksum, IpConfig, SocketId, icmp, raw, tcp, udp};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

const OWN_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
const PEER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 3);
const PORT: u16 = 2000;
/// A protocol of raw sockets only (RFC 3692).
const EXPERIMENT: u8 = 253;
/// Limit of the frames in answer to one frame: more than the largest echo reply in fragments.
const ANSWERS_MAX: usize = 128;

/// Plays the frames in `data`. Transport checksums count as verified, so that they keep nothing
/// out.
///
/// Every frame is counted, what is sent is well-formed, and afterwards an honest datagram arrives
/// as if nothing had happened.
///
/// # Panics
///
/// If one of these invariants does not hold.
pub fn parser(data: &[u8]) {
    let mut story = Unstructured::new(data);
    let mut scene = Scene::new();
    // An error is the end of the data.
    while !story.is_empty() && scene.step(&mut story).is_ok() {}
    scene.end();
}

struct Scene {
    host: Host,
    listener: SocketId,
    udp: Arc<DatagramQueue>,
    others: Vec<Arc<DatagramQueue>>,
    frames: u64,
}

impl Scene {
    fn new() -> Self {
        let config = Config {
            entropy: Entropy::Seed(2),
            // Small, so that it is reached.
            ip: IpConfig { fragments_bytes_max: 8 * 1024, ..IpConfig::default() },
            ..Config::default()
        };
        let mut host = Host::new(config, FrameChecksum::Trusted);
        let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let listen = tcp::Command::Listen { local: (any, 80).into(), options: Default::default() };
        let Some(Ok((_, Some(SocketQueue::Accept(listener))))) = host.call(None, listen) else {
            panic!("the port is free")
        };
        let udp = open(&mut host, udp::Command::Bind { endpoint: (any, PORT).into() });
        let others = vec![
            open(&mut host, raw::Command::Open { version: raw::Version::V4, protocol: EXPERIMENT }),
            open(&mut host, raw::Command::Open { version: raw::Version::V6, protocol: EXPERIMENT }),
            open(&mut host, icmp::Command::Open { local: OWN.into() }),
            open(&mut host, icmp::Command::Open { local: OWN_V6.into() }),
        ];
        Self { host, listener: listener.id(), udp, others, frames: 0 }
    }

    fn step(&mut self, story: &mut Unstructured<'_>) -> arbitrary::Result<()> {
        let frame = match story.int_in_range(0..=7)? {
            0 => take(story)?,
            1..=3 => packet_v4(story)?,
            4..=6 => packet_v6(story)?,
            _ => {
                let seconds = story.int_in_range(0..=70)?;
                self.host.advance(Duration::from_secs(seconds));
                self.check_sent();
                return Ok(());
            }
        };
        self.receive(frame);
        Ok(())
    }

    fn receive(&mut self, frame: Vec<u8>) {
        self.host.wire.incoming.push_back(frame.into());
        self.frames += 1;
        self.host.run();
        assert_eq!(self.host.stack.counters().frames_received, self.frames);
        self.check_sent();
    }

    fn check_sent(&mut self) {
        let sent = std::mem::take(&mut self.host.wire.outgoing);
        assert!(sent.len() <= ANSWERS_MAX, "{} answers", sent.len());
        for packet in sent {
            let source: IpAddr = match packet[0] >> 4 {
                4 => {
                    let packet = Ipv4Packet::new_checked(&packet[..]).expect("well-formed");
                    assert!(packet.verify_checksum());
                    packet.src_addr().into()
                }
                _ => Ipv6Packet::new_checked(&packet[..]).expect("well-formed").src_addr().into(),
            };
            assert!(source == OWN || source == OWN_V6, "sent from {source}");
        }
    }

    fn end(mut self) {
        for queue in self.others.iter().chain([&self.udp]) {
            while queue.try_recv().is_ok() {}
            // What the network reported, once.
            queue.take_error();
        }
        self.receive(honest());
        let received = self.udp.try_recv().map(|datagram| datagram.payload);
        assert_eq!(received, Ok(Bytes::from_static(b"hello")));
        for queue in self.others.iter().chain([&self.udp]) {
            queue.close();
        }
        self.host.call(Some(self.listener), tcp::Command::Close);
        self.host.drain();
    }
}

fn open(host: &mut Host, command: impl Into<Command>) -> Arc<DatagramQueue> {
    match host.call(None, command) {
        Some(Ok((_, Some(SocketQueue::Datagram(queue))))) => queue,
        other => panic!("opening gave {other:?}"),
    }
}

fn take(story: &mut Unstructured<'_>) -> arbitrary::Result<Vec<u8>> {
    let len = usize::from(story.arbitrary::<u16>()? % 2048).min(story.len());
    story.bytes(len).map(<[u8]>::to_vec)
}

/// A packet for the stack with a good header, and anything in it.
fn packet_v4(story: &mut Unstructured<'_>) -> arbitrary::Result<Vec<u8>> {
    let options = 4 * story.int_in_range(0..=10)?;
    let (flags, ident): (u16, u16) = (story.arbitrary()?, story.int_in_range(0..=3)?);
    let protocol = protocol(story)?;
    let options = story.bytes(if options > story.len() { 0 } else { options })?.to_vec();
    let payload = take(story)?;
    let mut bytes = vec![0; 20];
    bytes.extend(&options);
    bytes.extend(&payload);
    let len = bytes.len() as u16;
    let mut packet = Ipv4Packet::new_unchecked(&mut bytes);
    packet.set_version(4);
    packet.set_header_len(20 + options.len() as u8);
    packet.set_total_len(len);
    packet.set_ident(ident);
    packet.set_more_frags(flags & 1 != 0);
    // Half of them begin a packet; all are near its beginning, so that they overlap.
    packet.set_frag_offset(if flags & 2 != 0 { flags >> 2 & 0xff8 } else { 0 });
    packet.set_hop_limit(64);
    packet.set_next_header(protocol.into());
    packet.set_src_addr(PEER);
    packet.set_dst_addr(OWN);
    packet.fill_checksum();
    Ok(bytes)
}

/// The same for IPv6, with extension headers.
fn packet_v6(story: &mut Unstructured<'_>) -> arbitrary::Result<Vec<u8>> {
    let extensions = [0, 43, 44, 60];
    let mut next: u8 = protocol(story)?;
    let mut chain = Vec::new();
    for _ in 0..story.int_in_range(0..=3)? {
        let extension = *story.choose(&extensions)?;
        let mut header: [u8; 8] = story.arbitrary()?;
        header[0] = next;
        match extension {
            // A fragment: the reserved byte, an offset near the beginning, one of few identifiers.
            44 => {
                header[2] &= 1;
                header[4..7].fill(0);
                header[7] &= 3;
            }
            _ => header[1] = 0,
        }
        chain.splice(0..0, header);
        next = extension;
    }
    chain.extend(take(story)?);
    let mut bytes = vec![0; 40];
    bytes.extend(&chain);
    let mut packet = Ipv6Packet::new_unchecked(&mut bytes);
    packet.set_version(6);
    packet.set_payload_len(chain.len() as u16);
    packet.set_hop_limit(64);
    packet.set_next_header(next.into());
    packet.set_src_addr(PEER_V6);
    packet.set_dst_addr(OWN_V6);
    Ok(bytes)
}

fn protocol(story: &mut Unstructured<'_>) -> arbitrary::Result<u8> {
    story.choose(&[1, 6, 17, 58, EXPERIMENT, 99]).copied()
}

/// A datagram that must arrive.
fn honest() -> Vec<u8> {
    let mut bytes = vec![0; 28];
    bytes.extend(b"hello");
    let len = bytes.len() as u16;
    let mut packet = Ipv4Packet::new_unchecked(&mut bytes);
    packet.set_version(4);
    packet.set_header_len(20);
    packet.set_total_len(len);
    packet.set_hop_limit(64);
    packet.set_next_header(IpProtocol::Udp);
    packet.set_src_addr(PEER);
    packet.set_dst_addr(OWN);
    packet.fill_checksum();
    let mut datagram = UdpPacket::new_unchecked(packet.payload_mut());
    datagram.set_src_port(1);
    datagram.set_dst_port(PORT);
    datagram.set_len(len - 20);
    bytes
}
